//! The agent loop as a pure machine; tools, permissions, context; no I/O.
//!
//! [`Agent::next`] takes what happened and says what to do next. It has no clock, no socket and no disk: a model call and a
//! workspace operation are values that somebody else carries out, and their answers come back as the next observation.

mod context;
mod machine;
mod parse;
mod patch;
mod permission;
mod prompt;
mod session;
mod tools;

use domain::chat::{ModelError, ModelReply, ModelRequest};
use domain::ops::{Op, Reply};
use domain::run::Permissions;
use domain::trace::TraceEvent;
use domain::usage::Usage;
use std::time::Duration;

pub use machine::Agent;
pub use session::{Session, SessionMessage, SessionStatus, Todo};

/// What an agent is given.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// The prompt.
    pub task: String,
    /// The text that the final answer must contain.
    pub finish_marker: Option<String>,
    /// Model calls of a round.
    pub max_steps: u32,
    /// Characters of packed repository context before the task; 0 = none.
    pub context_chars: u32,
    /// What it may do.
    pub permissions: Permissions,
    /// Time limit of one shell tool call.
    pub tool_timeout: Duration,
}

/// What happened since the last step.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The first round begins.
    Begin,
    /// The model call that was asked for ended.
    Model(Result<ModelReply, ModelError>),
    /// The workspace operation that was asked for was answered.
    Workspace(Reply),
    /// After an [`End`] with [`EndKind::Finished`]: verification failed, a repair round with a fresh budget begins.
    VerifyFailed {
        /// Repair round from 1.
        attempt: u32,
        /// The verify command.
        command: String,
        /// What it said.
        error: String,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Call the model.
    CallModel(ModelRequest),
    /// Ask the workspace.
    Workspace(Op),
    /// Nothing: the round is over.
    End(End),
}

/// One step of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What to write into the trace, in order, before acting.
    pub events: Vec<TraceEvent>,
    /// What to do.
    pub action: Action,
}

/// How a round ended. Counts are over the whole life of the agent, repair rounds included.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// How.
    pub kind: EndKind,
    /// The final answer; what stopped it where there is none.
    pub summary: String,
    /// Model calls.
    pub steps: u32,
    /// Tool calls executed.
    pub tool_calls: u32,
    /// Of them, failed.
    pub failed_tool_calls: u32,
    /// Whether any reply was cut off by the output limit.
    pub truncated: bool,
    /// Whether the last tool results, all those of the last reply with calls, were failures.
    pub last_tools_failed: bool,
    /// What the model calls used, failed ones included.
    pub usage: Usage,
}

/// Ways a round ends.
#[derive(Debug, Clone, PartialEq)]
pub enum EndKind {
    /// The model finished by itself.
    Finished,
    /// The steps were used up.
    MaxSteps,
    /// A model call failed for good; the fault says whose doing it is.
    Model(ModelError),
    /// Nothing but empty replies, also after being asked again.
    EmptyReplies,
    /// The steps ended on a reply that the output limit had cut off.
    Truncated,
}
