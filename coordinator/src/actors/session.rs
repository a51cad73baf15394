//! The session actor: one worker's stream. Turns wire messages into events of runs and back; decides nothing.

use super::fleet::{Fleet, Lost, Ready, Runs};
use super::run::{Run, Told, WorkerThere};
use crate::machine::Event;
use domain::id::{Incarnation, RunId, WorkerName};
use futures::StreamExt as _;
use kameo::Actor;
use kameo::actor::{ActorRef, Spawn as _};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message, StreamMessage};
use proto::eval::v1;
use proto::message::{FromCoordinator, FromWorker, HeldLease, TrialDecided};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

/// Messages that may wait for a session.
const MAILBOX: usize = 256;

/// How to reach a worker.
#[derive(Debug, Clone)]
pub(crate) struct SessionHandle {
    pub(crate) out: mpsc::Sender<v1::CoordinatorMessage>,
    /// Ends the session.
    pub(crate) stop: CancellationToken,
}

impl SessionHandle {
    /// Sends without waiting. A worker that does not read its messages loses its stream; it comes back and says what it holds.
    pub(crate) fn send(&self, message: FromCoordinator) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.out.try_send(message.into()) {
            tracing::warn!("a worker does not read its messages; its stream is closed");
            self.stop.cancel();
        }
    }
}

/// See the module.
pub(crate) struct Session {
    worker: Incarnation,
    name: WorkerName,
    session: u64,
    fleet: ActorRef<Fleet>,
    handle: SessionHandle,
    runs: BTreeMap<RunId, ActorRef<Run>>,
    heartbeat: u64,
    credits: u32,
}

/// What a session starts from.
pub(crate) struct SessionArgs {
    pub(crate) worker: Incarnation,
    pub(crate) name: WorkerName,
    pub(crate) session: u64,
    pub(crate) held: Vec<HeldLease>,
    pub(crate) fleet: ActorRef<Fleet>,
    pub(crate) handle: SessionHandle,
    pub(crate) runs: watch::Receiver<Runs>,
    pub(crate) inbound: Streaming<v1::WorkerMessage>,
}

type Inbound = StreamMessage<Result<v1::WorkerMessage, Status>, (), ()>;
type RunsChanged = StreamMessage<Runs, (), ()>;

impl Actor for Session {
    type Args = SessionArgs;
    type Error = Infallible;

    async fn on_start(args: SessionArgs, actor_ref: ActorRef<Self>) -> Result<Self, Infallible> {
        let mut runs = args.runs;
        let mut session = Self {
            worker: args.worker,
            name: args.name,
            session: args.session,
            fleet: args.fleet,
            handle: args.handle,
            runs: BTreeMap::new(),
            heartbeat: 0,
            credits: 0,
        };
        // Runs learn of the worker before the fleet may give them its slots: `Ready` comes through the stream attached below.
        let open = Runs::clone(&runs.borrow_and_update());
        session.join(&open, split(args.held, |lease| lease.run.clone())).await;
        let stop = session.handle.stop.clone();
        actor_ref.attach_stream(Box::pin(WatchStream::from_changes(runs)), (), ());
        actor_ref.attach_stream(Box::pin(args.inbound.take_until(stop.cancelled_owned())), (), ());
        Ok(session)
    }
}

fn split<T>(all: Vec<T>, run: impl Fn(&T) -> RunId) -> BTreeMap<RunId, Vec<T>> {
    let mut parts: BTreeMap<RunId, Vec<T>> = BTreeMap::new();
    for one in all {
        parts.entry(run(&one)).or_default().push(one);
    }
    parts
}

impl Session {
    pub(crate) fn start(args: SessionArgs) -> ActorRef<Self> {
        Self::spawn_with_mailbox(args, mailbox::bounded(MAILBOX))
    }

