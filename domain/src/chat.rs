//! What the agent asks of a model and what comes back: the meeting point of `agent` and `providers`. Knows no vendor's format.

use crate::id::{AttemptNo, TrialKey};
use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions of the harness.
    System {
        /// The text.
        text: String,
    },
    /// The task, context, reminders, verifier feedback.
    User {
        /// The text.
        text: String,
    },
    /// A reply of the model. Never with empty text and no calls: providers reject it.
    Assistant {
        /// Visible text; may be empty when there are calls.
        text: String,
        /// Reasoning text, where the API wants it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning: Option<String>,
        /// Tool calls, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// The result of one native tool call, answered by the API's own protocol.
    Tool {
        /// The id of the call it answers.
        call_id: String,
        /// The tool's name.
        name: String,
        /// Whether the tool succeeded.
        ok: bool,
        /// What it said.
        content: String,
    },
}

/// A tool call of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The API's id, or one made by the provider where the API gave none (`call_1` …), unique in the reply.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// Its arguments.
    pub arguments: Arguments,
}

/// Arguments as they came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Arguments {
    /// A JSON object, whether the API sent it as an object or as a string that holds one. An empty string is an empty object.
    Object {
        /// The object.
        value: Map<String, Value>,
    },
    /// Not a JSON object: returned to the model as an error, never executed.
    Malformed {
        /// The text as it came.
        raw: String,
        /// Why it is no object.
        why: String,
    },
}

/// A tool as the model is shown it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments: an object schema with `additionalProperties: false`.
    pub parameters: Value,
}

/// One request to a model. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRequest {
    /// The whole conversation.
    pub messages: Arc<Vec<Message>>,
    /// The tools offered.
    pub tools: Arc<Vec<ToolSpec>>,
}

/// Which call this is; for logs, scripts and mock models. Never sent to a real provider.
#[derive(Debug, Clone, PartialEq)]
pub struct CallContext {
    /// The trial.
    pub trial: TrialKey,
    /// The case's id as its author wrote it.
    pub case_title: String,
    /// The attempt.
    pub attempt: AttemptNo,
    /// The number of the model call within the attempt, from 1, feedback rounds included.
    pub call: u32,
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// It was done.
    EndTurn,
    /// It wants tools to run.
    ToolUse,
    /// The output limit cut it off: never a final answer.
    Length,
    /// The provider's filter or the model's refusal.
    Refusal,
    /// Said, but not known to us.
    Other {
        /// The provider's word.
        word: String,
    },
    /// Not said.
    Unknown,
}

/// A model's reply. Decide on the calls, not on the stop reason: servers differ in what they say beside a tool call.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelReply {
    /// Visible text, joined; may be empty.
    pub text: String,
    /// Reasoning text, when the API shows it.
    pub reasoning: Option<String>,
    /// Tool calls in order; unnamed ones are left out.
    pub calls: Vec<ToolCall>,
    /// Why it stopped.
    pub stop: StopReason,
    /// Usage of this call (`calls` = 1), cost included when the preset has prices.
    pub usage: Usage,
    /// The model that the server says it used.
    pub model: Option<String>,
}

/// What kind of failure a model call ended with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelFault {
    /// 429, 408, 5xx, connection trouble, idle stream, after all retries: infrastructure, the attempt is abandoned.
    Unavailable,
    /// 400, 401, 403, 404 and the like: asking again cannot help and no model is to blame.
    Rejected,
    /// The conversation is longer than the model takes: the model's own doing.
    ContextLength,
    /// The provider or the model refused the content: the model's own doing.
    Refused,
    /// The server answered with another model than the one asked for (or an accepted alias).
    WrongModel {
        /// What the reply names.
        got: String,
    },
    /// A reply that no reading makes sense of, after retries.
    Garbage,
}

/// A failed model call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// The kind.
    pub fault: ModelFault,
    /// The provider's own message, with status; never a key or header.
    pub message: String,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// How long the other side asked to wait.
    pub retry_after: Option<Duration>,
    /// What the failed tries used, as far as known (a wrong model is paid for as well).
    pub usage: Usage,
}

impl ModelError {
    /// A failure of this kind with this message and nothing else known.
    #[must_use]
    pub fn new(fault: ModelFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), status: None, retry_after: None, usage: Usage::default() }
    }
}
