//! The messages of a session in domain types: what actors and machines speak. Owns no rule; `convert` carries them over the wire.

use domain::id::{AttemptNo, Epoch, Incarnation, LeaseId, PresetName, RunId, TrialKey, WorkerName};
use domain::outcome::Outcome;
use domain::usage::Usage;
use std::collections::BTreeMap;
use std::time::Duration;

/// From a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum FromWorker {
    /// First, once a stream.
    Hello(Hello),
    /// How many trials it wants to hold at most, held ones included; absolute.
    Ready {
        /// Trials at most.
        credits: u32,
    },
    /// Renews leases.
    Heartbeat {
        /// Counts up from 1 on each stream.
        number: u64,
        /// Everything it holds.
        held: Vec<HeldLease>,
    },
    /// Verdict objects that exist now.
    Decided(Vec<TrialDecided>),
    /// An attempt that ended without a result.
    Abandoned(TrialAbandoned),
    /// Trials given back; no trials named = all of the lease.
    Returned {
        /// The run.
        run: RunId,
        /// The lease.
        lease: LeaseId,
        /// The trials.
        trials: Vec<TrialKey>,
    },
}

/// Who is calling and what it still holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The protocol it speaks.
    pub protocol: u32,
    /// Its name for people.
    pub worker: WorkerName,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Trials it can run at once.
    pub slots: u32,
    /// Software version.
    pub version: String,
    /// Facts for people.
    pub labels: BTreeMap<String, String>,
    /// Everything granted to this incarnation whose end has not been told.
    pub held: Vec<HeldLease>,
}

/// A lease as its holder sees it; lists all trials of it that are still held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// The lease.
    pub lease: LeaseId,
    /// Its run.
    pub run: RunId,
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// What is still held.
    pub trials: Vec<HeldTrial>,
}

/// A trial in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTrial {
    /// The trial.
    pub trial: TrialKey,
    /// The attempt; `None` = not claimed yet.
    pub attempt: Option<AttemptNo>,
    /// One line for people.
    pub progress: String,
}

/// The verdict object of this trial exists.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialDecided {
    /// Its run.
    pub run: RunId,
    /// The trial.
    pub trial: TrialKey,
    /// The attempt the verdict names.
    pub attempt: Option<AttemptNo>,
    /// Its outcome.
    pub outcome: Outcome,
    /// Its usage.
    pub usage: Usage,
    /// Its wall seconds.
    pub seconds: f64,
    /// Its model calls.
    pub steps: u32,
}

/// An attempt ended without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialAbandoned {
    /// Its run.
    pub run: RunId,
    /// The lease it was held under, as last granted.
    pub lease: LeaseId,
    /// The trial.
    pub trial: TrialKey,
    /// The attempt; `None` = nothing was claimed.
    pub attempt: Option<AttemptNo>,
    /// Why.
    pub cause: Cause,
    /// Whether another attempt can help.
    pub retryable: bool,
    /// Whether it counts.
    pub counts: bool,
    /// One line for people.
    pub text: String,
}

/// Why an attempt ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The lease ran out or was revoked.
    LeaseLost,
    /// The worker is leaving.
    Drained,
    /// The run was cancelled.
    Cancelled,
    /// Engine, image or disk trouble.
    WorkspaceUnavailable,
    /// The workspace died under the agent.
    WorkspaceDied,
    /// The provider stayed away.
    ProviderUnavailable,
    /// The store could not be written.
    StoreUnavailable,
    /// Something needed cannot be used.
    Unusable,
    /// A defect of och.
    Bug,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LeaseLost,
        Self::Drained,
        Self::Cancelled,
        Self::WorkspaceUnavailable,
        Self::WorkspaceDied,
        Self::ProviderUnavailable,
        Self::StoreUnavailable,
        Self::Unusable,
        Self::Bug,
    ];

    /// For people: `provider unavailable`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeaseLost => "lease lost",
            Self::Drained => "worker drained",
            Self::Cancelled => "run cancelled",
            Self::WorkspaceUnavailable => "workspace unavailable",
            Self::WorkspaceDied => "workspace died",
            Self::ProviderUnavailable => "provider unavailable",
            Self::StoreUnavailable => "store unavailable",
            Self::Unusable => "unusable",
            Self::Bug => "bug",
        }
    }
}

/// From the coordinator.
#[derive(Debug, Clone, PartialEq)]
pub enum FromCoordinator {
    /// First, once a stream.
    Welcome(Welcome),
    /// Trials to run.
    Grant(Grant),
    /// Answer to a heartbeat.
    Renewed {
        /// The heartbeat that is answered.
        heartbeat: u64,
        /// Leases of one run that go on. Listed leases that have ended are revoked; those of runs that are not open here are not answered.
        leases: Vec<LeaseId>,
        /// How long, counted from before the heartbeat was sent.
        ttl: Duration,
    },
    /// Trials to stop; none named = the whole lease.
    Revoke {
        /// The run.
        run: RunId,
        /// The lease.
        lease: LeaseId,
        /// The trials.
        trials: Vec<TrialKey>,
        /// Why.
        reason: RevokeReason,
    },
    /// The worker's part of every endpoint's limits.
    Budget {
        /// Counts up; an older one is ignored.
        generation: u64,
        /// From above 0 to 1.
        share: f64,
    },
    /// The coordinator closes the stream on purpose; the worker goes on and dials again.
    Drain {
        /// Why, for people.
        text: String,
    },
    /// A newer epoch of the run exists.
    Fenced {
        /// The run.
        run: RunId,
        /// The newer epoch.
        epoch: Epoch,
        /// Where it reigns, when known.
        address: Option<String>,
    },
}

/// Answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol the coordinator speaks.
    pub protocol: u32,
    /// This life of the coordinator.
    pub incarnation: Incarnation,
    /// How often heartbeats are sent.
    pub heartbeat: Duration,
    /// How long leases last.
    pub ttl: Duration,
    /// Where the runs are.
    pub store: String,
    /// Software version.
    pub version: String,
}

/// Permission to spend on trials of one preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub lease: LeaseId,
    /// The run.
    pub run: RunId,
    /// The reign.
    pub epoch: Epoch,
    /// The preset of all trials.
    pub preset: PresetName,
    /// The trials.
    pub trials: Vec<GrantedTrial>,
    /// How long, counted by the worker from before it sent the message `heartbeat`.
    pub ttl: Duration,
    /// The newest heartbeat of this stream handled before the grant; 0 = hello.
    pub heartbeat: u64,
}

/// One trial of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedTrial {
    /// The trial.
    pub trial: TrialKey,
    /// The number to try first.
    pub attempt: AttemptNo,
    /// It is in this worker's hands already, and is never started anew because of this grant.
    pub adopted: bool,
}

/// Why trials are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevokeReason {
    /// The run was cancelled.
    Cancelled,
    /// The trial is decided already.
    Decided,
    /// The lease is over, or another worker has the trial.
    Lost,
}
