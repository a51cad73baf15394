//! The worker: what it holds (the session machine), its attempts, and the words to the coordinator. Owns the map of attempts.

use crate::actors::attempt::{self, Attempt, Stop};
use crate::actors::link::{Link, Redial};
use crate::judge::Notice;
use crate::machine::Ending;
use crate::session::{Effect, Ended, Event, Key, Session};
use crate::work::{Deps, Progress};
use domain::env::Moment;
use domain::id::{AttemptNo, Epoch};
use kameo::Actor;
use kameo::actor::{ActorId, ActorRef, Spawn as _, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible, SendError};
use kameo::message::{Context, Message};
use proto::message::{FromCoordinator, FromWorker, TrialDecided};
use proto::status::Failure;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

/// What a worker did in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Trials that have a verdict because of an attempt here, or were found to have one.
    pub decided: u64,
    /// Attempts whose result came after another's verdict.
    pub orphaned: u64,
    /// Attempts that ended without a result.
    pub abandoned: u64,
}

/// How a worker's life ends before its time.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The coordinator does not want this worker.
    Refused(Failure),
    /// The store that the coordinator names cannot be opened.
    Store(run_folder::store::Error),
}

/// The recipe.
#[derive(Debug)]
pub(crate) struct Args {
    /// What attempts share.
    pub(crate) deps: Arc<Deps>,
    /// What is held: nothing yet.
    pub(crate) session: Session,
    /// The stream's keeper.
    pub(crate) link: ActorRef<Link>,
    /// Who waits for the end.
    pub(crate) end: oneshot::Sender<Result<Summary, Trouble>>,
}

#[derive(Debug)]
struct Running {
    actor: ActorRef<Attempt>,
    progress: Progress,
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Root {
    deps: Arc<Deps>,
    session: Session,
    link: ActorRef<Link>,
    end: Option<oneshot::Sender<Result<Summary, Trouble>>>,
    attempts: HashMap<Key, Running>,
    outgoing: Option<mpsc::Sender<FromWorker>>,
    /// Said, but the queue was full.
    unsaid: VecDeque<FromWorker>,
    welcomed: bool,
    summary: Summary,
    tasks: JoinSet<()>,
    alarm: Option<(Moment, AbortHandle)>,
}

/// A stream is being dialled: what is said goes into this queue.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// Its number.
    pub(crate) stream: u64,
    /// Its queue.
    pub(crate) outgoing: mpsc::Sender<FromWorker>,
}

/// The coordinator said something.
#[derive(Debug)]
pub(crate) struct Heard {
    /// On this stream.
    pub(crate) stream: u64,
    /// This.
    pub(crate) message: FromCoordinator,
}

/// A stream is gone.
#[derive(Debug)]
pub(crate) struct Disconnected {
    /// This one.
    pub(crate) stream: u64,
}

/// The coordinator turned the worker away for a reason that does not pass.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Failure);

/// An attempt has its number.
#[derive(Debug)]
pub(crate) struct AttemptClaimed {
    /// The trial.
    pub(crate) key: Key,
    /// The number.
    pub(crate) attempt: AttemptNo,
}

/// An attempt ended; its slot is still in use.
#[derive(Debug)]
pub(crate) struct AttemptEnded {
    /// The trial.
    pub(crate) key: Key,
    /// How.
    pub(crate) ending: Ending,
}

/// Nothing is left of an attempt.
#[derive(Debug)]
pub(crate) struct AttemptGone(pub(crate) Key);

/// Take nothing more; leave when all is over, at the latest at this moment.
#[derive(Debug)]
pub(crate) struct Drain(pub(crate) Moment);

/// What has been done so far?
#[derive(Debug)]
pub(crate) struct Sum;

#[derive(Debug)]
struct Wake;

impl Actor for Root {
    type Args = Args;
    type Error = Infallible;

