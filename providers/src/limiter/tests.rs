//! Tests of `limiter`.

use super::*;
use proptest::prelude::*;

fn share(requests: Option<u32>, tokens: Option<u64>, in_flight: Option<u32>) -> Share {
    Share { requests_per_minute: requests, tokens_per_minute: tokens, max_in_flight: in_flight }
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

/// One line of a table: at which millisecond, what is done, what must come of it.
enum Step {
    Grant(u64),
    /// Refused for so many milliseconds; `None` = until something changes.
    Later(u64, Option<u64>),
    Paused(u64, u64),
    /// The n-th grant ends well with so many tokens.
    Done(u64, usize, Option<u64>),
    /// The n-th grant ends with "too many", pause in milliseconds.
    TooMany(u64, usize, u64),
    Share(u64, Share),
}

#[track_caller]
fn check(share: Share, tokens: u64, steps: &[Step]) {
    let mut limiter = Limiter::new(share, at(0));
    let mut grants = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Grant(time) => match limiter.admit(at(*time), tokens) {
                Admission::Granted(grant) => grants.push(grant),
                other => panic!("step {number}: {other:?}"),
            },
            Step::Later(time, wait) => {
                let expected = Admission::Later(wait.map(Duration::from_millis));
                assert_eq!(limiter.admit(at(*time), tokens), expected, "step {number}");
            }
            Step::Paused(time, rest) => {
                let expected = Admission::Paused(Duration::from_millis(*rest));
                assert_eq!(limiter.admit(at(*time), tokens), expected, "step {number}");
            }
            Step::Done(time, grant, used) => limiter.done(at(*time), &grants[*grant], *used, None),
            Step::TooMany(time, grant, pause) => {
                limiter.done(at(*time), &grants[*grant], None, Some(Duration::from_millis(*pause)));
            }
            Step::Share(time, share) => limiter.set_share(at(*time), *share),
        }
    }
}

use Step::{Done, Grant, Later, Paused, TooMany};

#[test]
fn requests_come_at_their_rate_after_a_short_burst() {
    check(
        share(Some(20), None, None),
        1,
        &[
            Grant(0),
            Grant(0),
            Later(0, Some(3000)),
            Later(1000, Some(2000)),
            Grant(3000),
            Later(3000, Some(3000)),
        ],
    );
    check(
        share(Some(1), None, None),
        1,
        &[Grant(0), Later(0, Some(60_000)), Grant(60_000), Later(61_000, Some(59_000))],
    );
}

#[test]
fn tokens_are_settled_when_they_are_known() {
    // 6000 a minute: 600 at once, 100 a second.
    let limits = share(None, Some(6000), None);
    check(limits, 400, &[Grant(0), Later(0, Some(2000)), Done(0, 0, Some(100)), Grant(0)]);
    check(limits, 400, &[Grant(0), Done(0, 0, Some(900)), Later(0, Some(7000)), Grant(7000)]);
    // Larger than the bucket: passes when the bucket is full and leaves a debt.
    check(limits, 3000, &[Grant(0), Later(0, Some(30_000)), Grant(30_000)]);
}

#[test]
fn calls_in_flight_are_counted() {
    check(
        share(None, None, Some(2)),
        1,
        &[Grant(0), Grant(0), Later(0, None), Done(5, 0, None), Grant(5), Later(5, None)],
    );
}

#[test]
fn a_share_of_nothing_waits_for_another_share() {
    for nothing in [share(Some(0), None, None), share(None, Some(0), None), share(None, None, Some(0))] {
        check(nothing, 1, &[Later(0, None), Step::Share(10, share(None, None, None)), Grant(10)]);
    }
    check(
        share(None, None, None),
        1,
        &[Grant(0), Step::Share(0, share(None, None, Some(1))), Later(0, None), Done(1, 0, None), Grant(1)],
    );
}

