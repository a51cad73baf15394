//! For tests of this crate and of others: a store that fails on purpose, one conformance suite for every store, samples, and the
//! invariants as a check that reads the folder alone.

mod conformance;
mod faulty;
mod samples;
mod server;
mod violations;

pub use conformance::conformance;
pub use faulty::{FaultyStore, Plan, Trouble};
pub use samples::{abandoned, claim, epoch, incarnation, result, spec, trials};
pub use server::S3Server;
pub use violations::violations;
