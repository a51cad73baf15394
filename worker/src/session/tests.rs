//! The session machine: leases, slots, heartbeats and drain, told as stories.

use super::*;
use domain::outcome::Outcome;
use domain::usage::Usage;
use proptest::prelude::*;
use proto::message::{TrialDecided, Welcome};

const TTL: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn session(slots: u32) -> Session {
    Session::new(Identity {
        worker: "w".parse().unwrap(),
        incarnation: "i".parse().unwrap(),
        slots,
        labels: BTreeMap::new(),
    })
}

fn key(case: &str) -> Key {
    Key { run: "r".parse().unwrap(), trial: format!("s.{case}.p.0").parse().unwrap() }
}

fn granted(case: &str) -> GrantedTrial {
    GrantedTrial { trial: key(case).trial, attempt: AttemptNo::FIRST, adopted: false }
}

fn grant(lease: &str, cases: &[&str], heartbeat: u64) -> FromCoordinator {
    FromCoordinator::Grant(Grant {
        lease: lease.parse().unwrap(),
        run: "r".parse().unwrap(),
        epoch: Epoch::FIRST,
        preset: "p".parse().unwrap(),
        trials: cases.iter().map(|case| granted(case)).collect(),
        ttl: TTL,
        heartbeat,
    })
}

fn renewed(heartbeat: u64, leases: &[&str]) -> FromCoordinator {
    let leases = leases.iter().map(|lease| lease.parse().unwrap()).collect();
    FromCoordinator::Renewed { heartbeat, leases, ttl: TTL }
}

fn welcome() -> FromCoordinator {
    FromCoordinator::Welcome(Welcome {
        protocol: proto::PROTOCOL,
        incarnation: "c".parse().unwrap(),
        heartbeat: Duration::from_secs(5),
        ttl: TTL,
        store: "/runs".to_owned(),
        version: String::new(),
    })
}

fn decided(case: &str) -> Event {
    let key = key(case);
    let decided = TrialDecided {
        run: key.run.clone(),
        trial: key.trial.clone(),
        attempt: Some(AttemptNo::FIRST),
        outcome: Outcome::Passed,
        usage: Usage::default(),
        seconds: 1.0,
        steps: 1,
    };
    Event::Ended { key, ended: Ended::Decided(decided) }
}

fn gave_up(case: &str, cause: Cause) -> Event {
    let ended = Ended::Abandoned { attempt: Some(AttemptNo::FIRST), notice: Notice::of(cause, "x") };
    Event::Ended { key: key(case), ended }
}

/// Applies events on stream 1 and prints what is to be done.
struct Teller {
    session: Session,
    stream: u64,
}

impl Teller {
    /// Connected and welcomed at second 0.
    fn new(slots: u32) -> Self {
        let mut teller = Self { session: session(slots), stream: 1 };
        teller.connect(0);
        teller
    }

    fn connect(&mut self, second: u64) -> String {
        let dialled = self.tell(second, Event::Dialling { stream: self.stream });
        let welcomed = self.hear(second, welcome());
        format!("{dialled}; {welcomed}")
    }

    fn hear(&mut self, second: u64, message: FromCoordinator) -> String {
        let stream = self.stream;
        self.tell(second, Event::Received { stream, message })
    }

    fn tell(&mut self, second: u64, event: Event) -> String {
        let effects = self.session.apply(at(second), event);
        effects.iter().map(in_words).collect::<Vec<_>>().join("; ")
    }
}

fn held_in_words(held: &[HeldLease]) -> String {
    let lease = |held: &HeldLease| {
        let trials = held.trials.iter().map(|held| {
            let attempt = held.attempt.map(|attempt| format!("#{attempt}")).unwrap_or_default();
            format!("{}{attempt}", held.trial.case)
        });
        format!("{}[{}]", held.lease, trials.collect::<Vec<_>>().join(","))
    };
    held.iter().map(lease).collect::<Vec<_>>().join("+")
}

