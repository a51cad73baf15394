//! The tool calls of one reply: executed in order, each answered. Owns the rule of what happens to calls after a finish.

use super::conversation::Conversation;
use crate::prompt;
use crate::tools::{self, Desk, Progress, Running, ToolResult};
use domain::chat::{Arguments, ToolCall};
use domain::ops::{Op, Reply};
use domain::text;
use domain::trace::TraceEvent;
use serde_json::Value;
use std::collections::VecDeque;

/// How the arguments appear in the trace.
pub(super) fn shown(arguments: &Arguments) -> Value {
    match arguments {
        Arguments::Object { value } => Value::Object(value.clone()),
        Arguments::Malformed { raw, .. } => Value::String(raw.clone()),
    }
}

/// What became of the calls.
#[derive(Debug)]
pub(super) enum Called {
    /// The workspace is needed.
    Ask(Op),
    /// All were answered.
    Done,
    /// One of them was a finish with this summary.
    Finished(String),
}

/// The calls of one reply.
#[derive(Debug)]
pub(super) struct Calls {
    native: bool,
    /// The reply was cut off: a finish in it does not count.
    cut_off: bool,
    waiting: VecDeque<ToolCall>,
    current: Option<(ToolCall, Running)>,
    answered: Vec<Answer>,
    /// How many calls were answered before a finish.
    before_finish: Option<usize>,
    executed: u32,
    failed: u32,
}

#[derive(Debug)]
struct Answer {
    id: String,
    name: String,
    ok: bool,
    content: String,
}

impl Calls {
    /// Calls by the API's own protocol, answered by it.
    pub(super) fn native(calls: Vec<ToolCall>, cut_off: bool) -> Self {
        Self::new(calls, cut_off, true)
    }

    /// Calls that came as text, answered by user messages.
    pub(super) fn from_text(calls: Vec<ToolCall>, cut_off: bool) -> Self {
        Self::new(calls, cut_off, false)
    }

    fn new(calls: Vec<ToolCall>, cut_off: bool, native: bool) -> Self {
        Self {
            native,
            cut_off,
            waiting: calls.into(),
            current: None,
            answered: Vec::new(),
            before_finish: None,
            executed: 0,
            failed: 0,
        }
    }

    /// Tool calls executed and, of them, failed.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.executed, self.failed)
    }

    /// Whether the reply was cut off.
    pub(super) fn cut_off(&self) -> bool {
        self.cut_off
    }

    /// Whether the reply was cut off and none of its calls succeeded.
    pub(super) fn nothing_came_of_it(&self) -> bool {
        self.cut_off && self.executed == self.failed
    }

    /// Takes the reply to the running call, if any, and goes on until the workspace is needed or all calls are answered.
    pub(super) fn advance(
        &mut self,
        reply: Option<Reply>,
        step: u32,
        desk: &mut Desk<'_>,
        events: &mut Vec<TraceEvent>,
    ) -> Called {
        let mut reply = reply;
        loop {
            let (call, progress) = match (self.current.take(), reply.take()) {
                (Some((call, running)), Some(reply)) => (call, tools::resume(running, reply)),
                _ => {
                    let Some(call) = self.waiting.pop_front() else {
                        return Called::Done;
                    };
                    let progress = self.start(&call, desk);
                    (call, progress)
                }
            };
            match progress {
                Progress::Ask(op, running) => {
                    self.current = Some((call, running));
                    return Called::Ask(op);
                }
                Progress::Done(result) => self.answer(call, result, step, events),
                Progress::Finish(summary) => {
                    self.before_finish = Some(self.answered.len());
                    self.answer(call, ToolResult::ok(summary.clone()), step, events);
                    self.leave_out_the_rest(events);
                    return Called::Finished(summary);
                }
            }
        }
    }

    fn start(&self, call: &ToolCall, desk: &mut Desk<'_>) -> Progress {
        match &call.arguments {
            Arguments::Malformed { why, .. } => Progress::Done(ToolResult::error(format!(
                "the arguments of {} are not a JSON object ({why}); nothing was executed",
                text::cut(&call.name, 80)
            ))),
            Arguments::Object { value } => match tools::start(&call.name, value, desk) {
                Progress::Finish(_) if self.cut_off => Progress::Done(ToolResult::error(
                    "your reply was cut off by the output limit, so this finish does not count; finish again, more briefly",
                )),
                progress => progress,
            },
        }
    }

    fn answer(&mut self, call: ToolCall, result: ToolResult, step: u32, events: &mut Vec<TraceEvent>) {
        self.executed += 1;
        self.failed += u32::from(!result.ok);
        if let Some((action, reason)) = result.refused {
            events.push(TraceEvent::Permission { step, action, allowed: false, reason });
        }
        events.push(TraceEvent::ToolResult {
            step,
            tool: call.name.clone(),
            args: shown(&call.arguments),
            ok: result.ok,
            content: result.content.clone(),
        });
        self.answered.push(Answer { id: call.id, name: call.name, ok: result.ok, content: result.content });
    }

    /// Answers the calls after a finish without executing them: the protocol wants an answer to each.
    fn leave_out_the_rest(&mut self, events: &mut Vec<TraceEvent>) {
        if self.waiting.is_empty() {
            return;
        }
        let names: Vec<&str> = self.waiting.iter().map(|call| call.name.as_str()).collect();
        events.push(TraceEvent::Note { text: format!("not executed, after finish: {}", names.join(", ")) });
        for call in std::mem::take(&mut self.waiting) {
            let content = "not executed: it came after finish".to_owned();
            self.answered.push(Answer { id: call.id, name: call.name, ok: false, content });
        }
    }

    /// Puts the answers into the conversation, the reminders after the last one.
    pub(super) fn tell(mut self, conversation: &mut Conversation, reminders: &[String]) {
        let reminder = reminders.join("\n\n");
        if self.native {
            for answer in self.answered {
                conversation.tool(answer.id, answer.name, answer.ok, answer.content);
            }
            if !reminder.is_empty() {
                conversation.user(reminder);
            }
            return;
        }
        // A finish that came as text needs no answer: its reply is the last word of the round.
        self.answered.truncate(self.before_finish.unwrap_or(usize::MAX));
        let last = self.answered.len();
        for (index, answer) in self.answered.into_iter().enumerate() {
            let mut text = prompt::observation(&answer.name, answer.ok, &answer.content);
            if index + 1 == last && !reminder.is_empty() {
                text.push_str("\n\n");
                text.push_str(&reminder);
            }
            conversation.user(text);
        }
    }
}
