//! The tables of the run machine: what follows from which event.

use super::*;
use domain::id::AttemptNo;
use domain::outcome::{Failure, Outcome};
use domain::usage::Usage;
use proto::message::{
    Cause, Grant, GrantedTrial, HeldLease, HeldTrial, RevokeReason, TrialAbandoned, TrialDecided,
};

mod oracle;

/// A machine with a clock and a log, spoken to in short words. Trials are `t0` …, presets `p0` …, workers `w0` ….
struct Table {
    machine: RunMachine,
    now: Moment,
    log: Vec<Effect>,
    heartbeats: HashMap<Incarnation, u64>,
    sessions: u64,
    session: HashMap<Incarnation, u64>,
}

pub(super) fn policy() -> Policy {
    Policy {
        terms: Terms { ttl: Duration::from_secs(30), grace: Duration::from_secs(5) },
        heartbeat: Duration::from_secs(5),
        shard_size: 4,
        max_attempts: 3,
        max_troubles: 4,
        first_backoff: Duration::from_secs(1),
        longest_backoff: Duration::from_secs(8),
        conclude_at_once: 2,
        patience: Patience::default(),
    }
}

pub(super) fn key(preset: usize, index: u32) -> TrialKey {
    format!("s.c.p{preset}.{index}").parse().unwrap()
}

pub(super) fn opening(epoch: u64, presets: &[(u32, Option<u32>)]) -> Opening {
    let trials = presets
        .iter()
        .enumerate()
        .flat_map(|(preset, (count, _))| (0..*count).map(move |index| key(preset, index)));
    Opening {
        run: "r".parse().unwrap(),
        epoch: Epoch::new(epoch).unwrap(),
        presets: presets
            .iter()
            .enumerate()
            .map(|(preset, (_, cap))| (format!("p{preset}").parse().unwrap(), *cap))
            .collect(),
        trials: trials.collect(),
        decided: BTreeSet::new(),
        attempted: Some(HashSet::new()),
        cancelled: None,
        policy: policy(),
    }
}

fn worker(number: u32) -> Incarnation {
    format!("w{number}").parse().unwrap()
}

fn conclusion(outcome: Outcome) -> Conclusion {
    Conclusion { outcome, usage: Usage::default(), seconds: 1.0, steps: 1 }
}

impl Table {
    fn open(opening: Opening) -> Self {
        let (machine, log) = RunMachine::open(Moment::default(), opening);
        Self {
            machine,
            now: Moment::default(),
            log,
            heartbeats: HashMap::new(),
            sessions: 0,
            session: HashMap::new(),
        }
    }

    fn apply(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.machine.apply(self.now, event);
        self.log.extend(effects.clone());
        effects
    }

    fn later(&mut self, seconds: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_secs(seconds);
        let mut effects = self.apply(Event::Tick);
        if effects.contains(&Effect::CheckFence) {
            effects.extend(self.apply(Event::FenceChecked(Fence::Ours)));
        }
        effects
    }

    fn join(&mut self, number: u32, held: Vec<HeldLease>) -> Vec<Effect> {
        self.sessions += 1;
        self.session.insert(worker(number), self.sessions);
        self.heartbeats.insert(worker(number), 0);
        let name = format!("name{number}").parse().unwrap();
        self.apply(Event::Joined { worker: worker(number), name, session: self.sessions, heartbeat: 0, held })
    }

    fn slots(&mut self, number: u32, slots: u32) -> Vec<Effect> {
        self.apply(Event::Slots(vec![(worker(number), slots)]))
    }

    fn heartbeat(&mut self, number: u32, held: Vec<HeldLease>) -> Vec<Effect> {
        let count = self.heartbeats.entry(worker(number)).or_default();
        *count += 1;
        let (number, worker) = (*count, worker(number));
        let session = self.session[&worker];
        self.apply(Event::Heartbeat { worker, session, number, held })
    }

    fn decided(&mut self, number: u32, trial: TrialKey, outcome: Outcome) -> Vec<Effect> {
        let decided = TrialDecided {
            run: "r".parse().unwrap(),
            trial,
            attempt: Some(AttemptNo::FIRST),
            outcome,
            usage: Usage::default(),
            seconds: 1.0,
            steps: 1,
        };
        self.apply(Event::Decided { worker: worker(number), trials: vec![decided] })
    }

