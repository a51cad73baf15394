//! State from facts, pure: what exists in the folder → where a trial or a run is. No I/O, no clock.

use domain::id::{AttemptNo, Epoch, Incarnation};
use domain::outcome::Verdict;
use std::collections::BTreeMap;

/// What the folder says about one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptFacts {
    /// Who claimed it; `None` when there is no claim (debris of a deleted or damaged folder).
    pub claimed_by: Option<Incarnation>,
    /// Whether there is a result.
    pub result: bool,
    /// How it was abandoned, when it was.
    pub abandoned: Option<crate::records::AbandonRecord>,
}

impl AttemptFacts {
    /// Claimed, and neither finished nor abandoned.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.claimed_by.is_some() && !self.result && self.abandoned.is_none()
    }
}

/// What the folder says about one trial.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrialFacts {
    /// Its verdict.
    pub verdict: Option<Verdict>,
    /// Every attempt folder with anything in it.
    pub attempts: BTreeMap<AttemptNo, AttemptFacts>,
}

/// Where a trial is. Derived, never stored.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "states are looked at one by one, never kept in bulk")]
pub enum TrialState {
    /// May be tried.
    Pending {
        /// Attempts that count so far.
        counted: u32,
        /// The number for the next attempt.
        next: AttemptNo,
    },
    /// The newest claim is open. Whether its owner lives is the one thing the folder cannot know.
    Claimed {
        /// The newest attempt.
        attempt: AttemptNo,
        /// Its owner.
        incarnation: Incarnation,
        /// Attempts that count so far, this one apart.
        counted: u32,
    },
    /// This attempt has a result; only the verdict is missing.
    Settleable(AttemptNo),
    /// Too many attempts ended without a result, or one ended in a way that must not be tried again.
    Exhausted,
    /// There is a verdict.
    Decided(Verdict),
}

impl TrialState {
    /// What the state is once the owner of an open claim is known to be dead. Any other state stays.
    #[must_use]
    pub fn with_claim_dead(self, max_attempts: u32) -> Self {
        match self {
            Self::Claimed { attempt, counted, .. } if counted + 1 < max_attempts => {
                Self::Pending { counted: counted + 1, next: attempt.next() }
            }
            Self::Claimed { .. } => Self::Exhausted,
            other => other,
        }
    }
}

/// Derives where a trial is.
///
/// A claim with neither result nor abandonment is a sudden death and counts, except for the newest, whose owner may live. With
/// several results and no verdict the lowest number settles. `max_attempts` of 0 means 1.
#[must_use]
pub fn derive(facts: TrialFacts, max_attempts: u32) -> TrialState {
    if let Some(verdict) = facts.verdict {
        return TrialState::Decided(verdict);
    }
    if let Some((attempt, _)) = facts.attempts.iter().find(|(_, facts)| facts.result) {
        return TrialState::Settleable(*attempt);
    }
    let newest = facts.attempts.last_key_value();
    let counts = |facts: &AttemptFacts| match &facts.abandoned {
        Some(abandoned) => abandoned.counts,
        None => facts.claimed_by.is_some(),
    };
    let older = facts.attempts.values().rev().skip(1);
    let counted = u32::try_from(older.filter(|facts| counts(facts)).count()).unwrap_or(u32::MAX);
    if let Some((attempt, AttemptFacts { claimed_by: Some(incarnation), abandoned: None, .. })) = newest {
        return TrialState::Claimed { attempt: *attempt, incarnation: incarnation.clone(), counted };
    }
    let counted = counted + newest.map_or(0, |(_, facts)| u32::from(counts(facts)));
    let hopeless = facts
        .attempts
        .values()
        .any(|facts| facts.abandoned.as_ref().is_some_and(|abandoned| !abandoned.retryable));
    if hopeless || counted >= max_attempts.max(1) {
        return TrialState::Exhausted;
    }
    TrialState::Pending { counted, next: newest.map_or(AttemptNo::FIRST, |(attempt, _)| attempt.next()) }
}

/// What the folder says about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunFacts {
    /// `run.json` exists.
    pub planned: bool,
    /// The newest reign.
    pub epoch: Option<Epoch>,
    /// `cancel.json` exists.
    pub cancelled: bool,
    /// Trials of the run.
    pub trials: usize,
    /// Of them, decided.
    pub decided: usize,
    /// `sealed.json` exists.
    pub sealed: bool,
}

/// Where a run is. Derived, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// A folder without `run.json` does not exist.
    Absent,
    /// Nobody reigned yet.
    Planned,
    /// Somebody reigned.
    Open,
    /// Somebody wishes it to stop, and trials are undecided.
    Cancelling,
    /// Every trial is decided.
    Settled,
    /// Closed.
    Sealed,
}

/// Derives where a run is.
#[must_use]
pub const fn derive_run(facts: &RunFacts) -> RunState {
    match facts {
        RunFacts { planned: false, .. } => RunState::Absent,
        RunFacts { sealed: true, .. } => RunState::Sealed,
        RunFacts { trials, decided, .. } if *decided >= *trials => RunState::Settled,
        RunFacts { cancelled: true, .. } => RunState::Cancelling,
        RunFacts { epoch: Some(_), .. } => RunState::Open,
        RunFacts { .. } => RunState::Planned,
    }
}

#[cfg(test)]
mod tests;
