//! Trace events: one JSON object a line, `time`, `type`, `data`, with the original system's names and fields where it had them.

use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One line of a trace as read: any type, any data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceLine {
    /// UTC, ISO 8601 with microseconds and `+00:00`; for people.
    #[serde(default)]
    pub time: String,
    /// The event's name.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Its fields.
    #[serde(default)]
    pub data: Value,
}

/// A tool call in a `model.response`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceCall {
    /// The tool.
    pub name: String,
    /// The arguments: an object, or the raw text where it was no object.
    pub args: Value,
}

/// Everything an attempt can report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum TraceEvent {
    /// The context that was packed before the task.
    #[serde(rename = "context.pack")]
    ContextPack {
        /// Characters.
        chars: u64,
        /// Files in the map.
        files: u64,
    },
    /// An agent round begins: the first one, or a repair round.
    #[serde(rename = "task.start")]
    TaskStart {
        /// The prompt.
        task: String,
        /// Steps of this round.
        max_steps: u32,
        /// The marker.
        finish_marker: Option<String>,
    },
    /// A model replied.
    #[serde(rename = "model.response")]
    ModelResponse {
        /// Step in the round, from 1.
        step: u32,
        /// Visible text.
        content: String,
        /// Calls, or null.
        tool_calls: Option<Vec<TraceCall>>,
        /// Where the transcript has the exchange: its number in the attempt, from 1.
        transcript: Option<u32>,
        /// Why it stopped.
        stop: crate::chat::StopReason,
        /// What it used.
        usage: Usage,
    },
    /// A model call failed for good.
    #[serde(rename = "model.error")]
    ModelError {
        /// Step in the round.
        step: u32,
        /// The kind.
        fault: crate::chat::ModelFault,
        /// The message.
        message: String,
    },
    /// A reply was not usable and the model was told so.
    #[serde(rename = "model.nudge")]
    ModelNudge {
        /// Step in the round.
        step: u32,
        /// Why.
        reason: String,
    },
    /// A tool ran.
    #[serde(rename = "tool.result")]
    ToolResult {
        /// Step in the round.
        step: u32,
        /// The tool.
        tool: String,
        /// Its arguments.
        args: Value,
        /// Whether it succeeded.
        ok: bool,
        /// What it said, as the model saw it.
        content: String,
    },
    /// A permission was decided.
    #[serde(rename = "permission")]
    Permission {
        /// Step in the round.
        step: u32,
        /// The action.
        action: String,
        /// Whether it may go on.
        allowed: bool,
        /// Why.
        reason: String,
    },
    /// The agent finished.
    #[serde(rename = "task.finish")]
    TaskFinish {
        /// Step in the round.
        step: u32,
        /// The final answer.
        summary: String,
        /// `text` or `tool`.
        mode: String,
    },
    /// The agent was stopped.
    #[serde(rename = "task.stop")]
    TaskStop {
        /// Why, for people.
        summary: String,
    },
    /// The verify command ran.
    #[serde(rename = "verify.result")]
    VerifyResult {
        /// Round from 1.
        round: u32,
        /// Whether it passed.
        ok: bool,
        /// How it ended.
        end: String,
        /// Wall seconds.
        seconds: f64,
    },
    /// Its failure goes back to the model.
    #[serde(rename = "verify.feedback")]
    VerifyFeedback {
        /// Repair round from 1.
        attempt: u32,
        /// The command.
        command: String,
        /// What it said.
        error: String,
    },
    /// Anything the harness wants known: workspace ready, tampering repaired, limits.
    #[serde(rename = "note")]
    Note {
        /// One line.
        text: String,
    },
}

impl TraceEvent {
    /// The event as a line of a trace, without the line break.
    #[must_use]
    pub fn to_line(&self, time: &str) -> String {
        let mut line = Map::new();
        line.insert("time".to_owned(), Value::from(time));
        if let Ok(Value::Object(event)) = serde_json::to_value(self) {
            line.extend(event);
        }
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_the_original_ones() {
        let event = TraceEvent::ToolResult {
            step: 1,
            tool: "list_files".into(),
            args: serde_json::json!({"path": "."}),
            ok: true,
            content: "src/\u{2028}".into(),
        };
        let line = event.to_line("2026-11-20T17:43:47.649981+00:00");
        assert_eq!(
            line,
            "{\"time\":\"2026-11-20T17:43:47.649981+00:00\",\"type\":\"tool.result\",\"data\":{\"step\":1,\"tool\":\"list_files\",\"args\":{\"path\":\".\"},\"ok\":true,\"content\":\"src/\u{2028}\"}}"
        );
        let read: TraceLine = serde_json::from_str(&line).unwrap();
        assert_eq!(read.kind, "tool.result");
    }
}
