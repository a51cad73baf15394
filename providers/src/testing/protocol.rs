//! What the real APIs demand of a request. Each check answers with the text of a refusal.

use serde_json::Value;
use std::collections::HashSet;

/// Which API a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    OpenAi,
    Anthropic,
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Why the API would refuse this request, if it would.
pub(super) fn refusal(api: Api, body: &Value) -> Option<String> {
    let checked = match api {
        Api::OpenAi => openai(body),
        Api::Anthropic => anthropic(body),
    };
    checked.err()
}

fn common(body: &Value) -> Result<&[Value], String> {
    if text(body, "model").is_none_or(str::is_empty) {
        return Err("you must provide a model parameter".to_owned());
    }
    let messages = list(body, "messages");
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    for (field, range) in [("temperature", 0.0..=2.0)] {
        if let Some(value) = body.get(field)
            && !value.as_f64().is_some_and(|number| range.contains(&number))
        {
            return Err(format!("{field}: out of range"));
        }
    }
    Ok(messages)
}

fn legal_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn check_tools<'a>(tools: impl Iterator<Item = (Option<&'a str>, Option<&'a Value>)>) -> Result<(), String> {
    let mut names = HashSet::new();
    for (number, (name, schema)) in tools.enumerate() {
        let name = name.filter(|name| legal_name(name)).ok_or_else(|| format!("tools.{number}: bad name"))?;
        if !names.insert(name) {
            return Err(format!("tools.{number}: tool names must be unique"));
        }
        if schema.and_then(|schema| text(schema, "type")) != Some("object") {
            return Err(format!("tools.{number}: the schema must be of type object"));
        }
    }
    Ok(())
}

fn openai(body: &Value) -> Result<(), String> {
    let messages = common(body)?;
    check_tools(list(body, "tools").iter().map(|tool| {
        let function = tool.get("function");
        (function.and_then(|function| text(function, "name")), function.and_then(|f| f.get("parameters")))
    }))?;
    let mut open: Vec<&str> = Vec::new();
    for (number, message) in messages.iter().enumerate() {
        let bad = |why: &str| Err(format!("messages.{number}: {why}"));
        let role = text(message, "role").unwrap_or_default();
        if !open.is_empty() && role != "tool" {
            return bad(&format!(
                "an assistant message with `tool_calls` must be followed by tool messages responding to each \
                 `tool_call_id`; no answer to {}",
                open.join(", ")
            ));
        }
        let content = message.get("content");
        let calls = list(message, "tool_calls");
        match role {
            "system" | "developer" | "user" => {
                if !content.is_some_and(Value::is_string) || text(message, "content") == Some("") {
                    return bad("content must be a string and not empty");
                }
            }
            "assistant" => {
                if text(message, "content").is_none_or(str::is_empty) && calls.is_empty() {
                    return bad("an assistant message needs content or tool_calls");
                }
                if message.get("tool_calls").is_some() && calls.is_empty() {
                    return bad("tool_calls must not be empty");
                }
                for call in calls {
                    let id = text(call, "id").unwrap_or_default();
                    let function = call.get("function");
                    let name = function.and_then(|function| text(function, "name")).unwrap_or_default();
                    let arguments = function.and_then(|function| text(function, "arguments"));
                    if id.is_empty() || open.contains(&id) {
                        return bad("tool call ids must be there and unique");
                    }
                    if name.is_empty() || text(call, "type") != Some("function") {
                        return bad("a tool call needs a type and a function name");
                    }
                    if !arguments
                        .is_some_and(|text| serde_json::from_str::<Value>(text).is_ok_and(|v| v.is_object()))
                    {
                        return bad("function.arguments must be a string that holds a JSON object");
                    }
                    open.push(id);
                }
            }
            "tool" => {
                let id = text(message, "tool_call_id").unwrap_or_default();
                let Some(at) = open.iter().position(|open| *open == id) else {
                    return bad("a tool message must respond to a preceding message with `tool_calls`");
                };
                open.remove(at);
                if !content.is_some_and(Value::is_string) {
                    return bad("content must be a string");
                }
            }
            role => return bad(&format!("unknown role `{role}`")),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("messages: no answer to {}", open.join(", "))) }
}

