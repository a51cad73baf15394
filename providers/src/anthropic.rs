//! Anthropic messages: the request body, plain replies, streams. Knows no HTTP.

use crate::conversation::{Turn, turns};
use crate::dialect::{Dialect, merge_extra};
use crate::openai::sent_back;
use crate::reply::{
    Draft, RawCall, Reading, StreamReader, arguments_from_json, arguments_from_text, count, error_in,
    text_field,
};
use crate::sse::Event;
use domain::chat::{ModelRequest, StopReason, ToolSpec};
use domain::preset::Preset;
use domain::usage::Usage;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anthropic;

impl Dialect for Anthropic {
    fn format(&self) -> &'static str {
        "anthropic.messages.v1"
    }

    fn path(&self) -> &'static str {
        "messages"
    }

    fn body(&self, preset: &Preset, request: &ModelRequest) -> Value {
        let (system, messages) = messages(request);
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(preset.model));
        body.insert("max_tokens".to_owned(), json!(preset.max_tokens));
        if !system.is_empty() {
            body.insert("system".to_owned(), json!(system));
        }
        body.insert("messages".to_owned(), messages);
        if !request.tools.is_empty() {
            body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
        }
        if let Some(temperature) = preset.temperature {
            body.insert("temperature".to_owned(), json!(temperature));
        }
        if preset.stream {
            body.insert("stream".to_owned(), json!(true));
        }
        merge_extra(&mut body, &preset.extra_body);
        Value::Object(body)
    }

    fn read(&self, body: &Value) -> Reading {
        read_plain(body)
    }

    fn stream(&self) -> Box<dyn StreamReader> {
        Box::<Stream>::default()
    }
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"name": spec.name, "description": spec.description, "input_schema": spec.parameters})
}

/// The API takes letters, digits, `_` and `-` in ids; other servers' ids may have more.
fn legal_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

/// The system text and the messages: user and assistant in turns, tool results first in their turn, no empty text.
fn messages(request: &ModelRequest) -> (String, Value) {
    let mut system: Vec<&str> = Vec::new();
    let mut messages: Vec<(&'static str, Vec<Value>)> = Vec::new();
    let mut add = |role: &'static str, blocks: Vec<Value>| match messages.last_mut() {
        Some((last, content)) if *last == role => content.extend(blocks),
        _ => messages.push((role, blocks)),
    };
    for turn in turns(&request.messages, legal_id) {
        match turn {
            Turn::System(text) => system.push(text),
            Turn::User(texts) => {
                add("user", texts.iter().map(|text| json!({"type": "text", "text": text})).collect());
            }
            Turn::Assistant { text, reasoning, calls } => {
                let mut blocks = reasoning.map(thinking_blocks).unwrap_or_default();
                if !text.trim().is_empty() {
                    blocks.push(json!({"type": "text", "text": text}));
                }
                blocks.extend(calls.iter().map(|call| {
                    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": sent_back(call.arguments)})
                }));
                add("assistant", blocks);
            }
            Turn::Answers(answers) => {
                let results = answers.iter().map(|answer| {
                    let mut block = Map::new();
                    block.insert("type".to_owned(), json!("tool_result"));
                    block.insert("tool_use_id".to_owned(), json!(answer.id));
                    if !answer.content.trim().is_empty() {
                        block.insert("content".to_owned(), json!(answer.content));
                    }
                    if !answer.ok {
                        block.insert("is_error".to_owned(), json!(true));
                    }
                    Value::Object(block)
                });
                add("user", results.collect());
            }
        }
    }
    if messages.first().is_some_and(|(role, _)| *role == "assistant") {
        messages.insert(0, ("user", vec![json!({"type": "text", "text": "Begin."})]));
    }
    let messages = messages.into_iter().map(|(role, content)| json!({"role": role, "content": content}));
    (system.join("\n"), messages.collect())
}

