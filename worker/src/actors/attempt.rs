//! One attempt: the machine, and the work it asks for, one piece at a time. Spawned plain and owned by the root's map; its end is a
//! domain event.

use crate::actors::root::{AttemptClaimed, AttemptEnded, AttemptGone, Root};
use crate::judge::Notice;
use crate::machine::{AttemptMachine, Effect, Ending, Event, State};
use crate::runs;
use crate::session::Key;
use crate::work::{Body, Deps, Progress, claim, finish, prepare, round, verify};
use domain::Retry;
use domain::id::{AttemptNo, Epoch};
use futures::FutureExt as _;
use kameo::Actor;
use kameo::actor::{ActorRef, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible};
use kameo::message::{Context, Message};
use proto::message::Cause;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The pause before a store that is away is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// The recipe.
#[derive(Debug)]
pub(crate) struct Args {
    /// What attempts share.
    pub(crate) deps: Arc<Deps>,
    /// The trial.
    pub(crate) key: Key,
    /// The reign that granted it.
    pub(crate) epoch: Epoch,
    /// The number to try first.
    pub(crate) first: AttemptNo,
    /// Where it says how far it is.
    pub(crate) progress: Progress,
    /// Who wants to hear of its end.
    pub(crate) root: ActorRef<Root>,
}

#[derive(Debug)]
enum Phase {
    /// The run is being read; nothing is claimed.
    Opening,
    /// The machine decides.
    Working(Box<AttemptMachine>),
    /// Its end is told.
    Over,
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Attempt {
    args: Args,
    phase: Phase,
    /// Here while no work is under way.
    body: Option<Box<Body>>,
    /// What to do as soon as the work under way has ended.
    next: Option<Effect>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Somebody wants the attempt to end.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) Notice);

/// The first piece of work: the run was read, or cannot be.
struct Opened(Result<Box<Body>, Notice>);

/// A piece of work ended.
struct Done(Box<Body>, Event);

impl Actor for Attempt {
    type Args = Args;
    type Error = Infallible;

    async fn on_start(args: Args, me: ActorRef<Self>) -> Result<Self, Infallible> {
        let (deps, key, epoch, first) = (Arc::clone(&args.deps), args.key.clone(), args.epoch, args.first);
        let progress = args.progress.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let opened = open(deps, key, epoch, first, progress).await;
            // Fails only when the actor is gone.
            let _ = me.tell(Opened(opened)).await;
        });
        let stop = CancellationToken::new();
        Ok(Self { args, phase: Phase::Opening, body: None, next: None, stop, tasks })
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        self.tasks.shutdown().await;
        if let Some(body) = &mut self.body {
            body.close_workspace().await;
            body.forget_chunks().await;
        }
        // Fails only when the worker is gone.
        let _ = self.args.root.tell(AttemptGone(self.args.key.clone())).await;
        Ok(())
    }
}

/// Reads the run, as long as it takes while somebody wants the attempt.
async fn open(
    deps: Arc<Deps>,
    key: Key,
    epoch: Epoch,
    first: AttemptNo,
    progress: Progress,
) -> Result<Box<Body>, Notice> {
    let got = loop {
        match deps.runs.get(&key.run).await {
            Err(runs::Error::Plan { source, .. }) if source.retry() != Retry::No => {
                tracing::warn!(run = %key.run, error = %crate::chain(&source), "the store is away");
                tokio::time::sleep(PAUSE).await;
            }
            got => break got,
        }
    };
    let run = got.map_err(|error| match &error {
        runs::Error::Plan { source, .. } => crate::store_notice(source),
        runs::Error::NoStore | runs::Error::Probe(_) => {
            Notice::of(Cause::StoreUnavailable, crate::chain(&error))
        }
    })?;
    let trial = key.trial.clone();
    let body = Body::new(deps, run, key, epoch, first, progress);
    body.map(Box::new).ok_or_else(|| Notice::of(Cause::Unusable, format!("the run has no trial `{trial}`")))
}

impl Attempt {
    /// Ends before anything was claimed.
    async fn end_unopened(&mut self, notice: Notice) {
        self.phase = Phase::Over;
        self.tell_end(Ending::Abandoned { attempt: None, notice }).await;
    }

    async fn tell_end(&self, mut ending: Ending) {
        if let (Ending::Abandoned { notice, .. }, Some(body)) = (&mut ending, &self.body) {
            notice.text = body.cleaned(std::mem::take(&mut notice.text));
        }
        let ended = AttemptEnded { key: self.args.key.clone(), ending };
        // Fails only when the worker is gone.
        let _ = self.args.root.tell(ended).await;
    }

