//! Who is here and whose slots are whose: the rules of the fleet. Pure; sends nothing, knows no trial.

use domain::env::Moment;
use domain::id::{Incarnation, RunId, WorkerName};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Slots of workers.
pub type Slots = Vec<(Incarnation, u32)>;

/// The rules of the fleet.
#[derive(Debug)]
pub struct FleetMachine {
    members: BTreeMap<Incarnation, Member>,
    /// Members with free slots, fullest first.
    idle: BTreeSet<(Reverse<u32>, Incarnation)>,
    /// Runs that wait for slots, longest first, each with how many.
    takes: VecDeque<(RunId, u32)>,
    sessions: u64,
    generation: u64,
    forget_after: Duration,
}

#[derive(Debug)]
struct Member {
    name: WorkerName,
    session: Option<u64>,
    credits: u32,
    used: BTreeMap<RunId, u32>,
    free: u32,
    forget_at: Option<Moment>,
}

/// A worker's part of every endpoint's limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Counts up.
    pub generation: u64,
    /// From above 0 to 1.
    pub share: f64,
}

impl FleetMachine {
    /// An empty fleet. A worker whose stream is lost keeps its share until its leases must be over.
    #[must_use]
    pub const fn new(forget_after: Duration) -> Self {
        Self {
            members: BTreeMap::new(),
            idle: BTreeSet::new(),
            takes: VecDeque::new(),
            sessions: 0,
            generation: 0,
            forget_after,
        }
    }

    /// A worker has a new stream. Answers its number, higher than any before. Until it says `ready` nothing is given to it.
    pub fn join(&mut self, worker: &Incarnation, name: WorkerName) -> u64 {
        self.sessions += 1;
        let session = self.sessions;
        match self.members.get_mut(worker) {
            Some(member) => {
                member.name = name;
                member.session = Some(session);
                member.credits = 0;
                member.forget_at = None;
                self.recount(worker);
            }
            None => {
                let member = Member {
                    name,
                    session: Some(session),
                    credits: 0,
                    used: BTreeMap::new(),
                    free: 0,
                    forget_at: None,
                };
                self.members.insert(worker.clone(), member);
                self.generation += 1;
            }
        }
        session
    }

    /// A worker says how many trials it wants to hold at most.
    pub fn ready(&mut self, worker: &Incarnation, session: u64, credits: u32) {
        if let Some(member) = self.members.get_mut(worker)
            && member.session == Some(session)
        {
            member.credits = credits;
            self.recount(worker);
        }
    }

    /// A stream is lost. A worker that said goodbye is forgotten at once.
    pub fn lost(&mut self, now: Moment, worker: &Incarnation, session: u64, left: bool) {
        let Some(member) = self.members.get_mut(worker) else { return };
        if member.session != Some(session) {
            return;
        }
        member.session = None;
        member.credits = 0;
        member.forget_at = Some(now + self.forget_after);
        self.recount(worker);
        if left {
            self.forget(worker);
        }
    }

    /// Time passes. Says whether shares changed.
    pub fn tick(&mut self, now: Moment) -> bool {
        let over: Vec<Incarnation> = self
            .members
            .iter()
            .filter(|(_, member)| member.forget_at.is_some_and(|at| now >= at))
            .map(|(worker, _)| worker.clone())
            .collect();
        over.iter().for_each(|worker| self.forget(worker));
        !over.is_empty()
    }

    fn forget(&mut self, worker: &Incarnation) {
        if let Some(member) = self.members.remove(worker) {
            self.idle.remove(&(Reverse(member.free), worker.clone()));
            self.generation += 1;
        }
    }

    fn recount(&mut self, worker: &Incarnation) {
        let Some(member) = self.members.get_mut(worker) else { return };
        let used = member.used.values().fold(0_u32, |sum, used| sum.saturating_add(*used));
        let free = if member.session.is_some() { member.credits.saturating_sub(used) } else { 0 };
        if free != member.free {
            self.idle.remove(&(Reverse(member.free), worker.clone()));
            member.free = free;
            if free > 0 {
                self.idle.insert((Reverse(free), worker.clone()));
            }
        }
    }

    /// A run could use so many slots. Replaces what it asked before.
    pub fn take(&mut self, run: RunId, slots: u32) {
        match self.takes.iter_mut().find(|(waiting, _)| *waiting == run) {
            Some((_, wanted)) => *wanted = slots,
            None => self.takes.push_back((run, slots)),
        }
    }

