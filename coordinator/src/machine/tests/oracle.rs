//! A naive world around the machine: workers as sets, a folder as maps, a network that loses streams. Checks after every step what must
//! never be, and at the end that everything came to an end.

use super::super::*;
use super::{conclusion, key, opening};
use domain::id::AttemptNo;
use domain::outcome::Outcome;
use domain::usage::Usage;
use proptest::prelude::*;
use proto::message::{Cause, HeldLease, HeldTrial, TrialAbandoned, TrialDecided};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Move {
    /// Time passes.
    Wait(u8),
    /// A worker (re)connects.
    Connect(u8),
    /// Its stream breaks.
    Break(u8),
    /// It dies and comes back as a new life later.
    Die(u8),
    /// It finishes its n-th trial, telling of it or (stream broken meanwhile) not.
    Finish(u8, u8),
    /// It abandons its n-th trial.
    Abandon(u8, u8, Cause),
    /// It sends a heartbeat.
    Beat(u8),
    /// It repeats an old abandonment.
    Repeat(u8),
    /// The fleet answers with slots.
    Serve,
    /// The folder answers the oldest look.
    Look,
    /// The coordinator dies and another one takes over.
    Restart,
}

fn a_move() -> impl Strategy<Value = Move> {
    let cause = prop::sample::select(&Cause::ALL[..]);
    prop_oneof![
        4 => (0u8..20).prop_map(Move::Wait),
        3 => (0u8..3).prop_map(Move::Connect),
        1 => (0u8..3).prop_map(Move::Break),
        1 => (0u8..3).prop_map(Move::Die),
        8 => (0u8..3, any::<u8>()).prop_map(|(worker, trial)| Move::Finish(worker, trial)),
        2 => (0u8..3, any::<u8>(), cause).prop_map(|(worker, trial, cause)| Move::Abandon(worker, trial, cause)),
        6 => (0u8..3).prop_map(Move::Beat),
        1 => (0u8..3).prop_map(Move::Repeat),
        8 => Just(Move::Serve),
        6 => Just(Move::Look),
        1 => Just(Move::Restart),
    ]
}

/// A worker as it sees itself.
struct Hand {
    incarnation: Incarnation,
    session: Option<u64>,
    beats: u64,
    /// When each heartbeat of this stream was sent.
    sent: Vec<Moment>,
    /// Lease → its deadline here and its trials with their attempt.
    held: BTreeMap<LeaseId, (Moment, Epoch, BTreeMap<TrialKey, AttemptNo>)>,
    last_abandoned: Option<TrialAbandoned>,
}

struct World {
    machine: RunMachine,
    now: Moment,
    epoch: u64,
    hands: Vec<Hand>,
    lives: u32,
    sessions: u64,
    /// The folder: verdicts and the number of attempts begun.
    verdicts: BTreeSet<TrialKey>,
    attempts: HashMap<TrialKey, u32>,
    taking: Option<u32>,
    looks: VecDeque<(u64, Vec<(TrialNo, TrialKey)>)>,
    sealed: bool,
}

const SHAPE: [(u32, Option<u32>); 2] = [(5, None), (4, Some(2))];

impl World {
    fn new() -> Self {
        let (machine, effects) = RunMachine::open(Moment::default(), opening(1, &SHAPE));
        let mut world = Self {
            machine,
            now: Moment::default(),
            epoch: 1,
            hands: Vec::new(),
            lives: 0,
            sessions: 0,
            verdicts: BTreeSet::new(),
            attempts: HashMap::new(),
            taking: None,
            looks: VecDeque::new(),
            sealed: false,
        };
        for _ in 0..3 {
            let hand = world.new_life();
            world.hands.push(hand);
        }
        world.perform(effects);
        world
    }

    fn new_life(&mut self) -> Hand {
        self.lives += 1;
        Hand {
            incarnation: format!("life{}", self.lives).parse().unwrap(),
            session: None,
            beats: 0,
            sent: Vec::new(),
            held: BTreeMap::new(),
            last_abandoned: None,
        }
    }

