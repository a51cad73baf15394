//! One workspace: its operations in order, and its certain end. Whoever drops the handle ends the workspace too.

use domain::ops::{Op, Reply};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kameo::Actor;
use kameo::actor::{ActorRef, Spawn as _, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible, SendError};
use kameo::message::{Context, Message};
use std::time::Duration;
use workspace::{Lost, Workspace};

/// What any operation may take beside the time limit of its command.
const MARGIN: Duration = Duration::from_secs(120);
/// How long an end is waited for before the reaper is trusted with it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// The actor.
#[derive(Debug)]
pub(crate) struct WorkspaceActor {
    workspace: Option<Box<dyn Workspace>>,
}

impl Actor for WorkspaceActor {
    type Args = Box<dyn Workspace>;
    type Error = Infallible;

    async fn on_start(workspace: Self::Args, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self { workspace: Some(workspace) })
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        if let Some(workspace) = self.workspace.take() {
            workspace.close().await;
        }
        Ok(())
    }
}

struct Run(Op);

impl Message<Run> for WorkspaceActor {
    type Reply = Result<Reply, Lost>;

    async fn handle(&mut self, Run(op): Run, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        match &self.workspace {
            Some(workspace) => workspace.run(op).await,
            None => Err(Lost::engine("the workspace is closed")),
        }
    }
}

/// A workspace that is spoken to through its actor. Closing it interrupts what it is doing.
#[derive(Debug)]
pub(crate) struct Handle {
    actor: ActorRef<WorkspaceActor>,
}

impl Handle {
    /// Takes charge of an open workspace.
    pub(crate) fn new(workspace: Box<dyn Workspace>) -> Self {
        Self { actor: WorkspaceActor::spawn(workspace) }
    }

    /// Ends the workspace without waiting for it.
    pub(crate) fn abort(&self) {
        self.actor.kill();
    }
}

impl Workspace for Handle {
    fn run(&self, op: Op) -> BoxFuture<'_, Result<Reply, Lost>> {
        let limit = match &op {
            Op::Exec(spec) => Duration::from_millis(spec.timeout_millis).saturating_add(MARGIN),
            _ => MARGIN,
        };
        async move {
            match self.actor.ask(Run(op)).reply_timeout(limit).await {
                Ok(reply) => Ok(reply),
                Err(SendError::HandlerError(lost)) => Err(lost),
                Err(SendError::Timeout(_)) => Err(Lost::engine("no answer within its time")),
                Err(_) => Err(Lost::engine("the workspace is closed")),
            }
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            self.actor.kill();
            let end = self.actor.wait_for_shutdown_result();
            if tokio::time::timeout(CLOSE_PATIENCE, end).await.is_err() {
                tracing::warn!("a workspace does not close; the reaper will find it");
            }
        }
        .boxed()
    }
}