fn in_words(effect: &Effect) -> String {
    match effect {
        Effect::Send(FromWorker::Hello(hello)) => format!("hello {}", held_in_words(&hello.held)),
        Effect::Send(FromWorker::Ready { credits }) => format!("ready {credits}"),
        Effect::Send(FromWorker::Heartbeat { number, held }) => {
            format!("heartbeat {number} {}", held_in_words(held))
        }
        Effect::Send(FromWorker::Decided(decided)) => format!("decided {}", decided[0].trial.case),
        Effect::Send(FromWorker::Abandoned(abandoned)) => {
            let attempt = abandoned.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string());
            let case = &abandoned.trial.case;
            format!("abandoned {case} {attempt} under {}: {}", abandoned.lease, abandoned.cause.as_str())
        }
        Effect::Send(FromWorker::Returned { lease, trials, .. }) => {
            let cases = trials.iter().map(|trial| trial.case.to_string()).collect::<Vec<_>>();
            format!("returned {lease}[{}]", cases.join(","))
        }
        Effect::UseStore(store) => format!("store {store}"),
        Effect::Start { key, attempt, .. } => format!("start {} {attempt}", key.trial.case),
        Effect::Stop { key, notice } => format!("stop {}: {}", key.trial.case, notice.cause.as_str()),
        Effect::UseShare(share) => format!("share {share}"),
        Effect::Redial(address) => format!("redial {address}"),
        Effect::Finished => "finished".to_owned(),
    }
}

#[test]
fn a_stream_begins_with_hello_and_how_much_is_wanted() {
    let mut teller = Teller { session: session(2), stream: 1 };
    assert_eq!(teller.connect(0), "hello ; ready 2; store /runs");
}

#[test]
fn grants_fill_the_slots_and_the_rest_waits() {
    let mut teller = Teller::new(2);
    assert_eq!(teller.hear(1, grant("l1", &["a", "b", "c"], 0)), "start a 01; start b 01");
    assert_eq!(teller.tell(2, decided("a")), "decided a");
    assert_eq!(teller.tell(2, Event::Gone { key: key("a") }), "start c 01");
    assert_eq!(teller.session.running(), 2);
}

#[test]
fn the_same_grant_twice_starts_nothing_twice() {
    let mut teller = Teller::new(4);
    teller.hear(1, grant("l1", &["a"], 0));
    assert_eq!(teller.hear(1, grant("l1", &["a"], 0)), "");
    teller.tell(2, decided("a"));
    assert_eq!(teller.hear(2, grant("l1", &["a"], 0)), "", "its end is told, its slot is still in use");
}

#[test]
fn heartbeats_list_what_is_held() {
    let mut teller = Teller::new(2);
    teller.hear(1, grant("l1", &["a", "b"], 0));
    teller.tell(1, Event::Claimed { key: key("b"), attempt: AttemptNo::new(3).unwrap() });
    assert_eq!(teller.session.wake(), Some(at(5)));
    assert_eq!(teller.tell(5, Event::Tick), "heartbeat 1 l1[a,b#03]");
    teller.tell(6, decided("a"));
    assert_eq!(teller.tell(10, Event::Tick), "heartbeat 2 l1[b#03]");
}

#[test]
fn l1_a_lease_counts_from_before_the_heartbeat_was_sent() {
    let mut teller = Teller::new(1);
    // The grant answers the hello of second 0, however late it comes.
    teller.hear(20, grant("l1", &["a"], 0));
    assert_eq!(teller.tell(29, Event::Tick), "heartbeat 2 l1[a]");
    // Sent at 29, answered at 29.9: good until 59.
    teller.hear(29, renewed(2, &["l1"]));
    assert_eq!(teller.tell(58, Event::Tick), "heartbeat 3 l1[a]");
    assert_eq!(teller.tell(59, Event::Tick), "stop a: lease lost");
    assert_eq!(teller.tell(60, Event::Tick), "", "it is told once");
}

#[test]
fn a_grant_that_comes_too_late_is_given_back() {
    let mut teller = Teller::new(1);
    assert_eq!(teller.hear(30, grant("l1", &["a"], 0)), "returned l1[a]; heartbeat 1 ");
}

