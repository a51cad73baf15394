//! The shipping machine: order, bounds, outages.

use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

const LIMITS: ShipLimits = ShipLimits { memory: 10, spool: 10, in_flight: 2 };

fn in_words(effects: &[Effect]) -> String {
    let word = |effect: &Effect| match effect {
        Effect::Accept(waiter, Ok(())) => format!("accept {waiter}"),
        Effect::Accept(waiter, Err(why)) => format!("refuse {waiter}: {why}"),
        Effect::Put { lane, piece } => format!("put {lane}/{piece}"),
        Effect::Spool(piece) => format!("spool {piece}"),
        Effect::Drop(piece) => format!("drop {piece}"),
        Effect::Flushed(waiter, Ok(())) => format!("flushed {waiter}"),
        Effect::Flushed(waiter, Err(why)) => format!("unflushed {waiter}: {why}"),
    };
    effects.iter().map(word).collect::<Vec<_>>().join("; ")
}

struct Teller(Shipping);

impl Teller {
    fn new() -> Self {
        Self(Shipping::new(LIMITS))
    }

    fn tell(&mut self, millis: u64, event: Event) -> String {
        in_words(&self.0.apply(at(millis), event))
    }

    fn ship(&mut self, lane: u64, piece: u64, bytes: u64) -> String {
        self.tell(0, Event::Ship { lane, piece, bytes, waiter: piece })
    }

    fn done(&mut self, millis: u64, lane: u64, put: Put) -> String {
        self.tell(millis, Event::PutDone { lane, put })
    }
}

#[test]
fn a_lane_is_stored_in_order_one_at_a_time() {
    let mut teller = Teller::new();
    assert_eq!(teller.ship(1, 1, 2), "accept 1; put 1/1");
    assert_eq!(teller.ship(1, 2, 2), "accept 2");
    assert_eq!(teller.tell(0, Event::Flush { lane: 1, waiter: 9 }), "");
    assert_eq!(teller.done(0, 1, Put::Stored), "drop 1; put 1/2");
    assert_eq!(teller.done(0, 1, Put::Stored), "drop 2; flushed 9");
    assert!(teller.0.lanes.is_empty());
}

#[test]
fn an_empty_lane_is_flushed_at_once() {
    assert_eq!(Teller::new().tell(0, Event::Flush { lane: 1, waiter: 9 }), "flushed 9");
}

#[test]
fn puts_in_flight_are_bounded() {
    let mut teller = Teller::new();
    teller.ship(1, 1, 1);
    teller.ship(2, 2, 1);
    assert_eq!(teller.ship(3, 3, 1), "accept 3");
    assert_eq!(teller.done(0, 2, Put::Stored), "drop 2; put 3/3");
}

#[test]
fn memory_overflows_to_the_spool_and_then_producers_wait() {
    let mut teller = Teller::new();
    teller.ship(1, 1, 8);
    assert_eq!(teller.ship(1, 2, 8), "spool 2; accept 2");
    assert_eq!(teller.ship(1, 3, 8), "", "the producer waits");
    assert_eq!(teller.ship(2, 4, 1), "", "and so does who came after it");
    assert_eq!(teller.done(0, 1, Put::Stored), "drop 1; accept 3; accept 4; put 1/2; put 2/4");
}

#[test]
fn a_chunk_bigger_than_all_room_still_goes() {
    let mut teller = Teller::new();
    assert_eq!(teller.ship(1, 1, 50), "accept 1; put 1/1");
}

#[test]
fn while_the_store_is_away_one_put_at_a_time_asks_for_it() {
    let mut teller = Teller::new();
    teller.ship(1, 1, 1);
    teller.ship(2, 2, 1);
    assert_eq!(teller.done(0, 1, Put::Away), "");
    assert_eq!(teller.done(0, 2, Put::Away), "");
    assert_eq!(teller.0.wake(), Some(at(1000)));
    assert_eq!(teller.tell(999, Event::Tick), "");
    assert_eq!(teller.tell(1000, Event::Tick), "put 1/1");
    assert_eq!(teller.tell(1000, Event::Tick), "", "one probe");
    assert_eq!(teller.done(1000, 1, Put::Away), "");
    assert_eq!(teller.0.wake(), Some(at(3000)), "pauses grow");
    assert_eq!(teller.tell(3000, Event::Tick), "put 2/2");
    assert_eq!(teller.done(3100, 2, Put::Stored), "drop 2; put 1/1", "it is back: all go on");
}

