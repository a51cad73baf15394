//! Lease time seen from here: a grant or renewal lasts from the moment *before* the message that it answers was sent, so that this side
//! always stops first (invariant L1). Also the pauses between dials. Pure.

use domain::env::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// When the numbered messages of one stream were sent: `Hello` is 0, heartbeats count from 1.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    times: VecDeque<(u64, Moment)>,
    next: u64,
}

impl Sent {
    /// Remembers that the next numbered message goes out now; call it before the message is handed on.
    pub(crate) fn send(&mut self, now: Moment) -> u64 {
        let number = self.next;
        self.times.push_back((number, now));
        self.next += 1;
        number
    }

    /// The number that the next message will have.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Until when an answer to message `number` is good. An answer that names a message we never sent is counted from the newest
    /// one before it; one that names a message older than all we remember cannot be trusted at all.
    pub(crate) fn deadline(&self, number: u64, ttl: Duration) -> Option<Moment> {
        let (_, sent_at) = self.times.iter().rev().find(|(sent, _)| *sent <= number)?;
        Some(*sent_at + ttl)
    }

    /// Forgets what no later answer can name: answers come in the order of the messages.
    pub(crate) fn answered(&mut self, number: u64) {
        while self.times.len() > 1 && self.times.front().is_some_and(|(sent, _)| *sent < number) {
            self.times.pop_front();
        }
    }
}

/// The shortest and the longest pause between two dials.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The pause before dial `tries` (from 0 failed tries), `dice` from 0 to 1: doubling, and spread over half of itself, so that a fleet
/// does not come back in one instant.
pub(crate) fn pause(tries: u32, dice: f64) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1_u32 << tries.min(16)).min(LONGEST_PAUSE);
    full / 2 + (full / 2).mul_f64(dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_deadline_counts_from_before_the_message_was_sent() {
        let mut sent = Sent::default();
        assert_eq!(sent.send(Moment::from_millis(1_000)), 0);
        assert_eq!(sent.send(Moment::from_millis(6_000)), 1);
        let ttl = Duration::from_secs(30);
        assert_eq!(sent.deadline(0, ttl), Some(Moment::from_millis(31_000)));
        assert_eq!(sent.deadline(1, ttl), Some(Moment::from_millis(36_000)));
        assert_eq!(sent.deadline(9, ttl), Some(Moment::from_millis(36_000)));
        sent.answered(1);
        assert_eq!(sent.deadline(0, ttl), None);
        assert_eq!(sent.deadline(1, ttl), Some(Moment::from_millis(36_000)));
    }

    proptest! {
        /// L1 for one message: whatever the delays, our deadline is not after the coordinator's.
        #[test]
        fn we_always_stop_first(sent_at in 0u64..10_000, there in 0u64..60_000, ttl in 1u64..60_000, grace in 0u64..5_000) {
            let mut sent = Sent::default();
            sent.send(Moment::from_millis(sent_at));
            let ours = sent.deadline(0, Duration::from_millis(ttl)).unwrap();
            let theirs = Moment::from_millis(sent_at + there + ttl + grace);
            prop_assert!(ours <= theirs);
        }

        #[test]
        fn pauses_grow_and_stay_bounded(tries in 0u32..100, dice in -1.0f64..2.0) {
            let pause = pause(tries, dice);
            prop_assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE);
        }
    }
}