/// The thinking of an earlier reply, as [`thinking_text`] kept it; plain text has no signature and is not sent.
fn thinking_blocks(reasoning: &str) -> Vec<Value> {
    if !reasoning.starts_with('[') {
        return Vec::new();
    }
    let blocks: Vec<Value> = serde_json::from_str(reasoning).unwrap_or_default();
    let is_thinking = |block: &Value| {
        matches!(block.get("type").and_then(Value::as_str), Some("thinking" | "redacted_thinking"))
    };
    if blocks.iter().all(is_thinking) { blocks } else { Vec::new() }
}

/// Thinking as it is kept in a reply: the signed blocks as JSON, because the API wants them back unchanged; plain text otherwise.
fn thinking_text(blocks: &[Value]) -> Option<String> {
    let signed = blocks
        .iter()
        .any(|block| text_field(block, "signature").is_some() || text_field(block, "data").is_some());
    if signed {
        return Some(Value::Array(blocks.to_vec()).to_string());
    }
    let texts: Vec<&str> = blocks.iter().filter_map(|block| text_field(block, "thinking")).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

fn stop_reason(word: Option<&str>) -> StopReason {
    match word {
        Some("end_turn" | "stop_sequence" | "stop") => StopReason::EndTurn,
        Some("tool_use") => StopReason::ToolUse,
        Some("max_tokens" | "model_context_window_exceeded" | "length") => StopReason::Length,
        Some("refusal") => StopReason::Refusal,
        Some(word) if !word.is_empty() => StopReason::Other { word: word.to_owned() },
        _ => StopReason::Unknown,
    }
}

/// Token counts as they come in; a later number replaces an earlier one, a zero replaces nothing.
#[derive(Debug, Default)]
struct Counts {
    fresh: u64,
    read: u64,
    written: u64,
    output: u64,
}

impl Counts {
    fn take(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        for (field, slot) in [
            ("input_tokens", &mut self.fresh),
            ("cache_read_input_tokens", &mut self.read),
            ("cache_creation_input_tokens", &mut self.written),
            ("output_tokens", &mut self.output),
        ] {
            if let Some(number) = usage.get(field).and_then(count).filter(|number| *number > 0) {
                *slot = number;
            }
        }
    }

    /// The API counts cached tokens beside the input; we count them in it.
    fn usage(&self) -> Option<Usage> {
        let input = self.fresh + self.read + self.written;
        (input + self.output > 0).then(|| Usage::call(input, self.read, self.output))
    }
}

/// Content blocks, whole.
#[derive(Debug, Default)]
struct Content {
    texts: Vec<String>,
    thinking: Vec<Value>,
    calls: Vec<RawCall>,
}

impl Content {
    fn take(&mut self, block: &Value) {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => self.texts.extend(text_field(block, "text").map(str::to_owned)),
            Some("thinking" | "redacted_thinking") => self.thinking.push(block.clone()),
            Some("tool_use") => self.calls.push(RawCall {
                id: text_field(block, "id").map(str::to_owned),
                name: text_field(block, "name").unwrap_or_default().to_owned(),
                arguments: block.get("input").map_or_else(|| arguments_from_text(""), arguments_from_json),
            }),
            _ => {}
        }
    }

    fn reply(self, stop: Option<&str>, counts: &Counts, model: Option<String>) -> Reading {
        Reading::Reply(Draft {
            text: self.texts.join("\n"),
            reasoning: thinking_text(&self.thinking),
            calls: self.calls,
            stop: stop_reason(stop),
            usage: counts.usage(),
            model,
        })
    }
}

fn read_plain(body: &Value) -> Reading {
    if let Some(error) = error_in(body) {
        return Reading::Failed(error);
    }
    let mut content = Content::default();
    match body.get("content") {
        Some(Value::Array(blocks)) => blocks.iter().for_each(|block| content.take(block)),
        Some(Value::String(text)) => content.texts.push(text.clone()),
        _ => return Reading::Nonsense("the reply has no `content`".to_owned()),
    }
    let mut counts = Counts::default();
    counts.take(body.get("usage"));
    content.reply(
        body.get("stop_reason").and_then(Value::as_str),
        &counts,
        text_field(body, "model").map(str::to_owned),
    )
}

