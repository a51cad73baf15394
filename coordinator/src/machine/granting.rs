//! From free slots to grants: planning, looking before spending, leases.

use super::{Effect, Found, RunMachine, State};
use crate::lease::TrialNo;
use crate::plan::{self, Offer, Want};
use domain::env::Moment;
use domain::id::{AttemptNo, Incarnation, LeaseId};
use proto::message::{FromCoordinator, Grant, GrantedTrial};
use std::collections::BTreeMap;

impl RunMachine {
    /// Slots from the fleet. Those of a worker that is not known here yet wait for it.
    pub(super) fn slots(&mut self, slots: Vec<(Incarnation, u32)>) {
        self.taking = false;
        for (worker, count) in slots {
            match self.workers.get(&worker) {
                Some(known) if known.session.is_some() => *self.hand.entry(worker).or_default() += count,
                Some(_) => *self.released.entry(worker).or_default() += count,
                None => *self.early_slots.entry(worker).or_default() += count,
            }
        }
    }

    /// How many trials of a preset may be granted now.
    fn grantable(&self, preset: usize, now: Moment) -> u32 {
        let preset = &self.presets[preset];
        let room = preset.cap.map_or(u32::MAX, |cap| cap.max(1).saturating_sub(preset.in_flight));
        let open = match &preset.pause {
            None => u32::MAX,
            Some(pause) if pause.may_probe(now) => 1,
            Some(_) => 0,
        };
        preset.ready.min(room).min(open)
    }

    /// Uses the slots in hand, asks for more when there are trials for them, gives back what there is no use for.
    pub(super) fn fill(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if now.since(self.fence_checked) > self.policy.heartbeat * 2 {
            // Somebody else may reign: nothing is granted on a stale view. The next tick asks.
            return;
        }
        let wants: Vec<Want> = (0..self.presets.len())
            .map(|preset| Want {
                trials: self.grantable(preset, now),
                in_flight: self.presets[preset].in_flight,
            })
            .collect();
        let wanted = wants.iter().fold(0_u32, |sum, want| sum.saturating_add(want.trials));
        let offers: Vec<Offer<&Incarnation>> =
            self.hand.iter().map(|(worker, slots)| Offer { worker, slots: *slots }).collect();
        let in_hand = offers.iter().fold(0_u32, |sum, offer| sum.saturating_add(offer.slots));
        if wanted > 0 && in_hand > 0 {
            let shards: Vec<(Incarnation, usize, u32)> =
                plan::shards(&wants, &offers, self.policy.shard_size)
                    .into_iter()
                    .map(|shard| (shard.worker.clone(), shard.preset, shard.trials))
                    .collect();
            let mut look = Vec::new();
            for (worker, preset, count) in shards {
                self.grant_shard(now, &worker, preset, count, &mut look, effects);
            }
            self.look(look, effects);
        }
        let rest = wanted.saturating_sub(in_hand);
        if rest > 0 && !self.taking {
            self.taking = true;
            effects.push(Effect::Take { slots: rest });
        } else if rest == 0 {
            self.drop_slots();
        }
    }

    /// Grants what was never touched at once, and collects the rest for a look.
    fn grant_shard(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        preset: usize,
        count: u32,
        look: &mut Vec<(TrialNo, Incarnation)>,
        effects: &mut Vec<Effect>,
    ) {
        let mut fresh = Vec::new();
        for _ in 0..count {
            let Some(trial) = self.next_ready(preset) else { break };
            self.use_slot(worker);
            let known = &mut self.presets[preset];
            known.ready -= 1;
            known.in_flight += 1;
            if let Some(pause) = &mut known.pause {
                pause.probe_with(trial);
            }
            if self.trials[trial.0 as usize].touched {
                self.trials[trial.0 as usize].state = State::Looking(self.rounds_made + 1);
                look.push((trial, worker.clone()));
            } else {
                fresh.push((trial, AttemptNo::FIRST));
            }
        }
        self.lease(now, worker, preset, fresh, effects);
    }

    fn use_slot(&mut self, worker: &Incarnation) {
        if let Some(slots) = self.hand.get_mut(worker) {
            *slots -= 1;
            if *slots == 0 {
                self.hand.remove(worker);
            }
        }
    }

    fn next_ready(&mut self, preset: usize) -> Option<TrialNo> {
        loop {
            let trial = self.presets[preset].queue.pop_front()?;
            if self.trials[trial.0 as usize].state == State::Ready {
                return Some(trial);
            }
        }
    }

