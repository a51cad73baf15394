//! The run actor: one run machine and its effects. Everything that waits is piped back as an event, so that the mailbox stays free.

use super::fleet::{Fleet, Occupy, Release, RunEnded, Take};
use super::session::SessionHandle;
use crate::journal::Journal;
use crate::machine::{Decision, Effect, Event, Opening, Progress, RunMachine, Status};
use crate::rpc::wire;
use crate::{Shared, folder};
use domain::id::{Incarnation, RunId};
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::error::Infallible;
use kameo::message::{Context, Message};
use kameo::reply::{DelegatedReply, ReplySender};
use proto::eval::v1;
use proto::status::{Code, Failure};
use run_folder::RunFolder;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, oneshot, watch};

/// Messages that may wait for a run.
pub(super) const MAILBOX: usize = 4096;
/// Events that a slow watcher may be behind before it misses some.
const WATCHED: usize = 4096;

/// See the module.
pub(crate) struct Run {
    shared: Arc<Shared>,
    fleet: ActorRef<Fleet>,
    folder: RunFolder,
    state: State,
    workers: HashMap<Incarnation, SessionHandle>,
    journal: Journal,
    events: broadcast::Sender<Arc<v1::RunEvent>>,
    end: watch::Sender<Option<v1::RunStatus>>,
}

enum State {
    /// The folder is being read. Events and callers wait.
    Opening {
        pending: Vec<Event>,
        callers: Vec<ReplySender<Result<Status, Failure>>>,
    },
    Open {
        machine: Box<RunMachine>,
        max_attempts: u32,
    },
    /// It could not be opened.
    Failed(Failure),
}

/// What a run starts from.
pub(crate) struct RunArgs {
    pub(super) shared: Arc<Shared>,
    pub(super) fleet: ActorRef<Fleet>,
    pub(super) run: RunId,
}

impl Actor for Run {
    type Args = RunArgs;
    type Error = Infallible;

    async fn on_start(args: RunArgs, actor_ref: ActorRef<Self>) -> Result<Self, Infallible> {
        // A told message cannot fail on an empty mailbox of our own.
        let _ = actor_ref.tell(Open).try_send();
        Ok(Self {
            folder: args.shared.store.run(&args.run),
            shared: args.shared,
            fleet: args.fleet,
            state: State::Opening { pending: Vec::new(), callers: Vec::new() },
            workers: HashMap::new(),
            journal: Journal::default(),
            events: broadcast::Sender::new(WATCHED),
            end: watch::Sender::new(None),
        })
    }
}

impl Run {
    fn status(&self) -> Result<Status, Failure> {
        match &self.state {
            State::Open { machine, .. } => Ok(machine.status()),
            State::Opening { .. } => Err(Failure::new(Code::Unavailable, "the run is being opened")),
            State::Failed(failure) => Err(failure.clone()),
        }
    }

    async fn apply(&mut self, event: Event, context: &Context<Self, ()>) -> bool {
        let now = self.shared.now();
        let effects = match &mut self.state {
            State::Open { machine, .. } => machine.apply(now, event),
            State::Opening { pending, .. } => {
                pending.push(event);
                return false;
            }
            State::Failed(_) => return false,
        };
        self.perform(effects, context).await
    }

    /// Does what the machine wants; says whether the run is over here.
    async fn perform(&mut self, effects: Vec<Effect>, context: &Context<Self, ()>) -> bool {
        let mut over = false;
        let max_attempts = match &self.state {
            State::Open { max_attempts, .. } => *max_attempts,
            State::Opening { .. } | State::Failed(_) => return false,
        };
        for effect in effects {
            match effect {
                Effect::Send { worker, message } => {
                    if let Some(handle) = self.workers.get(&worker) {
                        handle.send(message);
                    }
                }
                Effect::Take { slots } => self.take(slots, context).await,
                Effect::Release(slots) => {
                    let run = self.folder.id().clone();
                    // Without a fleet the process is ending; the same below.
                    let _ = self.fleet.tell(Release { run, slots }).send().await;
                }
                Effect::Occupy { worker, slots } => {
                    let run = self.folder.id().clone();
                    let _ = self.fleet.tell(Occupy { run, worker, slots }).send().await;
                }
                Effect::Look { round, trials } => {
                    let look = folder::look(self.folder.clone(), round, trials, max_attempts);
                    context.pipe(async { Told(look.await) });
                }
                Effect::CheckFence => {
                    if let State::Open { machine, .. } = &self.state {
                        let check = folder::check_fence(self.folder.clone(), machine.epoch());
                        context.pipe(async { Told(check.await) });
                        let look = folder::look_for_cancel(self.folder.clone());
                        context.pipe(async { Told(look.await) });
                    }
                }
                Effect::Conclude { trial, key, why, text } => {
                    let conclude =
                        folder::conclude(self.folder.clone(), trial, key, (why, text), max_attempts);
                    context.pipe(async { Told(conclude.await) });
                }
                Effect::Seal => {
                    let seal = folder::seal(self.folder.clone());
                    context.pipe(async { Told(seal.await) });
                }
                Effect::Progress(progress) => self.publish(&progress),
                Effect::Journal(decision) => self.write_down(&decision),
                Effect::Close => over = true,
            }
        }
        over
    }

