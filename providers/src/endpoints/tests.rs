//! Tests of `endpoints`.

use super::*;
use domain::chat::{CallContext, Message, ModelRequest};
use domain::id::AttemptNo;
use serde_json::json;

fn endpoints(keys: &'static [(&'static str, &'static str)]) -> Endpoints {
    Endpoints::new(
        Arc::new(move |name| {
            keys.iter().find(|(known, _)| *known == name).map(|(_, key)| Secret::new((*key).to_owned()))
        }),
        Arc::new(|| "2026-11-20T17:43:47.649981+00:00".to_owned()),
    )
}

fn preset(kind: ProviderKind, base: Option<&str>) -> Preset {
    let mut preset = Preset::new(PresetName::folded("p"), kind, "m");
    preset.base_url = base.map(str::to_owned);
    preset.api_key_optional = true;
    preset
}

#[test]
fn urls_take_a_version_or_none() {
    use ProviderKind::{Anthropic, OpenaiCompatible as OpenAi};
    for (kind, base, expected) in [
        (OpenAi, "https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        (OpenAi, "https://api.openai.com/", "https://api.openai.com/v1/chat/completions"),
        (OpenAi, "https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        (OpenAi, "https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        (OpenAi, " http://localhost:8000 ", "http://localhost:8000/v1/chat/completions"),
        (OpenAi, "https://d.com/compatible-mode", "https://d.com/compatible-mode/v1/chat/completions"),
        (OpenAi, "https://g.com/v1beta/openai", "https://g.com/v1beta/openai/chat/completions"),
        (OpenAi, "https://z.cn/api/paas/v4", "https://z.cn/api/paas/v4/chat/completions"),
        (OpenAi, "https://x.com/v1/chat/completions", "https://x.com/v1/chat/completions"),
        (
            OpenAi,
            "https://a.com/openai/v1?api-version=2#x",
            "https://a.com/openai/v1/chat/completions?api-version=2",
        ),
        (OpenAi, "http://[::1]:1/vllm", "http://[::1]:1/vllm/v1/chat/completions"),
        (Anthropic, "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        (Anthropic, "https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
    ] {
        let path = if kind == Anthropic { "messages" } else { "chat/completions" };
        assert_eq!(endpoint_url(&preset(kind, Some(base)), path).unwrap().as_str(), expected, "{base}");
    }
}

#[track_caller]
fn refuse(keys: &'static [(&'static str, &'static str)], preset: &Preset, part: &str) {
    let error = endpoints(keys).provider(preset, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains(part), "{error}");
    assert_eq!(error.retry(), domain::Retry::No);
    assert_eq!(error.to_model_error().message, error.to_string());
}

#[test]
fn unusable_presets_are_refused_before_anything_is_spent() {
    let http = |base: &str| preset(ProviderKind::OpenaiCompatible, Some(base));
    refuse(&[], &preset(ProviderKind::OpenaiCompatible, None), "no base_url");
    refuse(&[], &http(" "), "no base_url");
    refuse(&[], &http("localhost:8000"), "no http or https URL");
    refuse(&[], &http("ftp://host"), "no http or https URL");
    refuse(&[], &http("not a url"), "is no URL");
    refuse(&[], &http("https://user:pass@host"), "must not carry credentials");
    let mut keyed = http("https://host");
    keyed.api_key_env = Some("K".to_owned());
    keyed.api_key_optional = false;
    refuse(&[], &keyed, "missing K");
    refuse(&[("K", " \n")], &keyed, "missing K");
    refuse(&[("K", "sk-canary\n-0123")], &keyed, "the value of K is not a legal key");
    assert!(endpoints(&[("K", "sk-canary-0123\n")]).provider(&keyed, &BTreeMap::new()).is_ok());
    keyed.api_key_optional = true;
    assert!(endpoints(&[]).provider(&keyed, &BTreeMap::new()).is_ok());
    for change in [
        (|preset: &mut Preset| preset.idle_timeout_seconds = 0.0) as fn(&mut Preset),
        |preset| preset.request_timeout_seconds = f64::NAN,
        |preset| preset.connect_timeout_seconds = 1e9,
        |preset| preset.error_rate = 1.5,
        |preset| preset.temperature = Some(f64::INFINITY),
    ] {
        let mut bad = http("https://host");
        change(&mut bad);
        refuse(&[], &bad, "must be");
    }
    let mut scripted = preset(ProviderKind::Scripted, None);
    scripted.script = Some("gone.json".to_owned());
    refuse(&[], &scripted, "script `gone.json`: the run does not carry it");
}

#[test]
fn the_redactor_knows_the_keys_of_its_presets() {
    let mut first = preset(ProviderKind::OpenaiCompatible, Some("https://host"));
    first.api_key_env = Some("A".to_owned());
    let mut second = first.clone();
    second.api_key_env = Some("B".to_owned());
    let endpoints = endpoints(&[("A", "sk-canary-aaaa\n"), ("B", "sk-canary-bbbb"), ("C", "sk-canary-cccc")]);
    let mut text = "sk-canary-aaaa sk-canary-bbbb sk-canary-cccc".to_owned();
    endpoints.redactor(&[first, second]).clean(&mut text);
    assert_eq!(text, "**** **** sk-canary-cccc");
    assert!(!format!("{endpoints:?}").contains("canary"));
}

#[test]
fn presets_of_one_endpoint_share_the_strictest_limits_while_they_are_in_use() {
    let endpoints = endpoints(&[]);
    let named = |name: &str, requests: Option<u32>| {
        let mut preset = preset(ProviderKind::OpenaiCompatible, Some("http://127.0.0.1:9"));
        preset.name = PresetName::folded(name);
        preset.requests_per_minute = requests;
        preset
    };
    let build = |preset: &Preset| endpoints.http(preset, &OpenAi).unwrap();
    let limit = || {
        let state = endpoints.state();
        assert_eq!(state.places.len(), 1);
        state.places.values().next().unwrap().throttle.share().requests_per_minute
    };
    let first = build(&named("a", Some(60)));
    let second = build(&named("b", Some(20)));
    assert!(Arc::ptr_eq(&first.throttle, &second.throttle));
    assert_eq!(limit(), Some(20));
    // A share of the coordinator takes the place of what the preset declares, also when it comes first.
    let share = |requests| Share { requests_per_minute: requests, ..Share::default() };
    endpoints.set_share(&PresetName::folded("b"), share(Some(7)));
    assert_eq!(limit(), Some(7));
    endpoints.set_share(&PresetName::folded("c"), share(Some(3)));
    assert_eq!(limit(), Some(7));
    let third = build(&named("c", None));
    assert_eq!(limit(), Some(3));
    drop((second, third));
    let _again = build(&named("a", Some(60)));
    assert_eq!(limit(), Some(60));
    let mut other_key = named("d", None);
    other_key.api_key_env = Some("OTHER".to_owned());
    assert!(!Arc::ptr_eq(&build(&other_key).throttle, &first.throttle));
}

#[tokio::test]
async fn a_mock_trial_leaves_a_transcript_of_less_than_900_bytes() {
    let endpoints = endpoints(&[]);
    let mut preset = preset(ProviderKind::Mock, None);
    preset.model = "mock-coder".to_owned();
    let provider = endpoints.provider(&preset, &BTreeMap::new()).unwrap();
    let mut messages =
        vec![Message::System { text: "s".repeat(3000) }, Message::User { text: "repo map ".repeat(600) }];
    let mut writer = crate::TranscriptWriter::new(endpoints.redactor(std::slice::from_ref(&preset)));
    let mut size = 0;
    for number in 1..=2 {
        let context = CallContext {
            trial: "mock-suite.inspect-repo.mock.12345".parse().unwrap(),
            case_title: "inspect-repo".to_owned(),
            attempt: AttemptNo::FIRST,
            call: number,
        };
        let request = ModelRequest { messages: Arc::new(messages.clone()), tools: Arc::new(Vec::new()) };
        let mut exchanges = Vec::new();
        let reply = provider.call(&request, &context, &mut exchanges).await.unwrap();
        size += writer.push(number, &exchanges[0]).len() + 1;
        for call in reply.calls {
            messages.push(Message::Tool {
                call_id: call.id,
                name: call.name,
                ok: true,
                content: "x".repeat(9000),
            });
        }
    }
    assert!(size < 900, "{size} bytes");
}

#[test]
fn every_builtin_preset_with_its_key_becomes_a_provider() {
    let keyed = Endpoints::new(
        Arc::new(|_| Some(Secret::new("sk-canary-0123456789".to_owned()))),
        Arc::new(String::new),
    );
    let script = json!({"format": 1, "models": {"scripted": {"default": [{"text": "x"}]}}});
    for preset in domain::preset::builtin() {
        let provider =
            keyed.provider(&preset, &BTreeMap::from([("suite".to_owned(), script.clone())])).unwrap();
        assert!(!format!("{provider:?}").contains("canary"));
    }
}