    fn look(&mut self, look: Vec<(TrialNo, Incarnation)>, effects: &mut Vec<Effect>) {
        if look.is_empty() {
            return;
        }
        self.rounds_made += 1;
        let trials =
            look.iter().map(|(trial, _)| (*trial, self.trials[trial.0 as usize].key.clone())).collect();
        self.rounds.insert(self.rounds_made, look);
        effects.push(Effect::Look { round: self.rounds_made, trials });
    }

    /// The folder was looked at: decide what is decided, grant what is free.
    pub(super) fn looked(
        &mut self,
        now: Moment,
        round: u64,
        found: Vec<(TrialNo, Found)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(asked) = self.rounds.remove(&round) else { return };
        let mut found: BTreeMap<TrialNo, Found> = found.into_iter().collect();
        let mut free: BTreeMap<(Incarnation, usize), Vec<(TrialNo, AttemptNo)>> = BTreeMap::new();
        for (trial, worker) in asked {
            let still_ours = self.trials[trial.0 as usize].state == State::Looking(round);
            let connected = self.workers.get(&worker).is_some_and(|known| known.session.is_some());
            let granting = self.phase == super::Phase::Reigning;
            match found.remove(&trial) {
                Some(Found::Decided(conclusion)) if still_ours => {
                    self.decide(now, trial, conclusion, None, effects)
                }
                Some(Found::Free(attempt)) if still_ours && connected && granting => {
                    let preset = self.trials[trial.0 as usize].preset;
                    free.entry((worker, preset)).or_default().push((trial, attempt));
                    continue;
                }
                Some(Found::Free(_)) if still_ours => {
                    self.take_out(trial);
                    self.free(trial);
                }
                Some(Found::Unknown(text)) if still_ours => {
                    self.blame_store(format!("the store cannot be read: {text}"), effects);
                    self.take_out(trial);
                    self.delay(now, trial);
                }
                None if still_ours => {
                    self.take_out(trial);
                    self.free(trial);
                }
                _ => {}
            }
            // Its slot was not used.
            *self.released.entry(worker).or_default() += 1;
        }
        for ((worker, preset), trials) in free {
            self.lease(now, &worker, preset, trials, effects);
        }
    }

    /// Leases trials (already counted as in flight) to a worker, at most a shard at a time.
    fn lease(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        preset: usize,
        trials: Vec<(TrialNo, AttemptNo)>,
        effects: &mut Vec<Effect>,
    ) {
        let size = usize::try_from(self.policy.shard_size.max(1)).unwrap_or(usize::MAX);
        for shard in trials.chunks(size) {
            let until = self.policy.terms.until(now);
            let lease = self.leases.make(worker.clone(), shard.iter().map(|(trial, _)| *trial), until, None);
            for (trial, _) in shard {
                let known = &mut self.trials[trial.0 as usize];
                known.state = State::Leased(lease.clone());
                known.touched = true;
            }
            self.send_grant(worker, &lease, preset, shard, false, effects);
        }
    }

    pub(super) fn send_grant(
        &self,
        worker: &Incarnation,
        lease: &LeaseId,
        preset: usize,
        trials: &[(TrialNo, AttemptNo)],
        adopted: bool,
        effects: &mut Vec<Effect>,
    ) {
        let trials = trials.iter().map(|(trial, attempt)| GrantedTrial {
            trial: self.trials[trial.0 as usize].key.clone(),
            attempt: *attempt,
            adopted,
        });
        let message = FromCoordinator::Grant(Grant {
            lease: lease.clone(),
            run: self.run.clone(),
            epoch: self.epoch,
            preset: self.presets[preset].name.clone(),
            trials: trials.collect(),
            ttl: self.policy.terms.ttl,
            heartbeat: self.workers.get(worker).map_or(0, |worker| worker.heartbeat),
        });
        effects.push(Effect::Send { worker: worker.clone(), message });
    }

    /// Gives back all slots in hand.
    pub(super) fn drop_slots(&mut self) {
        for (worker, slots) in std::mem::take(&mut self.hand) {
            *self.released.entry(worker).or_default() += slots;
        }
    }

    pub(super) fn hand_back(&mut self, effects: &mut Vec<Effect>) {
        if !self.released.is_empty() {
            effects.push(Effect::Release(std::mem::take(&mut self.released).into_iter().collect()));
        }
    }
}
