//! What a run machine is told and what it wants done.

use crate::lease::TrialNo;
use domain::id::{AttemptNo, Epoch, Incarnation, LeaseId, PresetName, TrialKey, WorkerName};
use domain::outcome::{ErrorReason, Outcome};
use domain::usage::Usage;
use proto::message::{Cause, FromCoordinator, HeldLease, RevokeReason, TrialAbandoned, TrialDecided};
use serde::Serialize;
use std::time::Duration;

/// What a run machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A worker is connected and holds this of the run; whatever the table says beyond it is over.
    Joined {
        /// The worker.
        worker: Incarnation,
        /// Its name.
        name: WorkerName,
        /// Its stream: a later one has a higher number.
        session: u64,
        /// The newest heartbeat of that stream that was handled; 0 = the hello.
        heartbeat: u64,
        /// What it holds.
        held: Vec<HeldLease>,
    },
    /// A worker's stream is lost; its leases run on.
    StreamLost {
        /// The worker.
        worker: Incarnation,
        /// The stream.
        session: u64,
        /// Whether it ended the stream itself, holding nothing.
        left: bool,
    },
    /// A worker renews.
    Heartbeat {
        /// The worker.
        worker: Incarnation,
        /// The stream.
        session: u64,
        /// The number of the heartbeat on the stream.
        number: u64,
        /// What it holds of the run.
        held: Vec<HeldLease>,
    },
    /// Verdicts exist.
    Decided {
        /// Who says so.
        worker: Incarnation,
        /// The trials.
        trials: Vec<TrialDecided>,
    },
    /// An attempt ended without a result.
    Abandoned {
        /// Who says so.
        worker: Incarnation,
        /// The stream.
        session: u64,
        /// What.
        abandoned: TrialAbandoned,
    },
    /// Trials are given back; none named = the whole lease.
    Returned {
        /// Who says so.
        worker: Incarnation,
        /// The stream.
        session: u64,
        /// The lease.
        lease: LeaseId,
        /// The trials.
        trials: Vec<TrialKey>,
    },
    /// The fleet hands out slots: the answer to `Effect::Take`.
    Slots(Vec<(Incarnation, u32)>),
    /// The answer to `Effect::Look`.
    Looked {
        /// Which look.
        round: u64,
        /// What the folder says.
        found: Vec<(TrialNo, Found)>,
    },
    /// The answer to `Effect::CheckFence`.
    FenceChecked(Fence),
    /// The answer to `Effect::Conclude`.
    Concluded {
        /// The trial.
        trial: TrialNo,
        /// Its verdict, or why there is none yet.
        verdict: Result<Conclusion, String>,
    },
    /// What stands in `cancel.json`, looked at together with the fence: anybody may write it, also without a coordinator.
    CancelLooked(Option<String>),
    /// Somebody cancelled the run; `cancel.json` exists.
    Cancel {
        /// Why.
        reason: String,
    },
    /// The answer to `Effect::Seal`.
    Sealed,
    /// The other answer to `Effect::Seal`.
    SealFailed {
        /// Why.
        text: String,
        /// Trials whose verdict was announced and is not there.
        missing: Vec<TrialKey>,
    },
    /// Time passes.
    Tick,
}

/// What the folder says of a trial before it is granted again.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It is decided, perhaps by our help.
    Decided(Conclusion),
    /// It may be tried under this number.
    Free(AttemptNo),
    /// The folder could not be read.
    Unknown(String),
}

/// How a trial ended, as far as progress needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conclusion {
    /// The outcome.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Wall seconds.
    pub seconds: f64,
    /// Model calls.
    pub steps: u32,
}

/// Whether this reign is the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// It is.
    Ours,
    /// It is not.
    Newer {
        /// The newer epoch.
        epoch: Epoch,
        /// Where it reigns, when known.
        address: Option<String>,
    },
    /// The folder could not be read.
    Unknown(String),
}

