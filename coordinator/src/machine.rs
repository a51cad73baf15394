//! The rules of a run: what is granted to whom, when it is taken back, when the run is over. Pure: no clock, no socket, no store;
//! events come in, effects go out, and everything it knows may be lost and derived again from the folder.

mod ending;
mod event;
mod granting;
mod holding;
mod phase;
mod status;

use crate::lease::{Leases, Terms, TrialNo};
use crate::pause::{Patience, Pause};
use domain::env::Moment;
use domain::id::{Epoch, Incarnation, LeaseId, PresetName, RunId, TrialKey, WorkerName};
use domain::outcome::ErrorReason;
use proto::message::FromCoordinator;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

pub use event::{Conclusion, Decision, Effect, Event, Fence, Found, Progress, WorkerChange};
pub use phase::{Illegal, Phase, Turn, table};
pub use status::{PresetStatus, Status, Tally};

/// The numbers that a coordinator decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long leases last.
    pub terms: Terms,
    /// How often workers are heard and the fence is looked at.
    pub heartbeat: Duration,
    /// Largest shard.
    pub shard_size: u32,
    /// Counted attempts before a trial is given up.
    pub max_attempts: u32,
    /// Attempts that ended in trouble of ours, uncounted ones included, before a trial is given up.
    pub max_troubles: u32,
    /// The pause of a trial after trouble; doubles each time.
    pub first_backoff: Duration,
    /// The longest pause of a trial.
    pub longest_backoff: Duration,
    /// Verdicts written by the coordinator at one time.
    pub conclude_at_once: usize,
    /// How patient it is with providers.
    pub patience: Patience,
}

/// What is known when a reign begins.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The run.
    pub run: RunId,
    /// The reign.
    pub epoch: Epoch,
    /// The presets, each with the calls it may have in flight.
    pub presets: Vec<(PresetName, Option<u32>)>,
    /// All trials of the run, in order.
    pub trials: Vec<TrialKey>,
    /// Those that have a verdict.
    pub decided: BTreeSet<TrialKey>,
    /// Those that were ever attempted; `None` = unknown, look at each.
    pub attempted: Option<HashSet<TrialKey>>,
    /// Why the run is cancelled, when it is.
    pub cancelled: Option<String>,
    /// The numbers.
    pub policy: Policy,
}

/// The rules of one run in one reign.
#[derive(Debug)]
pub struct RunMachine {
    run: RunId,
    epoch: Epoch,
    policy: Policy,
    phase: Phase,
    cancelled: Option<String>,
    /// When `Opening` ends.
    wait_until: Moment,
    note: String,
    /// The note speaks of a store that fails, and goes when it answers again.
    store_trouble: bool,
    trials: Vec<Trial>,
    places: HashMap<TrialKey, TrialNo>,
    presets: Vec<Preset>,
    undecided: u32,
    delayed: BinaryHeap<Reverse<(Moment, TrialNo)>>,
    leases: Leases,
    workers: BTreeMap<Incarnation, Worker>,
    /// Slots handed out by the fleet and not used yet, of connected workers.
    hand: BTreeMap<Incarnation, u32>,
    /// Slots of workers that have not joined here yet.
    early_slots: BTreeMap<Incarnation, u32>,
    /// Slots given back by this event.
    released: BTreeMap<Incarnation, u32>,
    taking: bool,
    rounds: HashMap<u64, Vec<(TrialNo, Incarnation)>>,
    rounds_made: u64,
    fence_checked: Moment,
    fence_asked: bool,
    conclude: VecDeque<(TrialNo, ErrorReason, String)>,
    concluding: BTreeMap<TrialNo, (ErrorReason, String)>,
    conclude_after: Moment,
    seal_after: Option<Moment>,
}

#[derive(Debug)]
struct Trial {
    key: TrialKey,
    preset: usize,
    state: State,
    /// Whether the folder may hold anything about it.
    touched: bool,
    /// Attempts that ended in trouble of ours.
    troubles: u32,
}

/// What this reign knows of a trial; the folder may know more.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// In its preset's queue.
    Ready,
    /// Not before this.
    Delayed(Moment),
    /// The folder is being looked at for it.
    Looking(u64),
    /// In a worker's hands.
    Leased(LeaseId),
    /// The coordinator decides it.
    Concluding,
    /// Over.
    Decided,
}

