//! The agent loop: what to do next, given what happened. Knows no provider and no workspace.
//!
//! A round: system prompt, context, task and marker, then model calls until the model finishes or its steps are used up. Every
//! tool call of a reply is executed in order; what goes wrong inside a tool is told to the model and never ends the round.

mod calls;
mod conversation;
#[cfg(test)]
mod tests;

use crate::context::{Repository, Scan, Scanned};
use crate::parse::{self, Meaning};
use crate::session::Todo;
use crate::{Action, AgentConfig, End, EndKind, Observation, Session, SessionStatus, Step, prompt, tools};
use calls::{Called, Calls};
use conversation::Conversation;
use domain::chat::{ModelError, ModelFault, ModelReply, ModelRequest, StopReason};
use domain::ops::Reply;
use domain::trace::{TraceCall, TraceEvent};
use domain::usage::Usage;
use serde_json::Value;

/// Empty replies in a row before the round is given up.
const MAX_EMPTY: u32 = 3;

/// An agent at work on one attempt.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    conversation: Conversation,
    todos: Vec<Todo>,
    state: State,
    /// Model calls of this round.
    step: u32,
    /// Empty replies in a row.
    empty: u32,
    /// Whether the last reply was cut off and nothing came of it.
    cut_off: bool,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    steps: u32,
    tool_calls: u32,
    failed_tool_calls: u32,
    truncated: bool,
    last_tools_failed: bool,
    usage: Usage,
}

#[derive(Debug)]
enum State {
    /// Nothing happened yet.
    New,
    /// The repository is looked at for the context pack.
    Packing(Scan),
    /// The model is thinking.
    Thinking,
    /// Tool calls of a reply are executed.
    Acting(Box<Calls>),
    /// The round is over.
    Ended(SessionStatus),
}

impl Agent {
    /// An agent that has not begun.
    #[must_use]
    pub fn new(config: AgentConfig) -> Self {
        Self {
            config,
            conversation: Conversation::default(),
            todos: Vec::new(),
            state: State::New,
            step: 0,
            empty: 0,
            cut_off: false,
            totals: Totals::default(),
        }
    }

    /// Takes what happened and says what to do. An observation that nothing had asked for ends the round: it is a defect of the
    /// caller, and going on could spend money on nothing.
    #[must_use]
    pub fn next(&mut self, observation: Observation) -> Step {
        let mut events = Vec::new();
        let state = std::mem::replace(&mut self.state, State::Ended(SessionStatus::Stopped));
        let action = match (state, observation) {
            (State::New, Observation::Begin) => self.begin(&mut events),
            (State::Packing(scan), Observation::Workspace(reply)) => self.pack(scan, reply, &mut events),
            (State::Thinking, Observation::Model(Ok(reply))) => self.answered(reply, &mut events),
            (State::Thinking, Observation::Model(Err(error))) => self.failed(error, &mut events),
            (State::Acting(calls), Observation::Workspace(reply)) => {
                self.acted(calls, Some(reply), &mut events)
            }
            (State::Ended(_), Observation::VerifyFailed { attempt, command, error }) => {
                self.repair(attempt, &command, error, &mut events)
            }
            (state, observation) => self.out_of_turn(&state, &observation, &mut events),
        };
        Step { events, action }
    }

    /// The conversation so far, as stored in `session.json`.
    #[must_use]
    pub fn session(&self) -> Session {
        Session {
            task: self.config.task.clone(),
            steps: self.totals.steps,
            status: match self.state {
                State::Ended(status) => status,
                _ => SessionStatus::Running,
            },
            messages: self.conversation.as_session(),
            todos: self.todos.clone(),
        }
    }

    fn begin(&mut self, events: &mut Vec<TraceEvent>) -> Action {
        self.conversation.system(prompt::system(&self.config.permissions));
        if self.config.context_chars == 0 {
            return self.start_first_round(events);
        }
        let (scan, op) = Scan::start();
        self.state = State::Packing(scan);
        Action::Workspace(op)
    }

    fn pack(&mut self, mut scan: Scan, reply: Reply, events: &mut Vec<TraceEvent>) -> Action {
        match scan.resume(reply) {
            Scanned::Ask(op) => {
                self.state = State::Packing(scan);
                return Action::Workspace(op);
            }
            Scanned::Refused(error) => {
                events.push(TraceEvent::Note { text: format!("no context was packed: {error}") });
            }
            Scanned::Done(repository) => self.tell_context(&repository, events),
        }
        self.start_first_round(events)
    }

    fn tell_context(&mut self, repository: &Repository, events: &mut Vec<TraceEvent>) {
        let limit = usize::try_from(self.config.context_chars).unwrap_or(usize::MAX);
        let pack = repository.pack(&self.config.task, limit);
        events
            .push(TraceEvent::ContextPack { chars: pack.chars().count() as u64, files: repository.files() });
        self.conversation.user(prompt::context(&pack));
    }

