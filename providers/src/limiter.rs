//! How fast an endpoint may be called: token buckets for requests and tokens, a cap on calls in flight, pauses and slower rates
//! after the endpoint said "too many". A machine: time comes in as an argument, nothing waits here, and the arithmetic is exact.

use crate::Share;
use domain::env::Moment;
use std::time::Duration;

/// How long an endpoint must stay quiet before the rate doubles again.
pub(crate) const RECOVERY: Duration = Duration::from_secs(15);
/// The rate is halved at most so often.
const MAX_HALVINGS: u32 = 6;
/// One request or token in the units of a bucket: a rate per minute times nanoseconds, in 64ths because of the halvings.
const UNIT: i128 = 60_000_000_000 << MAX_HALVINGS;
/// A bucket holds the part of a minute's rate that may go out at once.
const BURST_PART: u64 = 10;

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    level: i128,
    /// Up to when it has been filled.
    filled: Moment,
}

impl Bucket {
    fn new(per_minute: u64, now: Moment) -> Self {
        let mut bucket = Self { per_minute, level: 0, filled: now };
        bucket.level = bucket.capacity();
        bucket
    }

    fn capacity(&self) -> i128 {
        if self.per_minute == 0 { 0 } else { i128::from((self.per_minute / BURST_PART).max(1)) * UNIT }
    }

    fn per_nano(&self, halvings: u32) -> i128 {
        i128::from(self.per_minute) << (MAX_HALVINGS - halvings)
    }

    fn fill(&mut self, now: Moment, halvings: u32) {
        if now <= self.filled {
            return;
        }
        let nanos = i128::try_from(now.since(self.filled).as_nanos()).unwrap_or(i128::MAX >> 64);
        self.level =
            self.level.saturating_add(nanos.saturating_mul(self.per_nano(halvings))).min(self.capacity());
        self.filled = now;
    }

    /// How much must be there before something of this size may pass. What is larger than the bucket passes when the bucket is full
    /// and leaves it in debt.
    fn needed(&self, amount: u64) -> i128 {
        (i128::from(amount) * UNIT).min(self.capacity())
    }

    fn wait(&self, amount: u64, halvings: u32) -> Wait {
        let missing = self.needed(amount) - self.level;
        if self.per_minute == 0 {
            return Wait::Change;
        }
        if missing <= 0 {
            return Wait::Not;
        }
        let rate = self.per_nano(halvings);
        let nanos = (missing + rate - 1) / rate;
        Wait::For(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn take(&mut self, amount: i128) {
        self.level = self.level.saturating_sub(amount.saturating_mul(UNIT)).min(self.capacity());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Not,
    For(Duration),
    Change,
}

/// Whether a call may go out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Now. The grant must come back through [`Limiter::done`].
    Granted(Grant),
    /// Not before so much time has passed, or, without a time, not before a call ends or the share changes.
    Later(Option<Duration>),
    /// The endpoint is paused for so long.
    Paused(Duration),
}

/// One admitted call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    at: Moment,
    tokens: u64,
}

/// The limits of one endpoint.
#[derive(Debug)]
pub(crate) struct Limiter {
    share: Share,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    in_flight: u32,
    paused_until: Moment,
    halvings: u32,
    /// When the next halving is taken back.
    recovers: Moment,
    /// When the endpoint last said "too many".
    throttled: Option<Moment>,
    /// Calls in flight when the first halving came: what is halved where the share has no rate of requests.
    seen_in_flight: u32,
}

impl Limiter {
    pub(crate) fn new(share: Share, now: Moment) -> Self {
        Self {
            share,
            requests: share.requests_per_minute.map(|rate| Bucket::new(u64::from(rate), now)),
            tokens: share.tokens_per_minute.map(|rate| Bucket::new(rate, now)),
            in_flight: 0,
            paused_until: Moment::default(),
            halvings: 0,
            recovers: Moment::default(),
            throttled: None,
            seen_in_flight: 0,
        }
    }

