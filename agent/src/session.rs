//! The session file: the conversation and the todo list in the original system's JSON shape.

use serde::{Deserialize, Serialize};

/// A conversation as stored in `session.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The prompt.
    #[serde(default)]
    pub task: String,
    /// Model calls.
    #[serde(default)]
    pub steps: u32,
    /// Where it stands.
    #[serde(default)]
    pub status: SessionStatus,
    /// The messages.
    #[serde(default)]
    pub messages: Vec<SessionMessage>,
    /// The todo list.
    #[serde(default)]
    pub todos: Vec<Todo>,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Under way.
    #[default]
    Running,
    /// The model finished.
    Finished,
    /// It was stopped.
    Stopped,
}

/// One message of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// One entry of the todo list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    /// What is to be done.
    pub title: String,
    /// `pending`, `in_progress`, `done` or `blocked`.
    #[serde(default = "pending")]
    pub status: String,
}

fn pending() -> String {
    "pending".to_owned()
}