fn anthropic(body: &Value) -> Result<(), String> {
    let messages = common(body)?;
    if body.get("max_tokens").and_then(Value::as_u64).unwrap_or(0) == 0 {
        return Err("max_tokens: Field required".to_owned());
    }
    if body.get("system").is_some_and(|system| system.as_str().is_none_or(str::is_empty)) {
        return Err("system: text content must be a non-empty string".to_owned());
    }
    check_tools(list(body, "tools").iter().map(|tool| (text(tool, "name"), tool.get("input_schema"))))?;
    let mut open: Vec<&str> = Vec::new();
    let mut ids = HashSet::new();
    for (number, message) in messages.iter().enumerate() {
        let bad = |why: &str| Err(format!("messages.{number}: {why}"));
        let role = text(message, "role").unwrap_or_default();
        let expected = if number % 2 == 0 { "user" } else { "assistant" };
        if role != expected {
            return bad(&format!("roles must alternate; expected `{expected}`, found `{role}`"));
        }
        let blocks = list(message, "content");
        if blocks.is_empty() {
            return bad("all messages must have non-empty content");
        }
        let mut results_over = false;
        for block in blocks {
            match (text(block, "type").unwrap_or_default(), role) {
                ("text", _) => {
                    results_over = true;
                    if text(block, "text").is_none_or(|text| text.trim().is_empty()) {
                        return bad("text content blocks must contain non-whitespace text");
                    }
                }
                ("tool_use", "assistant") => {
                    let id = text(block, "id").unwrap_or_default();
                    if !legal_name(id) || !ids.insert(id) {
                        return bad("`tool_use` ids must be legal and unique");
                    }
                    if text(block, "name").is_none_or(str::is_empty)
                        || !block.get("input").is_some_and(Value::is_object)
                    {
                        return bad("tool_use needs a name and an input object");
                    }
                }
                ("tool_result", "user") => {
                    let id = text(block, "tool_use_id").unwrap_or_default();
                    let Some(at) = open.iter().position(|open| *open == id) else {
                        return bad("unexpected `tool_use_id`: no such `tool_use` in the previous message");
                    };
                    open.remove(at);
                    if results_over {
                        return bad("tool_result blocks must come first");
                    }
                    if block.get("content").is_some_and(|content| content.as_str().is_none_or(str::is_empty))
                    {
                        return bad("tool_result content must not be empty");
                    }
                }
                ("thinking" | "redacted_thinking", "assistant") => {}
                (kind, role) => return bad(&format!("no `{kind}` block in a message of role `{role}`")),
            }
        }
        if !open.is_empty() {
            return bad(&format!("`tool_use` ids without `tool_result` blocks: {}", open.join(", ")));
        }
        open = blocks
            .iter()
            .filter(|block| text(block, "type") == Some("tool_use"))
            .filter_map(|b| text(b, "id"))
            .collect();
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("`tool_use` ids without `tool_result`: {}", open.join(", ")))
    }
}

/// The texts of the user's side, in which markers are looked for.
pub(super) fn user_texts(body: &Value) -> Vec<&str> {
    list(body, "messages")
        .iter()
        .filter(|message| text(message, "role") == Some("user"))
        .flat_map(|message| match message.get("content") {
            Some(Value::String(words)) => vec![words.as_str()],
            Some(Value::Array(blocks)) => blocks.iter().filter_map(|block| text(block, "text")).collect(),
            _ => Vec::new(),
        })
        .collect()
}

