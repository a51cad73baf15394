//! The agent loop: what to do next, given what happened. Knows no provider and no workspace.

use crate::{Action, AgentConfig, End, EndKind, Observation, Session, SessionStatus, Step};
use domain::chat::{Message, ModelRequest};
use domain::usage::Usage;
use std::sync::Arc;

/// An agent at work on one attempt.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    messages: Arc<Vec<Message>>,
    steps: u32,
    usage: Usage,
}

impl Agent {
    /// An agent that has not begun.
    #[must_use]
    pub fn new(config: AgentConfig) -> Self {
        Self { config, messages: Arc::new(Vec::new()), steps: 0, usage: Usage::default() }
    }

    /// Takes what happened and says what to do.
    #[must_use]
    pub fn next(&mut self, observation: Observation) -> Step {
        let action = match observation {
            Observation::Model(Ok(reply)) => {
                self.steps += 1;
                self.usage.add(&reply.usage);
                Action::End(End {
                    kind: EndKind::Finished,
                    summary: reply.text,
                    steps: self.steps,
                    tool_calls: 0,
                    failed_tool_calls: 0,
                    truncated: false,
                    last_tools_failed: false,
                    usage: self.usage,
                })
            }
            _ => Action::CallModel(ModelRequest {
                messages: Arc::clone(&self.messages),
                tools: Arc::new(Vec::new()),
            }),
        };
        Step { events: Vec::new(), action }
    }

    /// The conversation so far.
    #[must_use]
    pub fn session(&self) -> Session {
        Session {
            task: self.config.task.clone(),
            steps: self.steps,
            status: SessionStatus::Running,
            messages: Vec::new(),
            todos: Vec::new(),
        }
    }
}
