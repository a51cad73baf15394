//! What this worker holds and what it says about it: leases, trials, free slots, heartbeats, drain. A pure machine; the stream, the
//! attempts and the clock are somebody else's.

#[cfg(test)]
mod tests;
mod words;

pub(crate) use words::{Effect, Ended, Event, Identity, Key};

use crate::deadline::Sent;
use crate::judge::Notice;
use domain::env::Moment;
use domain::id::{AttemptNo, Epoch, LeaseId, RunId, TrialKey};
use proto::message::{
    Cause, FromCoordinator, FromWorker, Grant, GrantedTrial, HeldLease, HeldTrial, Hello, RevokeReason,
    TrialAbandoned,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// Endings that may still be under way on the stream are told again after a reconnection, up to so many.
const MOST_UNACKNOWLEDGED: usize = 4096;

/// Heartbeat period until the coordinator says another.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Queued,
    Running,
    /// Its end is told; the slot is still in use.
    Over,
}

#[derive(Debug)]
struct Held {
    lease: LeaseId,
    first: AttemptNo,
    attempt: Option<AttemptNo>,
    work: Work,
    stopped: bool,
}

#[derive(Debug)]
struct Lease {
    run: RunId,
    epoch: Epoch,
    deadline: Moment,
    expired: bool,
    trials: BTreeSet<TrialKey>,
}

#[derive(Debug)]
struct Stream {
    number: u64,
    sent: Sent,
    welcomed: bool,
    next_heartbeat: Moment,
}

/// What the worker holds.
#[derive(Debug)]
pub(crate) struct Session {
    identity: Identity,
    stream: Option<Stream>,
    heartbeat: Duration,
    budget_generation: Option<u64>,
    leases: BTreeMap<LeaseId, Lease>,
    trials: HashMap<Key, Held>,
    queue: VecDeque<Key>,
    running: u32,
    /// Endings with the number of the first heartbeat sent after them.
    unacknowledged: VecDeque<(u64, FromWorker)>,
    fenced: BTreeSet<RunId>,
    moved_to: Option<String>,
    draining: Option<Moment>,
    drained_hard: bool,
    finished: bool,
}

