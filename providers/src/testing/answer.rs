//! Bodies of replies and errors in the two formats.

use super::protocol::Api;
use crate::script::Turn;
use domain::usage::Usage;
use serde_json::{Map, Value, json};

/// A body: plain JSON, or events to be sent in these pieces.
pub(super) enum Answer {
    Plain(String),
    Events(Vec<String>),
}

impl Answer {
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Plain(_) => "application/json",
            Self::Events(_) => "text/event-stream; charset=utf-8",
        }
    }

    /// The body in one piece.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Events(events) => events.concat(),
        }
    }
}

/// An error in the API's own shape.
pub(super) fn error(api: Api, status: u16, message: &str) -> String {
    let kind = match status {
        401 => "authentication_error",
        404 => "not_found_error",
        _ => "invalid_request_error",
    };
    match api {
        Api::OpenAi => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
        Api::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
    }
    .to_string()
}

/// What the turn used; where the script says nothing, four bytes are a token.
fn usage(turn: &Turn, request_bytes: usize) -> Usage {
    turn.usage.unwrap_or_else(|| {
        let arguments: usize = turn.calls.iter().map(|(_, _, arguments)| arguments.to_string().len()).sum();
        let tokens = |bytes: usize| u64::try_from(bytes / 4 + 1).unwrap_or(u64::MAX);
        Usage::call(tokens(request_bytes), 0, tokens(turn.text.len() + arguments))
    })
}

fn id(turn: &Turn, number: usize) -> String {
    turn.calls
        .get(number)
        .and_then(|(id, _, _)| id.clone())
        .unwrap_or_else(|| format!("call_scripted_{number}"))
}

/// The arguments as the text that goes over the wire; a string in the script is sent as it is, be it JSON or not.
fn arguments_text(arguments: &Value) -> String {
    arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned)
}

/// Pieces of about so many characters.
fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(24).map(|piece| piece.iter().collect()).collect()
}

/// The whole reply.
pub(super) fn reply(api: Api, turn: &Turn, asked: &str, streamed: bool, request_bytes: usize) -> Answer {
    let model = turn.model.as_deref().unwrap_or(asked);
    let usage = usage(turn, request_bytes);
    match (api, streamed) {
        (Api::OpenAi, false) => openai(turn, model, usage),
        (Api::OpenAi, true) => openai_events(turn, model, usage),
        (Api::Anthropic, false) => anthropic(turn, model, usage),
        (Api::Anthropic, true) => anthropic_events(turn, model, usage),
    }
}

fn openai_usage(usage: Usage) -> Value {
    json!({"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
           "total_tokens": usage.total_tokens(),
           "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens}})
}

fn openai(turn: &Turn, model: &str, usage: Usage) -> Answer {
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    let no_text = turn.text.is_empty() && !turn.calls.is_empty();
    message.insert("content".to_owned(), if no_text { Value::Null } else { json!(turn.text) });
    if let Some(reasoning) = &turn.reasoning {
        message.insert("reasoning_content".to_owned(), json!(reasoning));
    }
    if !turn.calls.is_empty() {
        let calls = turn.calls.iter().enumerate().map(|(number, (_, name, arguments))| {
            json!({"id": id(turn, number), "type": "function",
                   "function": {"name": name, "arguments": arguments_text(arguments)}})
        });
        message.insert("tool_calls".to_owned(), calls.collect());
    }
    let body = json!({"id": "chatcmpl-scripted", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": openai_stop(turn)}],
        "usage": openai_usage(usage)});
    Answer::Plain(body.to_string())
}

fn openai_stop(turn: &Turn) -> &str {
    match turn.stop_word() {
        "end_turn" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        "refusal" => "content_filter",
        word => word,
    }
}

fn openai_events(turn: &Turn, model: &str, usage: Usage) -> Answer {
    let chunk = |choices: Value| {
        json!({"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": model,
               "choices": choices})
    };
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]));
    let mut chunks = vec![delta(json!({"role": "assistant", "content": ""}))];
    for piece in pieces(turn.reasoning.as_deref().unwrap_or_default()) {
        chunks.push(delta(json!({"reasoning_content": piece})));
    }
    for piece in pieces(&turn.text) {
        chunks.push(delta(json!({"content": piece})));
    }
    for (number, (_, name, arguments)) in turn.calls.iter().enumerate() {
        chunks
            .push(delta(json!({"tool_calls": [{"index": number, "id": id(turn, number), "type": "function",
            "function": {"name": name, "arguments": ""}}]})));
        for piece in pieces(&arguments_text(arguments)) {
            chunks.push(delta(json!({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})));
        }
    }
    chunks.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": openai_stop(turn)}])));
    let mut last = chunk(json!([]));
    last["usage"] = openai_usage(usage);
    chunks.push(last);
    let mut events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    events.push("data: [DONE]\n\n".to_owned());
    Answer::Events(events)
}

