//! Looks, now and then, for workspaces whose worker is dead. The last line of defence behind closing and deadlines.

use crate::living;
use kameo::Actor;
use kameo::actor::{ActorRef, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible};
use kameo::message::{Context, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use workspace::Sandboxes;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The recipe.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    /// Whose leftovers.
    pub(crate) sandboxes: Arc<dyn Sandboxes>,
    /// How often.
    pub(crate) every: Duration,
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Reaper {
    args: Args,
    tasks: JoinSet<()>,
}

/// It is time to look.
#[derive(Debug)]
pub(crate) struct Look;

impl Reaper {
    fn look_later(&mut self, me: ActorRef<Self>, look_first: bool) {
        let Args { sandboxes, every } = self.args.clone();
        self.tasks.spawn(async move {
            if look_first {
                reap(&*sandboxes).await;
            }
            tokio::time::sleep(every).await;
            // Fails only when the actor is gone, and then nobody needs to look.
            let _ = me.tell(Look).await;
        });
    }
}

impl Actor for Reaper {
    type Args = Args;
    type Error = Infallible;

    async fn on_start(args: Args, me: ActorRef<Self>) -> Result<Self, Infallible> {
        let mut reaper = Self { args, tasks: JoinSet::new() };
        reaper.look_later(me, false);
        Ok(reaper)
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        self.tasks.shutdown().await;
        Ok(())
    }
}

impl Message<Look> for Reaper {
    type Reply = ();

    async fn handle(&mut self, _: Look, context: &mut Context<Self, ()>) {
        while self.tasks.try_join_next().is_some() {}
        let me = context.actor_ref().clone();
        self.look_later(me, true);
    }
}

/// Removes what dead workers of this machine left behind.
pub(crate) async fn reap(sandboxes: &dyn Sandboxes) {
    let alive = living::all();
    match tokio::time::timeout(PATIENCE, sandboxes.reap(&alive)).await {
        Ok(Ok(reaped)) => {
            if !reaped.removed.is_empty() {
                tracing::info!(count = reaped.removed.len(), names = ?reaped.removed, "removed leftovers of dead workers");
            }
            for (name, why) in reaped.failed {
                tracing::warn!(%name, %why, "could not remove a leftover");
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "could not look for leftovers of dead workers"),
        Err(_) => tracing::warn!("looking for leftovers of dead workers takes too long"),
    }
}