#[test]
fn a_lease_that_is_not_renewed_runs_out_by_itself() {
    let mut teller = Teller::new(2);
    teller.hear(0, grant("l1", &["a"], 0));
    teller.hear(0, grant("l2", &["b"], 0));
    teller.tell(5, Event::Tick);
    assert_eq!(teller.hear(5, renewed(1, &["l2"])), "");
    assert_eq!(teller.tell(30, Event::Tick), "stop a: lease lost; heartbeat 2 l1[a]+l2[b]");
}

#[test]
fn cut_off_it_works_until_the_deadline_and_then_stops() {
    let mut teller = Teller::new(2);
    teller.hear(0, grant("l1", &["a", "b", "c"], 0));
    teller.tell(1, Event::Disconnected { stream: 1 });
    assert_eq!(teller.tell(29, Event::Tick), "");
    assert_eq!(teller.session.wake(), Some(at(30)));
    assert_eq!(teller.tell(30, Event::Tick), "stop a: lease lost; stop b: lease lost");
}

#[test]
fn a_new_stream_hears_of_everything_again() {
    let mut teller = Teller::new(2);
    teller.hear(0, grant("l1", &["a", "b", "c"], 0));
    teller.tell(1, gave_up("a", Cause::ProviderUnavailable));
    teller.tell(1, Event::Gone { key: key("a") });
    teller.tell(1, Event::Disconnected { stream: 1 });
    teller.tell(2, decided("b"));
    teller.stream = 2;
    assert_eq!(
        teller.connect(3),
        "hello l1[c]; abandoned a 01 under l1: provider unavailable; decided b; ready 2; store /runs"
    );
    teller.tell(8, Event::Tick);
    teller.hear(8, renewed(1, &["l1"]));
    teller.tell(9, Event::Disconnected { stream: 2 });
    teller.stream = 3;
    assert_eq!(
        teller.connect(9),
        "hello l1[c]; ready 2; store /runs",
        "what was acknowledged is not repeated"
    );
}

#[test]
fn words_of_an_old_stream_are_not_heard() {
    let mut teller = Teller::new(2);
    teller.tell(0, Event::Dialling { stream: 2 });
    assert_eq!(teller.hear(0, grant("l1", &["a"], 0)), "");
    assert_eq!(teller.tell(0, Event::Disconnected { stream: 1 }), "");
    teller.stream = 2;
    teller.hear(0, welcome());
    assert_eq!(teller.hear(0, grant("l1", &["a"], 0)), "start a 01");
}

#[test]
fn a_restarted_coordinator_adopts_under_another_lease() {
    let mut teller = Teller::new(2);
    teller.hear(0, grant("l1", &["a", "b"], 0));
    teller.tell(1, decided("b"));
    teller.tell(1, Event::Gone { key: key("b") });
    teller.stream = 2;
    teller.connect(20);
    let mut adopted = grant("e2-1", &["a", "b"], 0);
    if let FromCoordinator::Grant(grant) = &mut adopted {
        grant.trials.iter_mut().for_each(|trial| trial.adopted = true);
    }
    assert_eq!(teller.hear(21, adopted), "", "neither is started: one goes on, one is over");
    assert_eq!(teller.tell(30, Event::Tick), "heartbeat 1 e2-1[a]", "the old deadline no longer matters");
    assert_eq!(
        teller.tell(31, gave_up("a", Cause::WorkspaceDied)),
        "abandoned a 01 under e2-1: workspace died"
    );
}

#[test]
fn what_is_revoked_stops_or_never_begins() {
    let mut teller = Teller::new(1);
    teller.hear(0, grant("l1", &["a", "b", "c"], 0));
    let revoke = |trials: Vec<TrialKey>, reason| FromCoordinator::Revoke {
        run: "r".parse().unwrap(),
        lease: "l1".parse().unwrap(),
        trials,
        reason,
    };
    assert_eq!(
        teller.hear(1, revoke(vec![key("b").trial], RevokeReason::Decided)),
        "abandoned b - under l1: lease lost"
    );
    assert_eq!(
        teller.hear(1, revoke(vec![], RevokeReason::Cancelled)),
        "stop a: run cancelled; abandoned c - under l1: run cancelled"
    );
    assert_eq!(teller.hear(1, revoke(vec![], RevokeReason::Cancelled)), "");
}