/// A block that is still coming in.
#[derive(Debug, Default)]
struct Partial {
    start: Value,
    text: String,
    thinking: String,
    signature: String,
    json: String,
}

impl Partial {
    fn into_block(self) -> (Value, Option<String>) {
        let mut block = self.start;
        for (field, piece) in
            [("text", self.text), ("thinking", self.thinking), ("signature", self.signature)]
        {
            if !piece.is_empty() {
                let begun = text_field(&block, field).unwrap_or_default().to_owned();
                block[field] = json!(begun + &piece);
            }
        }
        (block, (!self.json.is_empty()).then_some(self.json))
    }
}

/// The state of a stream.
#[derive(Debug, Default)]
struct Stream {
    blocks: BTreeMap<u64, Partial>,
    counts: Counts,
    model: Option<String>,
    stop: Option<String>,
    started: bool,
    over: bool,
    error: Option<Value>,
    bad: Option<String>,
}

impl Stream {
    fn event(&mut self, event: &Value) {
        let index = event.get("index").and_then(count).unwrap_or(0);
        match event.get("type").and_then(Value::as_str) {
            Some("message_start") => {
                self.started = true;
                self.model = event.pointer("/message/model").and_then(Value::as_str).map(str::to_owned);
                self.counts.take(event.pointer("/message/usage"));
            }
            Some("content_block_start") => {
                let start = event.get("content_block").filter(|block| block.is_object());
                let start = start.cloned().unwrap_or_else(|| json!({}));
                self.blocks.insert(index, Partial { start, ..Partial::default() });
            }
            Some("content_block_delta") => {
                let Some(delta) = event.get("delta") else { return };
                // A delta without its start: the kind follows from the delta.
                let partial = self.blocks.entry(index).or_insert_with(|| Partial {
                    start: json!({"type": if delta.get("thinking").is_some() { "thinking" } else { "text" }}),
                    ..Partial::default()
                });
                for (field, piece) in [
                    ("text", &mut partial.text),
                    ("thinking", &mut partial.thinking),
                    ("signature", &mut partial.signature),
                    ("partial_json", &mut partial.json),
                ] {
                    piece.push_str(text_field(delta, field).unwrap_or_default());
                }
            }
            Some("message_delta") => {
                if let Some(stop) = event.get("delta").and_then(|delta| text_field(delta, "stop_reason")) {
                    self.stop = Some(stop.to_owned());
                }
                self.counts.take(event.get("usage"));
            }
            Some("message_stop") => self.over = true,
            _ => {
                if let Some(error) = error_in(event) {
                    self.error.get_or_insert(error);
                }
            }
        }
    }
}

impl StreamReader for Stream {
    fn take(&mut self, event: &Event) {
        let data = event.data.trim();
        if data.is_empty() || data == "[DONE]" {
            return;
        }
        match serde_json::from_str::<Value>(data) {
            Ok(value) => self.event(&value),
            Err(error) => {
                self.bad.get_or_insert_with(|| format!("an event of the stream is no JSON: {error}"));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn read(self: Box<Self>) -> Reading {
        // A reply with its stop reason is whole, whatever became of the connection afterwards: asking again would pay twice.
        let whole = self.started && (self.over || self.stop.is_some());
        if let Some(bad) = self.bad {
            return if whole { Reading::Nonsense(bad) } else { Reading::Cut };
        }
        if !whole {
            return match self.error {
                Some(error) => Reading::Failed(error),
                None if self.over => Reading::Nonsense("the stream has no message_start".to_owned()),
                None => Reading::Cut,
            };
        }
        let mut content = Content::default();
        for partial in self.blocks.into_values() {
            let (block, json) = partial.into_block();
            content.take(&block);
            if let (Some(json), true, Some(call)) = (
                json,
                block.get("type").and_then(Value::as_str) == Some("tool_use"),
                content.calls.last_mut(),
            ) {
                call.arguments = arguments_from_text(&json);
            }
        }
        content.reply(self.stop.as_deref(), &self.counts, self.model)
    }
}

#[cfg(test)]
mod tests;