    /// Feeds the machine; `true` when nothing more is to come.
    async fn apply(&mut self, event: Event, me: &ActorRef<Self>) -> bool {
        let Phase::Working(machine) = &mut self.phase else { return true };
        let claimed = matches!(event, Event::ClaimWon);
        let now = self.args.deps.clock.now();
        let effects = match machine.apply(now, event) {
            Ok(effects) => effects,
            Err(unexpected) => {
                // The table and the shell disagree: better to give the attempt up than to go on in doubt.
                tracing::error!(run = %self.args.key.run, trial = %self.args.key.trial, error = %unexpected, "a defect of the worker");
                match machine.apply(now, Event::Crashed(unexpected.to_string())) {
                    Ok(effects) => effects,
                    Err(_) => return true,
                }
            }
        };
        if claimed && machine.state() != State::Ended {
            let attempt = machine.number();
            let _ = self.args.root.tell(AttemptClaimed { key: self.args.key.clone(), attempt }).await;
        }
        for effect in effects {
            match effect {
                Effect::Interrupt => self.stop.cancel(),
                Effect::Tell(ending) => self.tell_end(ending).await,
                Effect::Close => return true,
                work => self.start(work, me),
            }
        }
        false
    }

    /// Starts a piece of work, now or when the one under way has ended.
    fn start(&mut self, work: Effect, me: &ActorRef<Self>) {
        while self.tasks.try_join_next().is_some() {}
        let Some(mut body) = self.body.take() else {
            self.next = Some(work);
            return;
        };
        if self.stop.is_cancelled() {
            self.stop = CancellationToken::new();
        }
        let (stop, me) = (self.stop.clone(), me.clone());
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(perform(&mut body, work, &stop)).catch_unwind().await;
            let event = ended.unwrap_or_else(|panic| Event::Crashed(told(panic.as_ref())));
            // Fails only when the actor is gone.
            let _ = me.tell(Done(body, event)).await;
        });
    }
}

/// Does one effect that is work.
async fn perform(body: &mut Body, work: Effect, stop: &CancellationToken) -> Event {
    match work {
        Effect::Claim(number) => claim::claim(body, number, stop).boxed().await,
        Effect::Look => claim::look(body, stop).boxed().await,
        Effect::Prepare => prepare::prepare(body, stop).boxed().await,
        Effect::Run { repair, until } => round::run(body, repair, until, stop).boxed().await,
        Effect::Verify { round } => verify::verify(body, round, stop).boxed().await,
        Effect::Finish(conclusion) => finish::finish(body, *conclusion).boxed().await,
        Effect::Commit => finish::commit(body).boxed().await,
        Effect::Abandon(notice) => finish::abandon(body, notice).boxed().await,
        Effect::Interrupt | Effect::Close | Effect::Tell(_) => {
            Event::Crashed("an effect that is no work was started as work".to_owned())
        }
    }
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without a text".to_owned()))
}

impl Message<Opened> for Attempt {
    type Reply = ();

    async fn handle(&mut self, Opened(opened): Opened, context: &mut Context<Self, ()>) {
        if !matches!(self.phase, Phase::Opening) {
            return;
        }
        match opened {
            Err(notice) => {
                self.end_unopened(notice).await;
                context.stop();
            }
            Ok(body) => {
                let (machine, effects) = AttemptMachine::new(body.plan(), self.args.first);
                self.phase = Phase::Working(Box::new(machine));
                self.body = Some(body);
                for effect in effects {
                    self.start(effect, context.actor_ref());
                }
            }
        }
    }
}

impl Message<Done> for Attempt {
    type Reply = ();

    async fn handle(&mut self, Done(body, event): Done, context: &mut Context<Self, ()>) {
        self.body = Some(body);
        let over = self.apply(event, context.actor_ref()).await;
        if let Some(work) = self.next.take() {
            self.start(work, context.actor_ref());
        }
        if over {
            self.phase = Phase::Over;
            context.stop();
        }
    }
}

impl Message<Stop> for Attempt {
    type Reply = ();

    async fn handle(&mut self, Stop(notice): Stop, context: &mut Context<Self, ()>) {
        match &self.phase {
            Phase::Opening => {
                self.end_unopened(notice).await;
                context.stop();
            }
            Phase::Working(_) => {
                if self.apply(Event::Stop(notice), context.actor_ref()).await {
                    self.phase = Phase::Over;
                    context.stop();
                }
            }
            Phase::Over => {}
        }
    }
}
