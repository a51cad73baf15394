//! Chat completions, as OpenAI and many others serve them: the request body, plain replies, streams. Knows no HTTP.

use crate::conversation::{Turn, turns};
use crate::dialect::{Dialect, merge_extra};
use crate::reply::{
    Draft, RawCall, Reading, StreamReader, arguments_from_json, arguments_from_text, count, error_in,
    text_field,
};
use crate::sse::Event;
use domain::chat::{Arguments, ModelRequest, StopReason, ToolSpec};
use domain::preset::Preset;
use domain::usage::Usage;
use serde_json::{Map, Value, json};

/// The dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAi;

impl Dialect for OpenAi {
    fn format(&self) -> &'static str {
        "openai.chat_completions.v1"
    }

    fn path(&self) -> &'static str {
        "chat/completions"
    }

    fn body(&self, preset: &Preset, request: &ModelRequest) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(preset.model));
        body.insert("messages".to_owned(), messages(request));
        if !request.tools.is_empty() {
            body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
            body.insert("tool_choice".to_owned(), json!("auto"));
        }
        if let Some(temperature) = preset.temperature {
            body.insert("temperature".to_owned(), json!(temperature));
        }
        body.insert("max_tokens".to_owned(), json!(preset.max_tokens));
        if preset.stream {
            body.insert("stream".to_owned(), json!(true));
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
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
    json!({"type": "function", "function": {
        "name": spec.name, "description": spec.description, "parameters": spec.parameters,
    }})
}

/// The arguments of an earlier call, as the string that the API wants. A malformed text is wrapped: servers render earlier calls by
/// parsing them and fail on text that is no JSON object.
pub(crate) fn sent_back(arguments: &Arguments) -> Value {
    match arguments {
        Arguments::Object { value } => Value::Object(value.clone()),
        Arguments::Malformed { raw, .. } => json!({"malformed_arguments": raw}),
    }
}

fn messages(request: &ModelRequest) -> Value {
    let mut messages = Vec::new();
    for turn in turns(&request.messages, str::to_owned) {
        match turn {
            Turn::System(text) => messages.push(json!({"role": "system", "content": text})),
            Turn::User(texts) => messages.push(json!({"role": "user", "content": texts.join("\n\n")})),
            Turn::Assistant { text, reasoning, calls } => {
                let mut message = Map::new();
                message.insert("role".to_owned(), json!("assistant"));
                message.insert("content".to_owned(), if text.is_empty() { Value::Null } else { json!(text) });
                if !calls.is_empty() {
                    // Models that think between calls want their thoughts back, and only there; others ignore the field.
                    if let Some(reasoning) = reasoning {
                        message.insert("reasoning_content".to_owned(), json!(reasoning));
                    }
                    let calls = calls.iter().map(|call| {
                        let arguments = sent_back(call.arguments).to_string();
                        json!({"id": call.id, "type": "function",
                               "function": {"name": call.name, "arguments": arguments}})
                    });
                    message.insert("tool_calls".to_owned(), calls.collect());
                }
                messages.push(Value::Object(message));
            }
            Turn::Answers(answers) => {
                messages.extend(answers.iter().map(
                    |answer| json!({"role": "tool", "tool_call_id": answer.id, "content": answer.content}),
                ))
            }
        }
    }
    Value::Array(messages)
}

fn stop_reason(word: Option<&str>) -> StopReason {
    match word {
        Some("stop" | "eos" | "end_turn") => StopReason::EndTurn,
        Some("tool_calls" | "function_call" | "tool_use") => StopReason::ToolUse,
        Some("length" | "max_tokens" | "model_length") => StopReason::Length,
        Some("content_filter" | "refusal") => StopReason::Refusal,
        Some(word) if !word.is_empty() => StopReason::Other { word: word.to_owned() },
        _ => StopReason::Unknown,
    }
}

