//! Calls against scripted servers on loopback: what comes back, what is tried again, what is paid, what is kept.

use super::*;
use crate::testing::{ModelServer, Options};
use crate::{Endpoints, TranscriptWriter, rebuild};
use domain::chat::{Message, StopReason, ToolSpec};
use domain::id::{AttemptNo, PresetName};
use domain::preset::ProviderKind;
use domain::secret::Secret;
use domain::usage::Price;
use serde_json::{Value, json};
use std::io::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEY: &str = "sk-canary-0123456789abcdef";
const KINDS: [(ProviderKind, bool); 4] = [
    (ProviderKind::OpenaiCompatible, false),
    (ProviderKind::OpenaiCompatible, true),
    (ProviderKind::Anthropic, false),
    (ProviderKind::Anthropic, true),
];

fn endpoints() -> Endpoints {
    Endpoints::new(
        Arc::new(|name| (name == "CANARY_KEY").then(|| Secret::new(KEY.to_owned()))),
        Arc::new(|| "2026-11-20T17:43:47.649981+00:00".to_owned()),
    )
}

fn preset(kind: (ProviderKind, bool), base_url: &str) -> Preset {
    let mut preset = Preset::new(PresetName::folded("p"), kind.0, "m");
    preset.base_url = Some(base_url.to_owned());
    preset.api_key_env = Some("CANARY_KEY".to_owned());
    preset.stream = kind.1;
    preset.idle_timeout_seconds = 5.0;
    preset
}

/// The real provider with pauses of a few milliseconds.
fn provider(endpoints: &Endpoints, preset: &Preset) -> Http {
    let mut provider = match preset.provider {
        ProviderKind::Anthropic => endpoints.http(preset, &crate::anthropic::Anthropic),
        _ => endpoints.http(preset, &crate::openai::OpenAi),
    }
    .unwrap();
    provider.pace.first = Duration::from_millis(4);
    provider
}

fn context() -> CallContext {
    CallContext {
        trial: "suite.case.p.0".parse().unwrap(),
        case_title: "case".to_owned(),
        attempt: AttemptNo::FIRST,
        call: 1,
    }
}

fn user(text: &str) -> Message {
    Message::User { text: text.to_owned() }
}

fn request(messages: Vec<Message>) -> ModelRequest {
    let tool = ToolSpec {
        name: "read_file".to_owned(),
        description: "reads".to_owned(),
        parameters: json!({"type": "object", "properties": {}}),
    };
    ModelRequest { messages: Arc::new(messages), tools: Arc::new(vec![tool]) }
}

fn script(turns: Value) -> Value {
    json!({"format": 1, "models": {"m": {"default": turns}}})
}

type Outcome = (Result<ModelReply, ModelError>, Vec<Exchange>);

async fn call(provider: &Http, messages: Vec<Message>) -> Outcome {
    let mut exchanges = Vec::new();
    let result = provider.call(&request(messages), &context(), &mut exchanges).await;
    (result, exchanges)
}

/// One call against a script, in every format; `look` sees the outcome and the server.
async fn check(turns: Value, look: impl Fn(Outcome, &ModelServer)) {
    for kind in KINDS {
        let server = ModelServer::start(&script(turns.clone())).await.unwrap();
        let provider = provider(&endpoints(), &preset(kind, &server.base_url()));
        look(call(&provider, vec![user("hi")]).await, &server);
    }
}

fn statuses(exchanges: &[Exchange]) -> Vec<Option<u16>> {
    exchanges.iter().map(|exchange| exchange.status).collect()
}

