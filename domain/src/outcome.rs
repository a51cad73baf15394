//! How attempts and trials end. Owns the taxonomy and `verdict = f(result)`; knows nothing of how either is stored.

use crate::id::{AttemptNo, Incarnation, TrialKey};
use crate::text;
use crate::usage::Usage;
use serde::{Deserialize, Serialize};

/// The answer of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// The model did it.
    Passed,
    /// The model did not: data.
    Failed {
        /// Why.
        why: Failure,
    },
    /// It could not be measured: ours, kept apart from failures.
    Errored {
        /// Why.
        why: ErrorReason,
    },
}

/// The model's doing. The words are the original system's where it had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The conversation could not go on: context length, refusal, garbage.
    Exception,
    /// Not finished, and the last tool results were failures.
    ToolFailure,
    /// Not finished within the steps.
    MaxSteps,
    /// Finished without the marker.
    ExpectationMismatch,
    /// The verify command failed.
    VerificationFailure,
    /// Not finished within the time.
    TimeLimit,
    /// Not finished within the money or tokens.
    BudgetExhausted,
    /// Another model answered than the one asked.
    ModelMismatch,
}

impl Failure {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Exception,
        Self::ToolFailure,
        Self::MaxSteps,
        Self::ExpectationMismatch,
        Self::VerificationFailure,
        Self::TimeLimit,
        Self::BudgetExhausted,
        Self::ModelMismatch,
    ];

    /// The word in reports: `failure_type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::ToolFailure => "tool_failure",
            Self::MaxSteps => "max_steps",
            Self::ExpectationMismatch => "expectation_mismatch",
            Self::VerificationFailure => "verification_failure",
            Self::TimeLimit => "time_limit",
            Self::BudgetExhausted => "budget_exhausted",
            Self::ModelMismatch => "model_mismatch",
        }
    }
}

/// Our doing, or the world's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorReason {
    /// Every allowed attempt died.
    AttemptsExhausted,
    /// No workspace could be made.
    WorkspaceUnavailable,
    /// The provider stayed away.
    ProviderUnavailable,
    /// The provider refused the request itself: key, model name, parameters.
    ProviderRejected,
    /// The run was cancelled.
    Cancelled,
}

impl ErrorReason {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::WorkspaceUnavailable => "workspace_unavailable",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::ProviderRejected => "provider_rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An annotation on a verdict, passing or not; never an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A tool failed on the way and the trial passed all the same.
    RecoveredToolFailure,
    /// More than one attempt reached a result.
    Contested,
    /// A reply was cut off by the output limit.
    Truncated,
    /// A verify round failed before one passed.
    RepairedAfterFeedback,
}

/// Where the seconds of an attempt went.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// From claim to result, verification and repair rounds included.
    pub total: f64,
    /// Waiting for model replies, retries and rate limits included.
    pub model: f64,
    /// Running tools.
    pub tools: f64,
    /// Running the verify command.
    pub verify: f64,
}

/// One run of the verify command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyRound {
    /// Whether it passed.
    pub ok: bool,
    /// How it ended, for people: `exit code 1`, `timed out after 120 s`.
    pub end: String,
    /// How long it took.
    pub seconds: f64,
}

/// A stored chunk of an attempt, for checking that nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Path inside the attempt folder.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Lower-case hex SHA-256.
    pub sha256: String,
}

/// What one attempt concluded: the body of `result.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptResult {
    /// The trial.
    pub trial: TrialKey,
    /// The attempt.
    pub attempt: AttemptNo,
    /// Who made it.
    pub incarnation: Incarnation,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the agent finished by itself.
    pub finished: bool,
    /// Model calls, feedback rounds included.
    pub steps: u32,
    /// Tools executed.
    pub tool_calls: u32,
    /// Of them, failed.
    pub failed_tool_calls: u32,
    /// Tokens and money.
    pub usage: Usage,
    /// Where the time went.
    pub seconds: Seconds,
    /// The final answer, at most [`MAX_RESULT_SUMMARY`] bytes.
    pub summary: String,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which limit ended it: `max_steps=8`, `timeout_seconds=600`, `max_tokens=2048`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Every run of the verify command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<VerifyRound>,
    /// Trace, transcript and artifact objects of the attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<ChunkRef>,
}

/// Longest summary in a result.
pub const MAX_RESULT_SUMMARY: usize = 64 * 1024;
/// Longest summary in a verdict.
pub const MAX_VERDICT_SUMMARY: usize = 4 * 1024;
/// Longest error text in a verdict.
pub const MAX_VERDICT_ERROR: usize = 4 * 1024;

/// The answer of a trial: the body of `verdicts/<trial>.json`. Written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The trial.
    pub trial: TrialKey,
    /// The attempt it rests on; `None` when no attempt reached a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNo>,
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the agent finished by itself.
    pub finished: bool,
    /// Model calls.
    pub steps: u32,
    /// Tools executed.
    #[serde(default)]
    pub tool_calls: u32,
    /// Of them, failed.
    #[serde(default)]
    pub failed_tool_calls: u32,
    /// Tokens and money.
    pub usage: Usage,
    /// Wall seconds of the attempt, verification and repair included.
    pub seconds: f64,
    /// The final answer, cut.
    pub summary: String,
    /// What went wrong, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which limit ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

impl Verdict {
    /// The verdict that follows from a result: a pure function of the result alone, so that a worker and a helping coordinator
    /// write the same bytes.
    #[must_use]
    pub fn from_result(result: &AttemptResult) -> Self {
        Self {
            trial: result.trial.clone(),
            attempt: Some(result.attempt),
            outcome: result.outcome,
            finished: result.finished,
            steps: result.steps,
            tool_calls: result.tool_calls,
            failed_tool_calls: result.failed_tool_calls,
            usage: result.usage,
            seconds: result.seconds.total,
            summary: text::cut(&result.summary, MAX_VERDICT_SUMMARY),
            error: result.error.as_deref().map(|error| text::cut_middle(error, MAX_VERDICT_ERROR)),
            bound_by: result.bound_by.clone(),
            notes: result.notes.clone(),
        }
    }

    /// The verdict on a trial that no attempt could measure.
    #[must_use]
    pub fn errored(trial: TrialKey, why: ErrorReason, error: impl Into<String>) -> Self {
        Self {
            trial,
            attempt: None,
            outcome: Outcome::Errored { why },
            finished: false,
            steps: 0,
            tool_calls: 0,
            failed_tool_calls: 0,
            usage: Usage::default(),
            seconds: 0.0,
            summary: String::new(),
            error: Some(error.into()),
            bound_by: None,
            notes: Vec::new(),
        }
    }
}