    async fn on_start(args: Args, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self {
            deps: args.deps,
            session: args.session,
            link: args.link,
            end: Some(args.end),
            attempts: HashMap::new(),
            outgoing: None,
            unsaid: VecDeque::new(),
            welcomed: false,
            summary: Summary::default(),
            tasks: JoinSet::new(),
            alarm: None,
        })
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        id: ActorId,
        reason: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, Infallible> {
        // The supervisor has given up on link, shipper or reaper: without them this life makes no sense.
        tracing::error!(actor = %id, ?reason, "a part of the worker died for good");
        Ok(ControlFlow::Break(ActorStopReason::LinkDied { id, reason: Box::new(reason) }))
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        self.tasks.shutdown().await;
        for running in self.attempts.values() {
            running.actor.kill();
        }
        Ok(())
    }
}

impl Root {
    fn apply(&mut self, event: Event, me: &ActorRef<Self>) {
        while self.tasks.try_join_next().is_some() {}
        let effects = self.session.apply(self.deps.clock.now(), event);
        for effect in effects {
            match effect {
                Effect::Send(message) => self.say(message),
                Effect::UseStore(url) => {
                    if let Err(error) = self.deps.runs.use_store(&url) {
                        self.finish(Err(Trouble::Store(error)));
                    }
                }
                Effect::Start { key, epoch, attempt } => self.start(key, epoch, attempt, me),
                Effect::Stop { key, notice } => self.stop(&key, notice),
                Effect::UseShare(share) => self.deps.runs.use_share(share),
                Effect::Redial(url) => {
                    self.outgoing = None;
                    let link = self.link.clone();
                    self.tasks.spawn(async move { drop(link.tell(Redial(url)).await) });
                }
                Effect::Finished => {
                    self.outgoing = None;
                    self.finish(Ok(self.summary));
                }
            }
        }
        self.say_unsaid();
        self.set_alarm(me);
    }

    fn finish(&mut self, end: Result<Summary, Trouble>) {
        if let Some(sender) = self.end.take() {
            // Nobody waits any more: then nobody wants to know.
            let _ = sender.send(end);
        }
    }

    fn say(&mut self, mut message: FromWorker) {
        if let FromWorker::Hello(proto::message::Hello { held, .. }) | FromWorker::Heartbeat { held, .. } =
            &mut message
        {
            for lease in held {
                for trial in &mut lease.trials {
                    let key = Key { run: lease.run.clone(), trial: trial.trial.clone() };
                    if let Some(running) = self.attempts.get(&key) {
                        trial.progress = running.progress.read();
                    }
                }
            }
        }
        self.unsaid.push_back(message);
        self.say_unsaid();
    }

    /// Puts words into the stream's queue as far as it takes them; what is left is said with the next event.
    fn say_unsaid(&mut self) {
        let Some(outgoing) = &self.outgoing else {
            self.unsaid.clear();
            return;
        };
        while let Some(message) = self.unsaid.pop_front() {
            match outgoing.try_send(message) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(message)) => {
                    self.unsaid.push_front(message);
                    return;
                }
                // Its end will be told; what was on it is told again on the next one.
                Err(mpsc::error::TrySendError::Closed(_)) => self.unsaid.clear(),
            }
        }
    }

    fn start(&mut self, key: Key, epoch: Epoch, first: AttemptNo, me: &ActorRef<Self>) {
        let progress = Progress::default();
        let actor = Attempt::spawn(attempt::Args {
            deps: Arc::clone(&self.deps),
            key: key.clone(),
            epoch,
            first,
            progress: progress.clone(),
            root: me.clone(),
        });
        self.attempts.insert(key, Running { actor, progress });
    }

    fn stop(&mut self, key: &Key, notice: Notice) {
        let Some(running) = self.attempts.get(key) else { return };
        match running.actor.tell(Stop(notice)).try_send() {
            Ok(()) => {}
            // Its own words fill its mailbox: wait for room, but not here.
            Err(SendError::MailboxFull(stop)) => {
                let actor = running.actor.clone();
                self.tasks.spawn(async move { drop(actor.tell(stop).await) });
            }
            // It is gone, and says so.
            Err(_) => {}
        }
    }

    fn set_alarm(&mut self, me: &ActorRef<Self>) {
        let wake = self.session.wake();
        if self.alarm.as_ref().map(|(at, _)| *at) == wake {
            return;
        }
        if let Some((_, former)) = self.alarm.take() {
            former.abort();
        }
        if let Some(at) = wake {
            let (clock, me) = (self.deps.clock, me.clone());
            let alarm = self.tasks.spawn(async move {
                clock.until(at).await;
                // Fails only when the actor is gone.
                let _ = me.tell(Wake).await;
            });
            self.alarm = Some((at, alarm));
        }
    }
}

