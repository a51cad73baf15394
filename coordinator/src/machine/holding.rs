//! What workers say they hold: joining, renewing, adopting, and taking back what is not theirs.

use super::{Decision, Effect, Progress, RunMachine, State, Worker, WorkerChange, event};
use crate::lease::TrialNo;
use domain::env::Moment;
use domain::id::{AttemptNo, Incarnation, LeaseId, TrialKey, WorkerName};
use proto::message::{FromCoordinator, HeldLease, RevokeReason};
use std::collections::{BTreeMap, BTreeSet};

impl RunMachine {
    pub(super) fn joined(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        name: WorkerName,
        (session, heartbeat): (u64, u64),
        held: &[HeldLease],
        effects: &mut Vec<Effect>,
    ) {
        match self.workers.get_mut(worker) {
            Some(known) if known.newest >= session => return,
            Some(known) => {
                known.name.clone_from(&name);
                known.session = Some(session);
                known.newest = session;
                known.heartbeat = heartbeat;
            }
            None => {
                let new = Worker { name: name.clone(), session: Some(session), newest: session, heartbeat };
                self.workers.insert(worker.clone(), new);
            }
        }
        if let Some(early) = self.early_slots.remove(worker) {
            *self.hand.entry(worker.clone()).or_default() += early;
        }
        effects.push(Effect::Progress(Progress::Worker { worker: name, change: WorkerChange::Joined }));
        let mut named = BTreeSet::new();
        for lease in held {
            self.hold(now, worker, lease, &mut named, effects);
        }
        // A new stream lists everything: what it does not list is over, and its end was lost on the way.
        for lease in self.leases.of(worker) {
            if !named.contains(&lease) {
                self.free_lease(&lease);
            }
        }
    }

    pub(super) fn stream_lost(
        &mut self,
        worker: &Incarnation,
        session: u64,
        left: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(known) = self.workers.get_mut(worker) else { return };
        if known.session != Some(session) {
            return;
        }
        known.session = None;
        let name = known.name.clone();
        if let Some(slots) = self.hand.remove(worker) {
            *self.released.entry(worker.clone()).or_default() += slots;
        }
        let change = if left { WorkerChange::Left } else { WorkerChange::Suspect };
        effects.push(Effect::Progress(Progress::Worker { worker: name, change }));
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        (session, number): (u64, u64),
        held: Vec<HeldLease>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(known) = self.workers.get_mut(worker) else { return };
        if known.session != Some(session) || number <= known.heartbeat {
            return;
        }
        known.heartbeat = number;
        let mut renewed = Vec::new();
        for lease in held {
            let is_ours = self.leases.find(&lease.lease).is_some_and(|known| known.worker == *worker);
            self.hold(now, worker, &lease, &mut BTreeSet::new(), effects);
            if is_ours && self.leases.find(&lease.lease).is_some() {
                renewed.push(lease.lease);
            }
        }
        if !renewed.is_empty() {
            let message =
                FromCoordinator::Renewed { heartbeat: number, leases: renewed, ttl: self.policy.terms.ttl };
            effects.push(Effect::Send { worker: worker.clone(), message });
        }
    }