#[test]
fn draining_gives_back_what_has_not_begun_and_ends_when_all_is_over() {
    let mut teller = Teller::new(1);
    teller.hear(0, grant("l1", &["a", "b"], 0));
    assert_eq!(teller.tell(1, Event::Drain { until: at(20) }), "ready 0; returned l1[b]");
    assert_eq!(teller.hear(1, grant("l2", &["c"], 0)), "returned l2[c]");
    assert_eq!(teller.tell(2, decided("a")), "decided a");
    assert_eq!(teller.tell(3, Event::Gone { key: key("a") }), "finished");
    assert_eq!(teller.tell(4, Event::Tick), "", "once");
}

#[test]
fn the_drain_deadline_stops_what_is_left() {
    let mut teller = Teller::new(2);
    teller.hear(0, grant("l1", &["a", "b"], 0));
    teller.tell(1, Event::Drain { until: at(4) });
    assert_eq!(teller.tell(4, Event::Tick), "stop a: worker drained; stop b: worker drained");
    assert_eq!(teller.tell(4, Event::Tick), "");
}

#[test]
fn an_idle_worker_leaves_at_once() {
    assert_eq!(Teller::new(1).tell(1, Event::Drain { until: at(9) }), "ready 0; finished");
}

#[test]
fn an_attempt_that_vanishes_is_reported_and_counts() {
    let mut teller = Teller::new(1);
    teller.hear(0, grant("l1", &["a"], 0));
    assert_eq!(teller.tell(1, Event::Gone { key: key("a") }), "abandoned a - under l1: bug");
    assert_eq!(teller.session.running(), 0);
}

#[test]
fn a_fenced_run_moves_the_worker_once_nothing_else_is_held() {
    let mut teller = Teller::new(4);
    teller.hear(0, grant("l1", &["a"], 0));
    let mut other = grant("l2", &["b"], 0);
    if let FromCoordinator::Grant(grant) = &mut other {
        grant.run = "other".parse().unwrap();
    }
    teller.hear(0, other);
    let fenced = FromCoordinator::Fenced {
        run: "r".parse().unwrap(),
        epoch: Epoch::FIRST.next(),
        address: Some("http://elsewhere:1".to_owned()),
    };
    assert_eq!(teller.hear(1, fenced), "");
    let other = Key { run: "other".parse().unwrap(), ..key("b") };
    assert_eq!(
        teller.tell(2, Event::Gone { key: other }),
        "abandoned b - under l2: bug; redial http://elsewhere:1"
    );
}

#[test]
fn only_newer_budgets_are_used() {
    let mut teller = Teller::new(1);
    let budget = |generation, share| FromCoordinator::Budget { generation, share };
    assert_eq!(teller.hear(0, budget(0, 1.0)), "share 1");
    assert_eq!(teller.hear(0, budget(0, 0.5)), "");
    assert_eq!(teller.hear(0, budget(1, 0.5)), "share 0.5");
    assert_eq!(teller.hear(0, budget(2, 0.0)), "", "a share of nothing is no share");
}