    /// Brings everything up to now, across the moments at which the rate doubles again.
    fn catch_up(&mut self, now: Moment) {
        while self.halvings > 0 && self.recovers <= now {
            self.fill(self.recovers);
            self.halvings -= 1;
            self.recovers = self.recovers + RECOVERY;
        }
        self.fill(now);
    }

    fn fill(&mut self, now: Moment) {
        for bucket in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            bucket.fill(now, self.halvings);
        }
    }

    fn cap(&self) -> Option<u32> {
        // Where there is a rate, halving it is enough.
        if self.halvings == 0 || self.requests.is_some() {
            return self.share.max_in_flight;
        }
        let slowed = (self.seen_in_flight >> self.halvings).max(1);
        Some(self.share.max_in_flight.map_or(slowed, |cap| cap.min(slowed)))
    }

    /// Asks for one call that will use about so many tokens.
    pub(crate) fn admit(&mut self, now: Moment, tokens: u64) -> Admission {
        self.catch_up(now);
        if now < self.paused_until {
            return Admission::Paused(self.paused_until.since(now));
        }
        let mut wait = Wait::Not;
        if let Some(cap) = self.cap()
            && self.in_flight >= cap
        {
            let own_cap = self.share.max_in_flight.is_some_and(|cap| self.in_flight >= cap);
            wait = if own_cap { Wait::Change } else { Wait::For(self.recovers.since(now)) };
        }
        if let Some(bucket) = &self.requests {
            wait = wait.max(bucket.wait(1, self.halvings));
        }
        if let Some(bucket) = &self.tokens {
            wait = wait.max(bucket.wait(tokens, self.halvings));
        }
        match wait {
            Wait::Change => Admission::Later(None),
            Wait::For(time) => Admission::Later(Some(time)),
            Wait::Not => {
                if let Some(bucket) = &mut self.requests {
                    bucket.take(1);
                }
                if let Some(bucket) = &mut self.tokens {
                    bucket.take(i128::from(tokens));
                }
                self.in_flight += 1;
                Admission::Granted(Grant { at: now, tokens })
            }
        }
    }

    /// A call ended. `used` are its real tokens, where known; `pause` is set when the endpoint said "too many", and for how long.
    pub(crate) fn done(&mut self, now: Moment, grant: &Grant, used: Option<u64>, pause: Option<Duration>) {
        self.catch_up(now);
        if let (Some(bucket), Some(used)) = (&mut self.tokens, used) {
            bucket.take(i128::from(used) - i128::from(grant.tokens));
        }
        if let Some(pause) = pause {
            // Calls that were under way when the rate was halved say nothing about the new rate.
            if self.throttled.is_none_or(|throttled| grant.at > throttled) {
                if self.halvings == 0 {
                    self.seen_in_flight = self.in_flight;
                }
                self.halvings = (self.halvings + 1).min(MAX_HALVINGS);
                self.throttled = Some(now);
            }
            self.paused_until = self.paused_until.max(now + pause);
            self.recovers = self.paused_until.max(now) + RECOVERY;
            for bucket in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
                bucket.level = bucket.level.min(0);
                bucket.filled = self.paused_until;
            }
        }
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    #[cfg(test)]
    pub(crate) fn share(&self) -> Share {
        self.share
    }

    /// Another share: rates change, what has been used stays used.
    pub(crate) fn set_share(&mut self, now: Moment, share: Share) {
        self.catch_up(now);
        let rates = [
            (&mut self.requests, share.requests_per_minute.map(u64::from)),
            (&mut self.tokens, share.tokens_per_minute),
        ];
        for (bucket, rate) in rates {
            match (bucket.as_mut(), rate) {
                (Some(bucket), Some(rate)) => {
                    bucket.per_minute = rate;
                    bucket.level = bucket.level.min(bucket.capacity());
                }
                (_, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now.max(self.paused_until))),
            }
        }
        self.share = share;
    }
}

#[cfg(test)]
mod tests;