#[derive(Debug)]
struct Preset {
    name: PresetName,
    /// More trials than this in flight would only wait for the provider's limit.
    cap: Option<u32>,
    /// Trials to grant, in order. May hold some that are no longer `Ready`.
    queue: VecDeque<TrialNo>,
    /// How many of them are.
    ready: u32,
    /// Looking or leased.
    in_flight: u32,
    pause: Option<Pause>,
    tally: Tally,
}

#[derive(Debug)]
struct Worker {
    name: WorkerName,
    /// The newest stream; `None` = lost.
    session: Option<u64>,
    /// Highest stream number seen, lost or not.
    newest: u64,
    /// The newest heartbeat handled on that stream.
    heartbeat: u64,
}

impl RunMachine {
    /// Begins a reign. With an earlier one before it nothing is granted until its leases must be over: one ttl, the grace, and the time that
    /// the earlier coordinator may take to see that it is fenced.
    #[must_use]
    pub fn open(now: Moment, opening: Opening) -> (Self, Vec<Effect>) {
        let Opening { run, epoch, presets, trials, decided, attempted, cancelled, policy } = opening;
        let former = epoch > Epoch::FIRST;
        let wait = if former {
            policy.terms.ttl + policy.terms.grace + policy.heartbeat * 2
        } else {
            Duration::ZERO
        };
        let mut machine = Self {
            run,
            epoch,
            policy,
            phase: Phase::Opening,
            cancelled: None,
            wait_until: now + wait,
            note: String::new(),
            store_trouble: false,
            trials: Vec::with_capacity(trials.len()),
            places: HashMap::with_capacity(trials.len()),
            presets: presets.into_iter().map(|(name, cap)| Preset::new(name, cap)).collect(),
            undecided: 0,
            delayed: BinaryHeap::new(),
            leases: Leases::new(epoch),
            workers: BTreeMap::new(),
            hand: BTreeMap::new(),
            early_slots: BTreeMap::new(),
            released: BTreeMap::new(),
            taking: false,
            rounds: HashMap::new(),
            rounds_made: 0,
            fence_checked: now,
            fence_asked: false,
            conclude: VecDeque::new(),
            concluding: BTreeMap::new(),
            conclude_after: Moment::default(),
            seal_after: None,
        };
        for key in trials {
            machine.add(key, &decided, former, attempted.as_ref());
        }
        let mut effects = Vec::new();
        if former && machine.undecided > 0 {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            effects.push(Effect::Journal(Decision::Resumed { undecided: machine.undecided, wait_ms }));
            machine.note = format!("waiting {:.1} s for workers of an earlier reign", wait.as_secs_f64());
        }
        if let Some(reason) = cancelled {
            machine.cancel(reason, &mut effects);
        }
        machine.go_on(now, &mut effects);
        (machine, effects)
    }

    fn add(
        &mut self,
        key: TrialKey,
        decided: &BTreeSet<TrialKey>,
        former: bool,
        attempted: Option<&HashSet<TrialKey>>,
    ) {
        let Some(preset) = self.presets.iter().position(|preset| preset.name == key.preset) else { return };
        let Ok(number) = u32::try_from(self.trials.len()) else { return };
        if self.places.contains_key(&key) {
            return;
        }
        let number = TrialNo(number);
        let known = &mut self.presets[preset];
        known.tally.total += 1;
        let state = if decided.contains(&key) {
            known.tally.decided += 1;
            known.tally.earlier += 1;
            State::Decided
        } else {
            known.queue.push_back(number);
            known.ready += 1;
            self.undecided += 1;
            State::Ready
        };
        let touched = former || attempted.is_none_or(|attempted| attempted.contains(&key));
        self.places.insert(key.clone(), number);
        self.trials.push(Trial { key, preset, state, touched, troubles: 0 });
    }

