//! The wire: protobuf definitions, generated code, conversions to and from domain types, and how to dial a coordinator.
//! Knows nothing of leases, folders or actors.

pub mod convert;
pub mod dial;
pub mod message;
pub mod status;

/// Generated from `proto/eval/v1`.
pub mod eval {
    /// Version 1.
    #[expect(missing_docs, clippy::allow_attributes_without_reason, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("eval.v1");
    }
}

/// The protocol spoken by this build. A worker and a coordinator that differ refuse each other.
pub const PROTOCOL: u32 = 1;
