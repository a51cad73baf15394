//! One coordinator and several workers as separate processes over one store, with workers killed and drained on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use run_folder::testing::{S3Server, violations};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;
use support::{Running, Scratch, claims, results, verdicts, wait_until};

const LIMIT: Duration = Duration::from_secs(240);

/// Starts `och coordinator` and reads its address.
fn coordinator(scratch: &Scratch, environment: &[(&str, &str)], more: &[&str]) -> (Running, String) {
    let mut arguments =
        vec!["coordinator", "--listen", "127.0.0.1:0", "--heartbeat-seconds", "0.5", "--lease-seconds", "3"];
    arguments.extend(more);
    let mut command = scratch.och(&arguments);
    command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(log(scratch, "coordinator"));
    let mut running = Running::of(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.stdout()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http"), "the coordinator did not start: `{line}`");
    (running, line.trim().to_owned())
}

fn log(scratch: &Scratch, name: &str) -> std::fs::File {
    std::fs::File::create(scratch.path().join(format!("{name}.log"))).unwrap()
}

fn worker(scratch: &Scratch, name: &str, environment: &[(&str, &str)], more: &[&str]) -> Running {
    let mut arguments = vec!["worker", "--name", name, "--slots", "4", "--sandbox", "local"];
    arguments.extend(more);
    let mut command = scratch.och(&arguments);
    command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(log(scratch, name));
    Running::of(command.spawn().unwrap())
}

fn suite(scratch: &Scratch) {
    scratch.write("ws/README", "x");
    scratch.write(
        "slow.toml",
        "[presets.slow]\nprovider = \"mock\"\nmodel = \"mock-coder\"\nlatency_ms = 100\n",
    );
    scratch.write(
        "s.json",
        r#"{"cases":[{"id":"hello","task":"Say hello.","workspace_template":"ws","expect_contains":"Mock run completed"}]}"#,
    );
}

#[test]
fn three_workers_share_200_trials_in_a_bucket_while_one_is_killed_and_one_drained() {
    let scratch = Scratch::new();
    suite(&scratch);
    let s3 = S3Server::moto();
    let store = s3.url("fleet");
    let variables = s3.environment();
    let environment: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (_coordinator, url) = coordinator(&scratch, &environment, &["--store", &store]);
    let reach = ["--coordinator", url.as_str()];
    let first = worker(&scratch, "first", &environment, &reach);
    let second = worker(&scratch, "second", &environment, &reach);
    let _third = worker(&scratch, "third", &environment, &reach);
    let mut client = scratch.och(&[
        "lab-compare",
        "s.json",
        "--presets",
        "slow",
        "--config",
        "slow.toml",
        "--sandbox",
        "local",
        "--trials",
        "200",
        "--context-chars",
        "0",
        "--store",
        &store,
        "--coordinator",
        url.as_str(),
        "--run-id",
        "fleet",
        "--json",
    ]);
    client.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(log(&scratch, "client"));
    let mut client = Running::of(client.spawn().unwrap());

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = s3.store("fleet").run(&"fleet".parse().unwrap());
    let decided = || runtime.block_on(folder.decided()).map_or(0, |trials| trials.len());
    wait_until("a quarter of the trials", LIMIT, || decided() >= 50);
    assert!(decided() < 200, "the kill came too late to show anything");
    first.kill();
    second.signal("-TERM");
    let drained = second.wait(LIMIT);
    assert_eq!(drained.code, Some(0), "a drained worker leaves in order");
    let mut out = String::new();
    client.stdout().read_to_string(&mut out).unwrap();
    let done = client.wait(LIMIT);
    assert_eq!(done.code, Some(0), "{}", std::fs::read_to_string(scratch.path().join("client.log")).unwrap());
    let manifest: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(manifest["columns"][0]["passed"], 200, "{manifest}");

    // The folder itself: exactly 200 verdicts, and no trial tried twice beyond those in flight on the killed worker.
    let verdicts = runtime.block_on(folder.verdicts()).unwrap();
    assert_eq!(verdicts.len(), 200);
    let (mut begun, mut paid) = (0, 0);
    for trial in verdicts.keys() {
        let attempts = runtime.block_on(folder.attempts(trial)).unwrap();
        begun += attempts.len();
        paid += attempts.iter().filter(|attempt| attempt.result.is_some()).count();
    }
    assert_eq!(paid, 200, "no result is paid for twice");
    assert!((200..=204).contains(&begun), "{begun} attempts for 200 trials; the killed worker had 4 slots");
    assert_eq!(runtime.block_on(violations(&folder)).unwrap(), Vec::<String>::new());
}

#[test]
fn a_coordinator_killed_with_9_is_replaced_and_workers_go_on() {
    let scratch = Scratch::new();
    suite(&scratch);
    let store = scratch.path().join("runs");
    let store = store.to_str().unwrap();
    let (first, url) = coordinator(&scratch, &[], &["--store", store]);
    let _worker = worker(&scratch, "steady", &[], &["--coordinator", url.as_str()]);
    let arguments = [
        "lab-compare",
        "s.json",
        "--presets",
        "slow",
        "--config",
        "slow.toml",
        "--sandbox",
        "local",
        "--trials",
        "120",
        "--context-chars",
        "0",
        "--store",
        store,
        "--coordinator",
        url.as_str(),
        "--run-id",
        "reign",
    ];
    let mut command = scratch.och(&arguments);
    command.stdout(Stdio::null()).stderr(log(&scratch, "client"));
    let client = Running::of(command.spawn().unwrap());
    let folder = scratch.path().join("runs/reign");
    wait_until("some verdicts", LIMIT, || verdicts(&folder).len() >= 20);
    first.kill();
    assert!(verdicts(&folder).len() < 120, "the kill came too late to show anything");
    // The next one listens at the same address; worker and client find it by themselves.
    let listen = url.trim_start_matches("http://").to_owned();
    let mut second = scratch.och(&[
        "coordinator",
        "--listen",
        &listen,
        "--store",
        store,
        "--heartbeat-seconds",
        "0.5",
        "--lease-seconds",
        "3",
        "--resume",
        "reign",
    ]);
    second.stdout(Stdio::null()).stderr(log(&scratch, "coordinator-2"));
    let _second = Running::of(second.spawn().unwrap());
    let said = client.wait(LIMIT);
    assert_eq!(said.code, Some(0), "{}", std::fs::read_to_string(scratch.path().join("client.log")).unwrap());
    assert_eq!((verdicts(&folder).len(), results(&folder).len()), (120, 120));
    // The worker lived on, so its attempts were adopted, not repeated.
    assert_eq!(claims(&folder).len(), 120);
    assert!(folder.join("epochs/000002.json").is_file());
}

#[test]
fn off_loopback_needs_token_and_tls_and_both_are_enforced() {
    let scratch = Scratch::new();
    suite(&scratch);
    let refused = scratch.run(&["coordinator", "--listen", "0.0.0.0:0", "--store", "runs"]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--token-file") || refused.stderr.contains("token"),
        "{}",
        refused.stderr
    );

    let (ca, certificate, key) = certificates();
    scratch.write("ca.pem", &ca);
    scratch.write("cert.pem", &certificate);
    scratch.write("key.pem", &key);
    scratch.write("token", "a-shared-token-of-some-length\n");
    scratch.write("other-token", "not-the-shared-token-at-all\n");
    scratch.write("other-ca.pem", &certificates().0);
    let tls = ["--store", "runs", "--token-file", "token", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let (_coordinator, url) = coordinator(&scratch, &[], &tls);
    let url = url.replace("127.0.0.1", "localhost");
    let good = ["--coordinator", url.as_str(), "--token-file", "token", "--tls-ca", "ca.pem"];
    let _worker = worker(&scratch, "trusted", &[], &good);
    let run = |token: &str, ca: &str, id: &str| {
        scratch.run(&[
            "lab-compare",
            "s.json",
            "--presets",
            "slow",
            "--config",
            "slow.toml",
            "--sandbox",
            "local",
            "--store",
            "runs",
            "--coordinator",
            url.as_str(),
            "--token-file",
            token,
            "--tls-ca",
            ca,
            "--run-id",
            id,
        ])
    };
    let said = run("token", "ca.pem", "trusted");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let wrong = run("other-token", "ca.pem", "wrong-token");
    assert_eq!(wrong.code, Some(4), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("token"), "{}", wrong.stderr);
}

/// A certificate authority, a certificate for localhost signed by it, and its key, all PEM.
fn certificates() -> (String, String, String) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages =
        vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::DigitalSignature];
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    (authority_pem, certificate.pem(), key.serialize_pem())
}
