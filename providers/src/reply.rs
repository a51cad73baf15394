//! What a dialect reads out of a response body, and the way from there to a [`ModelReply`]: arguments, missing ids, cost.

use crate::sse::Event;
use domain::chat::{Arguments, ModelReply, StopReason, ToolCall};
use domain::preset::Preset;
use domain::secret::Redactor;
use domain::usage::Usage;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// A tool call as the server wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawCall {
    pub id: Option<String>,
    pub name: String,
    pub arguments: Arguments,
}

/// A whole reply before ids are filled in and prices applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub text: String,
    pub reasoning: Option<String>,
    pub calls: Vec<RawCall>,
    pub stop: StopReason,
    pub usage: Option<Usage>,
    pub model: Option<String>,
}

/// What a body turned out to be.
#[derive(Debug, PartialEq)]
pub(crate) enum Reading {
    /// A whole reply.
    Reply(Draft),
    /// The server's error, under whatever status.
    Failed(Value),
    /// It ended before the reply was whole.
    Cut,
    /// No reading makes sense of it.
    Nonsense(String),
}

/// Puts a reply together from the events of a stream.
pub(crate) trait StreamReader: Send {
    /// Takes the next event.
    fn take(&mut self, event: &Event);
    /// Whether nothing more can follow.
    fn is_over(&self) -> bool;
    /// What it was, once nothing more comes.
    fn read(self: Box<Self>) -> Reading;
}

/// Arguments from a string that should hold a JSON object.
pub(crate) fn arguments_from_text(raw: &str) -> Arguments {
    if raw.trim().is_empty() {
        return Arguments::Object { value: Map::new() };
    }
    match serde_json::from_str::<Value>(raw) {
        // Some servers quote twice.
        Ok(Value::String(inner)) => match serde_json::from_str(&inner) {
            Ok(value) => Arguments::Object { value },
            Err(_) => malformed(raw, "arguments are a string, not a JSON object"),
        },
        Ok(value) => arguments_from_value(value, raw),
        Err(error) => malformed(raw, &format!("arguments are no JSON: {error}")),
    }
}

/// Arguments that came as JSON, not as a string.
pub(crate) fn arguments_from_json(value: &Value) -> Arguments {
    match value {
        Value::String(raw) => arguments_from_text(raw),
        other => arguments_from_value(other.clone(), &other.to_string()),
    }
}

fn arguments_from_value(value: Value, raw: &str) -> Arguments {
    match value {
        Value::Object(value) => Arguments::Object { value },
        Value::Null => Arguments::Object { value: Map::new() },
        Value::Array(_) => malformed(raw, "arguments are an array, not a JSON object"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            malformed(raw, "arguments are a single value, not a JSON object")
        }
    }
}

fn malformed(raw: &str, why: &str) -> Arguments {
    Arguments::Malformed { raw: raw.to_owned(), why: why.to_owned() }
}

/// Leaves out unnamed calls and gives every other one an id that is unique in the reply.
fn named_calls(calls: Vec<RawCall>) -> Vec<ToolCall> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut named = Vec::with_capacity(calls.len());
    for (number, call) in (1_u32..).zip(calls.into_iter().filter(|call| !call.name.trim().is_empty())) {
        let mut id = call.id.filter(|id| !id.trim().is_empty()).unwrap_or_else(|| format!("call_{number}"));
        while !seen.insert(id.clone()) {
            id = format!("{id}_{number}");
        }
        named.push(ToolCall { id, name: call.name, arguments: call.arguments });
    }
    named
}

/// The reply as the agent gets it. What the server did not say about tokens is unknown; the key is cleaned out, should the server
/// have repeated it.
pub(crate) fn finish(draft: Draft, preset: &Preset, redactor: &Redactor) -> ModelReply {
    let mut usage = draft.usage.unwrap_or_else(Usage::unknown_call);
    usage.cost_usd = preset.price.and_then(|price| price.cost(&usage));
    let mut reply = ModelReply {
        text: draft.text,
        reasoning: draft.reasoning.filter(|reasoning| !reasoning.is_empty()),
        calls: named_calls(draft.calls),
        stop: draft.stop,
        usage,
        model: draft.model.filter(|model| !model.is_empty()),
    };
    redactor.clean(&mut reply.text);
    if let Some(reasoning) = &mut reply.reasoning {
        redactor.clean(reasoning);
    }
    for call in &mut reply.calls {
        match &mut call.arguments {
            Arguments::Object { value } => {
                let mut whole = Value::Object(std::mem::take(value));
                redactor.clean_value(&mut whole);
                if let Value::Object(cleaned) = whole {
                    *value = cleaned;
                }
            }
            Arguments::Malformed { raw, why } => {
                redactor.clean(raw);
                redactor.clean(why);
            }
        }
    }
    reply
}

/// A count of tokens, whether written as integer or float.
pub(crate) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked; counts are whole"
        )]
        let whole = number as u64;
        Some(whole)
    })
}

/// A field that is a text and not empty.
pub(crate) fn text_field<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// The error inside a body that may well have come with status 200.
pub(crate) fn error_in(value: &Value) -> Option<Value> {
    let told = matches!(value.get("type").and_then(Value::as_str), Some("error"))
        || matches!(value.get("object").and_then(Value::as_str), Some("error"));
    match value.get("error") {
        Some(Value::Object(error)) if !error.is_empty() => Some(value.clone()),
        Some(Value::String(error)) if !error.is_empty() => Some(value.clone()),
        _ => told.then(|| value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn object(arguments: &Arguments) -> Value {
        match arguments {
            Arguments::Object { value } => Value::Object(value.clone()),
            Arguments::Malformed { raw, why } => panic!("`{raw}`: {why}"),
        }
    }

    #[test]
    fn arguments_come_as_string_or_object() {
        assert_eq!(object(&arguments_from_json(&json!({"a": 1}))), json!({"a": 1}));
        assert_eq!(object(&arguments_from_json(&json!("{\"a\":1}"))), json!({"a": 1}));
        assert_eq!(object(&arguments_from_json(&json!("\"{\\\"a\\\":1}\""))), json!({"a": 1}));
        for empty in [json!(""), json!("  \n"), json!(null), json!({}), json!("null")] {
            assert_eq!(object(&arguments_from_json(&empty)), json!({}), "{empty}");
        }
        for bad in [json!("{\"a\":"), json!([1]), json!("[1]"), json!(3), json!("plain"), json!("\"quoted\"")]
        {
            let Arguments::Malformed { raw, why } = arguments_from_json(&bad) else { panic!("{bad}") };
            assert!(!raw.is_empty() && why.starts_with("arguments are"), "{why}");
        }
    }

    #[test]
    fn every_named_call_gets_an_id_of_its_own() {
        let call = |id: Option<&str>, name: &str| RawCall {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            arguments: arguments_from_text(""),
        };
        let calls = named_calls(vec![
            call(None, "a"),
            call(Some(""), "b"),
            call(Some("x"), ""),
            call(Some("x"), "c"),
            call(Some("x"), "d"),
            call(Some("call_1"), "e"),
        ]);
        let ids: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.id.as_str())).collect();
        assert_eq!(ids, [("a", "call_1"), ("b", "call_2"), ("c", "x"), ("d", "x_4"), ("e", "call_1_5")]);
    }
}
