//! When to leave an engine alone. Pure: the time comes in as an argument.

use domain::env::Moment;
use std::time::Duration;

/// Troubles in a row before the engine is given a rest.
const PATIENCE: u32 = 5;

/// The first rest; each one after it is twice as long, up to the last.
const FIRST_REST: Duration = Duration::from_secs(2);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Counts troubles in a row.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    in_a_row: u32,
    rests: u32,
    until: Option<Moment>,
    last: String,
}

impl Breaker {
    /// Whether the engine may be asked; else how long to wait, and the last trouble.
    pub(super) fn allow(&self, now: Moment) -> Result<(), (Duration, String)> {
        match self.until {
            Some(until) if until > now => Err((until - now, self.last.clone())),
            _ => Ok(()),
        }
    }

    /// It answered.
    pub(super) fn success(&mut self) {
        *self = Self::default();
    }

    /// It failed or stalled. After a rest, one trouble is enough for the next rest.
    pub(super) fn trouble(&mut self, now: Moment, why: &str) {
        self.in_a_row += 1;
        why.clone_into(&mut self.last);
        let resting = self.until.is_some_and(|until| until > now);
        if !resting && (self.in_a_row >= PATIENCE || self.rests > 0) {
            let rest = FIRST_REST.saturating_mul(2_u32.saturating_pow(self.rests)).min(LONGEST_REST);
            self.rests += 1;
            self.until = Some(now + rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `t` trouble, `s` success, digits seconds that pass; answers the seconds of rest left.
    #[track_caller]
    fn check(play: &str, rest: Option<u64>) {
        let mut breaker = Breaker::default();
        let mut now = Moment::default();
        for step in play.chars() {
            match step {
                't' => breaker.trouble(now, "trouble"),
                's' => breaker.success(),
                digit => now = now + Duration::from_secs(u64::from(digit.to_digit(10).unwrap())),
            }
        }
        assert_eq!(breaker.allow(now).err().map(|(left, _)| left.as_secs()), rest, "{play}");
    }

    #[test]
    fn rests_after_trouble_in_a_row() {
        check("", None);
        check("tttt", None);
        check("ttttt", Some(2));
        check("ttttt1", Some(1));
        check("ttttt2", None);
        check("ttttstttt", None);
    }

    #[test]
    fn rests_longer_each_time_until_it_answers() {
        check("ttttt2t", Some(4));
        check("ttttt2t4t", Some(8));
        check("ttttt2t4t8t99t99t99t", Some(60));
        check("ttttt2s", None);
        check("ttttt2stttt", None);
    }

    #[test]
    fn late_troubles_of_calls_under_way_do_not_lengthen_a_rest() {
        check("tttttttttt", Some(2));
    }
}