    fn start_first_round(&mut self, events: &mut Vec<TraceEvent>) -> Action {
        self.conversation.user(self.config.task.clone());
        if let Some(marker) = &self.config.finish_marker {
            self.conversation.user(prompt::marker(marker));
        }
        if self.config.max_steps == 1 {
            self.conversation.user(prompt::FINAL_STEP.to_owned());
        }
        self.start_round(events)
    }

    fn start_round(&mut self, events: &mut Vec<TraceEvent>) -> Action {
        (self.step, self.empty, self.cut_off) = (0, 0, false);
        events.push(TraceEvent::TaskStart {
            task: self.config.task.clone(),
            max_steps: self.config.max_steps,
            finish_marker: self.config.finish_marker.clone(),
        });
        self.think(events)
    }

    /// A repair round. The feedback comes last and carries every reminder in itself, so that it is what the model answers.
    fn repair(&mut self, attempt: u32, command: &str, error: String, events: &mut Vec<TraceEvent>) -> Action {
        let mut text = prompt::feedback(attempt, command, &error);
        self.step = 0;
        for reminder in self.reminders() {
            text.push_str("\n\n");
            text.push_str(&reminder);
        }
        self.conversation.user(text);
        events.push(TraceEvent::VerifyFeedback { attempt, command: command.to_owned(), error });
        self.start_round(events)
    }

    /// What is said after every observation: the marker, and that the steps run out.
    fn reminders(&self) -> Vec<String> {
        let marker = self.config.finish_marker.as_deref().map(prompt::marker_reminder);
        let last = self.config.max_steps.saturating_sub(self.step) <= 1;
        marker.into_iter().chain(last.then(|| prompt::FINAL_STEP.to_owned())).collect()
    }

    fn think(&mut self, events: &mut Vec<TraceEvent>) -> Action {
        if self.step >= self.config.max_steps {
            return self.out_of_steps(events);
        }
        self.state = State::Thinking;
        Action::CallModel(ModelRequest { messages: self.conversation.messages(), tools: tools::specs() })
    }

    fn out_of_steps(&mut self, events: &mut Vec<TraceEvent>) -> Action {
        let limit = format!("Stopped after reaching max_steps={}.", self.config.max_steps);
        if self.cut_off {
            self.stop(
                EndKind::Truncated,
                format!("{limit} The last reply was cut off by the output limit."),
                events,
            )
        } else if self.empty > 1 {
            self.stop(EndKind::EmptyReplies, format!("{limit} The last replies were empty."), events)
        } else {
            self.stop(EndKind::MaxSteps, limit, events)
        }
    }

    fn failed(&mut self, error: ModelError, events: &mut Vec<TraceEvent>) -> Action {
        self.totals.usage.add(&error.usage);
        self.model_failed(error, events)
    }

    fn model_failed(&mut self, error: ModelError, events: &mut Vec<TraceEvent>) -> Action {
        events.push(TraceEvent::ModelError {
            step: self.step.max(1),
            fault: error.fault.clone(),
            message: error.message.clone(),
        });
        let summary = format!("Stopped because a model call failed: {}", error.message);
        self.end(EndKind::Model(error), SessionStatus::Stopped, summary)
    }

    fn answered(&mut self, reply: ModelReply, events: &mut Vec<TraceEvent>) -> Action {
        self.step += 1;
        self.totals.steps += 1;
        self.totals.usage.add(&reply.usage);
        events.push(self.response_event(&reply));
        let length = reply.stop == StopReason::Length;
        self.totals.truncated |= length;
        self.cut_off = false;
        if !reply.calls.is_empty() {
            self.empty = 0;
            self.conversation.assistant(&reply);
            return self.acted(Box::new(Calls::native(reply.calls, length)), None, events);
        }
        match parse::read(&reply.text, self.config.finish_marker.as_deref(), tools::is_known) {
            Meaning::Calls(calls) => {
                self.empty = 0;
                self.conversation.assistant(&reply);
                self.acted(Box::new(Calls::from_text(calls, length)), None, events)
            }
            _ if length => {
                self.cut_off = true;
                self.ask_again(
                    &reply,
                    "the reply was cut off by the output limit",
                    prompt::TRUNCATED.to_owned(),
                    events,
                )
            }
            _ if reply.stop == StopReason::Refusal => {
                let said = domain::text::cut(&reply.text, 500);
                let error = ModelError::new(ModelFault::Refused, format!("the model refused: {said}"));
                self.conversation.assistant(&reply);
                self.model_failed(error, events)
            }
            Meaning::Empty => self.empty_reply(&reply, events),
            Meaning::Ambiguous(why) => {
                self.empty = 0;
                let text = prompt::ambiguous(&why);
                self.ask_again(&reply, &why, text, events)
            }
            Meaning::Final(summary) => {
                self.conversation.assistant(&reply);
                events.push(TraceEvent::TaskFinish {
                    step: self.step,
                    summary: summary.clone(),
                    mode: "text".to_owned(),
                });
                self.end(EndKind::Finished, SessionStatus::Finished, summary)
            }
        }
    }

