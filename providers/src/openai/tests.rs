//! Tests of `openai`.

use super::*;
use crate::dialect::read_portions;
use domain::chat::{Message, ToolCall};
use domain::id::PresetName;
use domain::preset::ProviderKind;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)).unwrap()
}

fn read_whole(bytes: &[u8]) -> Reading {
    match serde_json::from_slice(bytes) {
        Ok(value) => OpenAi.read(&value),
        Err(_) => read_portions(&OpenAi, [bytes]),
    }
}

#[track_caller]
fn draft(reading: Reading) -> Draft {
    match reading {
        Reading::Reply(draft) => draft,
        other => panic!("{other:?}"),
    }
}

/// A reply in one line: text, reasoning, calls as `name(arguments)`, stop, usage.
fn show(draft: &Draft) -> String {
    let calls: Vec<String> = draft
        .calls
        .iter()
        .map(|call| match &call.arguments {
            Arguments::Object { value } => format!("{}({})", call.name, Value::Object(value.clone())),
            Arguments::Malformed { raw, .. } => format!("{}!{raw}!", call.name),
        })
        .collect();
    let usage = draft.usage.map_or_else(
        || "?".to_owned(),
        |usage| format!("{}/{}/{}", usage.input_tokens, usage.cached_input_tokens, usage.output_tokens),
    );
    let reasoning =
        draft.reasoning.as_deref().filter(|text| !text.is_empty()).map_or(0, |text| text.chars().count());
    format!("{:?} r{reasoning} [{}] {:?} {usage}", draft.text, calls.join(" "), draft.stop)
}

#[test]
fn captured_replies_are_read() {
    let read_file = r#"read_file({"path":"lexreadm","n":6})"#;
    for (name, expected) in [
        ("vllm/oa-chat.body", "\"E\u{fffd}`J\\u{16}\" r0 [] Length 20/0/8".to_owned()),
        ("vllm/oa-chat-stream.body", "\"E\u{fffd}`J\" r0 [] Length 20/0/6".to_owned()),
        ("vllm/oa-chat-stream-nousage.body", "\"E\" r0 [] Length ?".to_owned()),
        // Forced tool choice: the calls are there whatever the stop reason says.
        ("vllm/oa-tool-forced.body", format!("\"\" r0 [{read_file}] EndTurn 330/0/86")),
        ("vllm/oa-tool-forced-stream.body", format!("\"\" r0 [{read_file}] EndTurn 330/0/86")),
        ("vllm/oa-tool-required.body", format!("\"\" r0 [{read_file}] ToolUse 330/0/86")),
        ("vllm/oa-tool-required-stream.body", format!("\"\" r0 [{read_file}] ToolUse 330/0/86")),
        ("vllm/oa-tool-history.body", "\"i\" r0 [] Length 43/0/4".to_owned()),
        ("vllm/oa-bad-role.body", "\"$*\" r0 [] Length 21/0/2".to_owned()),
        ("vllm-reasoning/oa-chat.body", "\"\" r5 [] Length 20/0/8".to_owned()),
        ("vllm-reasoning/oa-chat-stream.body", "\"\" r4 [] Length 20/0/6".to_owned()),
        ("vllm-reasoning/oa-bad-role.body", "\"\" r0 [] EndTurn 21/0/1".to_owned()),
        ("vllm-reasoning/oa-tool-forced-stream.body", "\"\" r39 [] Length 330/0/60".to_owned()),
    ] {
        let draft = draft(read_whole(&fixture(name)));
        assert_eq!(show(&draft), expected, "{name}");
        assert_eq!(draft.model.as_deref(), Some("tiny"), "{name}");
    }
}

const STREAMS: [&str; 6] = [
    "vllm/oa-chat-stream.body",
    "vllm/oa-chat-stream-nousage.body",
    "vllm/oa-tool-required-stream.body",
    "vllm-reasoning/oa-chat-stream.body",
    "vllm-reasoning/oa-tool-required-stream.body",
    "vllm/oa-tool-forced-stream.body",
];