impl Session {
    /// A worker that holds nothing.
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            stream: None,
            heartbeat: FIRST_HEARTBEAT,
            budget_generation: None,
            leases: BTreeMap::new(),
            trials: HashMap::new(),
            queue: VecDeque::new(),
            running: 0,
            unacknowledged: VecDeque::new(),
            fenced: BTreeSet::new(),
            moved_to: None,
            draining: None,
            drained_hard: false,
            finished: false,
        }
    }

    /// When [`Event::Tick`] is due next.
    pub(crate) fn wake(&self) -> Option<Moment> {
        let heartbeat =
            self.stream.as_ref().filter(|stream| stream.welcomed).map(|stream| stream.next_heartbeat);
        let deadline = self.leases.values().filter(|lease| !lease.expired).map(|lease| lease.deadline).min();
        let drain = self.draining.filter(|_| !self.drained_hard);
        [heartbeat, deadline, drain].into_iter().flatten().min()
    }

    /// Attempts that occupy a slot.
    #[cfg(test)]
    pub(crate) const fn running(&self) -> u32 {
        self.running
    }

    /// Takes what happened and says what to do.
    pub(crate) fn apply(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Dialling { stream } => self.dialling(now, stream, &mut effects),
            Event::Received { stream, message } => {
                if self.stream.as_ref().is_some_and(|current| current.number == stream) {
                    self.received(now, message, &mut effects);
                }
            }
            Event::Disconnected { stream } => {
                if self.stream.as_ref().is_some_and(|current| current.number == stream) {
                    self.stream = None;
                }
            }
            Event::Claimed { key, attempt } => {
                if let Some(held) = self.trials.get_mut(&key) {
                    held.attempt = Some(attempt);
                }
            }
            Event::Ended { key, ended } => self.ended(&key, ended, &mut effects),
            Event::Gone { key } => self.gone(&key, &mut effects),
            Event::Drain { until } => self.drain(until, &mut effects),
            Event::Tick => {}
        }
        self.expire(now, &mut effects);
        self.drain_hard(now, &mut effects);
        self.beat(now, &mut effects);
        self.start_queued(&mut effects);
        self.move_on(&mut effects);
        if self.draining.is_some() && self.trials.is_empty() && !self.finished {
            self.finished = true;
            effects.push(Effect::Finished);
        }
        effects
    }

    fn dialling(&mut self, now: Moment, number: u64, effects: &mut Vec<Effect>) {
        let mut sent = Sent::default();
        sent.send(now);
        self.stream = Some(Stream { number, sent, welcomed: false, next_heartbeat: now });
        effects.push(Effect::Send(FromWorker::Hello(Hello {
            protocol: proto::PROTOCOL,
            worker: self.identity.worker.clone(),
            incarnation: self.identity.incarnation.clone(),
            slots: self.identity.slots,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.identity.labels.clone(),
            held: self.held(),
        })));
        // On the lost stream these may have been under way.
        for (after, message) in &mut self.unacknowledged {
            *after = 1;
            effects.push(Effect::Send(message.clone()));
        }
        effects.push(Effect::Send(FromWorker::Ready { credits: self.credits() }));
    }

    const fn credits(&self) -> u32 {
        if self.draining.is_some() { 0 } else { self.identity.slots }
    }

    fn held(&self) -> Vec<HeldLease> {
        let held_trial = |run: &RunId, trial: &TrialKey| {
            let held = self.trials.get(&Key { run: run.clone(), trial: trial.clone() })?;
            Some(HeldTrial { trial: trial.clone(), attempt: held.attempt, progress: String::new() })
        };
        let leases = self.leases.iter().map(|(id, lease)| HeldLease {
            lease: id.clone(),
            run: lease.run.clone(),
            epoch: lease.epoch,
            trials: lease.trials.iter().filter_map(|trial| held_trial(&lease.run, trial)).collect(),
        });
        leases.collect()
    }

    fn received(&mut self, now: Moment, message: FromCoordinator, effects: &mut Vec<Effect>) {
        match message {
            FromCoordinator::Welcome(welcome) => {
                if !welcome.heartbeat.is_zero() {
                    self.heartbeat = welcome.heartbeat;
                }
                if let Some(stream) = &mut self.stream {
                    stream.welcomed = true;
                    stream.next_heartbeat = now + self.heartbeat;
                }
                effects.push(Effect::UseStore(welcome.store));
            }
            FromCoordinator::Grant(grant) => self.granted(now, grant, effects),
            FromCoordinator::Renewed { heartbeat, leases, ttl } => {
                self.renewed(heartbeat, &leases, ttl);
            }
            FromCoordinator::Revoke { run, lease, trials, reason } => {
                self.revoked(&run, &lease, &trials, reason, effects);
            }
            FromCoordinator::Budget { generation, share } => {
                // `partial_cmp` on the option: anything is newer than nothing.
                if Some(generation) > self.budget_generation && share > 0.0 && share <= 1.0 {
                    self.budget_generation = Some(generation);
                    effects.push(Effect::UseShare(share));
                }
            }
            FromCoordinator::Drain { text } => {
                tracing::info!(reason = %text, "the coordinator is leaving");
                // Another coordinator numbers its budgets from the beginning.
                self.budget_generation = None;
            }
            FromCoordinator::Fenced { run, epoch, address } => {
                tracing::info!(%run, %epoch, address = address.as_deref(), "a newer epoch reigns over the run");
                self.fenced.insert(run);
                if let Some(address) = address {
                    self.moved_to = Some(address);
                }
            }
        }
    }

    fn granted(&mut self, now: Moment, grant: Grant, effects: &mut Vec<Effect>) {
        let Some(stream) = &self.stream else { return };
        let deadline = stream.sent.deadline(grant.heartbeat, grant.ttl).filter(|deadline| *deadline > now);
        let mut refused = Vec::new();
        for granted in grant.trials {
            let key = Key { run: grant.run.clone(), trial: granted.trial.clone() };
            let known = self.trials.contains_key(&key);
            match deadline {
                // In our hands: it goes on, under this lease.
                Some(deadline) if known => self.take(&grant.lease, &key, grant.epoch, deadline, None),
                // Over here, and told so.
                _ if known || granted.adopted => {}
                Some(deadline) if self.draining.is_none() => {
                    self.take(&grant.lease, &key, grant.epoch, deadline, Some(&granted));
                }
                _ => refused.push(granted.trial),
            }
        }
        if !refused.is_empty() {
            effects.push(Effect::Send(FromWorker::Returned {
                run: grant.run,
                lease: grant.lease,
                trials: refused,
            }));
        }
    }

    fn take(
        &mut self,
        id: &LeaseId,
        key: &Key,
        epoch: Epoch,
        deadline: Moment,
        granted: Option<&GrantedTrial>,
    ) {
        match (granted, self.trials.get_mut(key)) {
            (None, Some(held)) if held.work == Work::Over => return,
            (None, Some(held)) => {
                let former = std::mem::replace(&mut held.lease, id.clone());
                if former != *id {
                    self.unlist(&former, key);
                }
            }
            (Some(granted), None) => {
                self.trials.insert(
                    key.clone(),
                    Held {
                        lease: id.clone(),
                        first: granted.attempt,
                        attempt: None,
                        work: Work::Queued,
                        stopped: false,
                    },
                );
                self.queue.push_back(key.clone());
            }
            _ => return,
        }
        let lease = self.leases.entry(id.clone()).or_insert_with(|| Lease {
            run: key.run.clone(),
            epoch,
            deadline,
            expired: false,
            trials: BTreeSet::new(),
        });
        lease.epoch = epoch;
        lease.deadline = lease.deadline.max(deadline);
        lease.expired = false;
        lease.trials.insert(key.trial.clone());
    }

    /// Takes a trial off a lease; an empty lease is over.
    fn unlist(&mut self, lease: &LeaseId, key: &Key) {
        if let Some(entry) = self.leases.get_mut(lease) {
            entry.trials.remove(&key.trial);
            if entry.trials.is_empty() {
                self.leases.remove(lease);
            }
        }
    }

    fn renewed(&mut self, heartbeat: u64, renewed: &[LeaseId], ttl: Duration) {
        let Some(stream) = &mut self.stream else { return };
        let deadline = stream.sent.deadline(heartbeat, ttl);
        stream.sent.answered(heartbeat);
        while self.unacknowledged.front().is_some_and(|(after, _)| *after <= heartbeat) {
            self.unacknowledged.pop_front();
        }
        let Some(deadline) = deadline else { return };
        for id in renewed {
            // One that ran out here stays over: its trials were told to stop.
            if let Some(lease) = self.leases.get_mut(id).filter(|lease| !lease.expired) {
                lease.deadline = lease.deadline.max(deadline);
            }
        }
    }

    fn revoked(
        &mut self,
        run: &RunId,
        lease: &LeaseId,
        trials: &[TrialKey],
        reason: RevokeReason,
        effects: &mut Vec<Effect>,
    ) {
        let notice = match reason {
            RevokeReason::Cancelled => Notice::of(Cause::Cancelled, "the run was cancelled"),
            RevokeReason::Decided => Notice::of(Cause::LeaseLost, "the trial is decided already"),
            RevokeReason::Lost => Notice::of(Cause::LeaseLost, "the coordinator took the trial back"),
        };
        let Some(entry) = self.leases.get(lease).filter(|entry| entry.run == *run) else { return };
        let named = |trial: &&TrialKey| trials.is_empty() || trials.contains(trial);
        let keys: Vec<Key> = entry
            .trials
            .iter()
            .filter(named)
            .map(|trial| Key { run: run.clone(), trial: trial.clone() })
            .collect();
        for key in keys {
            self.stop_trial(&key, &notice, effects);
        }
    }

    fn stop_lease(&mut self, lease: &LeaseId, notice: &Notice, effects: &mut Vec<Effect>) {
        let Some(entry) = self.leases.get(lease) else { return };
        let run = entry.run.clone();
        let keys: Vec<Key> =
            entry.trials.iter().map(|trial| Key { run: run.clone(), trial: trial.clone() }).collect();
        for key in keys {
            self.stop_trial(&key, notice, effects);
        }
    }

    fn stop_trial(&mut self, key: &Key, notice: &Notice, effects: &mut Vec<Effect>) {
        let Some(held) = self.trials.get_mut(key) else { return };
        match held.work {
            Work::Queued => {
                let lease = held.lease.clone();
                self.trials.remove(key);
                self.queue.retain(|queued| queued != key);
                self.unlist(&lease, key);
                self.tell(abandoned(key, lease, None, notice.clone()), effects);
            }
            Work::Running if !held.stopped => {
                held.stopped = true;
                effects.push(Effect::Stop { key: key.clone(), notice: notice.clone() });
            }
            Work::Running | Work::Over => {}
        }
    }

    fn ended(&mut self, key: &Key, ended: Ended, effects: &mut Vec<Effect>) {
        let Some(held) = self.trials.get_mut(key) else { return };
        if held.work == Work::Over {
            return;
        }
        held.work = Work::Over;
        let lease = held.lease.clone();
        self.unlist(&lease, key);
        let message = match ended {
            Ended::Decided(decided) => FromWorker::Decided(vec![decided]),
            Ended::Abandoned { attempt, notice } => abandoned(key, lease, attempt, notice),
        };
        self.tell(message, effects);
    }

    /// Says how a trial ended, now and, until the coordinator has answered a later heartbeat, again on every new stream.
    fn tell(&mut self, message: FromWorker, effects: &mut Vec<Effect>) {
        let after = self.stream.as_ref().map_or(1, |stream| stream.sent.next());
        if self.unacknowledged.len() >= MOST_UNACKNOWLEDGED {
            self.unacknowledged.pop_front();
        }
        self.unacknowledged.push_back((after, message.clone()));
        if self.stream.is_some() {
            effects.push(Effect::Send(message));
        }
    }

    fn gone(&mut self, key: &Key, effects: &mut Vec<Effect>) {
        let Some(held) = self.trials.remove(key) else { return };
        if held.work != Work::Queued {
            self.running = self.running.saturating_sub(1);
        }
        if held.work == Work::Running {
            // It went without a word: a defect, and one that counts, or it would go on for ever.
            self.unlist(&held.lease, key);
            let notice = Notice::of(Cause::Bug, "the attempt died without a word");
            self.tell(abandoned(key, held.lease, held.attempt, notice), effects);
        }
    }

    fn start_queued(&mut self, effects: &mut Vec<Effect>) {
        while self.running < self.identity.slots {
            let Some(key) = self.queue.pop_front() else { return };
            let Some(held) = self.trials.get_mut(&key) else { continue };
            let Some(lease) = self.leases.get(&held.lease) else { continue };
            held.work = Work::Running;
            self.running += 1;
            effects.push(Effect::Start { epoch: lease.epoch, attempt: held.first, key });
        }
    }

    fn expire(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let over: Vec<LeaseId> = self
            .leases
            .iter()
            .filter(|(_, lease)| !lease.expired && lease.deadline <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.expired = true;
            }
            self.stop_lease(&id, &Notice::of(Cause::LeaseLost, "the lease ran out"), effects);
        }
    }

    fn drain(&mut self, until: Moment, effects: &mut Vec<Effect>) {
        self.draining = Some(self.draining.map_or(until, |former| former.min(until)));
        if self.stream.is_some() {
            effects.push(Effect::Send(FromWorker::Ready { credits: 0 }));
        }
        let mut returned: BTreeMap<(RunId, LeaseId), Vec<TrialKey>> = BTreeMap::new();
        for key in std::mem::take(&mut self.queue) {
            if let Some(held) = self.trials.remove(&key) {
                self.unlist(&held.lease, &key);
                returned.entry((key.run, held.lease)).or_default().push(key.trial);
            }
        }
        for ((run, lease), trials) in returned {
            self.tell(FromWorker::Returned { run, lease, trials }, effects);
        }
    }

    fn drain_hard(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.drained_hard || self.draining.is_none_or(|until| now < until) {
            return;
        }
        self.drained_hard = true;
        let mut keys: Vec<Key> = self.trials.keys().cloned().collect();
        keys.sort();
        for key in keys {
            self.stop_trial(&key, &Notice::of(Cause::Drained, "the worker is leaving"), effects);
        }
    }

    fn beat(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let due = |stream: &&mut Stream| stream.welcomed && stream.next_heartbeat <= now;
        let period = self.heartbeat;
        let Some(stream) = self.stream.as_mut().filter(due) else { return };
        let number = stream.sent.send(now);
        stream.next_heartbeat = now + period;
        // Told on this stream and several heartbeats ago: a stream that lives that long has delivered it.
        while self.unacknowledged.front().is_some_and(|(after, _)| after + 4 <= number) {
            self.unacknowledged.pop_front();
        }
        effects.push(Effect::Send(FromWorker::Heartbeat { number, held: self.held() }));
    }

    /// Dials the coordinator of a newer epoch once nothing is held here that only this one renews.
    fn move_on(&mut self, effects: &mut Vec<Effect>) {
        let free = self.trials.keys().all(|key| self.fenced.contains(&key.run));
        if let Some(address) = self.moved_to.take_if(|_| free) {
            self.fenced.clear();
            self.budget_generation = None;
            self.stream = None;
            effects.push(Effect::Redial(address));
        }
    }
}

fn abandoned(key: &Key, lease: LeaseId, attempt: Option<AttemptNo>, notice: Notice) -> FromWorker {
    FromWorker::Abandoned(TrialAbandoned {
        run: key.run.clone(),
        lease,
        trial: key.trial.clone(),
        attempt,
        cause: notice.cause,
        retryable: notice.retryable,
        counts: notice.counts,
        text: notice.text,
    })
}