    fn response_event(&self, reply: &ModelReply) -> TraceEvent {
        let calls = reply
            .calls
            .iter()
            .map(|call| TraceCall { name: call.name.clone(), args: calls::shown(&call.arguments) });
        TraceEvent::ModelResponse {
            step: self.step,
            content: reply.text.clone(),
            tool_calls: (!reply.calls.is_empty()).then(|| calls.collect()),
            transcript: Some(self.totals.steps),
            stop: reply.stop.clone(),
            usage: reply.usage,
        }
    }

    fn empty_reply(&mut self, reply: &ModelReply, events: &mut Vec<TraceEvent>) -> Action {
        self.empty += 1;
        if self.empty >= MAX_EMPTY {
            let summary = format!("Stopped after {} empty replies in a row.", self.empty);
            return self.stop(EndKind::EmptyReplies, summary, events);
        }
        self.ask_again(reply, "the reply was empty", prompt::EMPTY.to_owned(), events)
    }

    /// Tells the model that its reply was not usable and lets it go on.
    fn ask_again(
        &mut self,
        reply: &ModelReply,
        why: &str,
        mut text: String,
        events: &mut Vec<TraceEvent>,
    ) -> Action {
        self.conversation.assistant(reply);
        for reminder in self.reminders() {
            text.push_str("\n\n");
            text.push_str(&reminder);
        }
        self.conversation.user(text);
        events.push(TraceEvent::ModelNudge { step: self.step, reason: why.to_owned() });
        self.think(events)
    }

    /// Goes on with the tool calls of a reply.
    fn acted(&mut self, mut calls: Box<Calls>, reply: Option<Reply>, events: &mut Vec<TraceEvent>) -> Action {
        let mut desk = tools::Desk {
            permissions: &self.config.permissions,
            tool_timeout: self.config.tool_timeout,
            todos: &mut self.todos,
        };
        let called = calls.advance(reply, self.step, &mut desk, events);
        match called {
            Called::Ask(op) => {
                self.state = State::Acting(calls);
                Action::Workspace(op)
            }
            Called::Done => {
                self.count(&calls);
                self.cut_off = calls.nothing_came_of_it();
                let cut_off = calls.cut_off().then(|| prompt::TRUNCATED.to_owned());
                let reminders: Vec<String> = cut_off.into_iter().chain(self.reminders()).collect();
                calls.tell(&mut self.conversation, &reminders);
                self.think(events)
            }
            Called::Finished(summary) => {
                self.count(&calls);
                calls.tell(&mut self.conversation, &[]);
                events.push(TraceEvent::TaskFinish {
                    step: self.step,
                    summary: summary.clone(),
                    mode: "tool".to_owned(),
                });
                self.end(EndKind::Finished, SessionStatus::Finished, summary)
            }
        }
    }

    fn count(&mut self, calls: &Calls) {
        let (executed, failed) = calls.counts();
        self.totals.tool_calls += executed;
        self.totals.failed_tool_calls += failed;
        self.totals.last_tools_failed = executed > 0 && executed == failed;
    }

    fn stop(&mut self, kind: EndKind, summary: String, events: &mut Vec<TraceEvent>) -> Action {
        events.push(TraceEvent::TaskStop { summary: summary.clone() });
        self.end(kind, SessionStatus::Stopped, summary)
    }

    fn end(&mut self, kind: EndKind, status: SessionStatus, summary: String) -> Action {
        self.state = State::Ended(status);
        Action::End(End {
            kind,
            summary,
            steps: self.totals.steps,
            tool_calls: self.totals.tool_calls,
            failed_tool_calls: self.totals.failed_tool_calls,
            truncated: self.totals.truncated,
            last_tools_failed: self.totals.last_tools_failed,
            usage: self.totals.usage,
        })
    }

    fn out_of_turn(
        &mut self,
        state: &State,
        observation: &Observation,
        events: &mut Vec<TraceEvent>,
    ) -> Action {
        let waiting = match state {
            State::New => "the beginning",
            State::Packing(_) | State::Acting(_) => "the workspace",
            State::Thinking => "the model",
            State::Ended(_) => "nothing",
        };
        let came = match observation {
            Observation::Begin => "a beginning",
            Observation::Model(_) => "a model reply",
            Observation::Workspace(_) => "a workspace reply",
            Observation::VerifyFailed { .. } => "verifier feedback",
        };
        let message = format!("the agent waited for {waiting} and was given {came}");
        self.model_failed(ModelError::new(ModelFault::Rejected, message), events)
    }
}

/// The JSON of a call as the original system wrote it into sessions.
fn rendered(name: &str, args: &Value) -> String {
    serde_json::json!({"tool": name, "args": args}).to_string()
}