    fn abandoned(
        &mut self,
        number: u32,
        lease: &LeaseId,
        trial: TrialKey,
        cause: Cause,
        retryable: bool,
    ) -> Vec<Effect> {
        let abandoned = TrialAbandoned {
            run: "r".parse().unwrap(),
            lease: lease.clone(),
            trial,
            attempt: Some(AttemptNo::FIRST),
            cause,
            retryable,
            counts: false,
            text: "why".to_owned(),
        };
        let session = self.session[&worker(number)];
        self.apply(Event::Abandoned { worker: worker(number), session, abandoned })
    }

    fn answer_looks(&mut self, effects: &[Effect], answer: impl Fn(&TrialKey) -> Found) -> Vec<Effect> {
        let mut more = Vec::new();
        for effect in effects {
            if let Effect::Look { round, trials } = effect {
                let found = trials.iter().map(|(trial, key)| (*trial, answer(key))).collect();
                more.extend(self.apply(Event::Looked { round: *round, found }));
            }
        }
        more
    }

    fn conclude(&mut self, effects: &[Effect], outcome: Outcome) -> Vec<Effect> {
        let mut more = Vec::new();
        for effect in effects {
            if let Effect::Conclude { trial, .. } = effect {
                more.extend(self.apply(Event::Concluded { trial: *trial, verdict: Ok(conclusion(outcome)) }));
            }
        }
        more
    }
}

fn grants(effects: &[Effect]) -> Vec<(Incarnation, Grant)> {
    let grants = effects.iter().filter_map(|effect| match effect {
        Effect::Send { worker, message: FromCoordinator::Grant(grant) } => {
            Some((worker.clone(), grant.clone()))
        }
        _ => None,
    });
    grants.collect()
}

fn one_grant(effects: &[Effect]) -> Grant {
    let grants = grants(effects);
    assert_eq!(grants.len(), 1, "{effects:#?}");
    grants[0].1.clone()
}

fn held(grant: &Grant) -> HeldLease {
    held_as(grant.lease.as_str(), grant.epoch.get(), &keys(grant))
}

fn held_as(lease: &str, epoch: u64, trials: &[TrialKey]) -> HeldLease {
    let trials = trials.iter().map(|trial| HeldTrial {
        trial: trial.clone(),
        attempt: AttemptNo::new(2),
        progress: String::new(),
    });
    HeldLease {
        lease: lease.parse().unwrap(),
        run: "r".parse().unwrap(),
        epoch: Epoch::new(epoch).unwrap(),
        trials: trials.collect(),
    }
}

fn keys(grant: &Grant) -> Vec<TrialKey> {
    grant.trials.iter().map(|granted| granted.trial.clone()).collect()
}

fn revoked(effects: &[Effect]) -> Vec<(Incarnation, RevokeReason, usize)> {
    let revoked = effects.iter().filter_map(|effect| match effect {
        Effect::Send { worker, message: FromCoordinator::Revoke { trials, reason, .. } } => {
            Some((worker.clone(), *reason, trials.len()))
        }
        _ => None,
    });
    revoked.collect()
}

fn released(effects: &[Effect]) -> u32 {
    let released = effects.iter().map(|effect| match effect {
        Effect::Release(slots) => slots.iter().map(|(_, slots)| slots).sum(),
        _ => 0,
    });
    released.sum()
}

fn takes(effects: &[Effect]) -> Option<u32> {
    effects.iter().find_map(|effect| match effect {
        Effect::Take { slots } => Some(*slots),
        _ => None,
    })
}

fn looked_at(effects: &[Effect]) -> usize {
    effects.iter().map(|effect| if let Effect::Look { trials, .. } = effect { trials.len() } else { 0 }).sum()
}

fn concluding(effects: &[Effect]) -> Vec<ErrorReason> {
    let concluding = effects.iter().filter_map(|effect| match effect {
        Effect::Conclude { why, .. } => Some(*why),
        _ => None,
    });
    concluding.collect()
}