    /// Takes in one event and says what is to be done.
    pub fn apply(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase.is_end() {
            if let Event::Slots(slots) = event {
                effects.push(Effect::Release(slots));
            }
            return effects;
        }
        match event {
            Event::Joined { worker, name, session, heartbeat, held } => {
                self.joined(now, &worker, name, (session, heartbeat), &held, &mut effects);
            }
            Event::StreamLost { worker, session, left } => {
                self.stream_lost(&worker, session, left, &mut effects)
            }
            Event::Heartbeat { worker, session, number, held } => {
                self.heartbeat(now, &worker, (session, number), held, &mut effects);
            }
            Event::Decided { worker, trials } => self.announced(now, &worker, trials, &mut effects),
            Event::Abandoned { worker, session, abandoned } => {
                self.abandoned(now, &worker, session, abandoned, &mut effects)
            }
            Event::Returned { worker, session, lease, trials } => {
                self.returned(&worker, session, &lease, &trials, &mut effects);
            }
            Event::Slots(slots) => self.slots(slots),
            Event::Looked { round, found } => self.looked(now, round, found, &mut effects),
            Event::FenceChecked(fence) => self.fence(now, fence, &mut effects),
            Event::Concluded { trial, verdict } => self.concluded(now, trial, verdict, &mut effects),
            Event::Cancel { reason } | Event::CancelLooked(Some(reason)) => self.cancel(reason, &mut effects),
            Event::CancelLooked(None) => {}
            Event::Sealed => self.sealed(&mut effects),
            Event::SealFailed { text, missing } => self.seal_failed(now, text, &missing, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        if !self.phase.is_end() {
            self.go_on(now, &mut effects);
        }
        self.hand_back(&mut effects);
        effects
    }

    /// What follows from the state alone, after any event.
    fn go_on(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Opening && now >= self.wait_until {
            self.note.clear();
            self.turn(Turn::WaitOver, effects);
        }
        if self.undecided == 0 && self.phase.step(Turn::AllDecided).is_ok() {
            self.turn(Turn::AllDecided, effects);
            effects.push(Effect::Seal);
        }
        self.pump_conclusions(now, effects);
        if self.phase == Phase::Reigning {
            self.fill(now, effects);
        } else {
            self.drop_slots();
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for lease in self.leases.expired(now) {
            self.expire(&lease, effects);
        }
        while let Some(Reverse((until, trial))) = self.delayed.peek().copied() {
            if until > now {
                break;
            }
            self.delayed.pop();
            if self.trials[trial.0 as usize].state == State::Delayed(until) {
                self.make_ready(trial);
            }
        }
        if now.since(self.fence_checked) >= self.policy.heartbeat {
            self.ask_fence(effects);
        }
        if self.phase == Phase::Reigning {
            self.give_up_hopeless_presets(now, effects);
        }
        if self.seal_after.is_some_and(|after| now >= after) {
            self.seal_after = None;
            effects.push(Effect::Seal);
        }
    }

    fn turn(&mut self, turn: Turn, effects: &mut Vec<Effect>) {
        match self.phase.step(turn) {
            Ok(next) => {
                self.phase = next;
                effects.push(Effect::Progress(Progress::Status));
            }
            Err(illegal) => debug_assert!(false, "{illegal}"),
        }
    }

    fn ask_fence(&mut self, effects: &mut Vec<Effect>) {
        if !self.fence_asked {
            self.fence_asked = true;
            effects.push(Effect::CheckFence);
        }
    }

    fn fence(&mut self, now: Moment, fence: Fence, effects: &mut Vec<Effect>) {
        self.fence_asked = false;
        match fence {
            Fence::Ours => {
                self.fence_checked = now;
                if std::mem::take(&mut self.store_trouble) {
                    self.note(String::new(), effects);
                }
            }
            Fence::Unknown(text) => self.blame_store(format!("the store cannot be read: {text}"), effects),
            Fence::Newer { epoch, address } => {
                self.turn(Turn::NewerEpoch, effects);
                self.note = match &address {
                    Some(address) => format!("epoch {} reigns at {address}", epoch.get()),
                    None => format!("epoch {} reigns elsewhere", epoch.get()),
                };
                for (worker, _) in self.workers.iter().filter(|(_, worker)| worker.session.is_some()) {
                    let message =
                        FromCoordinator::Fenced { run: self.run.clone(), epoch, address: address.clone() };
                    effects.push(Effect::Send { worker: worker.clone(), message });
                }
                self.drop_slots();
                effects.push(Effect::Journal(Decision::Fenced { epoch }));
                effects.push(Effect::Close);
            }
        }
    }

    fn cancel(&mut self, reason: String, effects: &mut Vec<Effect>) {
        if self.phase.step(Turn::Cancel).is_err() {
            return;
        }
        self.turn(Turn::Cancel, effects);
        effects.push(Effect::Journal(Decision::Cancelled { reason: reason.clone() }));
        self.note = format!("cancelled: {reason}");
        self.cancelled = Some(reason);
        self.revoke_everything(effects);
        let waiting: Vec<TrialNo> = (0_u32..)
            .zip(&self.trials)
            .filter(|(_, trial)| matches!(trial.state, State::Ready | State::Delayed(_)))
            .map(|(place, _)| TrialNo(place))
            .collect();
        waiting.into_iter().for_each(|trial| self.free_cancelled(trial));
    }

    fn sealed(&mut self, effects: &mut Vec<Effect>) {
        if self.phase.step(Turn::Sealed).is_ok() {
            self.turn(Turn::Sealed, effects);
            effects.push(Effect::Close);
        }
    }

    fn seal_failed(&mut self, now: Moment, text: String, missing: &[TrialKey], effects: &mut Vec<Effect>) {
        if self.phase != Phase::Settled {
            return;
        }
        self.blame_store(format!("the run cannot be sealed: {text}"), effects);
        let again: Vec<TrialNo> = missing
            .iter()
            .filter_map(|key| self.places.get(key).copied())
            .filter(|trial| self.trials[trial.0 as usize].state == State::Decided)
            .collect();
        if again.is_empty() {
            self.seal_after = Some(now + self.policy.first_backoff * 5);
            return;
        }
        effects.push(Effect::Journal(Decision::VerdictsMissing { trials: missing.to_vec() }));
        for trial in again {
            let known = &mut self.trials[trial.0 as usize];
            known.touched = true;
            self.presets[known.preset].tally.decided -= 1;
            self.presets[known.preset].tally.forget_one();
            self.undecided += 1;
            self.make_ready(trial);
        }
        self.turn(Turn::VerdictsMissing, effects);
        if let Some(reason) = self.cancelled.take() {
            self.cancel(reason, effects);
        }
    }

    fn note(&mut self, text: String, effects: &mut Vec<Effect>) {
        if self.note != text {
            self.note = text;
            effects.push(Effect::Progress(Progress::Status));
        }
    }

    fn blame_store(&mut self, text: String, effects: &mut Vec<Effect>) {
        // Why a run was cancelled stays in sight.
        if self.cancelled.is_none() {
            self.store_trouble = true;
            self.note(text, effects);
        }
    }

    /// Puts a trial into its preset's queue.
    fn make_ready(&mut self, trial: TrialNo) {
        let known = &mut self.trials[trial.0 as usize];
        known.state = State::Ready;
        let preset = &mut self.presets[known.preset];
        preset.queue.push_back(trial);
        preset.ready += 1;
    }

    /// Takes a trial out of whatever it is in; what becomes of it is the caller's business. Slots it occupied go back.
    fn take_out(&mut self, trial: TrialNo) -> Option<Incarnation> {
        let known = &mut self.trials[trial.0 as usize];
        let preset = &mut self.presets[known.preset];
        match &known.state {
            State::Ready => {
                preset.ready -= 1;
                None
            }
            State::Delayed(_) | State::Concluding | State::Decided => None,
            State::Looking(_) => {
                // Its slot goes back when the look is answered.
                preset.leaves(trial);
                None
            }
            State::Leased(lease) => {
                preset.leaves(trial);
                let worker = self.leases.end_trial(lease, trial)?;
                *self.released.entry(worker.clone()).or_default() += 1;
                Some(worker)
            }
        }
    }

    fn name_of(&self, worker: &Incarnation) -> Option<WorkerName> {
        self.workers.get(worker).map(|worker| worker.name.clone())
    }

    fn keys(&self, trials: impl IntoIterator<Item = TrialNo>) -> Vec<TrialKey> {
        trials.into_iter().map(|trial| self.trials[trial.0 as usize].key.clone()).collect()
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// The reign.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The phase.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }
}

impl Preset {
    const fn new(name: PresetName, cap: Option<u32>) -> Self {
        Self { name, cap, queue: VecDeque::new(), ready: 0, in_flight: 0, pause: None, tally: Tally::EMPTY }
    }

    /// A trial is no longer in flight.
    fn leaves(&mut self, trial: TrialNo) {
        self.in_flight -= 1;
        if let Some(pause) = &mut self.pause {
            pause.forget(trial);
        }
    }
}

#[cfg(test)]
mod tests;