/// What a run machine wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Tell a worker.
    Send {
        /// Whom.
        worker: Incarnation,
        /// What.
        message: FromCoordinator,
    },
    /// Ask the fleet for slots; answered once, when there are some.
    Take {
        /// At most so many.
        slots: u32,
    },
    /// Give slots back to the fleet.
    Release(Vec<(Incarnation, u32)>),
    /// Tell the fleet that an adopted lease occupies slots that were never handed out.
    Occupy {
        /// Whose.
        worker: Incarnation,
        /// How many.
        slots: u32,
    },
    /// Look in the folder before these trials are granted again.
    Look {
        /// Which look.
        round: u64,
        /// The trials.
        trials: Vec<(TrialNo, TrialKey)>,
    },
    /// See whether a newer epoch exists.
    CheckFence,
    /// Decide a trial that no attempt will decide: help it if a result exists, else write it as errored.
    Conclude {
        /// The trial.
        trial: TrialNo,
        /// Its key.
        key: TrialKey,
        /// With what, when there is no result.
        why: ErrorReason,
        /// For people.
        text: String,
    },
    /// Write the seal.
    Seal,
    /// Tell whoever watches.
    Progress(Progress),
    /// Write down for people.
    Journal(Decision),
    /// The end: nothing follows.
    Close,
}

/// What watchers see.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A trial was decided.
    Decided {
        /// The trial.
        trial: TrialKey,
        /// How.
        conclusion: Conclusion,
        /// Who had it; `None` = the coordinator decided.
        worker: Option<WorkerName>,
    },
    /// An attempt ended without a result.
    Abandoned {
        /// The trial.
        trial: TrialKey,
        /// The attempt.
        attempt: Option<AttemptNo>,
        /// Why.
        cause: Cause,
        /// For people.
        text: String,
        /// Who had it.
        worker: Option<WorkerName>,
        /// When it may be granted again.
        again_after: Option<Duration>,
    },
    /// A worker came or went.
    Worker {
        /// Which.
        worker: WorkerName,
        /// What it did.
        change: WorkerChange,
    },
    /// A preset is paused (with the reason) or goes on.
    Preset {
        /// Which.
        preset: PresetName,
        /// Why it is paused.
        paused: Option<String>,
    },
    /// The phase or the note changed.
    Status,
}

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerChange {
    /// It is connected.
    Joined,
    /// Its stream is lost; its leases run on.
    Suspect,
    /// Its leases are over.
    Lost,
    /// It said goodbye.
    Left,
}

/// A line of the journal: what was out of the ordinary. Grants and verdicts are not in it, the folder has them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Decision {
    /// This reign began after another one.
    Resumed {
        /// Trials that were undecided.
        undecided: u32,
        /// Milliseconds of waiting for workers.
        wait_ms: u64,
    },
    /// Attempts of an earlier reign go on.
    Adopted {
        /// Whose.
        worker: WorkerName,
        /// The trials.
        trials: Vec<TrialKey>,
    },
    /// A lease ended without a word.
    Expired {
        /// Whose.
        worker: Option<WorkerName>,
        /// The trials.
        trials: Vec<TrialKey>,
    },
    /// Trials were given back.
    Returned {
        /// By whom.
        worker: Option<WorkerName>,
        /// The trials.
        trials: Vec<TrialKey>,
    },
    /// Trials were taken back.
    Revoked {
        /// From whom.
        worker: Option<WorkerName>,
        /// The trials.
        trials: Vec<TrialKey>,
        /// Why.
        reason: &'static str,
    },
    /// An attempt ended without a result.
    Abandoned {
        /// The trial.
        trial: TrialKey,
        /// Whose.
        worker: Option<WorkerName>,
        /// Why.
        cause: &'static str,
        /// For people.
        text: String,
    },
    /// A preset rests.
    Paused {
        /// Which.
        preset: PresetName,
        /// Why.
        text: String,
    },
    /// A preset goes on.
    Unpaused {
        /// Which.
        preset: PresetName,
    },
    /// Trials are given up.
    GivenUp {
        /// The trials.
        trials: Vec<TrialKey>,
        /// As what.
        why: ErrorReason,
        /// For people.
        text: String,
    },
    /// The run is cancelled.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// A newer epoch reigns.
    Fenced {
        /// Which.
        epoch: Epoch,
    },
    /// Verdicts that were announced are not there.
    VerdictsMissing {
        /// The trials.
        trials: Vec<TrialKey>,
    },
}

/// The word for a journal line.
#[must_use]
pub(super) const fn revoke_word(reason: RevokeReason) -> &'static str {
    match reason {
        RevokeReason::Cancelled => "cancelled",
        RevokeReason::Decided => "decided",
        RevokeReason::Lost => "lost",
    }
}