#[test]
fn a_run_without_trouble_asks_grants_settles_and_seals() {
    let mut table = Table::open(opening(1, &[(3, None)]));
    assert_eq!(takes(&table.log), Some(3), "asks for what it can use");
    assert_eq!(table.machine.phase(), Phase::Reigning, "a first epoch waits for nobody");
    table.join(1, vec![]);
    let effects = table.slots(1, 3);
    let grant = one_grant(&effects);
    assert_eq!(keys(&grant), [key(0, 0), key(0, 1), key(0, 2)]);
    assert_eq!(looked_at(&effects), 0, "E2: untouched trials cost no look");
    assert!(grant.trials.iter().all(|granted| granted.attempt == AttemptNo::FIRST && !granted.adopted));
    for index in 0..3 {
        let effects = table.decided(1, key(0, index), Outcome::Passed);
        assert_eq!(released(&effects), 1);
        assert_eq!(effects.contains(&Effect::Seal), index == 2);
    }
    let effects = table.apply(Event::Sealed);
    assert!(effects.contains(&Effect::Close));
    assert_eq!(table.machine.phase(), Phase::Sealed);
    let tally = table.machine.status().tally;
    assert_eq!((tally.total, tally.decided, tally.passed, tally.in_flight), (3, 3, 3, 0));
}

#[test]
fn a_run_whose_trials_are_all_decided_is_sealed_at_once() {
    let mut all = opening(2, &[(2, None)]);
    all.decided = [key(0, 0), key(0, 1)].into();
    let table = Table::open(all);
    assert!(table.log.contains(&Effect::Seal));
    assert_eq!(table.machine.status().tally.earlier, 2);
}

#[test]
fn decided_trials_are_never_granted() {
    let mut some = opening(1, &[(2, None)]);
    some.decided = [key(0, 0)].into();
    let mut table = Table::open(some);
    table.join(1, vec![]);
    let effects = table.slots(1, 4);
    assert_eq!(keys(&one_grant(&effects)), [key(0, 1)]);
    assert_eq!(released(&effects), 3, "slots without use go back");
}

#[test]
fn attempted_trials_are_looked_at_first() {
    let mut some = opening(1, &[(4, None)]);
    some.attempted = Some([key(0, 0), key(0, 1), key(0, 2)].into());
    let mut table = Table::open(some);
    table.join(1, vec![]);
    let effects = table.slots(1, 4);
    assert_eq!(keys(&one_grant(&effects)), [key(0, 3)]);
    assert_eq!(looked_at(&effects), 3);
    let effects = table.answer_looks(&effects, |trial| match trial.index.0 {
        0 => Found::Decided(conclusion(Outcome::Passed)),
        1 => Found::Free(AttemptNo::new(3).unwrap()),
        _ => Found::Unknown("503".to_owned()),
    });
    let grant = one_grant(&effects);
    assert_eq!(
        grant.trials,
        [GrantedTrial { trial: key(0, 1), attempt: AttemptNo::new(3).unwrap(), adopted: false }]
    );
    assert_eq!(released(&effects), 2, "the slots of the decided and of the unreadable trial");
    assert_eq!(table.machine.status().tally.decided, 1);
    assert!(table.machine.status().note.contains("503"));
    let effects = table.later(1);
    assert_eq!(takes(&effects), Some(1), "tried again after the pause");
    table.slots(1, 1);
    assert!(matches!(table.machine.trials[2].state, State::Looking(_)));
}

#[test]
fn nothing_is_granted_until_the_leases_of_an_earlier_reign_are_over() {
    let mut table = Table::open(opening(2, &[(2, None)]));
    table.join(1, vec![]);
    assert_eq!(takes(&table.log), None);
    table.later(44);
    assert_eq!(table.machine.phase(), Phase::Opening);
    assert_eq!(table.machine.status().note, "waiting 45.0 s for workers of an earlier reign");
    let effects = table.later(1);
    assert_eq!(table.machine.phase(), Phase::Reigning, "ttl 30 + grace 5 + two heartbeats");
    assert_eq!(takes(&effects), Some(2));
    assert_eq!(looked_at(&table.slots(1, 2)), 2, "after another reign every trial is looked at");
}