    fn tell(&mut self, event: Event) {
        let effects = self.machine.apply(self.now, event);
        self.perform(effects);
        self.check();
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut next = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { worker, message } => self.deliver(&worker, message),
                Effect::Take { slots } => self.taking = Some(slots),
                Effect::Look { round, trials } => self.looks.push_back((round, trials)),
                Effect::CheckFence => next.push(Event::FenceChecked(Fence::Ours)),
                Effect::Conclude { trial, key, .. } => {
                    self.verdicts.insert(key);
                    let outcome = Outcome::Errored { why: ErrorReason::AttemptsExhausted };
                    next.push(Event::Concluded { trial, verdict: Ok(conclusion(outcome)) });
                }
                Effect::Seal => {
                    let missing: Vec<TrialKey> =
                        all().into_iter().filter(|key| !self.verdicts.contains(key)).collect();
                    assert!(missing.is_empty(), "S1: sealed without {missing:?}");
                    self.sealed = true;
                    next.push(Event::Sealed);
                }
                Effect::Release(_)
                | Effect::Occupy { .. }
                | Effect::Progress(_)
                | Effect::Journal(_)
                | Effect::Close => {}
            }
        }
        for event in next {
            self.tell(event);
        }
    }

    fn deliver(&mut self, worker: &Incarnation, message: FromCoordinator) {
        let Some(place) =
            self.hands.iter().position(|hand| hand.incarnation == *worker && hand.session.is_some())
        else {
            return;
        };
        match message {
            FromCoordinator::Grant(grant) => {
                for granted in &grant.trials {
                    // E1: nothing that is decided is granted anew (a verdict may still come to exist while the grant is under way).
                    assert!(
                        granted.adopted || !self.verdicts.contains(&granted.trial),
                        "E1: {}",
                        granted.trial
                    );
                    for hand in self.hands.iter().filter(|hand| hand.incarnation != *worker) {
                        let live = hand.held.values().any(|(deadline, _, trials)| {
                            *deadline > self.now && trials.contains_key(&granted.trial)
                        });
                        assert!(!live, "two live leases for {}", granted.trial);
                    }
                }
                let hand = &mut self.hands[place];
                let sent = hand.sent[usize::try_from(grant.heartbeat).unwrap()];
                let deadline = sent + grant.ttl;
                let here = self.machine.leases.find(&grant.lease).unwrap().until;
                assert!(deadline <= here, "L1: worker until {deadline:?}, coordinator until {here:?}");
                let mut trials = BTreeMap::new();
                for granted in grant.trials {
                    let in_hand =
                        hand.held.values_mut().find_map(|(_, _, trials)| trials.remove(&granted.trial));
                    match (in_hand, granted.adopted) {
                        (Some(attempt), true) => drop(trials.insert(granted.trial, attempt)),
                        (None, true) => {}
                        (Some(_), false) => panic!("granted anew what the worker has: {}", granted.trial),
                        (None, false) => {
                            *self.attempts.entry(granted.trial.clone()).or_default() += 1;
                            trials.insert(granted.trial, granted.attempt);
                        }
                    }
                }
                hand.held.retain(|_, (_, _, trials)| !trials.is_empty());
                if !trials.is_empty() {
                    hand.held.insert(grant.lease, (deadline, grant.epoch, trials));
                }
            }
            FromCoordinator::Renewed { heartbeat, leases, ttl } => {
                let hand = &mut self.hands[place];
                let until = hand.sent[usize::try_from(heartbeat).unwrap()] + ttl;
                for lease in leases {
                    if let Some((deadline, _, _)) = hand.held.get_mut(&lease) {
                        *deadline = until;
                        assert!(until <= self.machine.leases.find(&lease).unwrap().until, "L1 on renewal");
                    }
                }
            }
            FromCoordinator::Revoke { lease, trials, .. } => {
                let hand = &mut self.hands[place];
                if let Some((_, _, held)) = hand.held.get_mut(&lease) {
                    held.retain(|trial, _| !trials.is_empty() && !trials.contains(trial));
                }
                hand.held.retain(|_, (_, _, trials)| !trials.is_empty());
            }
            _ => {}
        }
    }

    /// Workers stop by themselves at their deadlines, and say so when they can.
    fn stop_overdue(&mut self) {
        let mut told = Vec::new();
        for hand in &mut self.hands {
            let over: Vec<LeaseId> = hand
                .held
                .iter()
                .filter(|(_, (deadline, _, _))| *deadline <= self.now)
                .map(|(id, _)| id.clone())
                .collect();
            for lease in over {
                let Some((_, _, trials)) = hand.held.remove(&lease) else { continue };
                if let Some(session) = hand.session {
                    for (trial, attempt) in trials {
                        told.push((
                            hand.incarnation.clone(),
                            session,
                            abandonment(&lease, trial, attempt, Cause::LeaseLost),
                        ));
                    }
                }
            }
        }
        for (worker, session, abandoned) in told {
            self.tell(Event::Abandoned { worker, session, abandoned });
        }
    }

    fn held(&self, place: usize) -> Vec<HeldLease> {
        let held = self.hands[place].held.iter().map(|(lease, (_, epoch, trials))| HeldLease {
            lease: lease.clone(),
            run: "r".parse().unwrap(),
            epoch: *epoch,
            trials: trials
                .iter()
                .map(|(trial, attempt)| HeldTrial {
                    trial: trial.clone(),
                    attempt: Some(*attempt),
                    progress: String::new(),
                })
                .collect(),
        });
        held.collect()
    }

    fn pick(&self, place: usize, number: u8) -> Option<(LeaseId, TrialKey, AttemptNo)> {
        let all: Vec<_> = self.hands[place]
            .held
            .iter()
            .flat_map(|(lease, (_, _, trials))| {
                trials.iter().map(move |(trial, attempt)| (lease.clone(), trial.clone(), *attempt))
            })
            .collect();
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()].clone())
    }

    fn drop_trial(&mut self, place: usize, lease: &LeaseId, trial: &TrialKey) {
        if let Some((_, _, trials)) = self.hands[place].held.get_mut(lease) {
            trials.remove(trial);
        }
        self.hands[place].held.retain(|_, (_, _, trials)| !trials.is_empty());
    }

    fn step(&mut self, one: &Move) {
        match one {
            Move::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.now = self.now + Duration::from_secs(1);
                    self.stop_overdue();
                    self.tell(Event::Tick);
                }
            }
            Move::Connect(place) => {
                let place = usize::from(*place);
                if let Some(session) = self.hands[place].session {
                    let worker = self.hands[place].incarnation.clone();
                    self.tell(Event::StreamLost { worker, session, left: false });
                }
                self.sessions += 1;
                let hand = &mut self.hands[place];
                hand.session = Some(self.sessions);
                hand.beats = 0;
                hand.sent = vec![self.now];
                let (worker, session) = (hand.incarnation.clone(), self.sessions);
                let held = self.held(place);
                let name = format!("name{place}").parse().unwrap();
                self.tell(Event::Joined { worker, name, session, heartbeat: 0, held });
            }
            Move::Break(place) => {
                let hand = &mut self.hands[usize::from(*place)];
                if let Some(session) = hand.session.take() {
                    let worker = hand.incarnation.clone();
                    self.tell(Event::StreamLost { worker, session, left: false });
                }
            }
            Move::Die(place) => {
                self.step(&Move::Break(*place));
                let life = self.new_life();
                self.hands[usize::from(*place)] = life;
            }
            Move::Finish(place, number) => {
                let place = usize::from(*place);
                let Some((lease, trial, _)) = self.pick(place, *number) else { return };
                self.drop_trial(place, &lease, &trial);
                self.verdicts.insert(trial.clone());
                if self.hands[place].session.is_some() {
                    let decided = TrialDecided {
                        run: "r".parse().unwrap(),
                        trial,
                        attempt: None,
                        outcome: Outcome::Passed,
                        usage: Usage::default(),
                        seconds: 0.0,
                        steps: 0,
                    };
                    let worker = self.hands[place].incarnation.clone();
                    self.tell(Event::Decided { worker, trials: vec![decided] });
                }
            }
            Move::Abandon(place, number, cause) => {
                let place = usize::from(*place);
                let Some((lease, trial, attempt)) = self.pick(place, *number) else { return };
                self.drop_trial(place, &lease, &trial);
                let abandoned = abandonment(&lease, trial, attempt, *cause);
                let hand = &mut self.hands[place];
                hand.last_abandoned = Some(abandoned.clone());
                if let Some(session) = hand.session {
                    let worker = hand.incarnation.clone();
                    self.tell(Event::Abandoned { worker, session, abandoned });
                }
            }
            Move::Repeat(place) => {
                let hand = &self.hands[usize::from(*place)];
                if let (Some(session), Some(abandoned)) = (hand.session, hand.last_abandoned.clone()) {
                    let worker = hand.incarnation.clone();
                    self.tell(Event::Abandoned { worker, session, abandoned });
                }
            }
            Move::Beat(place) => {
                let place = usize::from(*place);
                let held = self.held(place);
                let now = self.now;
                let hand = &mut self.hands[place];
                let Some(session) = hand.session else { return };
                hand.beats += 1;
                hand.sent.push(now);
                let (worker, number) = (hand.incarnation.clone(), hand.beats);
                self.tell(Event::Heartbeat { worker, session, number, held });
            }
            Move::Serve => {
                let Some(slots) = self.taking else { return };
                let Some(hand) = self.hands.iter().find(|hand| hand.session.is_some()) else { return };
                let worker = hand.incarnation.clone();
                self.taking = None;
                self.tell(Event::Slots(vec![(worker, slots.min(3))]));
                // Whoever is idle comes first the next time.
                self.hands.sort_by_key(|hand| (hand.held.len(), hand.incarnation.clone()));
            }
            Move::Look => {
                let Some((round, trials)) = self.looks.pop_front() else { return };
                let found = trials.into_iter().map(|(trial, key)| {
                    let found = if self.verdicts.contains(&key) {
                        Found::Decided(conclusion(Outcome::Passed))
                    } else {
                        let begun = self.attempts.get(&key).copied().unwrap_or(0);
                        Found::Free(AttemptNo::new(begun + 1).unwrap())
                    };
                    (trial, found)
                });
                let found = found.collect();
                self.tell(Event::Looked { round, found });
            }
            Move::Restart => {
                self.epoch += 1;
                for hand in &mut self.hands {
                    hand.session = None;
                }
                self.taking = None;
                self.looks.clear();
                let mut again = opening(self.epoch, &SHAPE);
                again.decided.clone_from(&self.verdicts);
                again.attempted = None;
                let (machine, effects) = RunMachine::open(self.now, again);
                self.machine = machine;
                self.sealed = false;
                self.perform(effects);
            }
        }
    }

    /// The machine's own books agree with each other.
    fn check(&self) {
        let machine = &self.machine;
        let undecided = machine.trials.iter().filter(|trial| trial.state != State::Decided).count();
        assert_eq!(undecided, machine.undecided as usize);
        for (place, preset) in machine.presets.iter().enumerate() {
            let count = |wanted: fn(&State) -> bool| {
                let trials =
                    machine.trials.iter().filter(|trial| trial.preset == place && wanted(&trial.state));
                u32::try_from(trials.count()).unwrap()
            };
            assert_eq!(preset.ready, count(|state| *state == State::Ready));
            assert_eq!(
                preset.in_flight,
                count(|state| matches!(state, State::Looking(_) | State::Leased(_)))
            );
            assert_eq!(preset.tally.decided, count(|state| *state == State::Decided));
        }
        let leased: usize = machine.leases.iter().map(|(_, lease)| lease.trials.len()).sum();
        let said = machine.trials.iter().filter(|trial| matches!(trial.state, State::Leased(_))).count();
        assert_eq!(leased, said, "every leased trial is in exactly one lease");
    }

    /// No more trouble: everybody connects, works and tells. Everything must come to an end.
    fn heal(&mut self) {
        for round in 0..2000 {
            if self.sealed {
                return;
            }
            for place in 0..3_u8 {
                if self.hands[usize::from(place)].session.is_none() {
                    self.step(&Move::Connect(place));
                }
                if round % 4 == 0 {
                    self.step(&Move::Beat(place));
                }
                self.step(&Move::Serve);
                self.step(&Move::Look);
                self.step(&Move::Finish(place, 0));
            }
            self.step(&Move::Wait(1));
        }
        panic!("trials are left behind: {:#?}", self.machine.status());
    }
}