#[test]
fn too_many_pauses_the_endpoint_and_halves_its_rate_until_it_recovers() {
    check(
        share(Some(60), None, None),
        1,
        &[
            Grant(0),
            TooMany(0, 0, 2000),
            Paused(500, 1500),
            // Half of one a second, from the end of the pause on.
            Later(2000, Some(2000)),
            Grant(4000),
            Later(4000, Some(2000)),
            // 15 s after the pause the old rate is back.
            Grant(17_000),
            Grant(17_000),
            Grant(17_000),
            Grant(17_000),
            Grant(17_000),
            Grant(17_000),
            Later(17_000, Some(1000)),
            Grant(18_000),
            Later(18_000, Some(1000)),
        ],
    );
}

#[test]
fn halvings_are_taken_back_one_after_the_other_however_long_nobody_looks() {
    let twice = [Grant(0), TooMany(0, 0, 0), Grant(2000), TooMany(2000, 1, 0), Later(2000, Some(4000))];
    let six = || (0..6).map(|_| Grant(40_000));
    let mut rested: Vec<Step> = twice.into_iter().chain(six()).collect();
    rested.push(Later(40_000, Some(1000)));
    check(share(Some(60), None, None), 1, &rested);
    check(
        share(Some(60), None, None),
        1,
        &[
            Grant(0),
            TooMany(0, 0, 0),
            Grant(2000),
            TooMany(2000, 1, 0),
            Grant(6000),
            // 11 s at a quarter of the rate, and from now on half of it.
            Grant(17_000),
            Grant(17_000),
            Later(17_000, Some(500)),
        ],
    );
}

#[test]
fn without_a_rate_the_calls_in_flight_are_halved() {
    check(
        share(None, None, None),
        1,
        &[
            Grant(0),
            Grant(0),
            Grant(0),
            Grant(0),
            // All four were under way when the first of them was refused: one halving, not four.
            TooMany(10, 0, 0),
            TooMany(10, 1, 0),
            Done(10, 2, None),
            Done(10, 3, None),
            Grant(11),
            Grant(11),
            Later(11, Some(14_999)),
            Grant(15_010),
        ],
    );
}

/// The second implementation: replays the whole history, a millisecond at a time.
struct Oracle {
    share: Share,
    log: Vec<(u64, Event)>,
}

#[derive(Clone, Copy)]
enum Event {
    Grant(u64),
    Done { granted: u64, estimate: u64, used: Option<u64>, pause: Option<u64> },
}

