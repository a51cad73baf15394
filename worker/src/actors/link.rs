//! The stream to the coordinator: dials, dials again with growing pauses, and carries messages both ways. Never fails on a refused
//! connection; knows nothing of what is said.

use crate::actors::root::{Dialling, Disconnected, Heard, Refused, Root};
use crate::deadline;
use futures::StreamExt as _;
use kameo::Actor;
use kameo::actor::{ActorRef, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible};
use kameo::message::{Context, Message};
use proto::dial::Dial;
use proto::eval::v1;
use proto::message::{FromCoordinator, FromWorker};
use proto::status::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages that may wait for the network.
const OUTGOING: usize = 4096;
/// Messages taken off the queue at once.
const BATCH: usize = 256;
/// How long the coordinator may take to answer a dial.
const DIAL_PATIENCE: Duration = Duration::from_secs(20);

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The recipe.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    /// Whom to dial first.
    pub(crate) dial: Dial,
    /// Who listens.
    pub(crate) root: ActorRef<Root>,
    /// Numbers of streams; they go on when the actor is restarted.
    pub(crate) streams: Arc<AtomicU64>,
}

/// The actor.
#[derive(Debug)]
pub(crate) struct Link {
    args: Args,
    stream: u64,
    failures: u32,
    closed: bool,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct DialNow;

#[derive(Debug)]
struct StreamEnded {
    stream: u64,
    welcomed: bool,
    failure: Option<Failure>,
}

/// Hang up and dial this address from now on.
#[derive(Debug)]
pub(crate) struct Redial(pub(crate) String);

/// Do not dial again, and hang up once all that was said is delivered, or soon. Answered when that is done.
#[derive(Debug)]
pub(crate) struct Close;

impl Actor for Link {
    type Args = Args;
    type Error = Infallible;

    async fn on_start(args: Args, me: ActorRef<Self>) -> Result<Self, Infallible> {
        let mut link = Self { args, stream: 0, failures: 0, closed: false, tasks: JoinSet::new() };
        link.dial_after(Duration::ZERO, me);
        Ok(link)
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        self.tasks.shutdown().await;
        Ok(())
    }
}

impl Link {
    fn dial_after(&mut self, pause: Duration, me: ActorRef<Self>) {
        self.tasks.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            // Fails only when the actor is gone.
            let _ = me.tell(DialNow).await;
        });
    }

    async fn hang_up(&mut self) {
        self.tasks.shutdown().await;
        let _ = self.args.root.tell(Disconnected { stream: self.stream }).await;
    }
}

impl Message<DialNow> for Link {
    type Reply = ();

    async fn handle(&mut self, _: DialNow, context: &mut Context<Self, ()>) {
        while self.tasks.try_join_next().is_some() {}
        if self.closed {
            return;
        }
        self.stream = self.args.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        // The first words are put into the queue by this: what is counted from them counts from before the connection is made.
        let _ = self.args.root.tell(Dialling { stream: self.stream, outgoing }).await;
        let (dial, root, stream) = (self.args.dial.clone(), self.args.root.clone(), self.stream);
        let me = context.actor_ref().clone();
        self.tasks.spawn(async move {
            let mut welcomed = false;
            let failure = converse(&dial, queue, &root, stream, &mut welcomed).await.err();
            let _ = me.tell(StreamEnded { stream, welcomed, failure }).await;
        });
    }
}

/// One stream, from its dial to its end.
async fn converse(
    dial: &Dial,
    queue: mpsc::Receiver<FromWorker>,
    root: &ActorRef<Root>,
    stream: u64,
    welcomed: &mut bool,
) -> Result<(), Failure> {
    let refused = |why: String| Failure::new(proto::status::Code::InvalidArgument, why);
    let mut client =
        dial.worker_client().map_err(|error| refused(format!("{error}; hint: {}", error.hint())))?;
    let session = client.session(outgoing(queue));
    let away = |what: &str| Failure::new(proto::status::Code::Unavailable, what);
    let answered = tokio::time::timeout(DIAL_PATIENCE, session).await;
    let mut incoming = answered.map_err(|_| away("the coordinator does not answer"))??.into_inner();
    loop {
        let heard = if *welcomed {
            incoming.message().await?
        } else {
            let first = tokio::time::timeout(DIAL_PATIENCE, incoming.message()).await;
            first.map_err(|_| away("the coordinator does not say welcome"))??
        };
        let Some(message) = heard else { return Ok(()) };
        let message = match FromCoordinator::try_from(message) {
            Ok(message) => message,
            // A newer coordinator may say what we do not know yet: not a reason to hang up.
            Err(error) => {
                tracing::warn!(%error, "a message of the coordinator makes no sense");
                continue;
            }
        };
        if let FromCoordinator::Welcome(welcome) = &message {
            if welcome.protocol != proto::PROTOCOL {
                let why = format!(
                    "the coordinator speaks protocol {}, this worker {}",
                    welcome.protocol,
                    proto::PROTOCOL
                );
                return Err(Failure::new(proto::status::Code::FailedPrecondition, why));
            }
            *welcomed = true;
        }
        if root.tell(Heard { stream, message }).await.is_err() {
            return Ok(());
        }
    }
}