    async fn take(&self, slots: u32, context: &Context<Self, ()>) {
        let (reply, answer) = oneshot::channel();
        let take = Take { run: self.folder.id().clone(), slots, reply };
        if self.fleet.tell(take).send().await.is_ok() {
            context.pipe(async {
                match answer.await {
                    Ok(slots) => Told(Event::Slots(slots)),
                    // The question was replaced or dropped: ask again, not at once.
                    Err(_) => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        Told(Event::Slots(Vec::new()))
                    }
                }
            });
        }
    }

    fn publish(&self, progress: &Progress) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let status = || self.status().ok();
        if let Some(event) = wire::event(progress, status) {
            // Nobody listening any more is fine.
            let _ = self.events.send(Arc::new(event));
        }
    }

    fn write_down(&mut self, decision: &Decision) {
        tracing::info!(run = %self.folder.id(), ?decision, "decided");
        self.journal.write(self.shared.now(), &(self.shared.now_utc)(), decision);
    }

    /// The end of this run here: the last status for watchers, the rest of the journal.
    async fn finish(&mut self, context: &mut Context<Self, ()>, note: Option<String>) {
        if let State::Open { machine, .. } = &self.state {
            let epoch = machine.epoch();
            let mut status = wire::status(&machine.status());
            if let Some(note) = note {
                status.note = note;
            }
            self.end.send_replace(Some(status));
            if let Some((number, lines)) = self.journal.rest()
                && let Err(error) = self.folder.journal(epoch, number, lines).await
            {
                tracing::warn!(run = %self.folder.id(), %error, "the journal is lost");
            }
        }
        let ended = RunEnded { run: self.folder.id().clone(), actor: context.actor_ref().id() };
        let _ = self.fleet.tell(ended).send().await;
        context.stop();
    }

    fn arm_tick(&self, context: &Context<Self, ()>) {
        let period = self.shared.config.tick();
        context.pipe(async move {
            tokio::time::sleep(period).await;
            Tick
        });
    }
}

/// Reads the folder.
struct Open;

impl Message<Open> for Run {
    type Reply = ();

    async fn handle(&mut self, _: Open, context: &mut Context<Self, ()>) {
        let (folder, shared) = (self.folder.clone(), Arc::clone(&self.shared));
        context.pipe(async move { Opened(folder::open(&folder, &shared).await) });
    }
}

/// The folder is read.
struct Opened(Result<Opening, Failure>);

impl Message<Opened> for Run {
    type Reply = ();

    async fn handle(&mut self, Opened(opening): Opened, context: &mut Context<Self, ()>) {
        let opening = match opening {
            Ok(opening) => opening,
            Err(failure) => {
                tracing::error!(run = %self.folder.id(), error = %failure, "a run cannot be opened");
                let old = std::mem::replace(&mut self.state, State::Failed(failure.clone()));
                if let State::Opening { callers, .. } = old {
                    callers.into_iter().for_each(|caller| caller.send(Err(failure.clone())));
                }
                self.finish(context, None).await;
                return;
            }
        };
        let (epoch, max_attempts) = (opening.epoch, opening.policy.max_attempts);
        let (machine, effects) = RunMachine::open(self.shared.now(), opening);
        tracing::info!(run = %self.folder.id(), epoch = epoch.get(), "a run is open");
        let status = machine.status();
        let old =
            std::mem::replace(&mut self.state, State::Open { machine: Box::new(machine), max_attempts });
        let mut over = self.perform(effects, context).await;
        if let State::Opening { pending, callers } = old {
            callers.into_iter().for_each(|caller| caller.send(Ok(status.clone())));
            for event in pending {
                over |= self.apply(event, context).await;
            }
        }
        if over {
            self.finish(context, None).await;
        } else {
            self.arm_tick(context);
        }
    }
}

