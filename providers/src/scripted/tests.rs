//! Tests of `scripted`.

use super::*;
use crate::Endpoints;
use domain::chat::StopReason;
use domain::id::{AttemptNo, PresetName};
use domain::preset::ProviderKind;

fn preset() -> Preset {
    Preset::new(PresetName::folded("scripted"), ProviderKind::Scripted, "m")
}

fn context(case: &str) -> CallContext {
    CallContext {
        trial: format!("suite.{}.scripted.0", domain::id::fold(case)).parse().unwrap(),
        case_title: case.to_owned(),
        attempt: AttemptNo::FIRST,
        call: 1,
    }
}

type Outcome = (Result<ModelReply, ModelError>, Vec<Exchange>);

async fn call(preset: &Preset, script: &Value, case: &str, said: usize) -> Outcome {
    let endpoints = Endpoints::new(Arc::new(|_| None), Arc::new(|| "now".to_owned()));
    let key = preset.script.clone().unwrap_or_else(|| "suite".to_owned());
    let provider = endpoints.provider(preset, &BTreeMap::from([(key, script.clone())])).unwrap();
    let mut messages = vec![Message::User { text: "do it, end with DONE_B".into() }];
    for _ in 0..said {
        messages.push(Message::Assistant { text: "said".into(), reasoning: None, calls: Vec::new() });
    }
    let request = ModelRequest { messages: Arc::new(messages), tools: Arc::new(Vec::new()) };
    let mut exchanges = Vec::new();
    let result = provider.call(&request, &context(case), &mut exchanges).await;
    (result, exchanges)
}

fn script() -> Value {
    json!({"format": 1, "match": {"b": ["DONE_B"]}, "models": {"m": {
        "cases": {
            "Fix It": [
                {"text": "one", "tool_calls": [{"name": "ls", "arguments": {"path": "."}}, {"name": "cat", "arguments": "{"}]},
                {"text": "two", "stop": "length", "usage": {"input": 9, "output": 1}, "latency_ms": 200},
            ],
            "b": [{"text": "by marker"}],
            "flaky": [{"error": {"status": 503}, "times": 4}, {"text": "fifth try"}],
            "outage": [{"error": {"status": 503}}],
            "late": [{"error": {"late_drop": true}}, {"text": "whole"}],
            "swapped": [{"text": "x", "model": "other", "usage": {"input": 1, "output": 1}}],
        },
    }}})
}

#[tokio::test(start_paused = true)]
async fn the_turn_follows_from_the_conversation_alone() {
    let (reply, exchanges) = call(&preset(), &script(), "Fix It", 0).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.stop), ("one", StopReason::ToolUse));
    let ids: Vec<_> = reply.calls.iter().map(|call| (call.id.as_str(), call.name.as_str())).collect();
    assert_eq!(ids, [("call_1", "ls"), ("call_2", "cat")]);
    assert_eq!(reply.usage, Usage::unknown_call());
    assert_eq!(exchanges.len(), 1);
    let before = Instant::now();
    for said in [1, 2, 7] {
        let (reply, exchanges) = call(&preset(), &script(), "Fix It", said).await;
        let reply = reply.unwrap();
        assert_eq!((reply.text.as_str(), reply.stop), ("two", StopReason::Length));
        assert_eq!(reply.usage, Usage::call(9, 0, 1));
        assert!((exchanges[0].seconds - 0.2).abs() < 1e-9);
    }
    assert_eq!(before.elapsed(), Duration::from_millis(600));
    assert_eq!(call(&preset(), &script(), "other case", 0).await.0.unwrap().text, "by marker");
}

#[tokio::test(start_paused = true)]
async fn errors_are_tried_again_by_the_rules() {
    let (reply, exchanges) = call(&preset(), &script(), "flaky", 0).await;
    assert_eq!(reply.unwrap().text, "fifth try");
    assert_eq!(exchanges.len(), 5);
    let (reply, exchanges) = call(&preset(), &script(), "outage", 3).await;
    assert_eq!(reply.unwrap_err().fault, ModelFault::Unavailable);
    assert_eq!(exchanges.len(), 5);
    let mut impatient = preset();
    impatient.max_tries = 2;
    assert!(call(&impatient, &script(), "flaky", 0).await.0.is_err());
    assert_eq!(call(&preset(), &script(), "late", 0).await.0.unwrap().text, "whole");
    let error = call(&preset(), &script(), "swapped", 0).await.0.unwrap_err();
    assert_eq!((error.fault, error.usage.calls), (ModelFault::WrongModel { got: "other".into() }, 1));
}

#[tokio::test]
async fn what_the_script_lacks_is_told() {
    let mut other = preset();
    other.model = "n".to_owned();
    let error = call(&other, &script(), "b", 0).await.0.unwrap_err();
    assert_eq!(error.fault, ModelFault::Rejected);
    assert!(error.message.contains("no model `n`; the nearest is `m`"), "{}", error.message);
    let mut named = preset();
    named.script = Some("suites/own.json".to_owned());
    assert!(call(&named, &script(), "b", 0).await.0.is_ok());
}

#[tokio::test]
async fn exchanges_hold_the_conversation() {
    let (_, exchanges) = call(&preset(), &script(), "Fix It", 1).await;
    let request: Value = serde_json::from_slice(&exchanges[0].request).unwrap();
    assert_eq!(request["messages"][0]["text"], "do it, end with DONE_B");
    assert_eq!(request["turn"], 2);
    let response: Value = serde_json::from_slice(&exchanges[0].response).unwrap();
    assert_eq!((response["text"].as_str(), response["model"].as_str()), (Some("two"), Some("m")));
}
