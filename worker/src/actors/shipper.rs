//! Brings chunks to the store: bytes, files of the spool and puts around the shipping machine. Survives a crash of itself with the
//! spool swept and every lane answered.

use crate::clock::Clock;
use crate::shipping::{Effect, Event, LaneId, PieceId, Put, ShipLimits, Shipping, Waiter};
use bytes::Bytes;
use domain::Retry;
use domain::env::Moment;
use kameo::Actor;
use kameo::actor::{ActorRef, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible};
use kameo::message::{Context, Message};
use kameo::reply::{DelegatedReply, ReplySender};
use run_folder::{AttemptWriter, ChunkKind, Open};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinSet};

/// The recipe.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    /// The worker's time.
    pub(crate) clock: Clock,
    /// Bounds.
    pub(crate) limits: ShipLimits,
    /// Where chunks wait while the store is away.
    pub(crate) spool: PathBuf,
}

#[derive(Debug, Clone)]
enum Body {
    Memory(Bytes),
    Spooled(PathBuf),
}

#[derive(Debug)]
struct Piece {
    writer: Arc<AttemptWriter<Open>>,
    kind: ChunkKind,
    body: Body,
}

type Answer = Result<(), String>;

/// The actor.
#[derive(Debug)]
pub(crate) struct Shipper {
    args: Args,
    shipping: Shipping,
    pieces: HashMap<PieceId, Piece>,
    waiting: HashMap<Waiter, ReplySender<Answer>>,
    next: u64,
    tasks: JoinSet<()>,
    alarm: Option<(Moment, AbortHandle)>,
}

impl Actor for Shipper {
    type Args = Args;
    type Error = Infallible;

    async fn on_start(args: Args, _: ActorRef<Self>) -> Result<Self, Infallible> {
        let shipping = Shipping::new(args.limits);
        let (pieces, waiting) = (HashMap::new(), HashMap::new());
        Ok(Self { args, shipping, pieces, waiting, next: 0, tasks: JoinSet::new(), alarm: None })
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        self.tasks.shutdown().await;
        Ok(())
    }
}

/// A chunk to be stored; answered when it is taken care of, which may take as long as there is no room.
#[derive(Debug)]
pub(crate) struct Ship {
    /// Its lane.
    pub(crate) lane: LaneId,
    /// Whose.
    pub(crate) writer: Arc<AttemptWriter<Open>>,
    /// What.
    pub(crate) kind: ChunkKind,
    /// Whole lines.
    pub(crate) bytes: Bytes,
}

/// Answered when everything of a lane is stored, or cannot be.
#[derive(Debug)]
pub(crate) struct Flush(pub(crate) LaneId);

/// Nothing of a lane matters any more.
#[derive(Debug)]
pub(crate) struct Forget(pub(crate) LaneId);

#[derive(Debug)]
struct PutDone {
    lane: LaneId,
    put: Put,
}

#[derive(Debug)]
struct Spooled {
    piece: PieceId,
    file: PathBuf,
}

#[derive(Debug)]
struct Wake;

impl Shipper {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn wait(&mut self, sender: Option<ReplySender<Answer>>) -> Waiter {
        let waiter = self.number();
        if let Some(sender) = sender {
            self.waiting.insert(waiter, sender);
        }
        waiter
    }

    fn apply(&mut self, event: Event, me: &ActorRef<Self>) {
        while self.tasks.try_join_next().is_some() {}
        let now = self.args.clock.now();
        for effect in self.shipping.apply(now, event) {
            match effect {
                Effect::Accept(waiter, answer) | Effect::Flushed(waiter, answer) => {
                    if let Some(sender) = self.waiting.remove(&waiter) {
                        sender.send(answer);
                    }
                }
                Effect::Put { lane, piece } => self.put(lane, piece, me),
                Effect::Spool(piece) => self.spool(piece, me),
                Effect::Drop(piece) => {
                    if let Some(Piece { body: Body::Spooled(file), .. }) = self.pieces.remove(&piece) {
                        self.remove(file);
                    }
                }
            }
        }
        self.set_alarm(me);
    }

    fn set_alarm(&mut self, me: &ActorRef<Self>) {
        let wake = self.shipping.wake();
        if self.alarm.as_ref().map(|(at, _)| *at) == wake {
            return;
        }
        if let Some((_, former)) = self.alarm.take() {
            former.abort();
        }
        if let Some(at) = wake {
            let (clock, me) = (self.args.clock, me.clone());
            let alarm = self.tasks.spawn(async move {
                clock.until(at).await;
                // Fails only when the actor is gone.
                let _ = me.tell(Wake).await;
            });
            self.alarm = Some((at, alarm));
        }
    }