#[test]
fn attempts_of_an_earlier_reign_are_adopted() {
    let mut table = Table::open(opening(2, &[(3, None)]));
    let effects = table.join(1, vec![held_as("e1-9", 1, &[key(0, 1), key(0, 2)])]);
    let grant = one_grant(&effects);
    assert_eq!(keys(&grant), [key(0, 1), key(0, 2)]);
    assert!(grant.trials.iter().all(|granted| granted.adopted && granted.attempt.get() == 2));
    assert!(effects.contains(&Effect::Occupy { worker: worker(1), slots: 2 }));
    // The grant is still on its way: the worker names the old lease, which is understood and answered by nothing.
    let effects = table.heartbeat(1, vec![held_as("e1-9", 1, &[key(0, 1), key(0, 2)])]);
    assert_eq!(effects, []);
    // One ends under the old name, the other is renewed under the new one.
    let effects = table.abandoned(1, &"e1-9".parse().unwrap(), key(0, 1), Cause::Drained, true);
    assert_eq!(released(&effects), 1);
    let effects = table.heartbeat(1, vec![held_as(grant.lease.as_str(), 2, &[key(0, 2)])]);
    assert!(
        matches!(&effects[0], Effect::Send { message: FromCoordinator::Renewed { leases, .. }, .. } if *leases == [grant.lease.clone()])
    );
    table.decided(1, key(0, 2), Outcome::Passed);
    assert_eq!(table.machine.status().tally.decided, 1);
}

#[test]
fn what_is_not_a_workers_is_revoked() {
    let mut table = Table::open(opening(1, &[(2, None)]));
    table.join(1, vec![]);
    table.join(2, vec![]);
    let grant = one_grant(&table.slots(1, 1));
    table.decided(3, key(0, 1), Outcome::Passed);
    let unknown: TrialKey = "s.c.p9.0".parse().unwrap();
    let effects = table.heartbeat(2, vec![held_as("e1-77", 1, &[key(0, 0), key(0, 1), unknown])]);
    let mut got = revoked(&effects);
    got.sort_by_key(|(_, reason, _)| *reason == RevokeReason::Lost);
    assert_eq!(got, [(worker(2), RevokeReason::Decided, 1), (worker(2), RevokeReason::Lost, 2)]);
    assert_eq!(table.machine.leases.find(&grant.lease).unwrap().worker, worker(1), "the holder keeps it");
}

#[test]
fn leases_last_while_they_are_renewed_and_end_after() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 1));
    for _ in 0..20 {
        table.later(5);
        let effects = table.heartbeat(1, vec![held(&grant)]);
        assert!(matches!(&effects[..], [Effect::Send { message: FromCoordinator::Renewed { .. }, .. }]));
    }
    assert_eq!(released(&table.later(34)), 0);
    let effects = table.later(1);
    assert_eq!(released(&effects), 1);
    assert_eq!(takes(&effects), Some(1));
    table.join(2, vec![]);
    let effects = table.slots(2, 1);
    assert_eq!(looked_at(&effects), 1, "look before you spend again");
    let effects = table.answer_looks(&effects, |_| Found::Free(AttemptNo::new(2).unwrap()));
    let (to, again) = grants(&effects).remove(0);
    assert_eq!((to, again.trials[0].attempt.get()), (worker(2), 2));
    // The first worker comes back with it: too late.
    let effects = table.heartbeat(1, vec![held(&grant)]);
    assert_eq!(revoked(&effects), [(worker(1), RevokeReason::Lost, 1)]);
}

