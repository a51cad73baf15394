//! Tests of `mock`.

use super::*;
use domain::id::AttemptNo;
use domain::id::PresetName;
use domain::preset::ProviderKind;
use std::sync::Arc;

fn mock(change: impl FnOnce(&mut Preset)) -> Mock {
    let mut preset = Preset::new(PresetName::folded("mock"), ProviderKind::Mock, "mock-coder");
    change(&mut preset);
    Mock::new(preset, Arc::new(|| "2026-11-20T17:43:47.649981+00:00".to_owned()))
}

fn context(trial: u32, call: u32) -> CallContext {
    CallContext {
        trial: format!("suite.case.mock.{trial}").parse().unwrap(),
        case_title: "case".to_owned(),
        attempt: AttemptNo::FIRST,
        call,
    }
}

fn user(text: &str) -> Message {
    Message::User { text: text.to_owned() }
}

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest { messages: Arc::new(messages), tools: Arc::new(Vec::new()) }
}

#[track_caller]
fn check(messages: Vec<Message>, lists_files: bool) {
    let mut exchanges = Vec::new();
    let reply = mock(|_| {}).answer(&request(messages), &context(0, 1), &mut exchanges).unwrap();
    if lists_files {
        assert_eq!(reply.calls.len(), 1);
        assert_eq!(reply.calls[0].name, "list_files");
        assert_eq!(reply.stop, StopReason::ToolUse);
    } else {
        assert!(reply.text.starts_with("Mock run completed"), "{}", reply.text);
        assert!(reply.calls.is_empty());
    }
    assert_eq!(reply.usage.calls, 1);
    assert!(exchanges[0].request.len() + exchanges[0].response.len() < 160);
}

#[test]
fn the_original_rules_hold() {
    let tool =
        || Message::Tool { call_id: "1".into(), name: "list_files".into(), ok: true, content: "src/".into() };
    check(vec![user("say hello")], false);
    check(vec![user("Inspect this")], true);
    check(vec![user("the REPOSITORY map"), user("say hello")], true);
    check(vec![Message::System { text: "inspect the repo".into() }, user("say hello")], false);
    check(vec![user("inspect the repo"), user("Observation from list_files (ok):\nsrc/")], false);
    check(vec![user("inspect the repo"), tool()], false);
    check(vec![user("my Observation from yesterday: inspect")], true);
    check(vec![user("rep"), user("o")], false);
}

#[test]
fn errors_are_a_share_of_calls_and_the_same_every_time() {
    let mock = mock(|preset| {
        preset.error_rate = 0.25;
        preset.seed = 7;
    });
    let run = || -> Vec<bool> {
        (0..2000)
            .map(|trial| {
                mock.answer(&request(vec![user("hi")]), &context(trial, 1), &mut Vec::new()).is_err()
            })
            .collect()
    };
    let first = run();
    assert_eq!(first, run());
    let failed = first.iter().filter(|failed| **failed).count();
    assert!((400..600).contains(&failed), "{failed} of 2000 failed");
}

#[tokio::test(start_paused = true)]
async fn latency_is_waited_for() {
    let mock = mock(|preset| preset.latency_ms = 200);
    let before = tokio::time::Instant::now();
    let mut exchanges = Vec::new();
    mock.call(&request(vec![user("hi")]), &context(0, 1), &mut exchanges).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_millis(200));
    assert!((exchanges[0].seconds - 0.2).abs() < 1e-9);
}
