//! How trials leave workers' hands: decided, abandoned, returned, expired; and those that the coordinator decides itself.

use super::{Conclusion, Decision, Effect, Phase, Progress, RunMachine, State, WorkerChange};
use crate::lease::TrialNo;
use crate::pause::{Pause, Trouble};
use domain::env::Moment;
use domain::id::{Incarnation, LeaseId, TrialKey};
use domain::outcome::{ErrorReason, Failure, Outcome};
use proto::message::{Cause, RevokeReason, TrialAbandoned, TrialDecided};
use std::cmp::Reverse;

impl RunMachine {
    /// A worker says that verdicts exist. Believed from any stream: the seal counts the objects themselves.
    pub(super) fn announced(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        trials: Vec<TrialDecided>,
        effects: &mut Vec<Effect>,
    ) {
        for decided in trials {
            let Some(trial) = self.places.get(&decided.trial).copied() else { continue };
            let conclusion = Conclusion {
                outcome: decided.outcome,
                usage: decided.usage,
                seconds: decided.seconds,
                steps: decided.steps,
            };
            self.decide(now, trial, conclusion, Some(worker), effects);
        }
    }

    /// The trial is over. Whoever else has it is told to stop.
    pub(super) fn decide(
        &mut self,
        now: Moment,
        trial: TrialNo,
        conclusion: Conclusion,
        by: Option<&Incarnation>,
        effects: &mut Vec<Effect>,
    ) {
        let place = trial.0 as usize;
        let state = self.trials[place].state.clone();
        if state == State::Decided {
            return;
        }
        if let State::Leased(lease) = &state
            && let Some(holder) = self.leases.find(lease).map(|lease| lease.worker.clone())
            && by != Some(&holder)
        {
            let key = self.trials[place].key.clone();
            self.send_revoke(&holder, lease, vec![key], RevokeReason::Decided, effects);
        }
        if by.is_some() {
            self.judge_provider(now, trial, conclusion.outcome, effects);
        }
        self.take_out(trial);
        let known = &mut self.trials[place];
        known.state = State::Decided;
        self.presets[known.preset].tally.count(conclusion.outcome);
        self.undecided -= 1;
        let key = known.key.clone();
        let worker = by.and_then(|worker| self.name_of(worker));
        effects.push(Effect::Progress(Progress::Decided { trial: key, conclusion, worker }));
    }

    /// What a worker's verdict says about the provider: any measured outcome ends a pause, a wrong model begins one.
    fn judge_provider(&mut self, now: Moment, trial: TrialNo, outcome: Outcome, effects: &mut Vec<Effect>) {
        let preset = self.trials[trial.0 as usize].preset;
        match outcome {
            Outcome::Failed { why: Failure::ModelMismatch } => {
                let text = "the server answered with another model than the one asked for".to_owned();
                self.pause(now, trial, Trouble::WrongModel, text, effects);
            }
            Outcome::Passed | Outcome::Failed { .. } => {
                if self.presets[preset].pause.take().is_some() {
                    let name = self.presets[preset].name.clone();
                    effects.push(Effect::Journal(Decision::Unpaused { preset: name.clone() }));
                    effects.push(Effect::Progress(Progress::Preset { preset: name, paused: None }));
                }
            }
            Outcome::Errored { .. } => {}
        }
    }

    fn pause(
        &mut self,
        now: Moment,
        trial: TrialNo,
        trouble: Trouble,
        text: String,
        effects: &mut Vec<Effect>,
    ) {
        let patience = self.policy.patience;
        let preset = &mut self.presets[self.trials[trial.0 as usize].preset];
        match &mut preset.pause {
            Some(pause) => pause.again(now, trial, trouble, text, patience),
            None => {
                preset.pause = Some(Pause::begin(now, trouble, text.clone(), patience));
                let name = preset.name.clone();
                effects.push(Effect::Journal(Decision::Paused { preset: name.clone(), text: text.clone() }));
                effects.push(Effect::Progress(Progress::Preset { preset: name, paused: Some(text) }));
            }
        }
    }