#[test]
fn a_lost_stream_ends_nothing_and_a_new_one_lists_everything() {
    let mut table = Table::open(opening(1, &[(3, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 3));
    let session = table.sessions;
    table.apply(Event::StreamLost { worker: worker(1), session, left: false });
    assert_eq!(table.machine.status().tally.in_flight, 3);
    table.later(10);
    // It comes back without trial 2: its end, or its grant, was lost with the stream.
    let effects = table.join(1, vec![held_as(grant.lease.as_str(), 1, &[key(0, 0), key(0, 1)])]);
    assert_eq!(released(&effects), 1);
    assert_eq!(table.machine.status().tally.in_flight, 2);
    // And again with nothing.
    let effects = table.join(1, vec![]);
    assert_eq!(released(&effects), 2);
    // The end of the first stream is told late.
    table.apply(Event::StreamLost { worker: worker(1), session, left: false });
    assert_eq!(table.machine.status().workers, 1);
}

#[test]
fn a_trial_that_a_heartbeat_leaves_out_is_over() {
    let mut table = Table::open(opening(1, &[(2, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 2));
    let effects = table.heartbeat(1, vec![held_as(grant.lease.as_str(), 1, &[key(0, 0)])]);
    assert_eq!(released(&effects), 1);
    assert_eq!(table.machine.status().tally.in_flight, 1);
}

#[test]
fn a_late_copy_of_an_abandonment_does_not_end_a_newer_lease() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    let first = one_grant(&table.slots(1, 1));
    table.abandoned(1, &first.lease, key(0, 0), Cause::Drained, true);
    let effects = table.slots(1, 1);
    let effects = table.answer_looks(&effects, |_| Found::Free(AttemptNo::new(2).unwrap()));
    let second = one_grant(&effects);
    assert_eq!(table.abandoned(1, &first.lease, key(0, 0), Cause::Drained, true), []);
    assert!(table.machine.leases.find(&second.lease).is_some());
}

#[test]
fn goodbye_frees_trials_at_once() {
    let mut table = Table::open(opening(1, &[(4, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 4));
    let session = table.sessions;
    let back = |trials: Vec<TrialKey>| Event::Returned {
        worker: worker(1),
        session,
        lease: grant.lease.clone(),
        trials,
    };
    assert_eq!(released(&table.apply(back(vec![key(0, 3)]))), 1);
    assert_eq!(released(&table.apply(back(vec![key(0, 3)]))), 0, "twice is once");
    assert_eq!(released(&table.apply(back(vec![]))), 3);
    assert_eq!(table.machine.status().tally.in_flight, 0);
}

#[test]
fn trouble_of_ours_delays_ever_longer_and_then_ends_the_trial() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    let mut grant = one_grant(&table.slots(1, 1));
    for pause in [1, 2, 4] {
        let effects = table.abandoned(1, &grant.lease, key(0, 0), Cause::WorkspaceUnavailable, true);
        assert!(
            effects.iter().any(|effect| matches!(effect, Effect::Progress(Progress::Abandoned { again_after: Some(after), .. }) if after.as_secs() == pause)),
            "{effects:?}"
        );
        for _ in 1..pause {
            assert_eq!(takes(&table.later(1)), None);
        }
        table.later(1);
        let effects = table.slots(1, 1);
        grant = one_grant(&table.answer_looks(&effects, |_| Found::Free(AttemptNo::new(2).unwrap())));
    }
    let effects = table.abandoned(1, &grant.lease, key(0, 0), Cause::WorkspaceUnavailable, true);
    assert_eq!(concluding(&effects), [ErrorReason::WorkspaceUnavailable]);
    let effects = table.conclude(&effects, Outcome::Errored { why: ErrorReason::WorkspaceUnavailable });
    assert!(effects.contains(&Effect::Seal));
}

#[test]
fn what_must_not_be_tried_again_is_not() {
    let check = |cause: Cause, expect: &[ErrorReason]| {
        let mut table = Table::open(opening(1, &[(1, None)]));
        table.join(1, vec![]);
        let grant = one_grant(&table.slots(1, 1));
        assert_eq!(
            concluding(&table.abandoned(1, &grant.lease, key(0, 0), cause, false)),
            expect,
            "{cause:?}"
        );
    };
    check(Cause::WorkspaceUnavailable, &[ErrorReason::WorkspaceUnavailable]);
    check(Cause::WorkspaceDied, &[ErrorReason::WorkspaceUnavailable]);
    check(Cause::Unusable, &[ErrorReason::WorkspaceUnavailable]);
    check(Cause::ProviderUnavailable, &[ErrorReason::ProviderUnavailable]);
    check(Cause::StoreUnavailable, &[ErrorReason::AttemptsExhausted]);
    check(Cause::Bug, &[ErrorReason::AttemptsExhausted]);
    check(Cause::LeaseLost, &[]);
    check(Cause::Drained, &[]);
    check(Cause::Cancelled, &[]);
}

#[test]
fn an_outage_pauses_the_whole_preset_and_only_it() {
    let mut table = Table::open(opening(1, &[(3, None), (3, None)]));
    table.join(1, vec![]);
    let effects = [table.slots(1, 1), table.slots(1, 1)].concat();
    let of = |preset: &str| {
        grants(&effects).into_iter().find(|(_, grant)| grant.preset.as_str() == preset).unwrap().1
    };
    let (sick, well) = (of("p0"), of("p1"));
    let trial = keys(&sick)[0].clone();
    let effects = table.abandoned(1, &sick.lease, trial.clone(), Cause::ProviderUnavailable, true);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Progress(Progress::Preset { paused: Some(_), .. })))
    );
    table.slots(1, 2);
    let granted: Vec<_> = grants(&table.log).into_iter().map(|(_, grant)| grant.preset.to_string()).collect();
    assert_eq!(
        granted.iter().filter(|preset| *preset == "p0").count(),
        1,
        "nothing of it while it is paused"
    );
    // One probe after the pause.
    table.decided(1, keys(&well)[0].clone(), Outcome::Passed);
    table.later(1);
    table.slots(1, 6);
    let in_flight = |table: &Table| table.machine.status().presets[0].tally.in_flight;
    assert_eq!(in_flight(&table), 1);
    // The probe succeeds and everything goes on.
    let probe = table
        .machine
        .trials
        .iter()
        .find(|trial| trial.preset == 0 && matches!(trial.state, State::Leased(_) | State::Looking(_)));
    let probe = probe.unwrap().key.clone();
    let effects = table.decided(1, probe, Outcome::Failed { why: Failure::MaxSteps });
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Progress(Progress::Preset { paused: None, .. })))
    );
    table.slots(1, 6);
    assert_eq!(in_flight(&table), 2);
}