/// What is said, with decisions that wait together said together.
fn outgoing(
    queue: mpsc::Receiver<FromWorker>,
) -> impl futures::Stream<Item = v1::WorkerMessage> + Send + 'static {
    futures::stream::unfold((queue, Vec::new()), |(mut queue, mut batch)| async move {
        let taken = queue.recv_many(&mut batch, BATCH).await;
        if taken == 0 {
            return None;
        }
        let messages = merged(&mut batch).into_iter().map(v1::WorkerMessage::from);
        Some((futures::stream::iter(messages.collect::<Vec<_>>()), (queue, batch)))
    })
    .flatten()
}

/// Neighbouring decisions become one message; order stays.
fn merged(batch: &mut Vec<FromWorker>) -> Vec<FromWorker> {
    let mut messages: Vec<FromWorker> = Vec::with_capacity(batch.len());
    for message in batch.drain(..) {
        match (messages.last_mut(), message) {
            (Some(FromWorker::Decided(before)), FromWorker::Decided(more)) => before.extend(more),
            (_, message) => messages.push(message),
        }
    }
    messages
}

impl Message<StreamEnded> for Link {
    type Reply = ();

    async fn handle(&mut self, ended: StreamEnded, context: &mut Context<Self, ()>) {
        if ended.stream != self.stream || self.closed {
            return;
        }
        let _ = self.args.root.tell(Disconnected { stream: ended.stream }).await;
        self.failures = if ended.welcomed { 0 } else { self.failures.saturating_add(1) };
        if let Some(failure) = ended.failure {
            let text = failure.message.clone();
            if !ended.welcomed && failure.fault() == domain::Fault::User {
                let _ = self.args.root.tell(Refused(failure)).await;
            }
            tracing::warn!(coordinator = %self.args.dial.url, failures = self.failures, error = %text, "no stream to the coordinator");
        }
        let pause = deadline::pause(self.failures, rand::random());
        self.dial_after(pause, context.actor_ref().clone());
    }
}

impl Message<Redial> for Link {
    type Reply = ();

    async fn handle(&mut self, Redial(url): Redial, context: &mut Context<Self, ()>) {
        if self.closed {
            return;
        }
        tracing::info!(coordinator = %url, "dialling another coordinator");
        self.hang_up().await;
        self.args.dial.url = url;
        self.failures = 0;
        self.dial_after(Duration::ZERO, context.actor_ref().clone());
    }
}

impl Message<Close> for Link {
    type Reply = ();

    async fn handle(&mut self, _: Close, _: &mut Context<Self, ()>) {
        self.closed = true;
        // The queue's other end is gone by now: the conversation ends by itself when the last word is out and the other side has
        // hung up too.
        let delivered = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, delivered).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::outcome::Outcome;
    use domain::usage::Usage;
    use proto::message::TrialDecided;

    fn decided(index: u32) -> FromWorker {
        FromWorker::Decided(vec![TrialDecided {
            run: "r".parse().unwrap(),
            trial: format!("s.c.p.{index}").parse().unwrap(),
            attempt: None,
            outcome: Outcome::Passed,
            usage: Usage::default(),
            seconds: 0.0,
            steps: 0,
        }])
    }

    #[test]
    fn neighbouring_decisions_travel_together_and_order_stays() {
        let mut batch = vec![decided(0), decided(1), FromWorker::Ready { credits: 1 }, decided(2)];
        let messages = merged(&mut batch);
        let sizes = messages.iter().map(|message| match message {
            FromWorker::Decided(trials) => trials.len(),
            _ => 0,
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [2, 0, 1]);
    }
}