    pub(super) fn abandoned(
        &mut self,
        now: Moment,
        worker: &Incarnation,
        session: u64,
        abandoned: TrialAbandoned,
        effects: &mut Vec<Effect>,
    ) {
        let Some(trial) = self.places.get(&abandoned.trial).copied() else { return };
        let fresh = self.workers.get(worker).is_some_and(|known| known.session == Some(session));
        let held_so = self.leases.resolve(&abandoned.lease);
        let is_holder = match &self.trials[trial.0 as usize].state {
            State::Leased(lease) => {
                held_so.as_ref() == Some(lease)
                    && self.leases.find(lease).is_some_and(|lease| lease.worker == *worker)
            }
            _ => false,
        };
        if !fresh || !is_holder {
            // A late copy, or of a lease that has ended: what follows was done when it ended.
            return;
        }
        let preset = self.trials[trial.0 as usize].preset;
        self.presets[preset].tally.abandoned += 1;
        if abandoned.cause == Cause::ProviderUnavailable {
            self.pause(now, trial, Trouble::Outage, abandoned.text.clone(), effects);
        }
        self.take_out(trial);
        let again_after = self.after_abandon(now, trial, &abandoned);
        let name = self.name_of(worker);
        effects.push(Effect::Journal(Decision::Abandoned {
            trial: abandoned.trial.clone(),
            worker: name.clone(),
            cause: abandoned.cause.as_str(),
            text: abandoned.text.clone(),
        }));
        effects.push(Effect::Progress(Progress::Abandoned {
            trial: abandoned.trial,
            attempt: abandoned.attempt,
            cause: abandoned.cause,
            text: abandoned.text,
            worker: name,
            again_after,
        }));
    }

    /// What becomes of a trial whose attempt was abandoned, and in how long it may be granted again.
    fn after_abandon(
        &mut self,
        now: Moment,
        trial: TrialNo,
        abandoned: &TrialAbandoned,
    ) -> Option<std::time::Duration> {
        let known = &mut self.trials[trial.0 as usize];
        let is_trouble = match abandoned.cause {
            Cause::LeaseLost | Cause::Drained | Cause::Cancelled | Cause::ProviderUnavailable => false,
            Cause::WorkspaceUnavailable
            | Cause::WorkspaceDied
            | Cause::StoreUnavailable
            | Cause::Unusable
            | Cause::Bug => true,
        };
        if is_trouble {
            known.troubles += 1;
        }
        if self.cancelled.is_some() {
            self.free(trial);
            return None;
        }
        let hopeless = !abandoned.retryable || known.troubles >= self.policy.max_troubles;
        if hopeless && !matches!(abandoned.cause, Cause::LeaseLost | Cause::Drained | Cause::Cancelled) {
            let why = match abandoned.cause {
                Cause::WorkspaceUnavailable | Cause::WorkspaceDied | Cause::Unusable => {
                    ErrorReason::WorkspaceUnavailable
                }
                Cause::ProviderUnavailable => ErrorReason::ProviderUnavailable,
                Cause::StoreUnavailable
                | Cause::Bug
                | Cause::LeaseLost
                | Cause::Drained
                | Cause::Cancelled => ErrorReason::AttemptsExhausted,
            };
            self.give_up(trial, why, format!("{}: {}", abandoned.cause.as_str(), abandoned.text));
            return None;
        }
        if is_trouble {
            return Some(self.delay(now, trial));
        }
        self.free(trial);
        Some(std::time::Duration::ZERO)
    }

    pub(super) fn returned(
        &mut self,
        worker: &Incarnation,
        session: u64,
        lease: &LeaseId,
        trials: &[TrialKey],
        effects: &mut Vec<Effect>,
    ) {
        let fresh = self.workers.get(worker).is_some_and(|known| known.session == Some(session));
        let Some(id) = self.leases.resolve(lease).filter(|_| fresh) else { return };
        let Some(known) = self.leases.find(&id).filter(|known| known.worker == *worker) else { return };
        let back: Vec<TrialNo> = if trials.is_empty() {
            known.trials.iter().copied().collect()
        } else {
            let named = trials.iter().filter_map(|key| self.places.get(key).copied());
            named.filter(|trial| known.trials.contains(trial)).collect()
        };
        if back.is_empty() {
            return;
        }
        effects.push(Effect::Journal(Decision::Returned {
            worker: self.name_of(worker),
            trials: self.keys(back.iter().copied()),
        }));
        for trial in back {
            self.end_quietly(trial);
        }
    }

    /// A lease ended without a word.
    pub(super) fn expire(&mut self, lease: &LeaseId, effects: &mut Vec<Effect>) {
        let Some(known) = self.leases.find(lease) else { return };
        let (worker, trials) = (known.worker.clone(), known.trials.clone());
        let name = self.name_of(&worker);
        effects.push(Effect::Journal(Decision::Expired {
            worker: name.clone(),
            trials: self.keys(trials.iter().copied()),
        }));
        self.free_lease(lease);
        let connected = self.workers.get(&worker).is_some_and(|known| known.session.is_some());
        if let Some(name) = name.filter(|_| !connected && self.leases.of(&worker).is_empty()) {
            effects.push(Effect::Progress(Progress::Worker { worker: name, change: WorkerChange::Lost }));
        }
    }