#[test]
fn a_provider_that_stays_away_is_given_up() {
    let mut table = Table::open(opening(1, &[(3, None)]));
    table.join(1, vec![]);
    let mut grant = one_grant(&table.slots(1, 1));
    let mut seconds = 0;
    loop {
        let trial = keys(&grant)[0].clone();
        table.abandoned(1, &grant.lease, trial, Cause::ProviderUnavailable, true);
        let effects = table.later(30);
        seconds += 30;
        let mut given_up = concluding(&effects);
        if !given_up.is_empty() {
            assert!((300..=330).contains(&seconds), "{seconds}");
            given_up.extend(concluding(
                &table.conclude(&effects, Outcome::Errored { why: ErrorReason::ProviderUnavailable }),
            ));
            assert_eq!(given_up, [ErrorReason::ProviderUnavailable; 3]);
            return;
        }
        let effects = table.slots(1, 1);
        let looked = table.answer_looks(&effects, |_| Found::Free(AttemptNo::new(9).unwrap()));
        grant = one_grant(&[effects, looked].concat());
        assert!(seconds < 1000, "it goes on for ever");
    }
}

#[test]
fn a_wrong_model_pauses_the_preset() {
    let mut table = Table::open(opening(1, &[(5, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 1));
    table.decided(1, keys(&grant)[0].clone(), Outcome::Failed { why: Failure::ModelMismatch });
    assert!(grants(&table.slots(1, 4)).is_empty());
    assert!(table.machine.status().presets[0].paused.as_deref().unwrap().contains("another model"));
}

#[test]
fn a_preset_gets_no_more_than_its_provider_takes_at_once() {
    let mut table = Table::open(opening(1, &[(9, Some(2))]));
    assert_eq!(takes(&table.log), Some(2));
    table.join(1, vec![]);
    let effects = table.slots(1, 8);
    assert_eq!(keys(&one_grant(&effects)).len(), 2);
    assert_eq!(released(&effects), 6);
}

#[test]
fn cancelling_stops_what_runs_and_decides_the_rest() {
    let mut table = Table::open(opening(1, &[(4, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 2));
    let effects = table.apply(Event::Cancel { reason: "enough".to_owned() });
    assert_eq!(revoked(&effects), [(worker(1), RevokeReason::Cancelled, 0)]);
    assert_eq!(concluding(&effects), [ErrorReason::Cancelled; 2]);
    let errored = Outcome::Errored { why: ErrorReason::Cancelled };
    table.conclude(&effects, errored);
    let effects = table.abandoned(1, &grant.lease, key(0, 0), Cause::Cancelled, false);
    assert_eq!(concluding(&effects), [ErrorReason::Cancelled]);
    table.conclude(&effects, errored);
    // The other one was already writing its result.
    let effects = table.decided(1, key(0, 1), Outcome::Passed);
    assert!(effects.contains(&Effect::Seal));
    let tally = table.machine.status().tally;
    assert_eq!((tally.passed, tally.errored), (1, 3));
}

#[test]
fn a_cancelled_run_ends_without_the_worker_that_vanished() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    table.slots(1, 1);
    table.apply(Event::Cancel { reason: String::new() });
    let effects = table.later(35);
    assert_eq!(concluding(&effects), [ErrorReason::Cancelled]);
}

#[test]
fn a_resumed_run_that_was_cancelled_grants_nothing() {
    let mut cancelled = opening(2, &[(2, None)]);
    cancelled.cancelled = Some("enough".to_owned());
    let mut table = Table::open(cancelled);
    assert_eq!(concluding(&table.log), [ErrorReason::Cancelled; 2], "without waiting");
    let effects = table.join(1, vec![held_as("e1-1", 1, &[key(0, 0)])]);
    assert_eq!(revoked(&effects).len(), 1);
}

#[test]
fn a_newer_epoch_ends_the_reign() {
    let mut table = Table::open(opening(1, &[(3, None)]));
    table.join(1, vec![]);
    table.slots(1, 1);
    table.now = table.now + Duration::from_secs(5);
    assert!(table.apply(Event::Tick).contains(&Effect::CheckFence));
    assert!(!table.apply(Event::Tick).contains(&Effect::CheckFence), "one question at a time");
    let newer = Fence::Newer { epoch: Epoch::new(2).unwrap(), address: Some("http://b:1".to_owned()) };
    let effects = table.apply(Event::FenceChecked(newer));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Send { message: FromCoordinator::Fenced { .. }, .. }))
    );
    assert!(effects.contains(&Effect::Close));
    assert_eq!(table.machine.phase(), Phase::Fenced);
    assert_eq!(table.slots(1, 2), [Effect::Release(vec![(worker(1), 2)])], "nothing is granted any more");
    assert_eq!(table.heartbeat(1, vec![]), []);
}