/// Something happened.
pub(super) struct Told(pub(super) Event);

impl Message<Told> for Run {
    type Reply = ();

    async fn handle(&mut self, Told(event): Told, context: &mut Context<Self, ()>) {
        if let Event::StreamLost { worker, .. } = &event
            && self
                .workers
                .get(worker)
                .is_some_and(|handle| handle.out.is_closed() || handle.stop.is_cancelled())
        {
            self.workers.remove(worker);
        }
        if self.apply(event, context).await {
            self.finish(context, None).await;
        }
    }
}

/// A worker has a new stream. What is sent to it goes there from now on, and not before the machine knows of it.
pub(super) struct WorkerThere {
    pub(super) handle: SessionHandle,
    pub(super) event: Event,
}

impl Message<WorkerThere> for Run {
    type Reply = ();

    async fn handle(&mut self, there: WorkerThere, context: &mut Context<Self, ()>) {
        if let Event::Joined { worker, .. } = &there.event {
            self.workers.insert(worker.clone(), there.handle);
        }
        if self.apply(there.event, context).await {
            self.finish(context, None).await;
        }
    }
}

/// Time passes.
struct Tick;

impl Message<Tick> for Run {
    type Reply = ();

    async fn handle(&mut self, _: Tick, context: &mut Context<Self, ()>) {
        let now = self.shared.now();
        if let (State::Open { machine, .. }, Some((number, lines))) = (&self.state, self.journal.due(now)) {
            let (folder, epoch) = (self.folder.clone(), machine.epoch());
            context.pipe(async move { JournalStored(folder.journal(epoch, number, lines).await.err()) });
        }
        if self.apply(Event::Tick, context).await {
            self.finish(context, None).await;
        } else {
            self.arm_tick(context);
        }
    }
}

/// A part of the journal was stored, or not.
struct JournalStored(Option<run_folder::Error>);

impl Message<JournalStored> for Run {
    type Reply = ();

    async fn handle(&mut self, JournalStored(error): JournalStored, _: &mut Context<Self, ()>) {
        if let Some(error) = error {
            tracing::warn!(run = %self.folder.id(), %error, "a part of the journal is lost");
        }
    }
}

/// Waits until the run is open and answers how far it is.
pub(crate) struct WaitOpen;

impl Message<WaitOpen> for Run {
    type Reply = DelegatedReply<Result<Status, Failure>>;

    async fn handle(&mut self, _: WaitOpen, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let (delegated, caller) = context.reply_sender();
        if let Some(caller) = caller {
            match &mut self.state {
                State::Opening { callers, .. } => callers.push(caller),
                State::Open { .. } | State::Failed(_) => caller.send(self.status()),
            }
        }
        delegated
    }
}

/// Somebody cancelled the run; `cancel.json` exists.
pub(crate) struct CancelRun {
    pub(crate) reason: String,
}

impl Message<CancelRun> for Run {
    type Reply = ();

    async fn handle(&mut self, cancel: CancelRun, context: &mut Context<Self, ()>) {
        if self.apply(Event::Cancel { reason: cancel.reason }, context).await {
            self.finish(context, None).await;
        }
    }
}

/// The coordinator is leaving.
pub(super) struct Leaving {
    pub(super) text: String,
}

impl Message<Leaving> for Run {
    type Reply = ();

    async fn handle(&mut self, leaving: Leaving, context: &mut Context<Self, ()>) {
        let failure = Failure::new(Code::Unavailable, leaving.text.clone());
        if let State::Opening { .. } = &self.state
            && let State::Opening { callers, .. } =
                std::mem::replace(&mut self.state, State::Failed(failure.clone()))
        {
            callers.into_iter().for_each(|caller| caller.send(Err(failure.clone())));
        }
        self.finish(context, Some(leaving.text)).await;
    }
}

/// What a watcher reads.
pub(crate) struct Subscription {
    /// Where things stand now.
    pub(crate) status: v1::RunStatus,
    /// What happens.
    pub(crate) events: broadcast::Receiver<Arc<v1::RunEvent>>,
    /// The last status, once there is one.
    pub(crate) end: watch::Receiver<Option<v1::RunStatus>>,
}

/// Subscribes to progress.
pub(crate) struct Subscribe;

impl Message<Subscribe> for Run {
    type Reply = Result<Subscription, Failure>;

    async fn handle(&mut self, _: Subscribe, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let status = wire::status(&self.status()?);
        Ok(Subscription { status, events: self.events.subscribe(), end: self.end.subscribe() })
    }
}
