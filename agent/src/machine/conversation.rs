//! The messages of an attempt. Owns two promises: no assistant message is ever empty, and every native call is answered.

use super::{calls, rendered};
use crate::prompt;
use crate::session::SessionMessage;
use domain::chat::{Message, ModelReply};
use std::sync::Arc;

/// The messages so far, shared with requests under way.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    messages: Arc<Vec<Message>>,
}

impl Conversation {
    pub(super) fn messages(&self) -> Arc<Vec<Message>> {
        Arc::clone(&self.messages)
    }

    fn push(&mut self, message: Message) {
        Arc::make_mut(&mut self.messages).push(message);
    }

    pub(super) fn system(&mut self, text: String) {
        self.push(Message::System { text });
    }

    pub(super) fn user(&mut self, text: String) {
        self.push(Message::User { text });
    }

    pub(super) fn tool(&mut self, call_id: String, name: String, ok: bool, content: String) {
        self.push(Message::Tool { call_id, name, ok, content });
    }

    /// Adds a reply, unless it says nothing: providers reject an empty assistant message.
    pub(super) fn assistant(&mut self, reply: &ModelReply) {
        if reply.text.trim().is_empty() && reply.calls.is_empty() {
            return;
        }
        self.push(Message::Assistant {
            text: reply.text.clone(),
            reasoning: reply.reasoning.clone(),
            calls: reply.calls.clone(),
        });
    }

    /// The messages in the original system's roles and texts.
    pub(super) fn as_session(&self) -> Vec<SessionMessage> {
        self.messages.iter().map(session_message).collect()
    }
}

fn session_message(message: &Message) -> SessionMessage {
    let (role, content) = match message {
        Message::System { text } => ("system", text.clone()),
        Message::User { text } => ("user", text.clone()),
        Message::Assistant { text, calls, .. } => ("assistant", spoken(text, calls)),
        Message::Tool { name, ok, content, .. } => ("user", prompt::observation(name, *ok, content)),
    };
    SessionMessage { role: role.to_owned(), content }
}

/// What an assistant message says; a JSON rendering of its calls where it has no text.
fn spoken(text: &str, calls: &[domain::chat::ToolCall]) -> String {
    if !text.trim().is_empty() {
        return text.to_owned();
    }
    let lines: Vec<String> =
        calls.iter().map(|call| rendered(&call.name, &calls::shown(&call.arguments))).collect();
    lines.join("\n")
}