#[test]
fn a_refused_lane_is_dead_and_says_so() {
    let mut teller = Teller::new();
    teller.ship(1, 1, 1);
    teller.ship(1, 2, 1);
    assert_eq!(teller.done(0, 1, Put::Refused("no".into())), "drop 1; drop 2");
    assert_eq!(teller.ship(1, 3, 1), "drop 3; refuse 3: no");
    assert_eq!(teller.tell(0, Event::Flush { lane: 1, waiter: 9 }), "unflushed 9: no");
    assert_eq!((teller.0.memory, teller.0.spool), (0, 0));
}

#[test]
fn a_forgotten_lane_leaves_nothing() {
    let mut teller = Teller::new();
    teller.ship(1, 1, 8);
    teller.ship(1, 2, 8);
    teller.ship(1, 3, 8);
    assert_eq!(
        teller.tell(0, Event::Forget { lane: 1 }),
        "drop 3; refuse 3: forgotten; drop 2",
        "the one under way comes back first"
    );
    assert_eq!(teller.done(0, 1, Put::Away), "drop 1");
    assert_eq!((teller.0.memory, teller.0.spool, teller.0.lanes.len()), (0, 0, 0));
    assert_eq!(teller.0.wake(), None);
}

#[derive(Debug, Clone)]
enum Happening {
    Ship(u64, u64),
    Done(u8, u8),
    Flush(u64),
    Forget(u64),
    Wait(u64),
}

proptest! {
    /// Chunks of a lane are stored in the order they came, each once; bounds hold; once all is quiet nothing is left.
    #[test]
    fn order_bounds_and_no_leak(script in proptest::collection::vec(prop_oneof![
        5 => (0u64..3, 1u64..9).prop_map(|(lane, bytes)| Happening::Ship(lane, bytes)),
        5 => (0u8..9, 0u8..6).prop_map(|(which, how)| Happening::Done(which, how)),
        1 => (0u64..3).prop_map(Happening::Flush),
        1 => (0u64..3).prop_map(Happening::Forget),
        2 => (0u64..20_000).prop_map(Happening::Wait),
    ], 0..80)) {
        let mut shipping = Shipping::new(LIMITS);
        let (mut now, mut next) = (0, 0);
        let mut in_flight: Vec<(LaneId, PieceId)> = Vec::new();
        let mut stored: HashMap<LaneId, Vec<PieceId>> = HashMap::new();
        let mut all: std::collections::BTreeSet<PieceId> = std::collections::BTreeSet::new();
        let mut quiet = 0;
        let mut script = script.into_iter();
        while quiet < 200 {
            let mut ended = None;
            let event = match script.next() {
                Some(Happening::Ship(lane, bytes)) => {
                    next += 1;
                    all.insert(next);
                    Event::Ship { lane, piece: next, bytes, waiter: next }
                }
                Some(Happening::Done(which, how)) if !in_flight.is_empty() => {
                    ended = Some(in_flight.remove(which as usize % in_flight.len()));
                    let lane = ended.unwrap().0;
                    let put = match how { 0 => Put::Away, 1 => Put::Refused("no".into()), _ => Put::Stored };
                    Event::PutDone { lane, put }
                }
                Some(Happening::Flush(lane)) => Event::Flush { lane, waiter: 0 },
                Some(Happening::Forget(lane)) => Event::Forget { lane },
                Some(Happening::Wait(millis)) => { now += millis; Event::Tick }
                _ => {
                    quiet += 1;
                    now += 20_000;
                    match in_flight.pop() {
                        Some((lane, piece)) => { ended = Some((lane, piece)); Event::PutDone { lane, put: Put::Stored } }
                        None => Event::Tick,
                    }
                }
            };
            if let (Some((lane, piece)), Event::PutDone { put: Put::Stored, .. }) = (ended, &event) {
                stored.entry(lane).or_default().push(piece);
            }
            for effect in shipping.apply(at(now), event) {
                match effect {
                    Effect::Put { lane, piece } => {
                        prop_assert!(in_flight.iter().all(|(busy, _)| *busy != lane), "one at a time");
                        in_flight.push((lane, piece));
                    }
                    Effect::Drop(piece) => prop_assert!(all.remove(&piece), "dropped twice"),
                    _ => {}
                }
            }
            prop_assert!(in_flight.len() <= LIMITS.in_flight);
            prop_assert!(shipping.memory <= LIMITS.memory && shipping.spool <= LIMITS.spool);
        }
        prop_assert!(stored.values().all(|pieces| pieces.is_sorted_by(|a, b| a < b)), "{stored:?}");
        prop_assert!(all.is_empty(), "left: {all:?}");
        prop_assert_eq!((shipping.memory, shipping.spool, shipping.in_flight), (0, 0, 0));
    }
}
