//! When to try again: bounded tries, bounded waiting, growing pauses with jitter, and what the server asked for. Pure.

use domain::Retry;
use std::time::Duration;

/// How a call's tries follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pace {
    /// Tries, the first included.
    pub max_tries: u32,
    /// The first pause, doubled each time.
    pub first: Duration,
    /// No pause of our own choosing is longer.
    pub longest: Duration,
    /// All pauses of a call together.
    pub max_wait: Duration,
}

impl Pace {
    pub(crate) fn new(max_tries: u32) -> Self {
        Self {
            max_tries: max_tries.max(1),
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            max_wait: Duration::from_secs(300),
        }
    }

    /// The pause before the next try, after so many tries and so much waiting; `None` = give up. `dice` is a random number in 0..1
    /// that keeps many callers from coming back together.
    pub(crate) fn pause(&self, tries: u32, waited: Duration, retry: Retry, dice: f64) -> Option<Duration> {
        if tries >= self.max_tries {
            return None;
        }
        let pause = match retry {
            Retry::No => return None,
            // Never earlier than asked; a little later.
            Retry::After(time) => time.saturating_add(time.min(self.first * 4).mul_f64(dice / 4.0)),
            Retry::Backoff => {
                let doubled = self.first.saturating_mul(1 << tries.saturating_sub(1).min(20));
                doubled.min(self.longest).mul_f64(0.5 + dice / 2.0)
            }
        };
        (waited.saturating_add(pause) <= self.max_wait).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(tries: u32, waited: u64, retry: Retry, dice: f64, millis: Option<u64>) {
        let pause = Pace::new(5).pause(tries, Duration::from_secs(waited), retry, dice);
        assert_eq!(pause, millis.map(Duration::from_millis));
    }

    #[test]
    fn pauses_grow_and_end() {
        let after = |seconds| Retry::After(Duration::from_secs(seconds));
        check(1, 0, Retry::No, 0.0, None);
        check(1, 0, Retry::Backoff, 1.0, Some(500));
        check(1, 0, Retry::Backoff, 0.0, Some(250));
        check(2, 0, Retry::Backoff, 1.0, Some(1000));
        check(4, 0, Retry::Backoff, 1.0, Some(4000));
        check(5, 0, Retry::Backoff, 0.0, None);
        check(1, 0, after(0), 1.0, Some(0));
        check(1, 0, after(10), 0.0, Some(10_000));
        check(1, 0, after(10), 1.0, Some(10_500));
        check(1, 0, after(299), 0.0, Some(299_000));
        check(1, 2, after(299), 0.0, None);
        check(1, 0, after(3600), 0.0, None);
    }

    proptest! {
        #[test]
        fn no_call_waits_longer_than_it_may(
            max_tries in 0u32..200,
            answers in prop::collection::vec((prop::option::of(0u64..100_000), 0.0f64..1.0), 1..300),
        ) {
            let pace = Pace::new(max_tries);
            let mut waited = Duration::ZERO;
            let mut tries = 0;
            for (after, dice) in answers.into_iter().cycle() {
                tries += 1;
                let retry = after.map_or(Retry::Backoff, |millis| Retry::After(Duration::from_millis(millis)));
                let Some(pause) = pace.pause(tries, waited, retry, dice) else { break };
                if let Retry::After(asked) = retry { prop_assert!(pause >= asked); }
                waited += pause;
            }
            prop_assert!(tries <= max_tries.max(1));
            prop_assert!(waited <= pace.max_wait);
        }
    }
}