/// Token counts; `None` when there are none, or when both are zero, which no real call is.
fn usage(value: &Value) -> Option<Usage> {
    let input = value.get("prompt_tokens").and_then(count)?;
    let total = value.get("total_tokens").and_then(count);
    let output = value
        .get("completion_tokens")
        .and_then(count)
        .or_else(|| total.map(|total| total.saturating_sub(input)))?;
    let cached = value
        .pointer("/prompt_tokens_details/cached_tokens")
        .and_then(count)
        .or_else(|| value.get("prompt_cache_hit_tokens").and_then(count))
        .unwrap_or(0);
    (input + output > 0).then(|| Usage::call(input, cached.min(input), output))
}

/// Text and reasoning of a `content`: a string, null, or a list of parts.
fn content_text(content: Option<&Value>, text: &mut String, reasoning: &mut String) {
    match content {
        Some(Value::String(words)) => text.push_str(words),
        Some(Value::Array(parts)) => {
            for part in parts {
                if let Some(words) = part.get("text").and_then(Value::as_str) {
                    text.push_str(words);
                } else if let Some(thinking) = part.get("thinking") {
                    let mut unused = String::new();
                    content_text(Some(thinking), reasoning, &mut unused);
                }
            }
        }
        _ => {}
    }
}

/// vLLM says `reasoning`, most others `reasoning_content`.
fn reasoning_text(message: &Value) -> Option<&str> {
    text_field(message, "reasoning_content").or_else(|| text_field(message, "reasoning"))
}

fn raw_call(id: Option<&Value>, function: &Value) -> RawCall {
    RawCall {
        id: id.and_then(Value::as_str).map(str::to_owned),
        name: function.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        arguments: function.get("arguments").map_or_else(|| arguments_from_text(""), arguments_from_json),
    }
}