#[test]
fn streams_read_the_same_however_the_bytes_are_cut() {
    for name in &STREAMS[..2] {
        let bytes = fixture(name);
        let whole = read_portions(&OpenAi, [bytes.as_slice()]);
        assert!(matches!(whole, Reading::Reply(_)));
        for split in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(split);
            assert_eq!(read_portions(&OpenAi, [head, tail]), whole, "{name} at {split}");
        }
    }
    for name in STREAMS {
        let bytes = fixture(name);
        assert_eq!(
            read_portions(&OpenAi, bytes.chunks(1)),
            read_portions(&OpenAi, [bytes.as_slice()]),
            "{name}"
        );
    }
}

#[test]
fn a_stream_cut_before_its_finish_reason_is_no_reply_and_one_cut_behind_it_is_whole() {
    for name in STREAMS {
        let bytes = fixture(name);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let finish = text.find("\"finish_reason\":\"").unwrap();
        let end_of_finish = finish + text[finish..].find("\n\n").unwrap();
        for cut in (0..finish).step_by(97) {
            assert_eq!(read_portions(&OpenAi, [&bytes[..cut]]), Reading::Cut, "{name} at {cut}");
        }
        let whole = draft(read_portions(&OpenAi, [&bytes[..end_of_finish]]));
        assert_eq!(whole.calls, draft(read_portions(&OpenAi, [bytes.as_slice()])).calls);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_portions_read_the_same(which in 0..STREAMS.len(), sizes in prop::collection::vec(1_usize..400, 1..12)) {
        let bytes = fixture(STREAMS[which]);
        let mut portions = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            portions.push(head);
            rest = tail;
        }
        prop_assert_eq!(read_portions(&OpenAi, portions), read_portions(&OpenAi, [bytes.as_slice()]));
    }

    #[test]
    fn no_bytes_panic_the_readers(bytes in prop::collection::vec(any::<u8>(), 0..300), json in "[\\[\\]{}\",:a-z0-9]{0,80}") {
        read_portions(&OpenAi, [bytes.as_slice()]);
        read_portions(&OpenAi, [format!("data: {json}\n\n").as_bytes()]);
        if let Ok(value) = serde_json::from_str(&json) { OpenAi.read(&value); }
    }
}

