//! The order of chunks on their way to the store: one at a time in a lane, memory and disk bounded, one probe while the store is away.
//! A pure machine; the bytes, the store and the disk are somebody else's.

#[cfg(test)]
mod tests;

use domain::env::Moment;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// A sequence of chunks that are stored in order: one kind of one attempt.
pub(crate) type LaneId = u64;
/// One chunk.
pub(crate) type PieceId = u64;
/// Somebody who waits for an answer.
pub(crate) type Waiter = u64;

/// What the shipper may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShipLimits {
    /// Bytes in memory; what is more goes to the spool.
    pub(crate) memory: u64,
    /// Bytes in the spool; what is more must wait with its producer.
    pub(crate) spool: u64,
    /// Puts in flight.
    pub(crate) in_flight: usize,
}

impl Default for ShipLimits {
    fn default() -> Self {
        Self { memory: 32 << 20, spool: 2 << 30, in_flight: 64 }
    }
}

/// The first and the longest pause before the store is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How a put ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Put {
    /// The chunk is safe.
    Stored,
    /// The store is away; the same put again may succeed.
    Away,
    /// No later put of this lane can succeed.
    Refused(String),
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A producer brings a chunk.
    Ship {
        /// Its lane.
        lane: LaneId,
        /// The chunk.
        piece: PieceId,
        /// Its length.
        bytes: u64,
        /// The producer, who waits until it is accepted.
        waiter: Waiter,
    },
    /// Somebody wants to know when all of a lane is stored.
    Flush {
        /// The lane.
        lane: LaneId,
        /// Who.
        waiter: Waiter,
    },
    /// Nothing of this lane matters any more.
    Forget {
        /// The lane.
        lane: LaneId,
    },
    /// A put ended.
    PutDone {
        /// Of this lane.
        lane: LaneId,
        /// How.
        put: Put,
    },
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Tell a producer that its chunk is taken care of, or that its lane is dead.
    Accept(Waiter, Result<(), String>),
    /// Store a chunk.
    Put {
        /// Its lane.
        lane: LaneId,
        /// The chunk.
        piece: PieceId,
    },
    /// Move a chunk from memory to the spool.
    Spool(PieceId),
    /// The chunk is stored, or never will be.
    Drop(PieceId),
    /// Tell how a lane stands: all stored, or dead.
    Flushed(Waiter, Result<(), String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    id: PieceId,
    bytes: u64,
    spooled: bool,
}

#[derive(Debug, Default)]
struct Lane {
    pieces: VecDeque<Piece>,
    /// The first piece is being put.
    busy: bool,
    dead: Option<String>,
    flushing: Vec<Waiter>,
    forgotten: bool,
}

#[derive(Debug, Clone, Copy)]
struct Blocked {
    lane: LaneId,
    piece: PieceId,
    bytes: u64,
    waiter: Waiter,
}

/// All chunks under way.
#[derive(Debug)]
pub(crate) struct Shipping {
    limits: ShipLimits,
    lanes: HashMap<LaneId, Lane>,
    /// Lanes with something to put that is not being put, oldest first.
    ready: VecDeque<LaneId>,
    blocked: VecDeque<Blocked>,
    memory: u64,
    spool: u64,
    in_flight: usize,
    /// While the store is away: when to try again, and how often that failed.
    away: Option<(Moment, u32)>,
}