#[derive(Debug, Clone)]
enum Happening {
    Grant(u8, u8),
    Renew(u8),
    Reconnect,
    Disconnect,
    Decide(u8),
    GiveUp(u8),
    Gone(u8),
    Revoke(u8),
    Wait(u8),
    Drain,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (0u8..4, 0u8..6).prop_map(|(lease, case)| Happening::Grant(lease, case)),
        2 => (0u8..4).prop_map(Happening::Renew),
        1 => Just(Happening::Reconnect),
        1 => Just(Happening::Disconnect),
        3 => (0u8..6).prop_map(Happening::Decide),
        2 => (0u8..6).prop_map(Happening::GiveUp),
        4 => (0u8..6).prop_map(Happening::Gone),
        1 => (0u8..4).prop_map(Happening::Revoke),
        3 => (0u8..12).prop_map(Happening::Wait),
        1 => Just(Happening::Drain),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    /// Never more attempts than slots, never one trial twice at once, nothing starts while draining, and L1: no trial runs on a
    /// lease whose time, counted from the last message that was answered, is over.
    #[test]
    fn whatever_happens(slots in 1u32..4, script in happenings()) {
        let mut teller = Teller::new(slots);
        let mut now = 0u64;
        let mut working: BTreeSet<Key> = BTreeSet::new();
        let mut stopping: BTreeSet<Key> = BTreeSet::new();
        let mut heartbeat_sent: BTreeMap<u64, u64> = BTreeMap::from([(0, 0)]);
        let mut allowed: BTreeMap<String, u64> = BTreeMap::new();
        let mut draining = false;
        for happening in script {
            let name = |lease: u8| format!("l{lease}");
            let case = |case: u8| format!("c{case}");
            let event = match &happening {
                Happening::Grant(lease, number) => {
                    let newest = *heartbeat_sent.keys().last().unwrap();
                    let until = heartbeat_sent[&newest] + TTL.as_secs();
                    let entry = allowed.entry(name(*lease)).or_default();
                    *entry = (*entry).max(until);
                    let message = grant(&name(*lease), &[&case(*number)], newest);
                    Event::Received { stream: teller.stream, message }
                }
                Happening::Renew(lease) => {
                    let newest = *heartbeat_sent.keys().last().unwrap();
                    let until = heartbeat_sent[&newest] + TTL.as_secs();
                    let entry = allowed.entry(name(*lease)).or_default();
                    *entry = (*entry).max(until);
                    Event::Received { stream: teller.stream, message: renewed(newest, &[&name(*lease)]) }
                }
                Happening::Reconnect => {
                    teller.stream += 1;
                    heartbeat_sent = BTreeMap::from([(0, now)]);
                    teller.session.apply(at(now), Event::Dialling { stream: teller.stream });
                    Event::Received { stream: teller.stream, message: welcome() }
                }
                Happening::Disconnect => Event::Disconnected { stream: teller.stream },
                Happening::Decide(number) => decided(&case(*number)),
                Happening::GiveUp(number) => gave_up(&case(*number), Cause::WorkspaceDied),
                Happening::Gone(number) => {
                    let key = key(&case(*number));
                    if !working.remove(&key) {
                        continue;
                    }
                    stopping.remove(&key);
                    Event::Gone { key }
                }
                Happening::Revoke(lease) => Event::Received {
                    stream: teller.stream,
                    message: FromCoordinator::Revoke {
                        run: "r".parse().unwrap(),
                        lease: name(*lease).parse().unwrap(),
                        trials: vec![],
                        reason: RevokeReason::Lost,
                    },
                },
                Happening::Wait(seconds) => {
                    now += u64::from(*seconds);
                    Event::Tick
                }
                Happening::Drain => {
                    draining = true;
                    Event::Drain { until: at(now + 1000) }
                }
            };
            for effect in teller.session.apply(at(now), event) {
                match effect {
                    Effect::Start { key, .. } => {
                        prop_assert!(!draining);
                        prop_assert!(working.insert(key), "started twice");
                    }
                    Effect::Stop { key, .. } => {
                        prop_assert!(working.contains(&key));
                        prop_assert!(stopping.insert(key), "stopped twice");
                    }
                    Effect::Send(FromWorker::Heartbeat { number, .. }) => {
                        heartbeat_sent.insert(number, now);
                    }
                    _ => {}
                }
            }
            prop_assert!(working.len() <= slots as usize);
            for lease in teller.session.held() {
                let over = allowed.get(lease.lease.as_str()).is_none_or(|until| *until <= now);
                for held in lease.trials.iter().filter(|_| over) {
                    let key = Key { run: lease.run.clone(), trial: held.trial.clone() };
                    prop_assert!(stopping.contains(&key), "L1: {} still runs", key.trial);
                }
            }
        }
    }
}
