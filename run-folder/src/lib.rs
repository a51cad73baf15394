//! The run folder: layout, create_once, records, derivation, readers.