fn all() -> Vec<TrialKey> {
    SHAPE
        .iter()
        .enumerate()
        .flat_map(|(preset, (count, _))| (0..*count).map(move |index| key(preset, index)))
        .collect()
}

fn abandonment(lease: &LeaseId, trial: TrialKey, attempt: AttemptNo, cause: Cause) -> TrialAbandoned {
    TrialAbandoned {
        run: "r".parse().unwrap(),
        lease: lease.clone(),
        trial,
        attempt: Some(attempt),
        cause,
        retryable: true,
        counts: false,
        text: String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_leased_twice_and_everything_ends(moves in prop::collection::vec(a_move(), 0..120)) {
        let mut world = World::new();
        for one in &moves {
            world.step(one);
        }
        world.heal();
    }

    /// E2: without faults, attempts = trials.
    #[test]
    fn without_faults_every_trial_is_attempted_once(order in prop::collection::vec((0u8..3, any::<u8>()), 0..60)) {
        let mut world = World::new();
        for place in 0..3 {
            world.step(&Move::Connect(place));
        }
        for (place, number) in order {
            world.step(&Move::Serve);
            world.step(&Move::Finish(place, number));
            world.step(&Move::Beat(place));
            world.step(&Move::Wait(1));
        }
        world.heal();
        prop_assert_eq!(world.attempts.len(), 9);
        prop_assert!(world.attempts.values().all(|attempts| *attempts == 1));
    }
}