    /// Slots are no longer used by a run.
    pub fn release(&mut self, run: &RunId, slots: &[(Incarnation, u32)]) {
        for (worker, count) in slots {
            if let Some(member) = self.members.get_mut(worker)
                && let Some(used) = member.used.get_mut(run)
            {
                *used = used.saturating_sub(*count);
                if *used == 0 {
                    member.used.remove(run);
                }
                self.recount(worker);
            }
        }
    }

    /// A run uses slots that were never given to it.
    pub fn occupy(&mut self, run: &RunId, worker: &Incarnation, slots: u32) {
        if let Some(member) = self.members.get_mut(worker) {
            let used = member.used.entry(run.clone()).or_default();
            *used = used.saturating_add(slots);
            self.recount(worker);
        }
    }

    /// A run is over: it uses nothing and wants nothing.
    pub fn run_ended(&mut self, run: &RunId) {
        self.takes.retain(|(waiting, _)| waiting != run);
        let users: Vec<Incarnation> = self
            .members
            .iter()
            .filter(|(_, member)| member.used.contains_key(run))
            .map(|(worker, _)| worker.clone())
            .collect();
        for worker in users {
            if let Some(member) = self.members.get_mut(&worker) {
                member.used.remove(run);
            }
            self.recount(&worker);
        }
    }

    /// Gives free slots to the runs that wait, equal parts to each, one slot at a time from the worker with the most free ones, so that
    /// few trials spread over all workers.
    pub fn give(&mut self) -> Vec<(RunId, Slots)> {
        let free: u32 = self.idle.iter().fold(0, |sum, (Reverse(free), _)| sum.saturating_add(*free));
        let waiting = u32::try_from(self.takes.len()).unwrap_or(u32::MAX);
        if free == 0 || waiting == 0 {
            return Vec::new();
        }
        let part = free.div_ceil(waiting);
        let mut given = Vec::new();
        while let Some((run, wanted)) = self.takes.front().cloned() {
            let mut slots: BTreeMap<Incarnation, u32> = BTreeMap::new();
            for _ in 0..wanted.min(part) {
                let Some((_, worker)) = self.idle.first().cloned() else { break };
                *slots.entry(worker.clone()).or_default() += 1;
                self.occupy(&run, &worker, 1);
            }
            if slots.is_empty() {
                break;
            }
            self.takes.pop_front();
            given.push((run, slots.into_iter().collect()));
        }
        given
    }

    /// Each worker's present part of the limits. Lost workers count until they are forgotten: they may still be calling.
    #[must_use]
    pub fn share(&self) -> Share {
        let members = u32::try_from(self.members.len().max(1)).unwrap_or(u32::MAX);
        Share { generation: self.generation, share: 1.0 / f64::from(members) }
    }

