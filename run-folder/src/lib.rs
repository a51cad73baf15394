//! The run folder: everything that is true about a run is an object in it, written once. Owns layout, `create_once`, records,
//! derivation, readers; must not know who calls it, what a lease is, or what time it is.

mod attempt;
mod chunks;
mod derive;
mod error;
mod folder;
mod layout;
mod local;
mod once;
mod reader;
mod records;
mod seal;
mod settle;

pub mod inputs;
pub mod probe;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use attempt::{AttemptWriter, Claim, Decided, Finished, Open};
pub use chunks::ChunkKind;
pub use derive::{AttemptFacts, RunFacts, RunState, TrialFacts, TrialState, derive, derive_run};
pub use error::Error;
pub use folder::RunFolder;
pub use layout::{IllegalName, Place};
pub use once::Created;
pub use reader::AttemptView;
pub use records::{
    AbandonRecord, CancelRecord, ClaimRecord, EpochRecord, FORMAT, Record, RecordError, decode, encode,
};
pub use seal::{SealRecord, Totals};
pub use store::{Durability, Store};
