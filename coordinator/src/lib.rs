//! The coordinator: says who may spend on which trial, and closes runs. Its leases, queues and slots are guesses in memory; what is true is
//! in the run folder, and a coordinator that starts anew derives everything from it. Must not know how trials are run or reported.

mod actors;
mod config;
mod error;
mod folder;
mod journal;
mod rpc;
mod serve;

pub mod args;
pub mod fleet;
pub mod lease;
pub mod machine;
pub mod pause;
pub mod plan;

pub use config::{Config, TlsFiles};
pub use error::Error;
pub use pause::Patience;
pub use serve::serve;

use domain::env::Moment;
use std::fmt;
use tokio::time::Instant;

/// What every part of one coordinator shares.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: run_folder::Store,
    /// Where others can dial.
    pub(crate) address: String,
    pub(crate) now_utc: Box<dyn Fn() -> String + Send + Sync>,
    pub(crate) start: Instant,
}

impl Shared {
    pub(crate) fn now(&self) -> Moment {
        Moment(Instant::now().duration_since(self.start))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