    /// Connected workers, by name.
    pub fn connected(&self) -> impl Iterator<Item = &WorkerName> {
        self.members.values().filter(|member| member.session.is_some()).map(|member| &member.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn worker(number: u8) -> Incarnation {
        format!("w{number}").parse().unwrap()
    }

    fn run(number: u8) -> RunId {
        format!("r{number}").parse().unwrap()
    }

    fn fleet(credits: &[u32]) -> FleetMachine {
        let mut fleet = FleetMachine::new(Duration::from_secs(40));
        for (number, credits) in (0_u8..).zip(credits) {
            let session = fleet.join(&worker(number), "n".parse().unwrap());
            fleet.ready(&worker(number), session, *credits);
        }
        fleet
    }

    #[test]
    fn few_slots_are_spread_over_all_workers() {
        let mut fleet = fleet(&[4, 4, 4]);
        fleet.take(run(0), 4);
        let given = fleet.give();
        assert_eq!(given.len(), 1);
        assert!(given[0].1.iter().all(|(_, slots)| *slots <= 2), "{given:?}");
        assert_eq!(given[0].1.len(), 3);
        assert_eq!(fleet.give(), [], "answered once");
    }

    #[test]
    fn runs_get_equal_parts() {
        let mut fleet = fleet(&[8]);
        fleet.take(run(0), 100);
        fleet.take(run(1), 100);
        let sums: Vec<u32> =
            fleet.give().iter().map(|(_, slots)| slots.iter().map(|(_, slots)| slots).sum()).collect();
        assert_eq!(sums, [4, 4]);
    }

    #[test]
    fn credits_are_absolute_and_count_what_is_held() {
        let mut fleet = fleet(&[2]);
        fleet.take(run(0), 9);
        assert_eq!(fleet.give(), [(run(0), vec![(worker(0), 2)])]);
        fleet.ready(&worker(0), 1, 2);
        fleet.take(run(0), 9);
        assert_eq!(fleet.give(), [], "saying it again gives nothing new");
        fleet.release(&run(0), &[(worker(0), 1)]);
        assert_eq!(fleet.give(), [(run(0), vec![(worker(0), 1)])]);
        fleet.ready(&worker(0), 1, 0);
        fleet.release(&run(0), &[(worker(0), 2)]);
        fleet.take(run(0), 9);
        assert_eq!(fleet.give(), [], "it wants nothing more");
        fleet.ready(&worker(0), 99, 5);
        assert_eq!(fleet.give(), [], "another stream's word does not count");
    }

    #[test]
    fn a_lost_worker_gets_nothing_and_keeps_its_share_for_a_while() {
        let mut fleet = fleet(&[2, 2]);
        assert!((fleet.share().share - 0.5).abs() < 1e-9);
        fleet.lost(Moment::from_millis(0), &worker(0), 1, false);
        fleet.take(run(0), 9);
        assert_eq!(fleet.give(), [(run(0), vec![(worker(1), 2)])]);
        assert!(!fleet.tick(Moment::from_millis(39_000)));
        assert!((fleet.share().share - 0.5).abs() < 1e-9);
        let before = fleet.share().generation;
        assert!(fleet.tick(Moment::from_millis(40_000)));
        assert!((fleet.share().share - 1.0).abs() < 1e-9);
        assert!(fleet.share().generation > before);
    }

    #[test]
    fn a_worker_that_says_goodbye_is_forgotten_at_once() {
        let mut fleet = fleet(&[2, 2]);
        fleet.lost(Moment::default(), &worker(0), 1, true);
        assert!((fleet.share().share - 1.0).abs() < 1e-9);
        assert_eq!(fleet.connected().count(), 1);
    }

    #[test]
    fn a_worker_that_comes_back_in_time_still_holds_what_it_held() {
        let mut fleet = fleet(&[2]);
        fleet.take(run(0), 9);
        fleet.give();
        fleet.lost(Moment::default(), &worker(0), 1, false);
        let session = fleet.join(&worker(0), "n".parse().unwrap());
        fleet.lost(Moment::default(), &worker(0), 1, false);
        fleet.ready(&worker(0), session, 3);
        fleet.take(run(0), 9);
        assert_eq!(fleet.give(), [(run(0), vec![(worker(0), 1)])]);
    }

    #[test]
    fn an_ended_run_gives_everything_back() {
        let mut fleet = fleet(&[2]);
        fleet.take(run(0), 9);
        fleet.give();
        fleet.take(run(0), 9);
        fleet.run_ended(&run(0));
        fleet.take(run(1), 9);
        assert_eq!(fleet.give(), [(run(1), vec![(worker(0), 2)])]);
    }

    proptest! {
        /// Nobody is given more than it wants, whatever happens in which order.
        #[test]
        fn credits_are_never_exceeded(moves in prop::collection::vec((0u8..6, 0u8..3, 0u8..2, 0u32..6), 0..80)) {
            let mut fleet = FleetMachine::new(Duration::from_secs(40));
            let mut sessions = [0; 3];
            let mut credits = [0_u32; 3];
            let mut held: BTreeMap<(u8, u8), u32> = BTreeMap::new();
            for (kind, at, of, number) in moves {
                match kind {
                    0 => { sessions[usize::from(at)] = fleet.join(&worker(at), "n".parse().unwrap()); credits[usize::from(at)] = 0; }
                    1 if sessions[usize::from(at)] > 0 => { fleet.ready(&worker(at), sessions[usize::from(at)], number); credits[usize::from(at)] = number; }
                    2 => fleet.take(run(of), number),
                    3 => {
                        let has = held.entry((at, of)).or_default();
                        let back = number.min(*has);
                        *has -= back;
                        fleet.release(&run(of), &[(worker(at), back)]);
                    }
                    _ => {}
                }
                for (to, slots) in fleet.give() {
                    for (from, count) in slots {
                        let at = (0..3).find(|at| worker(*at) == from).unwrap();
                        let of = (0..2).find(|of| run(*of) == to).unwrap();
                        *held.entry((at, of)).or_default() += count;
                        let sum: u32 = held.iter().filter(|((worker, _), _)| *worker == at).map(|(_, held)| held).sum();
                        prop_assert!(sum <= credits[usize::from(at)]);
                    }
                }
            }
        }
    }
}
