//! One container as a workspace, and why it was lost.

use super::Shared;
use super::container::Container;
use super::events::Death;
use crate::contract::{Lost, Workspace};
use crate::local::time_limit;
use crate::server::EXIT_DEADLINE;
use crate::session::Gone;
use crate::wire::{Answer, Request};
use domain::ops::{Op, Reply};
use futures::future::{BoxFuture, FutureExt};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long news of a container's end may take.
const NEWS: Duration = Duration::from_secs(3);

/// How long closing waits for the removal, which goes on without it.
const CLOSING: Duration = Duration::from_secs(15);

/// Exit code of a process that was killed.
const KILLED: i64 = 137;

#[derive(Debug)]
pub(super) struct DockerWorkspace {
    shared: Arc<Shared>,
    container: Container,
    lost: OnceLock<Lost>,
}

impl DockerWorkspace {
    pub(super) fn new(shared: Arc<Shared>, container: Container) -> Self {
        Self { shared, container, lost: OnceLock::new() }
    }

    async fn run(&self, op: Op) -> Result<Reply, Lost> {
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        let limit = time_limit(&op);
        let lost = match self.container.session().ask(Request::Op(op), limit).await {
            Ok(Answer::Reply(reply)) => return Ok(reply),
            Ok(other) => Lost::engine(format!("unexpected answer {other:?}")),
            Err(gone) => why(&self.shared, &self.container, &gone).await,
        };
        Err(self.lost.get_or_init(|| lost).clone())
    }
}

/// Why a container's server does not answer any more.
pub(super) async fn why(shared: &Shared, container: &Container, gone: &Gone) -> Lost {
    let Some(death) = shared.events.death(container.id(), NEWS).await else {
        return Lost::engine(format!("{}; the engine says nothing of its container", gone.0));
    };
    judge(&death, &container.complaint(), gone)
}

/// Whose doing a container's end was. What ran inside answers for the deadline and for memory; all else is the engine's or a person's.
fn judge(death: &Death, complaint: &str, gone: &Gone) -> Lost {
    match (death.exit, &death.signalled) {
        (Some(code), _) if code == i64::from(EXIT_DEADLINE) => {
            Lost::own_doing("the container reached its own deadline")
        }
        (_, Some(signal)) => Lost::engine(format!("the container was sent signal {signal} from outside")),
        (Some(KILLED), None) if death.out_of_memory => {
            Lost::own_doing("the container ran out of memory and its first process was killed")
        }
        (Some(code), None) if complaint.is_empty() => {
            Lost::engine(format!("the container ended with code {code}"))
        }
        (Some(code), None) => Lost::engine(format!("the container ended with code {code}: {complaint}")),
        (None, None) => Lost::engine(gone.0.clone()),
    }
}

impl Workspace for DockerWorkspace {
    fn run(&self, op: Op) -> BoxFuture<'_, Result<Reply, Lost>> {
        Self::run(self, op).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            let Self { shared, container, .. } = *self;
            // Late is fine: the task goes on, and after it come the container's own end and the reaper.
            let _late = tokio::time::timeout(CLOSING, shared.retire(container)).await;
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exit: Option<i64>, out_of_memory: bool, signalled: Option<&str>, counts: bool, says: &str) {
        let death = Death { exit, out_of_memory, signalled: signalled.map(str::to_owned) };
        let lost = judge(&death, "", &Gone("silence".to_owned()));
        assert_eq!(lost.counts, counts, "{death:?}");
        assert!(lost.reason.contains(says), "{death:?}: {lost}");
    }

    #[test]
    fn only_what_ran_inside_counts() {
        check(Some(137), true, None, true, "memory");
        check(Some(98), false, None, true, "deadline");
        check(Some(137), false, None, false, "code 137");
        check(Some(137), false, Some("9"), false, "from outside");
        check(Some(137), true, Some("9"), false, "from outside");
        check(Some(0), false, None, false, "code 0");
        check(Some(1), true, None, false, "code 1");
        check(None, false, None, false, "silence");
    }
}
