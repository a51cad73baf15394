//! The wire: protobuf definitions, generated code, conversions to and from domain types.