    /// Ends a lease; its trials may be granted again, after a look.
    pub(super) fn free_lease(&mut self, lease: &LeaseId) {
        let trials = self.leases.find(lease).map(|known| known.trials.clone()).unwrap_or_default();
        for trial in trials {
            self.end_quietly(trial);
        }
    }

    fn end_quietly(&mut self, trial: TrialNo) {
        self.take_out(trial);
        self.free(trial);
    }

    /// The trial is in nobody's hands: it may be granted again, or is decided as cancelled.
    pub(super) fn free(&mut self, trial: TrialNo) {
        if self.cancelled.is_some() {
            self.trials[trial.0 as usize].state = State::Delayed(Moment::default());
            self.free_cancelled(trial);
        } else {
            self.make_ready(trial);
        }
    }

    pub(super) fn free_cancelled(&mut self, trial: TrialNo) {
        let text = match self.cancelled.as_deref() {
            None | Some("") => "the run was cancelled".to_owned(),
            Some(reason) => format!("the run was cancelled: {reason}"),
        };
        self.take_out(trial);
        self.give_up(trial, ErrorReason::Cancelled, text);
    }

    /// Not before a pause that doubles with every trouble.
    pub(super) fn delay(&mut self, now: Moment, trial: TrialNo) -> std::time::Duration {
        if self.cancelled.is_some() {
            self.free(trial);
            return std::time::Duration::ZERO;
        }
        let known = &mut self.trials[trial.0 as usize];
        let times = 1_u32.checked_shl(known.troubles.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.policy.first_backoff.saturating_mul(times).min(self.policy.longest_backoff);
        let until = now + pause;
        known.state = State::Delayed(until);
        self.delayed.push(Reverse((until, trial)));
        pause
    }

    /// Decides a trial (in nobody's hands) without a result. The folder has the last word: a result that is there is helped instead.
    fn give_up(&mut self, trial: TrialNo, why: ErrorReason, text: String) {
        let known = &mut self.trials[trial.0 as usize];
        known.state = State::Concluding;
        self.conclude.push_back((trial, why, text));
    }

    pub(super) fn give_up_hopeless_presets(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for preset in 0..self.presets.len() {
            let Some(pause) = &self.presets[preset].pause else { continue };
            if self.presets[preset].ready == 0 || !pause.is_hopeless(now, self.policy.patience) {
                continue;
            }
            let (why, text) = (pause.trouble.reason(), pause.text.clone());
            let mut trials = Vec::new();
            while let Some(trial) = self.presets[preset].queue.pop_front() {
                if self.trials[trial.0 as usize].state == State::Ready {
                    self.take_out(trial);
                    self.give_up(trial, why, text.clone());
                    trials.push(trial);
                }
            }
            effects.push(Effect::Journal(Decision::GivenUp { trials: self.keys(trials), why, text }));
        }
    }

    pub(super) fn pump_conclusions(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Sealed | Phase::Fenced) || now < self.conclude_after {
            return;
        }
        while self.concluding.len() < self.policy.conclude_at_once {
            let Some((trial, why, text)) = self.conclude.pop_front() else { return };
            let known = &self.trials[trial.0 as usize];
            if known.state == State::Concluding {
                self.concluding.insert(trial, (why, text.clone()));
                effects.push(Effect::Conclude { trial, key: known.key.clone(), why, text });
            }
        }
    }

    pub(super) fn concluded(
        &mut self,
        now: Moment,
        trial: TrialNo,
        verdict: Result<Conclusion, String>,
        effects: &mut Vec<Effect>,
    ) {
        let asked = self.concluding.remove(&trial);
        match verdict {
            Ok(conclusion) => self.decide(now, trial, conclusion, None, effects),
            Err(text) => {
                self.blame_store(format!("a verdict cannot be written: {text}"), effects);
                self.conclude_after = now + self.policy.first_backoff * 2;
                if let Some((why, text)) =
                    asked.filter(|_| self.trials[trial.0 as usize].state == State::Concluding)
                {
                    self.conclude.push_back((trial, why, text));
                }
            }
        }
    }
}