/// How many replies the conversation holds.
pub(super) fn assistant_messages(body: &Value) -> usize {
    list(body, "messages").iter().filter(|message| text(message, "role") == Some("assistant")).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::Anthropic;
    use crate::dialect::Dialect;
    use crate::openai::OpenAi;
    use crate::reply::arguments_from_text;
    use domain::chat::{Message, ModelRequest, ToolCall};
    use domain::id::PresetName;
    use domain::preset::{Preset, ProviderKind};
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::Arc;

    #[track_caller]
    fn check(api: Api, messages: Value, refused: Option<&str>) {
        let body = json!({"model": "m", "max_tokens": 9, "messages": messages});
        match (refusal(api, &body), refused) {
            (None, None) => {}
            (Some(why), Some(part)) => assert!(why.contains(part), "{why}"),
            (got, _) => panic!("{got:?}, expected {refused:?}"),
        }
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let text = prop_oneof![Just(""), Just(" \n"), Just("words"), Just("\u{0}ä")].prop_map(str::to_owned);
        let id = prop_oneof![Just(""), Just("a"), Just("b"), Just("functions.ls:0"), Just("call_1")]
            .prop_map(str::to_owned);
        let arguments = prop_oneof![Just("{\"x\":1}"), Just("{"), Just("")].prop_map(arguments_from_text);
        let call = (id.clone(), arguments).prop_map(|(id, arguments)| ToolCall {
            id,
            name: "ls".to_owned(),
            arguments,
        });
        let message = prop_oneof![
            text.clone().prop_map(|text| Message::System { text }),
            text.clone().prop_map(|text| Message::User { text }),
            (text.clone(), prop::collection::vec(call, 0..3), prop::option::of(text.clone()))
                .prop_map(|(text, calls, reasoning)| Message::Assistant { text, reasoning, calls }),
            (id, text, any::<bool>()).prop_map(|(call_id, content, ok)| Message::Tool {
                call_id,
                name: "ls".to_owned(),
                ok,
                content,
            }),
        ];
        prop::collection::vec(message, 0..14)
    }

    proptest! {
        /// Whatever an agent puts together, the real APIs would take it.
        #[test]
        fn every_conversation_becomes_one_that_the_apis_take(mut messages in messages()) {
            messages.insert(0, Message::User { text: "task".to_owned() });
            // A request never ends with a reply.
            messages.push(Message::User { text: "go on".to_owned() });
            let request = ModelRequest { messages: Arc::new(messages), tools: Arc::new(Vec::new()) };
            let preset = Preset::new(PresetName::folded("p"), ProviderKind::Anthropic, "m");
            prop_assert_eq!(refusal(Api::OpenAi, &OpenAi.body(&preset, &request)), None);
            prop_assert_eq!(refusal(Api::Anthropic, &Anthropic.body(&preset, &request)), None);
        }
    }

    #[test]
    fn openai_conversations() {
        let user = json!({"role": "user", "content": "hi"});
        let call =
            |id: &str| json!({"id": id, "type": "function", "function": {"name": "ls", "arguments": "{}"}});
        let calls = |ids: &[&str]| {
            json!({"role": "assistant", "content": null,
            "tool_calls": ids.iter().map(|id| call(id)).collect::<Vec<_>>()})
        };
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": ""});
        let check = |messages: Value, refused: Option<&str>| check(Api::OpenAi, messages, refused);
        check(json!([user, user]), None);
        check(json!([user, calls(&["a", "b"]), result("b"), result("a"), user]), None);
        check(json!([]), Some("at least one"));
        check(json!([user, result("a")]), Some("must respond to a preceding"));
        check(json!([user, calls(&["a", "b"]), result("a"), user]), Some("no answer to b"));
        check(json!([user, calls(&["a"])]), Some("no answer to a"));
        check(json!([user, calls(&["a", "a"])]), Some("unique"));
        check(json!([user, {"role": "assistant", "content": ""}]), Some("needs content"));
        check(json!([{"role": "user", "content": ""}]), Some("not empty"));
        check(json!([{"role": "robot", "content": "x"}]), Some("unknown role"));
    }

    #[test]
    fn anthropic_conversations() {
        let user = |blocks: Value| json!({"role": "user", "content": blocks});
        let said = |blocks: Value| json!({"role": "assistant", "content": blocks});
        let hi = json!({"type": "text", "text": "hi"});
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "ls", "input": {}});
        let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "x"});
        let check = |messages: Value, refused: Option<&str>| check(Api::Anthropic, messages, refused);
        check(json!([user(json!([hi, hi]))]), None);
        check(json!([user(json!([hi])), said(json!([hi, call("a")])), user(json!([result("a"), hi]))]), None);
        check(json!([said(json!([hi]))]), Some("expected `user`"));
        check(json!([user(json!([hi])), user(json!([hi]))]), Some("alternate"));
        check(json!([user(json!([]))]), Some("non-empty content"));
        check(json!([user(json!([{"type": "text", "text": " \n"}]))]), Some("non-whitespace"));
        check(json!([user(json!([result("a")]))]), Some("no such `tool_use`"));
        check(json!([user(json!([hi])), said(json!([call("a")]))]), Some("without `tool_result`"));
        check(
            json!([user(json!([hi])), said(json!([call("a")])), user(json!([hi]))]),
            Some("without `tool_result`"),
        );
        check(
            json!([user(json!([hi])), said(json!([call("a")])), user(json!([hi, result("a")]))]),
            Some("must come first"),
        );
        check(
            json!([
                user(json!([hi])),
                said(json!([call("a")])),
                user(json!([result("a")])),
                said(json!([call("a")])),
                user(json!([result("a")]))
            ]),
            Some("unique"),
        );
        check(json!([user(json!([hi])), said(json!([call("a.b")]))]), Some("legal"));
    }
}