    fn put(&mut self, lane: LaneId, piece: PieceId, me: &ActorRef<Self>) {
        let Some(Piece { writer, kind, body }) = self.pieces.get(&piece) else {
            tracing::error!(lane, piece, "a chunk without bytes");
            return;
        };
        let (writer, kind, body, me) = (Arc::clone(writer), *kind, body.clone(), me.clone());
        self.tasks.spawn(async move {
            let put = store(&writer, kind, body).await;
            // The lane's owner may want the writer back as soon as it hears of this.
            drop(writer);
            let _ = me.tell(PutDone { lane, put }).await;
        });
    }

    /// Writes a chunk to the disk in the background. Until it is there, and if it cannot be, its bytes stay in memory.
    fn spool(&mut self, piece: PieceId, me: &ActorRef<Self>) {
        let Some(Piece { body: Body::Memory(bytes), .. }) = self.pieces.get(&piece) else { return };
        let (bytes, me) = (bytes.clone(), me.clone());
        let file = self.args.spool.join(format!("{piece}.chunk"));
        self.tasks.spawn(async move {
            match tokio::fs::write(&file, &bytes).await {
                Ok(()) => {
                    let _ = me.tell(Spooled { piece, file }).await;
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "the spool does not take a chunk")
                }
            }
        });
    }

    fn remove(&mut self, file: PathBuf) {
        self.tasks.spawn(async move {
            if let Err(error) = tokio::fs::remove_file(&file).await {
                tracing::debug!(file = %file.display(), %error, "could not remove a spooled chunk");
            }
        });
    }
}

async fn store(writer: &AttemptWriter<Open>, kind: ChunkKind, body: Body) -> Put {
    let bytes = match body {
        Body::Memory(bytes) => bytes,
        Body::Spooled(file) => match tokio::fs::read(&file).await {
            Ok(bytes) => bytes.into(),
            Err(error) => return Put::Refused(format!("the spool lost `{}`: {error}", file.display())),
        },
    };
    match writer.put_chunk(kind, bytes).await {
        Ok(_) => Put::Stored,
        Err(error) if error.retry() == Retry::No => Put::Refused(crate::chain(&error)),
        Err(error) => {
            tracing::warn!(trial = %writer.trial(), attempt = %writer.attempt(), error = %crate::chain(&error), "the store is away");
            Put::Away
        }
    }
}

impl Message<Ship> for Shipper {
    type Reply = DelegatedReply<Answer>;

    async fn handle(&mut self, ship: Ship, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let (reply, sender) = context.reply_sender();
        let waiter = self.wait(sender);
        let piece = self.number();
        let bytes = ship.bytes.len() as u64;
        let body = Body::Memory(ship.bytes);
        self.pieces.insert(piece, Piece { writer: ship.writer, kind: ship.kind, body });
        self.apply(Event::Ship { lane: ship.lane, piece, bytes, waiter }, context.actor_ref());
        reply
    }
}

impl Message<Flush> for Shipper {
    type Reply = DelegatedReply<Answer>;

    async fn handle(&mut self, Flush(lane): Flush, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let (reply, sender) = context.reply_sender();
        let waiter = self.wait(sender);
        self.apply(Event::Flush { lane, waiter }, context.actor_ref());
        reply
    }
}

impl Message<Forget> for Shipper {
    type Reply = ();

    async fn handle(&mut self, Forget(lane): Forget, context: &mut Context<Self, ()>) {
        self.apply(Event::Forget { lane }, context.actor_ref());
    }
}

impl Message<PutDone> for Shipper {
    type Reply = ();

    async fn handle(&mut self, done: PutDone, context: &mut Context<Self, ()>) {
        self.apply(Event::PutDone { lane: done.lane, put: done.put }, context.actor_ref());
    }
}

impl Message<Spooled> for Shipper {
    type Reply = ();

    async fn handle(&mut self, Spooled { piece, file }: Spooled, _: &mut Context<Self, ()>) {
        match self.pieces.get_mut(&piece) {
            Some(piece) => piece.body = Body::Spooled(file),
            None => self.remove(file),
        }
    }
}

impl Message<Wake> for Shipper {
    type Reply = ();

    async fn handle(&mut self, _: Wake, context: &mut Context<Self, ()>) {
        self.alarm = None;
        self.apply(Event::Tick, context.actor_ref());
    }
}
