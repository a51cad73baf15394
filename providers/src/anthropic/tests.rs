//! Tests of `anthropic`.

use super::*;
use crate::dialect::read_portions;
use crate::openai::tests::sample_messages;
use domain::chat::{Arguments, Message};
use domain::id::PresetName;
use domain::preset::ProviderKind;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)).unwrap()
}

#[track_caller]
fn draft(reading: Reading) -> Draft {
    match reading {
        Reading::Reply(draft) => draft,
        other => panic!("{other:?}"),
    }
}

fn read_whole(bytes: &[u8]) -> Reading {
    match serde_json::from_slice(bytes) {
        Ok(value) => Anthropic.read(&value),
        Err(_) => read_portions(&Anthropic, [bytes]),
    }
}

fn arguments(call: &RawCall) -> Value {
    match &call.arguments {
        Arguments::Object { value } => Value::Object(value.clone()),
        Arguments::Malformed { raw, .. } => json!(raw),
    }
}

#[test]
fn captured_replies_are_read() {
    type Row = (&'static str, &'static str, Vec<Value>, StopReason, (u64, u64));
    let rows: [Row; 9] = [
        ("vllm/an-msg.body", ";he\u{fffd};7", vec![], StopReason::Length, (20, 8)),
        ("vllm/an-msg-stream.body", "\u{fffd}co\u{1b}", vec![], StopReason::Length, (20, 6)),
        // Forced tool choice: the call is there, the stop reason says otherwise.
        (
            "vllm/an-tool-forced.body",
            "",
            vec![json!({"path": "buyvyhpo", "n": 5})],
            StopReason::EndTurn,
            (330, 93),
        ),
        ("vllm/an-tool-history.body", "\u{4}pD", vec![], StopReason::Length, (43, 4)),
        ("vllm-reasoning/an-msg.body", "", vec![], StopReason::Length, (20, 8)),
        ("vllm-reasoning/an-msg-stream.body", "", vec![], StopReason::Length, (20, 6)),
        ("vllm-reasoning/an-tool-history.body", "", vec![], StopReason::Length, (43, 4)),
        ("vllm-reasoning/an-tool-forced-stream.body", "", vec![], StopReason::Length, (330, 80)),
        (
            // A call cut off by the limit comes back as text.
            "vllm-reasoning/an-tool-forced.body",
            "<tool_call><tool_call>\n{\"name\": \"read_file\", \"arguments\": {\n \n\"path\"\n\r: \n\r\t\r\"ineadead\"\r \t ",
            vec![],
            StopReason::Length,
            (330, 80),
        ),
    ];
    for (name, text, calls, stop, tokens) in rows {
        let draft = draft(read_whole(&fixture(name)));
        assert_eq!(draft.text, text, "{name}");
        assert_eq!(draft.calls.iter().map(arguments).collect::<Vec<_>>(), calls, "{name}");
        assert_eq!(draft.stop, stop, "{name}");
        assert_eq!(draft.usage, Some(Usage::call(tokens.0, 0, tokens.1)), "{name}");
        assert_eq!(draft.model.as_deref(), Some("tiny"), "{name}");
        assert_eq!(draft.reasoning.is_some(), name.contains("reasoning"), "{name}");
    }
    for (name, calls) in [("vllm/an-tool-forced-stream.body", 1), ("vllm/an-tool-any-stream.body", 5)] {
        let draft = draft(read_whole(&fixture(name)));
        assert_eq!(draft.calls.len(), calls, "{name}");
        assert_eq!(draft.calls[0].name, "read_file");
        assert!(draft.calls[0].id.as_deref().unwrap().starts_with("chatcmpl-tool-"));
    }
}

const STREAMS: [&str; 5] = [
    "vllm/an-msg-stream.body",
    "vllm-reasoning/an-msg-stream.body",
    "vllm/an-tool-forced-stream.body",
    "vllm/an-tool-any-stream.body",
    "vllm-reasoning/an-tool-any-stream.body",
];