    /// Tells runs that were opened since, and remembers which are open. What the worker holds of a run that was opened after its hello is
    /// said by its next heartbeat.
    async fn join(&mut self, open: &Runs, mut held: BTreeMap<RunId, Vec<HeldLease>>) {
        for (id, run) in open.iter() {
            if self.runs.get(id).is_some_and(|known| known.id() == run.id()) {
                continue;
            }
            let event = Event::Joined {
                worker: self.worker.clone(),
                name: self.name.clone(),
                session: self.session,
                heartbeat: self.heartbeat,
                held: held.remove(id).unwrap_or_default(),
            };
            // A run that has just ended needs no worker.
            let _ = run.tell(WorkerThere { handle: self.handle.clone(), event }).send().await;
        }
        self.runs = BTreeMap::clone(open);
    }

    async fn tell(&self, run: &RunId, event: Event) {
        if let Some(actor) = self.runs.get(run) {
            // A run that has just ended needs no news.
            let _ = actor.tell(Told(event)).send().await;
        }
    }

    async fn hear(&mut self, message: FromWorker) {
        let (worker, session) = (self.worker.clone(), self.session);
        match message {
            FromWorker::Hello(_) => {
                tracing::warn!(worker = %self.name, "a second hello on one stream is ignored")
            }
            FromWorker::Ready { credits } => {
                self.credits = credits;
                // Without a fleet the process is ending.
                let _ = self.fleet.tell(Ready { worker, session, credits }).send().await;
            }
            FromWorker::Heartbeat { number, held } => {
                self.heartbeat = self.heartbeat.max(number);
                let mut held = split(held, |lease| lease.run.clone());
                for run in self.runs.keys() {
                    let held = held.remove(run).unwrap_or_default();
                    let event = Event::Heartbeat { worker: worker.clone(), session, number, held };
                    self.tell(run, event).await;
                }
            }
            FromWorker::Decided(trials) => {
                for (run, trials) in split(trials, |decided: &TrialDecided| decided.run.clone()) {
                    self.tell(&run, Event::Decided { worker: worker.clone(), trials }).await;
                }
            }
            FromWorker::Abandoned(abandoned) => {
                let run = abandoned.run.clone();
                self.tell(&run, Event::Abandoned { worker, session, abandoned }).await;
            }
            FromWorker::Returned { run, lease, trials } => {
                self.tell(&run, Event::Returned { worker, session, lease, trials }).await;
            }
        }
    }

    async fn end(&mut self, context: &mut Context<Self, ()>, clean: bool) {
        let left = clean && self.credits == 0;
        tracing::info!(worker = %self.name, left, "a worker's stream ended");
        for run in self.runs.keys() {
            let event = Event::StreamLost { worker: self.worker.clone(), session: self.session, left };
            self.tell(run, event).await;
        }
        let lost = Lost { worker: self.worker.clone(), session: self.session, left };
        // Without a fleet the process is ending.
        let _ = self.fleet.tell(lost).send().await;
        context.stop();
    }
}

impl Message<Inbound> for Session {
    type Reply = ();

    async fn handle(&mut self, message: Inbound, context: &mut Context<Self, ()>) {
        match message {
            StreamMessage::Started(()) => {}
            StreamMessage::Next(Ok(wire)) => match FromWorker::try_from(wire) {
                Ok(message) => self.hear(message).await,
                Err(error) => {
                    tracing::warn!(worker = %self.name, %error, "a message makes no sense; the stream is closed");
                    self.end(context, false).await;
                }
            },
            StreamMessage::Next(Err(status)) => {
                tracing::debug!(worker = %self.name, %status, "a worker's stream broke");
                self.end(context, false).await;
            }
            StreamMessage::Finished(()) => self.end(context, true).await,
        }
    }
}

impl Message<RunsChanged> for Session {
    type Reply = ();

    async fn handle(&mut self, message: RunsChanged, _: &mut Context<Self, ()>) {
        if let StreamMessage::Next(open) = message {
            self.join(&open, BTreeMap::new()).await;
        }
    }
}
