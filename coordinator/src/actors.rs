//! The actors: the fleet, one session for each worker's stream, one run for each open run. They own resources and serialize decisions; the
//! rules are in the machines.

mod fleet;
mod run;
mod session;

pub(crate) use fleet::{Fleet, FleetArgs, Join, Leave, OpenRun, Runs};
pub(crate) use run::{CancelRun, Run, Subscribe, Subscription, WaitOpen};
pub(crate) use session::{Session, SessionArgs, SessionHandle};