#[test]
fn tool_calls_of_every_shape_in_plain_replies() {
    for (message, expected) in [
        (
            json!({"content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
            "f({\"x\":1})",
        ),
        (
            json!({"content": "", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}),
            "f({\"x\":1})",
        ),
        (
            json!({"tool_calls": [{"function": {"name": "f", "arguments": ""}}, {"function": {"name": "g"}}]}),
            "f({}) g({})",
        ),
        (json!({"tool_calls": [{"id": null, "function": {"name": "f", "arguments": null}}]}), "f({})"),
        (json!({"tool_calls": [{"function": {"name": "f", "arguments": "{\"x\":"}}]}), "f!{\"x\":!"),
        (json!({"tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}), "f![1]!"),
        (json!({"tool_calls": [{"name": "f", "arguments": {"x": 1}}]}), "f({\"x\":1})"),
        (json!({"tool_calls": null, "function_call": {"name": "old", "arguments": "{}"}}), "old({})"),
        (json!({"tool_calls": [], "function_call": null}), ""),
    ] {
        let body = json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]});
        let draft = draft(OpenAi.read(&body));
        let line = show(&draft);
        assert_eq!(line, format!("\"\" r0 [{expected}] ToolUse ?"), "{message}");
    }
}

/// A stream of these deltas, ended properly.
fn stream_of(deltas: &[Value]) -> Vec<u8> {
    let mut text: String = deltas
        .iter()
        .map(|delta| {
            format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
        })
        .collect();
    text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n");
    text.into_bytes()
}

#[test]
fn tool_calls_of_every_shape_in_streams() {
    let call = |value: Value| json!({"tool_calls": [value]});
    for (deltas, expected) in [
        // The usual one: the name first, then pieces of arguments; two calls at once.
        (
            vec![
                call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}})),
                call(json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}})),
                call(json!({"index": 0, "function": {"arguments": "{\"x\""}})),
                call(json!({"index": 1, "function": {"arguments": "{}"}})),
                call(json!({"index": 0, "function": {"arguments": ":1}"}})),
            ],
            "f({\"x\":1}) g({})",
        ),
        // Id and name in every delta (llama.cpp's Python server), with nulls and a legacy function_call beside it.
        (
            vec![
                json!({"content": null, "function_call": {"name": "f", "arguments": "{\"x\""},
                       "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\""}}]}),
                json!({"content": null, "function_call": {"name": "f", "arguments": ":1}"},
                       "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}}]}),
            ],
            "f({\"x\":1})",
        ),
        // No index at all: a new id and name begin a new call.
        (
            vec![
                call(json!({"id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}})),
                call(json!({"id": "b", "function": {"name": "f", "arguments": "{\"x\":2}"}})),
            ],
            "f({\"x\":1}) f({\"x\":2})",
        ),
        // Index 0 for everything.
        (
            vec![
                call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}})),
                call(json!({"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}})),
            ],
            "f({}) g({})",
        ),
        // No id anywhere, arguments as an object, several calls in one delta.
        (
            vec![json!({"tool_calls": [
                {"index": 0, "function": {"name": "f", "arguments": {"x": 1}}},
                {"index": 1, "function": {"name": "g", "arguments": "{}"}}]})],
            "f({\"x\":1}) g({})",
        ),
        // The id comes later than the name.
        (
            vec![
                call(json!({"index": 0, "function": {"name": "f", "arguments": ""}})),
                call(json!({"index": 0, "id": "a", "function": {"name": null, "arguments": "{}"}})),
            ],
            "f({})",
        ),
        (
            vec![
                json!({"function_call": {"name": "old", "arguments": ""}}),
                json!({"function_call": {"arguments": "{}"}}),
                json!({"function_call": null, "tool_calls": null}),
            ],
            "old({})",
        ),
        (
            vec![call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}))],
            "f!{\"x\":!",
        ),
    ] {
        let draft = draft(read_portions(&OpenAi, [stream_of(&deltas).as_slice()]));
        assert_eq!(show(&draft), format!("\"\" r0 [{expected}] ToolUse ?"), "{deltas:?}");
    }
}

#[test]
fn texts_reasoning_refusals_and_usage_of_every_shape() {
    for (body, expected) in [
        (
            json!({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "finish_reason": "stop"}]}),
            "\"ab\" r0 [] EndTurn ?",
        ),
        (
            json!({"choices": [{"message": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "b"}]}}]}),
            "\"b\" r2 [] Unknown ?",
        ),
        (
            json!({"choices": [{"message": {"content": "x", "reasoning_content": "hmm"}, "finish_reason": "length"}],
                   "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}}),
            "\"x\" r3 [] Length 10/4/5",
        ),
        (
            json!({"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}],
                   "usage": {"prompt_tokens": 10, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 7}}}),
            "\"no\" r0 [] Refusal 10/7/2",
        ),
        (
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}],
                   "usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
            "\"x\" r0 [] Refusal ?",
        ),
        (
            json!({"choices": [{"message": {"content": "x"}, "finish_reason": "weird"}], "usage": null, "error": null}),
            "\"x\" r0 [] Other { word: \"weird\" } ?",
        ),
    ] {
        assert_eq!(show(&draft(OpenAi.read(&body))), expected, "{body}");
    }
}