impl Oracle {
    fn admits(&self, now: u64, tokens: u64) -> bool {
        let unit = 60_000_000_000_i128 * 64;
        let size = |rate: u64| i128::from((rate / 10).max(1)) * unit;
        let rates = [self.share.requests_per_minute.map(u64::from), self.share.tokens_per_minute];
        let mut levels = rates.map(|rate| rate.map_or(0, size));
        let (mut flying, mut paused, mut halvings, mut recovers, mut seen) =
            (0_u32, 0_u64, 0_u32, 0_u64, 0_u32);
        let mut throttled = None;
        for time in 0..=now {
            for (_, event) in self.log.iter().filter(|(at, _)| *at == time) {
                match *event {
                    Event::Grant(tokens) => {
                        flying += 1;
                        levels[0] -= unit;
                        levels[1] -= i128::from(tokens) * unit;
                    }
                    Event::Done { granted, estimate, used, pause } => {
                        if let (Some(used), Some(rate)) = (used, rates[1]) {
                            levels[1] += (i128::from(estimate) - i128::from(used)) * unit;
                            levels[1] = levels[1].min(size(rate));
                        }
                        if let Some(pause) = pause {
                            if throttled.is_none_or(|at| granted > at) {
                                if halvings == 0 {
                                    seen = flying;
                                }
                                halvings = (halvings + 1).min(6);
                                throttled = Some(time);
                            }
                            paused = paused.max(time + pause);
                            recovers = paused + 15_000;
                            levels = levels.map(|level| level.min(0));
                        }
                        flying -= 1;
                    }
                }
            }
            if time == now {
                break;
            }
            for (level, rate) in levels.iter_mut().zip(rates) {
                if let Some(rate) = rate
                    && time >= paused
                {
                    *level = (*level + i128::from(rate) * 1_000_000 * i128::from(64_u32 >> halvings))
                        .min(size(rate));
                }
            }
            if halvings > 0 && recovers == time + 1 {
                halvings -= 1;
                recovers += 15_000;
            }
        }
        let own = self.share.max_in_flight.unwrap_or(u32::MAX);
        let cap = if halvings == 0 || rates[0].is_some() { own } else { own.min((seen >> halvings).max(1)) };
        let enough = |level: i128, rate: Option<u64>, amount: u64| {
            rate.is_none_or(|rate| level >= (i128::from(amount) * unit).min(size(rate)))
        };
        now >= paused && flying < cap && enough(levels[0], rates[0], 1) && enough(levels[1], rates[1], tokens)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_replay_of_the_whole_history_agrees(
        requests in prop::option::of(1_u32..600),
        tokens in prop::option::of(1_u64..50_000),
        cap in prop::option::of(1_u32..6),
        steps in prop::collection::vec((0_u64..1500, 0_u64..3000, 0_u8..10, 0_u64..4000), 1..60),
    ) {
        let share = share(requests, tokens, cap);
        let mut limiter = Limiter::new(share, at(0));
        let mut oracle = Oracle { share, log: Vec::new() };
        let mut flying: Vec<(u64, u64, super::Grant)> = Vec::new();
        let mut now = 0;
        let mut granted: Vec<u64> = Vec::new();
        for (pass, amount, kind, extra) in steps {
            now += if kind % 3 == 0 { pass } else { pass / 20 };
            if kind < 6 || flying.is_empty() {
                let expected = oracle.admits(now, amount);
                match limiter.admit(at(now), amount) {
                    Admission::Granted(grant) => {
                        prop_assert!(expected, "granted at {now}, the replay says no");
                        oracle.log.push((now, Event::Grant(amount)));
                        flying.push((now, amount, grant));
                        granted.push(now);
                    }
                    Admission::Later(_) | Admission::Paused(_) => {
                        prop_assert!(!expected, "refused at {now}, the replay says yes");
                    }
                }
            } else {
                let (at_grant, estimate, grant) = flying.remove(usize::try_from(extra).unwrap() % flying.len());
                let used = (kind % 2 == 0).then_some(extra);
                let pause = (kind == 9).then_some(extra);
                limiter.done(at(now), &grant, used, pause.map(Duration::from_millis));
                oracle.log.push((now, Event::Done { granted: at_grant, estimate, used, pause }));
            }
        }
        // B1: whatever happened, no stretch of time saw more requests than the rate and one burst allow.
        if let Some(rate) = requests {
            for (from, start) in granted.iter().enumerate() {
                for (to, end) in granted.iter().enumerate().skip(from) {
                    let most = u64::from((rate / 10).max(1)) * 60_000 + u64::from(rate) * (end - start);
                    prop_assert!(((to - from + 1) as u64) * 60_000 <= most);
                }
            }
        }
    }

    #[test]
    fn after_the_wait_it_said_a_call_passes(
        requests in 1_u32..600, tokens in 1_u64..50_000, amount in 0_u64..60_000, before in 0_usize..40,
    ) {
        let mut limiter = Limiter::new(share(Some(requests), Some(tokens), None), at(0));
        let mut now = at(0);
        for _ in 0..=before {
            match limiter.admit(now, amount) {
                Admission::Granted(_) => {}
                Admission::Later(Some(wait)) => {
                    let early = now + wait.saturating_sub(Duration::from_nanos(1));
                    prop_assert!(matches!(limiter.admit(early, amount), Admission::Later(Some(_))));
                    now = now + wait;
                    prop_assert!(matches!(limiter.admit(now, amount), Admission::Granted(_)));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