impl Message<Dialling> for Root {
    type Reply = ();

    async fn handle(&mut self, dialling: Dialling, context: &mut Context<Self, ()>) {
        self.outgoing = Some(dialling.outgoing);
        self.unsaid.clear();
        self.apply(Event::Dialling { stream: dialling.stream }, context.actor_ref());
    }
}

impl Message<Heard> for Root {
    type Reply = ();

    async fn handle(&mut self, Heard { stream, message }: Heard, context: &mut Context<Self, ()>) {
        self.welcomed |= matches!(message, FromCoordinator::Welcome(_));
        self.apply(Event::Received { stream, message }, context.actor_ref());
    }
}

impl Message<Disconnected> for Root {
    type Reply = ();

    async fn handle(&mut self, Disconnected { stream }: Disconnected, context: &mut Context<Self, ()>) {
        self.apply(Event::Disconnected { stream }, context.actor_ref());
    }
}

impl Message<Refused> for Root {
    type Reply = ();

    async fn handle(&mut self, Refused(failure): Refused, _: &mut Context<Self, ()>) {
        // A coordinator that took this worker before may be half way through a restart: attempts in flight are worth another dial.
        if !self.welcomed {
            self.finish(Err(Trouble::Refused(failure)));
        }
    }
}

impl Message<AttemptClaimed> for Root {
    type Reply = ();

    async fn handle(&mut self, claimed: AttemptClaimed, context: &mut Context<Self, ()>) {
        self.apply(Event::Claimed { key: claimed.key, attempt: claimed.attempt }, context.actor_ref());
    }
}

impl Message<AttemptEnded> for Root {
    type Reply = ();

    async fn handle(&mut self, AttemptEnded { key, ending }: AttemptEnded, context: &mut Context<Self, ()>) {
        let ended = match ending {
            Ending::Decided { verdict, orphaned } => {
                if orphaned {
                    self.summary.orphaned += 1;
                    tracing::warn!(run = %key.run, trial = %key.trial, "another attempt was faster; this result is kept without use");
                } else {
                    self.summary.decided += 1;
                }
                Ended::Decided(TrialDecided {
                    run: key.run.clone(),
                    trial: key.trial.clone(),
                    attempt: verdict.attempt,
                    outcome: verdict.outcome,
                    usage: verdict.usage,
                    seconds: verdict.seconds,
                    steps: verdict.steps,
                })
            }
            Ending::Abandoned { attempt, notice } => {
                self.summary.abandoned += 1;
                tracing::info!(run = %key.run, trial = %key.trial, cause = notice.cause.as_str(), text = %notice.text, "attempt abandoned");
                Ended::Abandoned { attempt, notice }
            }
        };
        self.apply(Event::Ended { key, ended }, context.actor_ref());
    }
}

impl Message<AttemptGone> for Root {
    type Reply = ();

    async fn handle(&mut self, AttemptGone(key): AttemptGone, context: &mut Context<Self, ()>) {
        self.attempts.remove(&key);
        self.apply(Event::Gone { key }, context.actor_ref());
    }
}

impl Message<Drain> for Root {
    type Reply = ();

    async fn handle(&mut self, Drain(until): Drain, context: &mut Context<Self, ()>) {
        self.apply(Event::Drain { until }, context.actor_ref());
    }
}

impl Message<Sum> for Root {
    type Reply = Result<Summary, Infallible>;

    async fn handle(&mut self, _: Sum, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        Ok(self.summary)
    }
}

impl Message<Wake> for Root {
    type Reply = ();

    async fn handle(&mut self, _: Wake, context: &mut Context<Self, ()>) {
        self.alarm = None;
        self.apply(Event::Tick, context.actor_ref());
    }
}