    /// A worker lists a lease with all it still holds of it. `named` gets the leases that cover it now.
    fn hold(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        held: &HeldLease,
        named: &mut BTreeSet<LeaseId>,
        effects: &mut Vec<Effect>,
    ) {
        if held.epoch > self.epoch {
            // Somebody granted under a newer epoch: look at the fence before anything else.
            self.ask_fence(effects);
            return;
        }
        let until = self.policy.terms.until(now);
        let ours = self.leases.resolve(&held.lease);
        let ours = ours.filter(|id| self.leases.find(id).is_some_and(|lease| lease.worker == *worker));
        let mut taken: BTreeMap<&'static str, (RevokeReason, Vec<TrialKey>)> = BTreeMap::new();
        let mut adopt: BTreeMap<usize, Vec<(TrialNo, AttemptNo)>> = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for trial in &held.trials {
            let mut revoke = |reason| {
                let entry = taken.entry(event::revoke_word(reason)).or_insert_with(|| (reason, Vec::new()));
                entry.1.push(trial.trial.clone());
            };
            let Some(place) = self.places.get(&trial.trial).copied() else {
                revoke(RevokeReason::Lost);
                continue;
            };
            let known = &self.trials[place.0 as usize];
            match &known.state {
                State::Leased(lease) if Some(lease) == ours.as_ref() => {
                    kept.insert(place);
                }
                State::Leased(lease) => {
                    // Under another lease of the same worker: its grant is on the way.
                    let same = self.leases.find(lease).is_some_and(|lease| lease.worker == *worker);
                    if same {
                        let lease = lease.clone();
                        self.leases.renew(&lease, until);
                        named.insert(lease);
                    } else {
                        revoke(RevokeReason::Lost);
                    }
                }
                State::Decided => revoke(RevokeReason::Decided),
                State::Concluding => revoke(RevokeReason::Lost),
                State::Ready | State::Delayed(_) | State::Looking(_) if self.cancelled.is_some() => {
                    revoke(RevokeReason::Cancelled);
                }
                State::Ready | State::Delayed(_) | State::Looking(_) => {
                    adopt
                        .entry(known.preset)
                        .or_default()
                        .push((place, trial.attempt.unwrap_or(AttemptNo::FIRST)));
                }
            }
        }
        if let Some(id) = &ours {
            self.leases.renew(id, until);
            let gone: Vec<TrialNo> = self.leases.find(id).map_or_else(Vec::new, |lease| {
                lease.trials.iter().copied().filter(|trial| !kept.contains(trial)).collect()
            });
            for trial in gone {
                self.take_out(trial);
                self.free(trial);
            }
        }
        for (reason, trials) in taken.into_values() {
            self.send_revoke(worker, &held.lease, trials, reason, effects);
        }
        named.extend(ours);
        self.adopt(now, worker, held, adopt, named, effects);
    }

    /// Lets attempts of an earlier reign, or of a lease that ended while nobody heard of it, go on under a new lease.
    fn adopt(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        held: &HeldLease,
        adopt: BTreeMap<usize, Vec<(TrialNo, AttemptNo)>>,
        named: &mut BTreeSet<LeaseId>,
        effects: &mut Vec<Effect>,
    ) {
        for (preset, trials) in adopt {
            for (trial, _) in &trials {
                self.take_out(*trial);
                self.presets[preset].in_flight += 1;
            }
            let until = self.policy.terms.until(now);
            let numbers = trials.iter().map(|(trial, _)| *trial);
            let lease = self.leases.make(worker.clone(), numbers, until, Some(held.lease.clone()));
            for (trial, _) in &trials {
                let known = &mut self.trials[trial.0 as usize];
                known.state = State::Leased(lease.clone());
                known.touched = true;
            }
            effects.push(Effect::Occupy {
                worker: worker.clone(),
                slots: u32::try_from(trials.len()).unwrap_or(u32::MAX),
            });
            self.send_grant(worker, &lease, preset, &trials, true, effects);
            if let Some(name) = self.name_of(worker) {
                let trials = self.keys(trials.iter().map(|(trial, _)| *trial));
                effects.push(Effect::Journal(Decision::Adopted { worker: name, trials }));
            }
            named.insert(lease);
        }
    }

    /// Takes back every lease; the trials stay leased until their end is told or their time is over.
    pub(super) fn revoke_everything(&self, effects: &mut Vec<Effect>) {
        for (id, lease) in self.leases.iter() {
            let message = FromCoordinator::Revoke {
                run: self.run.clone(),
                lease: id.clone(),
                trials: Vec::new(),
                reason: RevokeReason::Cancelled,
            };
            effects.push(Effect::Send { worker: lease.worker.clone(), message });
        }
    }

    pub(super) fn send_revoke(
        &self,
        worker: &Incarnation,
        lease: &LeaseId,
        trials: Vec<TrialKey>,
        reason: RevokeReason,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Journal(Decision::Revoked {
            worker: self.name_of(worker),
            trials: trials.clone(),
            reason: event::revoke_word(reason),
        }));
        let message = FromCoordinator::Revoke { run: self.run.clone(), lease: lease.clone(), trials, reason };
        effects.push(Effect::Send { worker: worker.clone(), message });
    }
}