fn read_plain(body: &Value) -> Reading {
    let choice = body.pointer("/choices/0");
    let Some(message) = choice.and_then(|choice| choice.get("message")).filter(|message| message.is_object())
    else {
        return error_in(body).map_or_else(
            || Reading::Nonsense("the reply has no `choices[0].message`".to_owned()),
            Reading::Failed,
        );
    };
    let (mut text, mut reasoning) = (String::new(), String::new());
    content_text(message.get("content"), &mut text, &mut reasoning);
    reasoning.push_str(reasoning_text(message).unwrap_or_default());
    let mut stop = stop_reason(choice.and_then(|choice| choice.get("finish_reason")).and_then(Value::as_str));
    if let Some(refusal) = text_field(message, "refusal") {
        stop = StopReason::Refusal;
        text.push_str(refusal);
    }
    let mut calls: Vec<RawCall> = message
        .get("tool_calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|call| raw_call(call.get("id"), call.get("function").unwrap_or(call)))
        .collect();
    if let Some(function) = message.get("function_call").filter(|call| call.is_object() && calls.is_empty()) {
        calls.push(raw_call(None, function));
    }
    Reading::Reply(Draft {
        text,
        reasoning: Some(reasoning),
        calls,
        stop,
        usage: body.get("usage").and_then(usage),
        model: body.get("model").and_then(Value::as_str).map(str::to_owned),
    })
}

/// A tool call that is still coming in.
#[derive(Debug, Default)]
struct Partial {
    index: Option<u64>,
    id: Option<String>,
    name: String,
    arguments: String,
    whole: Option<Value>,
}

/// The state of a stream.
#[derive(Debug, Default)]
struct Stream {
    text: String,
    reasoning: String,
    calls: Vec<Partial>,
    finish: Option<String>,
    refused: bool,
    usage: Option<Usage>,
    model: Option<String>,
    answered: bool,
    done: bool,
    error: Option<Value>,
    bad: Option<String>,
}

impl Stream {
    /// The call that a delta belongs to. Most servers count by `index`; some leave it out or always say 0, and begin a new call
    /// with a new id and a name; some repeat id and name in every delta.
    fn partial(&mut self, index: Option<u64>, id: Option<&str>, name: Option<&str>) -> &mut Partial {
        let found = match index {
            Some(index) => self.calls.iter().rposition(|call| call.index == Some(index)),
            None => self.calls.len().checked_sub(1),
        };
        let fits = found.filter(|at| {
            let call = &self.calls[*at];
            let other_id = matches!((id, call.id.as_deref()), (Some(new), Some(old)) if new != old);
            !(other_id && name.is_some())
        });
        let at = fits.unwrap_or_else(|| {
            self.calls.push(Partial { index, ..Partial::default() });
            self.calls.len() - 1
        });
        &mut self.calls[at]
    }

    fn tool_delta(&mut self, index: Option<u64>, id: Option<&str>, function: &Value) {
        let name = text_field(function, "name");
        let call = self.partial(index, id, name);
        if call.id.is_none() {
            call.id = id.map(str::to_owned);
        }
        if call.name.is_empty() {
            name.unwrap_or_default().clone_into(&mut call.name);
        }
        match function.get("arguments") {
            Some(Value::String(piece)) => call.arguments.push_str(piece),
            Some(Value::Null) | None => {}
            Some(whole) => call.whole = Some(whole.clone()),
        }
    }

    fn chunk(&mut self, chunk: &Value) {
        if let Some(error) = error_in(chunk) {
            self.error.get_or_insert(error);
            return;
        }
        if self.model.is_none() {
            self.model = text_field(chunk, "model").map(str::to_owned);
        }
        if let Some(usage) = chunk.get("usage").and_then(usage) {
            self.usage = Some(usage);
        }
        let Some(choice) = chunk.pointer("/choices/0") else { return };
        self.answered = true;
        if let Some(finish) = text_field(choice, "finish_reason") {
            self.finish = Some(finish.to_owned());
        }
        // Some servers put the usage into the choice.
        if let Some(usage) = choice.get("usage").and_then(usage) {
            self.usage = Some(usage);
        }
        let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) else { return };
        content_text(delta.get("content"), &mut self.text, &mut self.reasoning);
        self.reasoning.push_str(reasoning_text(delta).unwrap_or_default());
        if let Some(refusal) = text_field(delta, "refusal") {
            self.refused = true;
            self.text.push_str(refusal);
        }
        for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let function = call.get("function").unwrap_or(call);
            self.tool_delta(call.get("index").and_then(count), text_field(call, "id"), function);
        }
        if let Some(function) = delta.get("function_call").filter(|call| call.is_object()) {
            // A server that sends both says the same twice.
            if delta.get("tool_calls").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                self.tool_delta(None, None, function);
            }
        }
    }
}

impl StreamReader for Stream {
    fn take(&mut self, event: &Event) {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.done = true;
        } else if !data.is_empty() {
            match serde_json::from_str::<Value>(data) {
                Ok(chunk) => self.chunk(&chunk),
                Err(error) => {
                    self.bad.get_or_insert_with(|| format!("a chunk of the stream is no JSON: {error}"));
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.done
    }

    fn read(self: Box<Self>) -> Reading {
        // A reply with its finish reason is whole, whatever became of the connection afterwards: asking again would pay twice.
        let whole = self.finish.is_some() || self.done && self.answered;
        if let Some(bad) = self.bad {
            return if whole || self.done { Reading::Nonsense(bad) } else { Reading::Cut };
        }
        if !whole {
            return match self.error {
                Some(error) => Reading::Failed(error),
                None if self.done => Reading::Nonsense("the stream has no choices".to_owned()),
                None => Reading::Cut,
            };
        }
        let stop = if self.refused { StopReason::Refusal } else { stop_reason(self.finish.as_deref()) };
        let calls = self.calls.into_iter().map(|call| RawCall {
            id: call.id,
            name: call.name,
            arguments: call
                .whole
                .as_ref()
                .map_or_else(|| arguments_from_text(&call.arguments), arguments_from_json),
        });
        Reading::Reply(Draft {
            text: self.text,
            reasoning: Some(self.reasoning),
            calls: calls.collect(),
            stop,
            usage: self.usage,
            model: self.model,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