#[test]
fn nothing_is_granted_on_a_stale_view_of_the_fence() {
    let mut table = Table::open(opening(1, &[(3, None)]));
    table.join(1, vec![]);
    table.now = table.now + Duration::from_secs(5);
    assert!(table.apply(Event::Tick).contains(&Effect::CheckFence));
    table.apply(Event::FenceChecked(Fence::Unknown("503".to_owned())));
    table.now = table.now + Duration::from_secs(6);
    assert_eq!(table.slots(1, 1), [], "the slot waits");
    assert!(table.apply(Event::Tick).contains(&Effect::CheckFence));
    assert!(table.machine.status().note.contains("503"));
    let effects = table.apply(Event::FenceChecked(Fence::Ours));
    assert_eq!(grants(&effects).len(), 1);
    assert_eq!(table.machine.status().note, "", "trouble that is over is not told any more");
}

#[test]
fn a_worker_that_brings_a_newer_epoch_makes_the_coordinator_look() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    let effects = table.heartbeat(1, vec![held_as("e5-1", 5, &[key(0, 0)])]);
    assert_eq!(effects, [Effect::CheckFence]);
}

#[test]
fn a_seal_that_misses_verdicts_reopens_their_trials() {
    let mut table = Table::open(opening(1, &[(2, None)]));
    table.join(1, vec![]);
    table.slots(1, 2);
    table.decided(1, key(0, 0), Outcome::Passed);
    assert!(table.decided(1, key(0, 1), Outcome::Passed).contains(&Effect::Seal));
    let effects =
        table.apply(Event::SealFailed { text: "1 verdict missing".to_owned(), missing: vec![key(0, 1)] });
    assert_eq!(table.machine.phase(), Phase::Reigning);
    assert_eq!(takes(&effects), Some(1));
    let effects = table.slots(1, 1);
    let effects = table.answer_looks(&effects, |_| Found::Decided(conclusion(Outcome::Passed)));
    assert!(effects.contains(&Effect::Seal));
    // A store that fails is asked again later.
    let effects = table.apply(Event::SealFailed { text: "503".to_owned(), missing: vec![] });
    assert!(!effects.contains(&Effect::Seal));
    assert!(table.later(5).contains(&Effect::Seal));
}

