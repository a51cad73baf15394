//! The gRPC services: what is checked at the door, what goes to which actor. Decides nothing.

mod guard;
mod run;
pub(crate) mod wire;
mod worker;

pub(crate) use guard::Guard;
pub(crate) use run::{RunRpc, wait_open};
pub(crate) use worker::WorkerRpc;

use proto::status::{Code, Failure};
use std::time::Duration;

/// Longest wait for an actor's answer.
const ANSWER: Duration = Duration::from_secs(60);

/// An actor did not answer: it is ending, or the process is.
fn no_answer<M, E>(_: kameo::error::SendError<M, E>) -> tonic::Status {
    Failure::new(Code::Unavailable, "the coordinator is stopping or too busy to answer").into()
}