#[test]
fn streams_read_the_same_however_the_bytes_are_cut() {
    for name in &STREAMS[..2] {
        let bytes = fixture(name);
        let whole = read_portions(&Anthropic, [bytes.as_slice()]);
        assert!(matches!(whole, Reading::Reply(_)));
        for split in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(split);
            assert_eq!(read_portions(&Anthropic, [head, tail]), whole, "{name} at {split}");
        }
    }
    for name in STREAMS {
        let bytes = fixture(name);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let stop = text.find("event: message_delta").unwrap();
        assert_eq!(read_portions(&Anthropic, bytes.chunks(1)), read_portions(&Anthropic, [bytes.as_slice()]));
        for cut in (0..stop).step_by(113) {
            assert_eq!(read_portions(&Anthropic, [&bytes[..cut]]), Reading::Cut, "{name} at {cut}");
        }
        // The stop reason has come: the rest may be lost.
        let end = stop + text[stop..].find("\n\n").unwrap();
        assert!(matches!(read_portions(&Anthropic, [&bytes[..end]]), Reading::Reply(_)), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_portions_read_the_same(which in 0..STREAMS.len(), size in 1_usize..900) {
        let bytes = fixture(STREAMS[which]);
        prop_assert_eq!(read_portions(&Anthropic, bytes.chunks(size)), read_portions(&Anthropic, [bytes.as_slice()]));
    }

    #[test]
    fn no_event_panics_the_reader(kinds in prop::collection::vec(
        prop_oneof![Just("message_start"), Just("content_block_start"), Just("content_block_delta"), Just("message_delta"), Just("message_stop"), Just("error")], 0..12),
        json in "[\\[\\]{}\",:a-z0-9]{0,40}",
    ) {
        let mut text = format!("data: {json}\n\n");
        for kind in kinds { text.push_str(&format!("data: {{\"type\":\"{kind}\",\"index\":1}}\n\n")); }
        read_portions(&Anthropic, [text.as_bytes()]);
    }
}

fn stream_of(events: &[Value]) -> Vec<u8> {
    events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>().into_bytes()
}

#[test]
fn usage_counts_cached_tokens_and_believes_the_last_word() {
    let start = |usage: Value| json!({"type": "message_start", "message": {"model": "m", "usage": usage}});
    let delta =
        |usage: Value| json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
    let check = |events: &[Value], expected: Option<Usage>| {
        assert_eq!(draft(read_portions(&Anthropic, [stream_of(events).as_slice()])).usage, expected);
    };
    check(
        &[
            start(json!({"input_tokens": 0, "output_tokens": 0})),
            delta(json!({"input_tokens": 12, "output_tokens": 3})),
        ],
        Some(Usage::call(12, 0, 3)),
    );
    check(
        &[
            start(
                json!({"input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}),
            ),
            delta(json!({"output_tokens": 30})),
        ],
        Some(Usage::call(125, 100, 30)),
    );
    check(&[start(json!({"input_tokens": 0})), delta(json!(null))], None);
    check(&[start(json!(null)), json!({"type": "message_stop"})], None);
}

#[test]
fn blocks_of_every_kind_are_put_together() {
    let events = [
        json!({"type": "message_start", "message": {"model": "m"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "x"}}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "be"}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "gun"}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {"whole": 1}}}),
        json!({"type": "content_block_start", "index": 4, "content_block": {"type": "tool_use", "id": "b", "name": "g", "input": {}}}),
        json!({"type": "content_block_delta", "index": 4, "delta": {"type": "input_json_delta", "partial_json": ""}}),
        json!({"type": "content_block_delta", "index": 4, "delta": {"type": "input_json_delta", "partial_json": "{\"x\":"}}),
        json!({"type": "content_block_delta", "index": 4, "delta": {"type": "input_json_delta", "partial_json": "1}"}}),
        json!({"type": "content_block_start", "index": 5, "content_block": {"type": "tool_use", "id": "c", "name": "h", "input": {}}}),
        json!({"type": "content_block_start", "index": 6, "content_block": {"type": "text", "text": "end"}}),
        json!({"type": "content_block_start", "index": 7, "content_block": {"type": "server_tool_use", "id": "x"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
        json!({"type": "message_stop"}),
    ];
    let draft = draft(read_portions(&Anthropic, [stream_of(&events).as_slice()]));
    assert_eq!(draft.text, "begun\nend");
    let calls: Vec<_> = draft.calls.iter().map(|call| (call.name.as_str(), arguments(call))).collect();
    assert_eq!(calls, [("f", json!({"whole": 1})), ("g", json!({"x": 1})), ("h", json!({}))]);
    assert_eq!(draft.stop, StopReason::ToolUse);
    // Signed thinking comes back in the next request as it was.
    let reasoning = draft.reasoning.unwrap();
    assert_eq!(
        thinking_blocks(&reasoning),
        [
            json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
            json!({"type": "redacted_thinking", "data": "x"})
        ]
    );
    assert!(thinking_blocks("plain thoughts").is_empty());
    assert!(thinking_blocks("[{\"type\":\"text\"}]").is_empty());
}

#[test]
fn errors_in_the_stream_are_told() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let start = json!({"type": "message_start", "message": {"model": "m"}});
    let reading = read_portions(&Anthropic, [stream_of(&[start, overloaded.clone()]).as_slice()]);
    assert_eq!(reading, Reading::Failed(overloaded.clone()));
    assert_eq!(Anthropic.read(&overloaded), Reading::Failed(overloaded.clone()));
    assert!(matches!(Anthropic.read(&json!({"type": "message"})), Reading::Nonsense(_)));
    assert!(matches!(
        read_portions(&Anthropic, [stream_of(&[json!({"type": "message_stop"})]).as_slice()]),
        Reading::Nonsense(_)
    ));
}

#[test]
fn conversations_become_valid_bodies() {
    let mut preset = Preset::new(PresetName::folded("p"), ProviderKind::Anthropic, "m");
    preset.max_tokens = 100;
    let tools = vec![ToolSpec {
        name: "read_file".into(),
        description: "reads".into(),
        parameters: json!({"type": "object", "properties": {}}),
    }];
    let request = ModelRequest { messages: Arc::new(sample_messages()), tools: Arc::new(tools) };
    let text = |text: &str| json!({"type": "text", "text": text});
    let call =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "read_file", "input": input});
    assert_eq!(
        Anthropic.body(&preset, &request),
        json!({
            "model": "m",
            "max_tokens": 100,
            "system": "be brief",
            "messages": [
                {"role": "user", "content": [text("context"), text("task")]},
                {"role": "assistant", "content": [
                    text("looking"),
                    call("call_1", json!({"path": "a"})),
                    call("call_2", json!({"malformed_arguments": "{\"path\":"})),
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "A"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "bad", "is_error": true},
                    text("remember the marker"),
                ]},
                {"role": "assistant", "content": [call("call_1_2", json!({}))]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1_2", "content": "not executed", "is_error": true},
                    text("verification failed"),
                ]},
            ],
            "tools": [{"name": "read_file", "description": "reads", "input_schema": {"type": "object", "properties": {}}}],
            "temperature": 0.2,
        })
    );
}

#[test]
fn ids_and_empty_texts_are_made_legal() {
    let preset = Preset::new(PresetName::folded("p"), ProviderKind::Anthropic, "m");
    let messages = vec![
        Message::Assistant { text: "hello".into(), reasoning: None, calls: Vec::new() },
        Message::User { text: " \n".into() },
        Message::Assistant {
            text: "  ".into(),
            reasoning: None,
            calls: vec![domain::chat::ToolCall {
                id: "functions.ls:0".into(),
                name: "ls".into(),
                arguments: arguments_from_text(""),
            }],
        },
        Message::Tool {
            call_id: "functions.ls:0".into(),
            name: "ls".into(),
            ok: true,
            content: String::new(),
        },
    ];
    let request = ModelRequest { messages: Arc::new(messages), tools: Arc::new(Vec::new()) };
    assert_eq!(
        Anthropic.body(&preset, &request)["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "Begin."}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "hello"},
                {"type": "tool_use", "id": "functions_ls_0", "name": "ls", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions_ls_0"}]},
        ])
    );
}