#[test]
fn slots_of_a_worker_that_is_not_known_yet_wait_for_it() {
    let mut table = Table::open(opening(1, &[(2, None)]));
    assert_eq!(released(&table.slots(1, 2)), 0);
    assert_eq!(keys(&one_grant(&table.join(1, vec![]))).len(), 2);
}

#[test]
fn verdicts_that_cannot_be_written_are_tried_again() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    let effects = table.apply(Event::Cancel { reason: String::new() });
    let Some(Effect::Conclude { trial, .. }) =
        effects.iter().find(|effect| matches!(effect, Effect::Conclude { .. }))
    else {
        panic!("{effects:?}")
    };
    assert_eq!(
        concluding(&table.apply(Event::Concluded { trial: *trial, verdict: Err("503".to_owned()) })),
        []
    );
    assert_eq!(concluding(&table.later(2)), [ErrorReason::Cancelled]);
}

#[test]
fn grants_name_the_heartbeat_they_follow() {
    let mut table = Table::open(opening(1, &[(2, None)]));
    table.join(1, vec![]);
    assert_eq!(one_grant(&table.slots(1, 1)).heartbeat, 0);
    table.heartbeat(1, vec![]);
    table.heartbeat(1, vec![]);
    assert_eq!(one_grant(&table.slots(1, 1)).heartbeat, 2);
}

#[test]
fn words_of_an_old_stream_end_nothing() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 1));
    let old = table.sessions;
    table.join(1, vec![held(&grant)]);
    let trials = vec![key(0, 0)];
    let back = Event::Returned { worker: worker(1), session: old, lease: grant.lease.clone(), trials };
    assert_eq!(table.apply(back), []);
    let new = table.session.insert(worker(1), old);
    assert_eq!(table.abandoned(1, &grant.lease, key(0, 0), Cause::Drained, true), []);
    table.session.insert(worker(1), new.unwrap());
    assert_eq!(released(&table.abandoned(1, &grant.lease, key(0, 0), Cause::Drained, true)), 1);
}

#[test]
fn a_trial_that_turns_up_during_a_look_is_not_granted_twice() {
    let mut some = opening(1, &[(1, None)]);
    some.attempted = None;
    let mut table = Table::open(some);
    table.join(1, vec![]);
    table.join(2, vec![]);
    let look = table.slots(1, 1);
    assert_eq!(looked_at(&look), 1);
    let effects = table.heartbeat(2, vec![held_as("e1-9", 1, &[key(0, 0)])]);
    assert!(one_grant(&effects).trials[0].adopted);
    let effects = table.answer_looks(&look, |_| Found::Free(AttemptNo::new(2).unwrap()));
    assert_eq!(effects, [Effect::Release(vec![(worker(1), 1)])]);
}

#[test]
fn a_repeated_heartbeat_is_not_answered() {
    let mut table = Table::open(opening(1, &[(1, None)]));
    table.join(1, vec![]);
    let grant = one_grant(&table.slots(1, 1));
    table.heartbeat(1, vec![held(&grant)]);
    table.heartbeats.insert(worker(1), 0);
    table.later(3);
    assert_eq!(table.heartbeat(1, vec![held(&grant)]), []);
}