#[test]
fn errors_and_nonsense_are_told_apart() {
    for failed in [
        json!({"error": {"message": "x"}}),
        json!({"error": "x"}),
        json!({"type": "error", "error": {"type": "api_error", "message": "x"}}),
        json!({"object": "error", "message": "x"}),
    ] {
        assert_eq!(OpenAi.read(&failed), Reading::Failed(failed.clone()));
        let stream =
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"half\"}}}}]}}\n\ndata: {failed}\n\n");
        assert_eq!(read_portions(&OpenAi, [stream.as_bytes()]), Reading::Failed(failed.clone()));
        // An error behind a whole reply does not take it away.
        let late = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"all\"}},\"finish_reason\":\"stop\"}}]}}\n\ndata: {failed}\n\n"
        );
        assert_eq!(draft(read_portions(&OpenAi, [late.as_bytes()])).text, "all");
    }
    for nonsense in [
        json!({}),
        json!([]),
        json!({"choices": []}),
        json!({"choices": [{}]}),
        json!("x"),
        json!({"error": null}),
    ] {
        assert!(matches!(OpenAi.read(&nonsense), Reading::Nonsense(_)), "{nonsense}");
    }
    assert!(matches!(read_portions(&OpenAi, [b"data: [DONE]\n\n".as_slice()]), Reading::Nonsense(_)));
    assert!(matches!(
        read_portions(
            &OpenAi,
            [b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {broken\n\n"
                .as_slice()]
        ),
        Reading::Nonsense(_)
    ));
    assert_eq!(read_portions(&OpenAi, [b"".as_slice()]), Reading::Cut);
}

pub(crate) fn sample_messages() -> Vec<Message> {
    let call =
        |id: &str, arguments: Arguments| ToolCall { id: id.into(), name: "read_file".into(), arguments };
    vec![
        Message::System { text: "be brief".into() },
        Message::User { text: "context".into() },
        Message::User { text: "task".into() },
        Message::Assistant {
            text: "looking".into(),
            reasoning: Some("hm".into()),
            calls: vec![
                call("call_1", arguments_from_text("{\"path\":\"a\"}")),
                call("call_2", arguments_from_text("{\"path\":")),
            ],
        },
        Message::Tool { call_id: "call_1".into(), name: "read_file".into(), ok: true, content: "A".into() },
        Message::User { text: "remember the marker".into() },
        Message::Tool {
            call_id: "call_2".into(),
            name: "read_file".into(),
            ok: false,
            content: "bad".into(),
        },
        Message::Assistant {
            text: String::new(),
            reasoning: None,
            calls: vec![call("call_1", arguments_from_text(""))],
        },
        Message::User { text: "verification failed".into() },
    ]
}

fn preset() -> Preset {
    let mut preset = Preset::new(PresetName::folded("p"), ProviderKind::OpenaiCompatible, "m");
    preset.max_tokens = 100;
    preset
}

#[test]
fn conversations_become_valid_bodies() {
    let tools = vec![ToolSpec {
        name: "read_file".into(),
        description: "reads".into(),
        parameters: json!({"type": "object", "properties": {}}),
    }];
    let request = ModelRequest { messages: Arc::new(sample_messages()), tools: Arc::new(tools) };
    let mut preset = preset();
    preset.stream = true;
    let body = OpenAi.body(&preset, &request);
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "read_file", "arguments": arguments}});
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "context\n\ntask"},
                {"role": "assistant", "content": "looking", "reasoning_content": "hm", "tool_calls": [
                    call("call_1", "{\"path\":\"a\"}"),
                    call("call_2", "{\"malformed_arguments\":\"{\\\"path\\\":\"}"),
                ]},
                {"role": "tool", "tool_call_id": "call_1", "content": "A"},
                {"role": "tool", "tool_call_id": "call_2", "content": "bad"},
                {"role": "user", "content": "remember the marker"},
                {"role": "assistant", "content": null, "tool_calls": [call("call_1_2", "{}")]},
                {"role": "tool", "tool_call_id": "call_1_2", "content": "not executed"},
                {"role": "user", "content": "verification failed"},
            ],
            "tools": [{"type": "function", "function": {
                "name": "read_file", "description": "reads", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "auto",
            "temperature": 0.2,
            "max_tokens": 100,
            "stream": true,
            "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn extra_fields_are_added_and_nulls_take_away() {
    let mut preset = preset();
    preset.temperature = None;
    preset.extra_body =
        serde_json::from_value(json!({"max_tokens": null, "max_completion_tokens": 7, "model": "n"}))
            .unwrap();
    let request = ModelRequest {
        messages: Arc::new(vec![Message::User { text: "hi".into() }]),
        tools: Arc::new(Vec::new()),
    };
    assert_eq!(
        OpenAi.body(&preset, &request),
        json!({"model": "n", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 7})
    );
}
