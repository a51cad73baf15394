//! Real HTTP: both repair suites are solved through scripted OpenAI and Anthropic servers, streaming and not, with 429s, dropped
//! connections and half streams on the way; nothing is paid twice and no key is stored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use providers::testing::ModelServer;
use serde_json::{Value, json};
use support::{Scratch, files, repository_file, verdicts};

const CANARY: &str = "sk-canary-4711-never-stored";

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(repository_file(path)).unwrap()).unwrap()
}

/// The careful model of both suites, with a fault before the first turn of every case.
fn script() -> Value {
    let suite = read("suites/repair.script.json");
    let lab = read("model-labs/deepseek/deepseek-v4-repair-suite.script.json");
    let mut cases = suite["models"]["careful"]["cases"].as_object().unwrap().clone();
    cases.extend(lab["models"]["scripted"]["cases"].as_object().unwrap().clone());
    let mut matches = suite["match"].as_object().unwrap().clone();
    matches.extend(lab["match"].as_object().unwrap().clone());
    let faults = [
        json!({"error": {"status": 429, "headers": {"retry-after": "0"}, "body": {"error": {"message": "slow down"}}}, "times": 2}),
        json!({"error": {"drop": true}, "times": 1}),
        json!({"error": {"half": true}, "times": 1}),
        json!({"error": {"status": 503}, "times": 1}),
    ];
    for (number, turns) in cases.values_mut().enumerate() {
        turns.as_array_mut().unwrap().insert(0, faults[number % faults.len()].clone());
        // The server's own words carry the key it was sent: a leak that must not be stored.
        turns.as_array_mut().unwrap().last_mut().unwrap()["reasoning"] =
            json!(format!("I was called with {CANARY}."));
    }
    json!({"format": 1, "match": matches, "models": {"careful": {"cases": cases}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn both_repair_suites_are_solved_over_http_without_paying_twice() {
    let server = ModelServer::start(&script()).await.unwrap();
    let url = server.base_url();
    let scratch = Scratch::new();
    let mut config = String::new();
    for (name, provider, base, stream) in [
        ("openai-plain", "openai-compatible", url.clone(), false),
        ("openai-stream", "openai-compatible", format!("{url}/v1"), true),
        ("anthropic-plain", "anthropic", url.clone(), false),
        ("anthropic-stream", "anthropic", url.clone(), true),
    ] {
        config.push_str(&format!(
            "[presets.{name}]\nprovider = \"{provider}\"\nbase_url = \"{base}\"\nmodel = \"careful\"\nstream = {stream}\n\
             api_key_env = \"CANARY_KEY\"\nprice = {{ input = 1.0, cached_input = 0.1, output = 4.0 }}\n"
        ));
    }
    scratch.write("http.toml", &config);
    let suite = repository_file("suites/repair.json");
    let lab = repository_file("model-labs/deepseek/deepseek-v4-repair-suite.json");
    let mut command = scratch.och(&[
        "lab-compare",
        &suite,
        &lab,
        "--presets",
        "openai-plain",
        "openai-stream",
        "anthropic-plain",
        "anthropic-stream",
        "--config",
        "http.toml",
        "--allow-write",
        "--sandbox",
        "local",
        "--json",
    ]);
    command.env("CANARY_KEY", CANARY);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let folder = scratch.run_folder("eval-runs");
    let verdicts = verdicts(&folder);
    assert_eq!(verdicts.len(), 14 * 4);
    for verdict in &verdicts {
        assert_eq!(verdict["outcome"]["type"], "passed", "{verdict}");
        assert!(verdict["usage"]["cost_usd"].as_f64().unwrap() > 0.0, "{verdict}");
    }
    // Every whole reply that was sent was used: nothing was paid for and thrown away.
    let steps: u64 = verdicts.iter().map(|verdict| verdict["steps"].as_u64().unwrap()).sum();
    assert_eq!(server.complete_replies(), steps);
    assert!(server.requests() > steps, "the faults must have happened");

    // K1: the key is in no object, neither from our own requests nor from what the server said.
    assert!(!stderr.contains(CANARY) && !String::from_utf8_lossy(&output.stdout).contains(CANARY));
    for file in files(scratch.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "the key is in {}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_errors_are_errored_at_once_with_the_provider_s_own_words() {
    let turn = json!([{"error": {"status": 401, "body": {"error": {"message": "your key has expired, said the provider"}}}, "times": 99}, {"text": "never"}]);
    let script = json!({"format": 1, "models": {"m": {"default": turn}}});
    let server = ModelServer::start(&script).await.unwrap();
    let scratch = Scratch::new();
    scratch.write("ws/README", "x");
    scratch.write("s.json", r#"{"cases":[{"id":"a","task":"Say hello.","workspace_template":"ws"}]}"#);
    let mut command = scratch.och(&[
        "eval",
        "s.json",
        "--provider",
        "openai-compatible",
        "--base-url",
        &server.base_url(),
        "--model",
        "m",
        "--api-key-env",
        "KEY",
        "--sandbox",
        "local",
    ]);
    command.env("KEY", "sk-whatever-123");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts = verdicts(&scratch.run_folder("eval-runs"));
    assert_eq!(verdicts[0]["outcome"], json!({"type": "errored", "why": "provider_rejected"}));
    assert!(verdicts[0]["error"].as_str().unwrap().contains("your key has expired"), "{}", verdicts[0]);
    assert_eq!(server.requests(), 1, "a permanent error is not retried");
}