impl Shipping {
    /// Nothing under way.
    pub(crate) fn new(limits: ShipLimits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            blocked: VecDeque::new(),
            memory: 0,
            spool: 0,
            in_flight: 0,
            away: None,
        }
    }

    /// When [`Event::Tick`] is due.
    pub(crate) fn wake(&self) -> Option<Moment> {
        self.away.filter(|_| self.in_flight == 0 && !self.ready.is_empty()).map(|(until, _)| until)
    }

    /// Takes what happened and says what to do.
    pub(crate) fn apply(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Ship { lane, piece, bytes, waiter } => {
                self.blocked.push_back(Blocked { lane, piece, bytes, waiter });
            }
            Event::Flush { lane, waiter } => {
                self.lanes.entry(lane).or_default().flushing.push(waiter);
                self.tidy(lane, &mut effects);
            }
            Event::Forget { lane } => self.forget(lane, &mut effects),
            Event::PutDone { lane, put } => self.put_done(now, lane, put, &mut effects),
            Event::Tick => {}
        }
        self.admit(&mut effects);
        self.start_puts(now, &mut effects);
        effects
    }

    /// Lets waiting producers in, in their order, as far as there is room. A chunk that is bigger than all room goes in alone.
    fn admit(&mut self, effects: &mut Vec<Effect>) {
        while let Some(Blocked { lane, piece, bytes, waiter }) = self.blocked.front().copied() {
            let dead = self.lanes.get(&lane).and_then(|lane| lane.dead.clone());
            if let Some(why) = dead {
                self.blocked.pop_front();
                effects.push(Effect::Drop(piece));
                effects.push(Effect::Accept(waiter, Err(why)));
                continue;
            }
            let in_memory = self.memory == 0 || self.memory + bytes <= self.limits.memory;
            if !in_memory && self.spool + bytes > self.limits.spool {
                return;
            }
            self.blocked.pop_front();
            if in_memory {
                self.memory += bytes;
            } else {
                self.spool += bytes;
                effects.push(Effect::Spool(piece));
            }
            let entry = self.lanes.entry(lane).or_default();
            entry.pieces.push_back(Piece { id: piece, bytes, spooled: !in_memory });
            if entry.pieces.len() == 1 {
                self.ready.push_back(lane);
            }
            effects.push(Effect::Accept(waiter, Ok(())));
        }
    }

    fn start_puts(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while !self.ready.is_empty() {
            let most = match self.away {
                None => self.limits.in_flight,
                Some((until, _)) if now >= until => 1,
                Some(_) => 0,
            };
            if self.in_flight >= most {
                return;
            }
            let Some(id) = self.ready.pop_front() else { return };
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let Some(piece) = lane.pieces.front().filter(|_| !lane.busy) else { continue };
            effects.push(Effect::Put { lane: id, piece: piece.id });
            lane.busy = true;
            self.in_flight += 1;
        }
    }

    fn put_done(&mut self, now: Moment, id: LaneId, put: Put, effects: &mut Vec<Effect>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.busy = false;
        match put {
            Put::Stored => {
                self.away = None;
                self.pop(id, effects);
            }
            Put::Away => {
                let tries = self.away.map_or(0, |(_, tries)| tries.saturating_add(1));
                let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
                self.away = Some((now + pause, tries));
            }
            Put::Refused(why) => {
                self.away = None;
                lane.dead = Some(why);
                while self.lanes.get(&id).is_some_and(|lane| !lane.pieces.is_empty()) {
                    self.pop(id, effects);
                }
            }
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            if lane.forgotten {
                self.forget(id, effects);
            } else if !lane.pieces.is_empty() {
                self.ready.push_back(id);
            } else {
                self.tidy(id, effects);
            }
        }
    }

    fn pop(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let Some(piece) = self.lanes.get_mut(&id).and_then(|lane| lane.pieces.pop_front()) else { return };
        if piece.spooled {
            self.spool -= piece.bytes;
        } else {
            self.memory -= piece.bytes;
        }
        effects.push(Effect::Drop(piece.id));
    }

    /// Answers those who wait for an empty lane, and lets it go with them.
    fn tidy(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.pieces.is_empty() && !lane.busy && !lane.flushing.is_empty() {
            let outcome = lane.dead.clone().map_or(Ok(()), Err);
            for waiter in lane.flushing.drain(..) {
                effects.push(Effect::Flushed(waiter, outcome.clone()));
            }
            self.lanes.remove(&id);
        }
    }

    fn forget(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let (gone, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.blocked).into_iter().partition(|blocked| blocked.lane == id);
        self.blocked = left;
        for blocked in gone {
            effects.push(Effect::Drop(blocked.piece));
            effects.push(Effect::Accept(blocked.waiter, Err("forgotten".to_owned())));
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.forgotten = true;
        for waiter in lane.flushing.drain(..) {
            effects.push(Effect::Flushed(waiter, Err("forgotten".to_owned())));
        }
        // The put under way still comes back, and takes the lane with it.
        let keep = usize::from(lane.busy);
        let mut pieces: BTreeMap<PieceId, Piece> = BTreeMap::new();
        while lane.pieces.len() > keep {
            if let Some(piece) = lane.pieces.pop_back() {
                pieces.insert(piece.id, piece);
            }
        }
        let busy = lane.busy;
        for piece in pieces.into_values() {
            if piece.spooled {
                self.spool -= piece.bytes;
            } else {
                self.memory -= piece.bytes;
            }
            effects.push(Effect::Drop(piece.id));
        }
        if !busy {
            self.ready.retain(|ready| *ready != id);
            self.lanes.remove(&id);
        }
    }
}
