//! The lease table of one run: who may spend on what, until when. Knows no trial's state and sends nothing.

use domain::env::Moment;
use domain::id::{Epoch, Incarnation, LeaseId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The place of a trial in its run's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialNo(pub u32);

/// How long leases last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What workers are told; they count it from before they sent the message that is answered.
    pub ttl: Duration,
    /// What the coordinator adds; it counts from after it handled that message. So the worker always stops first (L1).
    pub grace: Duration,
}

impl Terms {
    /// When a lease that is granted or renewed now ends here.
    #[must_use]
    pub fn until(self, now: Moment) -> Moment {
        now + self.ttl + self.grace
    }
}

/// A worker's time-limited permission to spend on a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub worker: Incarnation,
    /// What is not over yet; never empty.
    pub trials: BTreeSet<TrialNo>,
    /// When it ends here.
    pub until: Moment,
    /// The lease of an earlier reign that it goes on from.
    former: Option<LeaseId>,
}

/// All leases of a reign over one run.
#[derive(Debug)]
pub struct Leases {
    epoch: Epoch,
    made: u64,
    table: BTreeMap<LeaseId, Lease>,
    adopted: HashMap<LeaseId, LeaseId>,
    /// No lease ends before this.
    earliest: Option<Moment>,
}

impl Leases {
    /// An empty table; the epoch keeps its ids apart from those of other reigns.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, made: 0, table: BTreeMap::new(), adopted: HashMap::new(), earliest: None }
    }

    /// Makes a lease. `former` is the lease of an earlier reign under which the worker holds the trials: messages that still name it
    /// are understood.
    pub fn make(
        &mut self,
        worker: Incarnation,
        trials: impl IntoIterator<Item = TrialNo>,
        until: Moment,
        former: Option<LeaseId>,
    ) -> LeaseId {
        self.made += 1;
        let id = LeaseId::folded(&format!("e{}-{}", self.epoch.get(), self.made));
        if let Some(former) = &former {
            self.adopted.insert(former.clone(), id.clone());
        }
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
        let lease = Lease { worker, trials: trials.into_iter().collect(), until, former };
        self.table.insert(id.clone(), lease);
        id
    }

    /// The present id of a lease that a worker names: its own, or that of the lease which goes on from it.
    #[must_use]
    pub fn resolve(&self, named: &LeaseId) -> Option<LeaseId> {
        if self.table.contains_key(named) { Some(named.clone()) } else { self.adopted.get(named).cloned() }
    }

    /// The lease.
    #[must_use]
    pub fn find(&self, id: &LeaseId) -> Option<&Lease> {
        self.table.get(id)
    }

    /// Lets a lease last longer; never shorter.
    pub fn renew(&mut self, id: &LeaseId, until: Moment) {
        if let Some(lease) = self.table.get_mut(id) {
            lease.until = lease.until.max(until);
        }
    }

    /// Adds a trial to a lease.
    pub fn extend(&mut self, id: &LeaseId, trial: TrialNo) {
        if let Some(lease) = self.table.get_mut(id) {
            lease.trials.insert(trial);
        }
    }

    /// Takes a trial out of its lease; the last one ends the lease. Says whose it was.
    pub fn end_trial(&mut self, id: &LeaseId, trial: TrialNo) -> Option<Incarnation> {
        let lease = self.table.get_mut(id)?;
        if !lease.trials.remove(&trial) {
            return None;
        }
        let worker = lease.worker.clone();
        if lease.trials.is_empty() {
            self.end(id);
        }
        Some(worker)
    }

    /// Ends a lease and hands out what it had.
    pub fn end(&mut self, id: &LeaseId) -> Option<Lease> {
        let lease = self.table.remove(id)?;
        if let Some(former) = &lease.former {
            self.adopted.remove(former);
        }
        Some(lease)
    }

    /// The leases of a worker.
    #[must_use]
    pub fn of(&self, worker: &Incarnation) -> Vec<LeaseId> {
        let mine = self.table.iter().filter(|(_, lease)| lease.worker == *worker);
        mine.map(|(id, _)| id.clone()).collect()
    }

    /// Every lease there is.
    pub fn iter(&self) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.table.iter()
    }

    /// The leases whose time is over, in the order of their making.
    pub fn expired(&mut self, now: Moment) -> Vec<LeaseId> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let (mut over, mut earliest) = (Vec::new(), None::<Moment>);
        for (id, lease) in &self.table {
            if lease.until <= now {
                over.push(id.clone());
            } else {
                earliest = Some(earliest.map_or(lease.until, |earliest| earliest.min(lease.until)));
            }
        }
        self.earliest = earliest;
        over.sort_by(|a, b| (a.as_str().len(), a.as_str()).cmp(&(b.as_str().len(), b.as_str())));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn worker(name: &str) -> Incarnation {
        name.parse().unwrap()
    }

    #[test]
    fn a_lease_ends_with_its_last_trial() {
        let mut leases = Leases::new(Epoch::FIRST);
        let id = leases.make(worker("w"), [TrialNo(1), TrialNo(2)], at(10), None);
        assert_eq!(leases.end_trial(&id, TrialNo(1)), Some(worker("w")));
        assert_eq!(leases.end_trial(&id, TrialNo(1)), None, "a second copy changes nothing");
        assert!(leases.find(&id).is_some());
        assert_eq!(leases.end_trial(&id, TrialNo(2)), Some(worker("w")));
        assert!(leases.find(&id).is_none());
    }

    #[test]
    fn the_name_of_an_earlier_reign_is_understood_until_the_lease_ends() {
        let mut leases = Leases::new(Epoch::FIRST.next());
        let old: LeaseId = "e1-7".parse().unwrap();
        let new = leases.make(worker("w"), [TrialNo(1)], at(10), Some(old.clone()));
        assert_eq!(leases.resolve(&old), Some(new.clone()));
        leases.end(&new);
        assert_eq!(leases.resolve(&old), None);
    }

    #[test]
    fn renewing_never_shortens() {
        let mut leases = Leases::new(Epoch::FIRST);
        let id = leases.make(worker("w"), [TrialNo(1)], at(10), None);
        leases.renew(&id, at(5));
        assert_eq!(leases.expired(at(9)), []);
        leases.renew(&id, at(20));
        assert_eq!(leases.expired(at(19)), []);
        assert_eq!(leases.expired(at(20)), [id]);
    }

    proptest! {
        /// L1: whatever the delays on the way, the worker's deadline is not after the coordinator's.
        #[test]
        fn the_worker_stops_first(
            ttl in 1u64..60_000, grace in 0u64..10_000,
            sent in 0u64..100_000, to_coordinator in 0u64..100_000, then in 0u64..100_000,
        ) {
            let terms = Terms { ttl: Duration::from_millis(ttl), grace: Duration::from_millis(grace) };
            // The worker sends a heartbeat; the coordinator handles it later and, later still, answers it or grants on the strength of it.
            let here = terms.until(at(sent) + Duration::from_millis(to_coordinator) + Duration::from_millis(then));
            let there = at(sent) + terms.ttl;
            prop_assert!(there <= here);
        }
    }
}