fn anthropic_stop(turn: &Turn) -> &str {
    match turn.stop_word() {
        "stop" => "end_turn",
        "tool_calls" => "tool_use",
        "length" => "max_tokens",
        "content_filter" => "refusal",
        word => word,
    }
}

fn anthropic_usage(usage: Usage) -> Value {
    json!({"input_tokens": usage.input_tokens.saturating_sub(usage.cached_input_tokens),
           "cache_read_input_tokens": usage.cached_input_tokens, "cache_creation_input_tokens": 0,
           "output_tokens": usage.output_tokens})
}

fn anthropic(turn: &Turn, model: &str, usage: Usage) -> Answer {
    let mut content = Vec::new();
    if let Some(reasoning) = &turn.reasoning {
        content.push(json!({"type": "thinking", "thinking": reasoning, "signature": "c2lnbmVk"}));
    }
    if !turn.text.is_empty() {
        content.push(json!({"type": "text", "text": turn.text}));
    }
    content.extend(turn.calls.iter().enumerate().map(|(number, (_, name, arguments))| {
        json!({"type": "tool_use", "id": id(turn, number), "name": name, "input": arguments})
    }));
    let body = json!({"id": "msg_scripted", "type": "message", "role": "assistant", "model": model,
        "content": content, "stop_reason": anthropic_stop(turn), "stop_sequence": null,
        "usage": anthropic_usage(usage)});
    Answer::Plain(body.to_string())
}

fn anthropic_events(turn: &Turn, model: &str, usage: Usage) -> Answer {
    let mut values = vec![
        json!({"type": "message_start", "message": {"id": "msg_scripted", "type": "message",
            "role": "assistant", "model": model, "content": [], "stop_reason": null,
            "usage": {"input_tokens": 0, "output_tokens": 0}}}),
        json!({"type": "ping"}),
    ];
    let mut blocks: Vec<(Value, Vec<Value>)> = Vec::new();
    if let Some(reasoning) = &turn.reasoning {
        let mut deltas: Vec<Value> = pieces(reasoning)
            .iter()
            .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
            .collect();
        deltas.push(json!({"type": "signature_delta", "signature": "c2lnbmVk"}));
        blocks.push((json!({"type": "thinking", "thinking": "", "signature": ""}), deltas));
    }
    if !turn.text.is_empty() {
        let deltas =
            pieces(&turn.text).iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect();
        blocks.push((json!({"type": "text", "text": ""}), deltas));
    }
    for (number, (_, name, arguments)) in turn.calls.iter().enumerate() {
        let deltas = pieces(&arguments_text(arguments))
            .iter()
            .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
            .collect();
        blocks.push((json!({"type": "tool_use", "id": id(turn, number), "name": name, "input": {}}), deltas));
    }
    for (index, (start, deltas)) in blocks.into_iter().enumerate() {
        values.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        for delta in deltas {
            values.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        values.push(json!({"type": "content_block_stop", "index": index}));
    }
    values.push(json!({"type": "message_delta", "delta": {"stop_reason": anthropic_stop(turn)},
                       "usage": anthropic_usage(usage)}));
    values.push(json!({"type": "message_stop"}));
    let events = values.iter().map(|value| {
        let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
        format!("event: {name}\ndata: {value}\n\n")
    });
    Answer::Events(events.collect())
}