#[tokio::test]
async fn a_whole_conversation_runs_in_every_format() {
    let turns = json!([
        {"text": "looking", "reasoning": "let me think", "tool_calls": [
            {"name": "read_file", "arguments": {"path": "a.py", "text": "\"ä\"\n"}},
            {"name": "read_file", "arguments": "{\"path\":"}],
         "usage": {"input": 100, "cached_input": 40, "output": 7}},
        {"tool_calls": [{"name": "read_file", "arguments": {}}]},
        {"text": "all done DONE_A", "usage": {"input": 300, "output": 20}},
    ]);
    for kind in KINDS {
        let server = ModelServer::start(&script(turns.clone())).await.unwrap();
        let mut preset = preset(kind, &server.base_url());
        preset.price = Some(Price { input: 1.0, cached_input: Some(0.5), output: 2.0 });
        let endpoints = endpoints();
        let provider = provider(&endpoints, &preset);
        let mut messages = vec![Message::System { text: "be brief".into() }, user("context"), user("task")];
        let mut writer = TranscriptWriter::new(endpoints.redactor(std::slice::from_ref(&preset)));
        let mut transcript = String::new();
        let mut sent = Vec::new();
        let mut replies = Vec::new();
        for number in 1..=3 {
            let (reply, exchanges) = call(&provider, messages.clone()).await;
            let reply = reply.unwrap();
            assert_eq!(exchanges.len(), 1);
            transcript.push_str(&writer.push(number, &exchanges[0]));
            transcript.push('\n');
            sent.push((exchanges[0].request.clone(), exchanges[0].response.clone()));
            messages.push(Message::Assistant {
                text: reply.text.clone(),
                reasoning: reply.reasoning.clone(),
                calls: reply.calls.clone(),
            });
            for call in &reply.calls {
                messages.push(Message::Tool {
                    call_id: call.id.clone(),
                    name: call.name.clone(),
                    ok: true,
                    content: "contents".into(),
                });
                messages.push(user("remember the marker"));
            }
            replies.push(reply);
        }
        assert_eq!(replies[0].text, "looking");
        assert!(replies[0].reasoning.as_deref().unwrap().contains("let me think"));
        assert_eq!(replies[0].calls.len(), 2);
        let arguments = &replies[0].calls[0].arguments;
        let expected = json!({"path": "a.py", "text": "\"ä\"\n"});
        assert_eq!(*arguments, crate::reply::arguments_from_json(&expected));
        assert!(matches!(replies[0].calls[1].arguments, domain::chat::Arguments::Malformed { .. }));
        assert_eq!(replies[0].stop, StopReason::ToolUse);
        assert_eq!((replies[0].usage.input_tokens, replies[0].usage.cached_input_tokens), (100, 40));
        assert_eq!(replies[2].text, "all done DONE_A");
        assert_eq!(replies[2].stop, StopReason::EndTurn);
        assert!((replies[2].usage.cost_usd.unwrap() - 340e-6).abs() < 1e-12);
        assert_eq!(server.complete_replies(), 3);
        // The server got exactly what the transcript says.
        let rebuilt = rebuild(transcript.as_bytes()).unwrap();
        let kept: Vec<_> = rebuilt.iter().map(|one| (one.request.clone(), one.response.clone())).collect();
        assert_eq!(kept, sent);
        let received: Vec<_> = server.log().into_iter().map(|entry| entry.body).collect();
        assert_eq!(received, sent.iter().map(|(request, _)| request.clone()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn passing_trouble_is_tried_again_and_paid_once() {
    check(
        json!([
            {"error": {"status": 429, "headers": {"retry-after": "0"}, "body": {"error": {"message": "slow down"}}}},
            {"error": {"status": 503}},
            {"error": {"drop": true}},
            {"text": "at last"},
        ]),
        |(result, exchanges), server| {
            assert_eq!(result.unwrap().text, "at last");
            assert_eq!(statuses(&exchanges), [Some(429), Some(503), None, Some(200)]);
            assert_eq!(exchanges.iter().map(|exchange| exchange.try_no).collect::<Vec<_>>(), [1, 2, 3, 4]);
            assert_eq!(exchanges[0].error.as_deref(), Some("HTTP 429: slow down"));
            assert!(exchanges[2].error.is_some() && exchanges[2].response.is_empty());
            assert!(exchanges.windows(2).all(|pair| pair[0].request == pair[1].request));
            assert_eq!((server.requests(), server.complete_replies()), (4, 1));
        },
    )
    .await;
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_asked_for_again() {
    check(
        json!([{"error": {"half": true}}, {"text": "a long enough text to be cut in two"}]),
        |(result, exchanges), server| {
            assert_eq!(result.unwrap().text, "a long enough text to be cut in two");
            assert_eq!(statuses(&exchanges), [Some(200), Some(200)]);
            assert!(
                exchanges[0].error.as_deref().unwrap().starts_with("the reply broke off"),
                "{:?}",
                exchanges[0].error
            );
            assert!(
                !exchanges[0].response.is_empty()
                    && exchanges[0].response.len() < exchanges[1].response.len()
            );
            assert_eq!(server.complete_replies(), 1);
        },
    )
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_behind_a_whole_reply_costs_nothing() {
    check(
        json!([{"error": {"late_drop": true}, "times": 9}, {"text": "whole"}]),
        |(result, exchanges), server| {
            assert_eq!(result.unwrap().text, "whole");
            assert_eq!(exchanges.len(), 1);
            assert_eq!(server.complete_replies(), 1);
        },
    )
    .await;
}

#[tokio::test]
async fn a_reply_that_stalls_is_given_up_after_the_idle_time() {
    for kind in KINDS {
        let turns = json!([{"error": {"stall": true}}, {"text": "a long enough text to be cut in two"}]);
        let server = ModelServer::start(&script(turns)).await.unwrap();
        let mut preset = preset(kind, &server.base_url());
        preset.idle_timeout_seconds = 0.3;
        let (result, exchanges) = call(&provider(&endpoints(), &preset), vec![user("hi")]).await;
        assert_eq!(result.unwrap().text, "a long enough text to be cut in two");
        assert!(
            exchanges[0].error.as_deref().unwrap().contains("nothing came for 0.3 s"),
            "{:?}",
            exchanges[0]
        );
    }
}

#[tokio::test]
async fn tries_are_bounded() {
    for (fault, expected) in [
        (json!({"status": 500, "body": "boom"}), "HTTP 500: boom"),
        (
            json!({"status": 200, "body": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}}),
            "busy",
        ),
        (json!({"status": 200, "body": {"error": {"code": 502, "message": "upstream"}}}), "upstream"),
        (json!({"drop": true}), ""),
    ] {
        check(json!([{"error": fault}]), |(result, exchanges), server| {
            let error = result.unwrap_err();
            assert_eq!(error.fault, ModelFault::Unavailable);
            assert!(error.message.contains(expected), "{}", error.message);
            assert_eq!((exchanges.len(), server.requests()), (5, 5));
            assert_eq!(error.usage, Usage::default());
        })
        .await;
    }
}

#[tokio::test]
async fn permanent_errors_fail_at_once_with_the_providers_words() {
    for (status, body, fault) in [
        (400, json!({"error": {"message": "no such field"}}), ModelFault::Rejected),
        (401, json!({"error": {"message": "bad key"}}), ModelFault::Rejected),
        (403, json!({"error": {"message": "not you"}}), ModelFault::Rejected),
        (404, json!({"error": {"message": "no such model"}}), ModelFault::Rejected),
        (422, json!({"detail": "wrong shape"}), ModelFault::Rejected),
        (429, json!({"error": {"message": "empty", "code": "insufficient_quota"}}), ModelFault::Rejected),
        (
            400,
            json!({"error": {"message": "x", "code": "context_length_exceeded"}}),
            ModelFault::ContextLength,
        ),
        (400, json!({"error": {"message": "x", "code": "content_filter"}}), ModelFault::Refused),
    ] {
        check(
            json!([{"error": {"status": status, "body": body}, "times": 9}, {"text": "never"}]),
            |(result, exchanges), server| {
                let error = result.unwrap_err();
                assert_eq!((&error.fault, error.status), (&fault, Some(status)));
                assert!(error.message.starts_with(&format!("HTTP {status}: ")), "{}", error.message);
                assert_eq!((exchanges.len(), server.requests()), (1, 1));
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_pause_longer_than_our_patience_is_not_waited_for() {
    let error = json!({"status": 429, "headers": {"retry-after": "3600"}});
    for kind in KINDS {
        let server = ModelServer::start(&script(json!([{"error": error}, {"text": "never"}]))).await.unwrap();
        let endpoints = endpoints();
        let provider = provider(&endpoints, &preset(kind, &server.base_url()));
        let (result, exchanges) = call(&provider, vec![user("hi")]).await;
        let error = result.unwrap_err();
        assert_eq!(
            (error.fault, error.retry_after),
            (ModelFault::Unavailable, Some(Duration::from_secs(3600)))
        );
        assert_eq!(exchanges.len(), 1);
        // The whole endpoint is paused: another call does not even ask.
        let (result, exchanges) = call(&provider, vec![user("another")]).await;
        assert!(result.unwrap_err().retry_after.unwrap() > Duration::from_secs(3500));
        assert!(exchanges.is_empty());
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn another_model_is_told_and_paid_for_but_never_asked_again() {
    let turn = json!([{"text": "cheap", "model": "m-mini", "usage": {"input": 10, "output": 5}}]);
    check(turn.clone(), |(result, exchanges), server| {
        let error = result.unwrap_err();
        assert_eq!(error.fault, ModelFault::WrongModel { got: "m-mini".into() });
        assert_eq!(error.usage, Usage::call(10, 0, 5));
        assert_eq!(error.message, "asked for model `m`, the server answered with `m-mini`");
        assert_eq!(exchanges[0].error.as_ref(), Some(&error.message));
        assert_eq!(server.requests(), 1);
    })
    .await;
    let server = ModelServer::start(&script(turn)).await.unwrap();
    let mut preset = preset(KINDS[0], &server.base_url());
    preset.accept_models = vec!["m-mini".to_owned()];
    assert!(call(&provider(&endpoints(), &preset), vec![user("hi")]).await.0.is_ok());
}

#[tokio::test]
async fn garbage_is_tried_again_and_counted_as_spent_without_knowing_how_much() {
    check(json!([{"error": {"garbage": true}}, {"text": "fine"}]), |(result, exchanges), _| {
        assert_eq!(result.unwrap().text, "fine");
        assert_eq!(exchanges.len(), 2);
    })
    .await;
    check(json!([{"error": {"garbage": true}}]), |(result, exchanges), _| {
        let error = result.unwrap_err();
        // In a stream of events it looks like a reply that never began.
        assert!(matches!(error.fault, ModelFault::Garbage | ModelFault::Unavailable));
        assert_eq!(exchanges.len(), 5);
        assert_eq!((error.usage.calls, error.usage.unreported), (5, 5));
    })
    .await;
}

#[tokio::test]
async fn a_truncated_reply_says_so() {
    check(json!([{"text": "I would", "stop": "length"}]), |(result, _), _| {
        assert_eq!(result.unwrap().stop, StopReason::Length);
    })
    .await;
}

#[tokio::test]
async fn the_key_is_sent_and_seen_nowhere() {
    for kind in KINDS {
        let turns = json!([
            {"error": {"status": 500, "body": {"error": {"message": format!("trouble with {KEY}")}}}},
            {"text": format!("your key is {KEY}"), "reasoning": KEY,
             "tool_calls": [{"name": "read_file", "arguments": {"path": KEY}}]},
        ]);
        let options = Options { key: Some(KEY.to_owned()), ..Options::default() };
        let server = ModelServer::start_with(&script(turns.clone()), options).await.unwrap();
        let preset = preset(kind, &server.base_url());
        let endpoints = endpoints();
        let provider = provider(&endpoints, &preset);
        let (result, exchanges) = call(&provider, vec![user(&format!("I found {KEY}"))]).await;
        let mut writer = TranscriptWriter::new(domain::secret::Redactor::default());
        let transcript: String = exchanges.iter().map(|exchange| writer.push(1, exchange)).collect();
        let everything =
            format!("{result:?} {exchanges:?} {transcript} {provider:?} {endpoints:?} {preset:?}");
        // In a stream a key can lie in two events; no piece of it that is worth anything stays together.
        assert!(!everything.contains(KEY));
        assert!(result.unwrap().text.ends_with("****"));
        let refusing = Options { key: Some("sk-another".to_owned()), ..Options::default() };
        let server = ModelServer::start_with(&script(turns), refusing).await.unwrap();
        let mut wrong = preset.clone();
        wrong.base_url = Some(server.base_url());
        let (result, exchanges) = call(&super::tests::provider(&endpoints, &wrong), vec![user("hi")]).await;
        let error = result.unwrap_err();
        assert_eq!((error.fault.clone(), error.status), (ModelFault::Rejected, Some(401)));
        assert!(error.message.contains("Incorrect API key provided: ****"), "{}", error.message);
        assert!(!format!("{error:?} {exchanges:?}").contains("canary"));
    }
}

#[tokio::test]
async fn all_providers_of_an_endpoint_share_its_limits() {
    for kind in KINDS {
        let turns = json!([{"text": "x", "latency_ms": 40}]);
        let server = ModelServer::start(&script(turns)).await.unwrap();
        let endpoints = endpoints();
        let mut first = preset(kind, &server.base_url());
        first.max_in_flight = Some(2);
        let mut second = first.clone();
        second.name = PresetName::folded("q");
        second.max_in_flight = None;
        let providers = [provider(&endpoints, &first), provider(&endpoints, &second)];
        let started = Instant::now();
        let calls = (0..8).map(|number| call(&providers[number % 2], vec![user("hi")]));
        for (result, _) in futures::future::join_all(calls).await {
            result.unwrap();
        }
        // Eight calls of 40 ms, two at a time.
        assert!(started.elapsed() >= Duration::from_millis(160), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn silence_before_the_answer_ends_with_the_time_limit_of_the_try() {
    for kind in KINDS {
        let server =
            ModelServer::start(&script(json!([{"text": "late", "latency_ms": 60_000}]))).await.unwrap();
        let mut preset = preset(kind, &server.base_url());
        preset.max_tries = 2;
        preset.idle_timeout_seconds = 0.15;
        // Whoever streams must show signs of life; whoever does not may think until the limit of the whole try.
        preset.request_timeout_seconds = if kind.1 { 50.0 } else { 0.3 };
        let provider = provider(&endpoints(), &preset);
        let limit = Duration::from_secs(30);
        let (result, exchanges) =
            tokio::time::timeout(limit, call(&provider, vec![user("hi")])).await.unwrap();
        let error = result.unwrap_err();
        assert_eq!(error.fault, ModelFault::Unavailable);
        assert!(error.message.starts_with("no answer within 0."), "{}", error.message);
        let least = if kind.1 { 0.15 } else { 0.3 };
        assert!(exchanges.iter().all(|exchange| exchange.seconds >= least), "{exchanges:?}");
        assert_eq!(exchanges.len(), 2);
    }
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let provider = provider(&endpoints(), &preset(KINDS[0], &format!("http://{address}")));
    let (result, exchanges) = call(&provider, vec![user("hi")]).await;
    let error = result.unwrap_err();
    assert_eq!((error.fault, error.status), (ModelFault::Unavailable, None));
    assert!(error.message.contains("onnection refused"), "{}", error.message);
    assert_eq!(exchanges.len(), 5);
}

/// A server that answers every connection with these bytes and closes it.
async fn raw_server(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut seen = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(count) = socket.read(&mut buffer).await {
                seen.extend_from_slice(&buffer[..count]);
                if count == 0 || seen.ends_with(b"}") {
                    break;
                }
            }
            // The client may have gone away.
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
        }
    });
    (base, task)
}

fn http_answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    write!(answer, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").unwrap();
    answer.extend_from_slice(body);
    answer
}

#[track_caller]
fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)).unwrap()
}

#[tokio::test]
async fn odd_servers_are_understood() {
    let plain = fixture("vllm/oa-chat.body");
    let stream = fixture("vllm/oa-chat-stream.body");
    for (head, body, ok) in [
        // A stream where none was asked for, events without their content type, a plain reply where a stream was asked for.
        ("200 OK\r\ncontent-type: text/event-stream", stream.clone(), true),
        ("200 OK", stream.clone(), true),
        ("200 OK\r\ncontent-type: application/json", plain.clone(), true),
        // A length that is too long: the reply is whole all the same.
        ("200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999", plain, true),
        // No `[DONE]`, no usage.
        ("200 OK\r\ncontent-type: text/event-stream", stream[..stream.len() - 250].to_vec(), true),
        ("200 OK\r\ncontent-type: text/event-stream", stream[..stream.len() / 2].to_vec(), false),
    ] {
        for streamed in [false, true] {
            let (base, server) = raw_server(http_answer(head, &body)).await;
            let mut preset = preset((ProviderKind::OpenaiCompatible, streamed), &base);
            preset.model = "tiny".to_owned();
            preset.max_tries = 2;
            let (result, exchanges) = call(&provider(&endpoints(), &preset), vec![user("hi")]).await;
            assert_eq!(result.is_ok(), ok, "{head}: {result:?}");
            assert_eq!(exchanges.len(), if ok { 1 } else { 2 });
            assert_eq!(exchanges[0].response, body);
            server.abort();
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = ModelServer::start(&script(json!([{"text": "stolen"}]))).await.unwrap();
    let head = format!("307 Temporary Redirect\r\nlocation: {}/v1/chat/completions?k=1", target.base_url());
    let (base, server) = raw_server(http_answer(&head, b"")).await;
    let (result, _) = call(&provider(&endpoints(), &preset(KINDS[0], &base)), vec![user("hi")]).await;
    let error = result.unwrap_err();
    assert_eq!(error.fault, ModelFault::Rejected);
    assert!(error.message.contains("redirected to") && !error.message.contains("k=1"), "{}", error.message);
    assert_eq!(target.requests(), 0);
    server.abort();
}

#[tokio::test]
async fn endless_replies_are_cut_off() {
    for kind in ["application/json", "text/event-stream"] {
        let head = format!("200 OK\r\ncontent-type: {kind}");
        let (base, server) = raw_server(http_answer(&head, &b": x\n".repeat(100_000))).await;
        let mut provider = provider(&endpoints(), &preset(KINDS[0], &base));
        provider.body_limit = 10_000;
        let (result, exchanges) = call(&provider, vec![user("hi")]).await;
        let error = result.unwrap_err();
        assert_eq!(error.fault, ModelFault::Garbage);
        assert!(error.message.contains("longer than 10000 bytes"), "{}", error.message);
        assert_eq!((exchanges.len(), exchanges[0].response.len()), (1, 10_000));
        server.abort();
    }
}

#[tokio::test]
async fn a_dropped_call_gives_its_place_back() {
    let server = ModelServer::start(&script(json!([{"text": "x", "latency_ms": 60_000}]))).await.unwrap();
    let mut preset = preset(KINDS[0], &server.base_url());
    preset.max_in_flight = Some(1);
    let provider = provider(&endpoints(), &preset);
    for _ in 0..3 {
        let before = server.requests();
        let reached = async {
            while server.requests() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        // Each call reaches the server although the one before it, with the only place there is, was never answered.
        tokio::select! {
            _ = call(&provider, vec![user("hi")]) => panic!("answered"),
            reached = tokio::time::timeout(Duration::from_secs(20), reached) => reached.unwrap(),
        }
    }
    assert_eq!(server.requests(), 3);
}
