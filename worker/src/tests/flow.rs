//! What becomes of an attempt, whatever the model, the workspace and the verifier do.

use super::world::{CANARY, Setup, World, attempt, passed, run, trial, write};
use domain::id::{Epoch, Incarnation};
use domain::outcome::{ErrorReason, Failure, Note, Outcome, Verdict};
use domain::preset::{Preset, ProviderKind};
use proto::message::Cause;
use run_folder::{AbandonRecord, Claim, ClaimRecord, Store};
use serde_json::json;
use std::time::Duration;
use workspace::{FakeSandboxes, Lost};

const fn failed(why: Failure) -> Outcome {
    Outcome::Failed { why }
}

fn says_done() -> serde_json::Value {
    json!([{"text": "all DONE", "usage": {"input": 10, "output": 2}}])
}

/// Every object of the run, with what is in it.
async fn objects(store: &Store) -> Vec<(String, Vec<u8>)> {
    let folder = store.run(&run());
    let mut found = Vec::new();
    for view in folder.attempts(&trial(0)).await.unwrap() {
        let result = view.result.map(|result| serde_json::to_vec(&result).unwrap()).unwrap_or_default();
        for chunk in serde_json::from_slice::<serde_json::Value>(&result)
            .ok()
            .iter()
            .flat_map(|result| result["chunks"].as_array().cloned().unwrap_or_default())
        {
            let path = chunk["path"].as_str().unwrap().to_owned();
            if let Some(name) = path.strip_prefix("artifacts/") {
                let bytes = folder.artifact(&trial(0), view.attempt, name).await.unwrap().unwrap();
                found.push((path, bytes.to_vec()));
            }
        }
        found.push(("result.json".to_owned(), result));
        let trace = folder.trace(&trial(0), view.attempt).await.unwrap();
        found.push(("trace".to_owned(), serde_json::to_vec(&trace).unwrap()));
        found.push(("transcript".to_owned(), folder.transcript(&trial(0), view.attempt).await.unwrap()));
        if let Some(abandoned) = view.abandoned {
            found.push(("abandoned.json".to_owned(), serde_json::to_vec(&abandoned).unwrap()));
        }
    }
    if let Some(verdict) = folder.verdict(&trial(0)).await.unwrap() {
        found.push(("verdict".to_owned(), serde_json::to_vec(&verdict).unwrap()));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_passes_costs_five_objects() {
    let mut world = Setup::new(says_done()).start().await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.outcome, verdict.steps, verdict.finished), (passed(), 1, true));
    assert_eq!(verdict.summary, "all DONE");
    assert_eq!(verdict.usage.input_tokens, 10);
    let result = world.result(1).await;
    let paths: Vec<&str> = result.chunks.iter().map(|chunk| chunk.path.as_str()).collect();
    // With claim, result and verdict: five.
    assert_eq!(paths, ["trace/00000.jsonl", "transcript/00000.jsonl"]);
    assert_eq!(world.kinds(1).await, ["task.start", "model.response", "task.finish"]);
    let transcript = world.folder.transcript(&trial(0), attempt(1)).await.unwrap();
    assert_eq!(providers::rebuild(&transcript).unwrap().len(), 1);
    let summary = world.leave().await;
    assert_eq!((summary.decided, summary.abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_final_answer_without_the_marker_fails() {
    let mut world = Setup::new(json!([{"text": "finished"}])).start().await;
    let verdict = world.verdict().await;
    assert_eq!(verdict.outcome, failed(Failure::ExpectationMismatch));
    assert_eq!(verdict.error.as_deref(), Some("the final answer does not contain `DONE`"));
    assert!(world.artifact("session.json").await.unwrap().contains("\"finished\""));
}

#[tokio::test(start_paused = true)]
async fn the_marker_is_missed_before_anything_is_verified() {
    let mut world = Setup::repair(json!([write("a.txt", "good\n"), {"text": "finished"}])).start().await;
    assert_eq!(world.verdict().await.outcome, failed(Failure::ExpectationMismatch));
    assert_eq!(world.result(1).await.verify, []);
}

#[tokio::test(start_paused = true)]
async fn a_verified_trial_keeps_its_patch() {
    let mut world = Setup::repair(json!([write("a.txt", "good\n"), {"text": "DONE"}])).start().await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.outcome, verdict.steps, verdict.tool_calls), (passed(), 2, 1));
    let patch = world.artifact("patch.diff").await.unwrap();
    assert!(patch.contains("-bad") && patch.contains("+good"), "{patch}");
    assert!(world.artifact("session.json").await.is_some());
    let result = world.result(1).await;
    assert_eq!(result.verify.len(), 1);
    assert_eq!(result.verify[0].end, "exit code 0");
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_verification_is_repaired_on_the_same_conversation() {
    let turns = json!([
        write("a.txt", "worse\n"),
        {"text": "DONE", "latency_ms": 1000},
        write("a.txt", "good\n"),
        {"text": "DONE", "latency_ms": 1000}
    ]);
    let mut setup = Setup::repair(turns);
    setup.case.verify_feedback_attempts = 1;
    let mut world = setup.start().await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.outcome, verdict.steps), (passed(), 4), "steps of both rounds");
    assert_eq!(verdict.notes, [Note::RepairedAfterFeedback]);
    assert!(verdict.seconds >= 2.0, "seconds of both rounds: {}", verdict.seconds);
    let result = world.result(1).await;
    assert_eq!(result.verify.iter().map(|round| round.ok).collect::<Vec<_>>(), [false, true]);
    assert!(result.seconds.model >= 2.0);
    let kinds = world.kinds(1).await;
    let told = kinds.iter().filter(|kind| ["verify.result", "verify.feedback"].contains(&kind.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), ["verify.result", "verify.feedback", "verify.result"]);
    let log = world.artifact("verify-1.log").await.unwrap();
    assert!(log.contains("$ check") && log.contains("a.txt is wrong"), "{log}");
    let transcript = world.folder.transcript(&trial(0), attempt(1)).await.unwrap();
    let last = providers::rebuild(&transcript).unwrap().pop().unwrap();
    assert!(String::from_utf8_lossy(&last.request).contains("verify_command failed: a.txt is wrong"));
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_stays_failed() {
    let mut setup = Setup::repair(json!([{"text": "DONE"}]));
    setup.case.verify_feedback_attempts = 2;
    let mut world = setup.start().await;
    let verdict = world.verdict().await;
    assert_eq!(verdict.outcome, failed(Failure::VerificationFailure));
    assert_eq!(verdict.error.as_deref(), Some("verify_command failed: a.txt is wrong"));
    assert_eq!(world.result(1).await.verify.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn verify_files_are_there_for_the_command_and_for_nobody_else() {
    let list = json!({"tool_calls": [{"name": "list_files", "arguments": {"path": "."}}]});
    let read = json!({"tool_calls": [{"name": "read_file", "arguments": {"path": "check.sh"}}]});
    let turns = json!([list, {"text": "DONE"}, list, read, {"text": "DONE"}]);
    let mut setup = Setup::new(turns);
    setup.case.verify_command = Some("check".to_owned());
    setup.case.verify_feedback_attempts = 1;
    setup.files = vec![("check.sh", "the agent's own\n")];
    setup.verify_files = vec![("check.sh", "secret check\n"), ("hidden/case.txt", "hidden\n")];
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = std::sync::Arc::clone(&seen);
    setup.sandboxes = FakeSandboxes::new().commands(move |_, files| {
        let check = files.get("check.sh").map(<[u8]>::to_vec);
        noted.lock().unwrap().push((check, files.get("hidden/case.txt").is_some()));
        workspace::fake::ended(1, "no")
    });
    let mut world = setup.start().await;
    world.verdict().await;
    let there = (Some(b"secret check\n".to_vec()), true);
    assert_eq!(*seen.lock().unwrap(), [there.clone(), there]);
    let trace = serde_json::to_string(&world.trace(1).await).unwrap();
    assert!(trace.contains("the agent's own"), "its own file is back before the repair round: {trace}");
    assert!(!trace.contains("secret check") && !trace.contains("case.txt"), "{trace}");
}

#[tokio::test(start_paused = true)]
async fn protected_files_are_put_back_before_the_command_runs() {
    let mut setup = Setup::new(json!([write("tests/t.txt", "tampered\n"), {"text": "DONE"}]));
    setup.case.verify_command = Some("check".to_owned());
    setup.case.protected = vec!["tests/**".to_owned()];
    setup.files = vec![("tests/t.txt", "original\n"), ("b.txt", "b\n")];
    setup.sandboxes = FakeSandboxes::new().commands(|_, files| match files.get("tests/t.txt") {
        Some(b"original\n") => workspace::fake::ended(0, ""),
        _ => workspace::fake::ended(1, "tampered"),
    });
    let mut world = setup.start().await;
    assert_eq!(world.verdict().await.outcome, passed());
    let trace = serde_json::to_string(&world.trace(1).await).unwrap();
    assert!(trace.contains("put back protected files: tests/t.txt"), "{trace}");
    let patch = world.artifact("patch.diff").await.unwrap();
    assert!(patch.contains("tampered"), "the patch shows what the agent did: {patch}");
}

#[tokio::test(start_paused = true)]
async fn steps_used_up() {
    let mut setup = Setup::new(json!([{"tool_calls": [{"name": "list_files", "arguments": {"path": "."}}]}]));
    setup.limits.max_steps = 3;
    let mut world = setup.start().await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.outcome, verdict.steps), (failed(Failure::MaxSteps), 3));
    assert_eq!(verdict.bound_by.as_deref(), Some("max_steps=3"));
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn tool_failure_needs_the_last_tools_to_have_failed() {
    let broken = json!({"tool_calls": [{"name": "read_file", "arguments": {"path": "missing"}}]});
    let fine = json!({"tool_calls": [{"name": "list_files", "arguments": {"path": "."}}]});
    for (turns, expect) in
        [(json!([fine, broken]), Failure::ToolFailure), (json!([broken, fine]), Failure::MaxSteps)]
    {
        let mut setup = Setup::new(turns);
        setup.limits.max_steps = 2;
        assert_eq!(setup.start().await.verdict().await.outcome, failed(expect));
    }
    let mut world = Setup::new(json!([broken, {"text": "DONE"}])).start().await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.outcome, verdict.notes.as_slice()), (passed(), &[Note::RecoveredToolFailure][..]));
}

#[tokio::test(start_paused = true)]
async fn time_used_up_is_a_result() {
    let mut setup = Setup::new(json!([write("a.txt", "x\n"), {"text": "DONE", "latency_ms": 90_000}]));
    setup.files = vec![("a.txt", "bad\n")];
    setup.case.timeout_seconds = Some(60);
    let mut world = setup.start().await;
    let verdict = world.verdict().await;
    assert_eq!((verdict.outcome, verdict.steps), (failed(Failure::TimeLimit), 1));
    assert_eq!(verdict.bound_by.as_deref(), Some("timeout_seconds=60"));
    assert!((60.0..61.0).contains(&verdict.seconds), "{}", verdict.seconds);
    assert_eq!(world.kinds(1).await.last().map(String::as_str), Some("task.stop"));
    assert!(world.artifact("patch.diff").await.unwrap().contains("+x"));
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_outage_abandons_and_does_not_count() {
    let mut world = Setup::new(json!([{"error": {"status": 503}, "times": 9}])).start().await;
    world.grant("l1", &[0]).await;
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::ProviderUnavailable, true, false));
    assert_eq!(told.lease.as_str(), "l1");
    let view = world.folder.attempts(&trial(0)).await.unwrap().remove(0);
    let record: AbandonRecord = view.abandoned.unwrap();
    assert!(
        record.retryable && !record.counts && record.reason.starts_with("provider unavailable: "),
        "{record:?}"
    );
    assert!(world.kinds(1).await.contains(&"model.error".to_owned()));
    let summary = world.leave().await;
    assert_eq!((summary.decided, summary.abandoned), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_is_ridden_out() {
    let stormy = json!([
        {"error": {"status": 429, "headers": {"retry-after": "1"}}, "times": 1},
        {"text": "DONE"}
    ]);
    let mut setup = Setup::new(stormy);
    setup.trials = 20;
    setup.slots = 8;
    let mut world = setup.start().await;
    world.grant("l1", &(0..20).collect::<Vec<_>>()).await;
    for _ in 0..20 {
        assert_eq!(world.decided().await.outcome, passed());
    }
    let summary = world.leave().await;
    assert_eq!((summary.decided, summary.abandoned), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_apart_from_failures() {
    for (turn, expect) in [
        (
            json!({"error": {"status": 401, "body": "bad key"}}),
            Outcome::Errored { why: ErrorReason::ProviderRejected },
        ),
        (json!({"text": "DONE", "model": "another-model"}), failed(Failure::ModelMismatch)),
        (json!({"text": "I cannot do that.", "stop": "refusal"}), failed(Failure::Exception)),
        (json!({"text": ""}), failed(Failure::Exception)),
    ] {
        let mut world = Setup::new(json!([turn])).start().await;
        let verdict = world.verdict().await;
        assert_eq!(verdict.outcome, expect, "{turn}: {verdict:?}");
        assert!(verdict.error.is_some(), "{turn}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_cannot_be_had() {
    let mut world = Setup::repair(says_done()).start().await;
    world.sandboxes.fail_opens(1);
    world.grant("l1", &[0]).await;
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::WorkspaceUnavailable, true, false));
    assert_eq!(told.attempt, Some(attempt(1)));
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_dies_counts_when_it_was_its_own_doing() {
    for (lost, counts) in [(Lost::own_doing("out of memory"), true), (Lost::engine("engine gone"), false)] {
        let mut setup = Setup::repair(json!([write("a.txt", "good\n"), {"text": "DONE"}]));
        setup.sandboxes = FakeSandboxes::new().lose_after(0, lost);
        let mut world = setup.start().await;
        world.grant("l1", &[0]).await;
        let told = world.abandoned().await;
        assert_eq!((told.cause, told.retryable, told.counts), (Cause::WorkspaceDied, true, counts));
        world.leave().await;
    }
}

fn claim_of(incarnation: &str) -> ClaimRecord {
    ClaimRecord {
        incarnation: Incarnation::new(incarnation).unwrap(),
        worker: "other".parse().unwrap(),
        epoch: Some(Epoch::FIRST),
        nonce: incarnation.to_owned(),
        image: None,
        claimed_at: String::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_taken_number_is_skipped() {
    let mut world = Setup::new(says_done()).start().await;
    let taken = world.folder.claim(&trial(0), attempt(1), &claim_of("other")).await.unwrap();
    assert!(matches!(taken, Claim::Mine(_)));
    assert_eq!(world.verdict().await.attempt, Some(attempt(2)));
}

#[tokio::test(start_paused = true)]
async fn e1_nothing_is_spent_on_a_trial_that_turns_out_decided() {
    let mut world = Setup::new(says_done()).start().await;
    drop(world.folder.claim(&trial(0), attempt(1), &claim_of("other")).await.unwrap());
    let theirs = world.folder.decide_errored(&trial(0), ErrorReason::Cancelled, "x").await.unwrap();
    let verdict = world.verdict().await;
    assert_eq!(verdict, theirs);
    assert_eq!(world.folder.attempts(&trial(0)).await.unwrap().len(), 1, "no attempt of ours");
}

#[tokio::test(start_paused = true)]
async fn a_result_without_a_verdict_is_helped_and_not_paid_again() {
    let mut world = Setup::new(says_done()).start().await;
    world.verdict().await;
    let result = world.result(1).await;
    let mut other = Setup::new(says_done()).start().await;
    let Claim::Mine(writer) = other.folder.claim(&trial(0), attempt(1), &claim_of("i1")).await.unwrap()
    else {
        panic!("taken");
    };
    writer.finish(&result).await.unwrap();
    let verdict = other.verdict().await;
    assert_eq!(verdict.attempt, Some(attempt(1)));
    assert_eq!(other.folder.attempts(&trial(0)).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_lost_to_another_attempt_leaves_an_orphan() {
    let mut world = Setup::new(json!([{"text": "DONE", "latency_ms": 5000}])).start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let theirs: Verdict = world.folder.decide_errored(&trial(0), ErrorReason::Cancelled, "x").await.unwrap();
    let told = world.decided().await;
    assert_eq!((told.outcome, told.attempt), (theirs.outcome, None), "the verdict that stands is told");
    assert_eq!(world.result(1).await.outcome, passed(), "ours is kept");
    assert_eq!(world.folder.verdict(&trial(0)).await.unwrap(), Some(theirs));
    let summary = world.leave().await;
    assert_eq!((summary.decided, summary.orphaned), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn k1_a_key_in_a_reply_is_never_stored() {
    let turns = json!([
        write("leak.txt", &format!("{CANARY}\n")),
        {"tool_calls": [{"name": "shell", "arguments": {"command": "ls"}}]},
        {"text": format!("{CANARY} DONE")}
    ]);
    let mut setup = Setup::repair(turns);
    setup.files = vec![("a.txt", "bad\n"), ("leak.txt", "clean\n")];
    setup.sandboxes = FakeSandboxes::new().commands(|_, _| workspace::fake::ended(1, CANARY));
    let store = setup.store.clone();
    let mut world: World = setup.start().await;
    let verdict = world.verdict().await;
    assert_eq!(verdict.outcome, failed(Failure::VerificationFailure));
    assert_eq!(verdict.summary, "**** DONE");
    assert!(world.artifact("patch.diff").await.unwrap().contains("****"));
    assert!(world.artifact("verify-1.log").await.unwrap().contains("****"));
    for (name, bytes) in objects(&store).await {
        assert!(!String::from_utf8_lossy(&bytes).contains(CANARY), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preset_whose_key_is_missing_here_is_unusable() {
    let mut setup = Setup::new(says_done());
    setup.preset = Preset::new("p".parse().unwrap(), ProviderKind::OpenaiCompatible, "m");
    setup.preset.base_url = Some("http://127.0.0.1:1".to_owned());
    setup.preset.api_key_env = Some("MISSING".to_owned());
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::Unusable, false, false));
    assert!(told.text.contains("MISSING"), "{}", told.text);
}

#[tokio::test(start_paused = true)]
async fn e2_many_trials_are_one_attempt_each() {
    let mut setup = Setup::new(json!([{"text": "DONE", "latency_ms": 200}]));
    setup.trials = 300;
    setup.slots = 64;
    let mut world = setup.start().await;
    world.grant("l1", &(0..300).collect::<Vec<_>>()).await;
    for _ in 0..300 {
        assert_eq!(world.decided().await.attempt, Some(attempt(1)));
    }
    assert_eq!(world.folder.decided().await.unwrap().len(), 300);
    assert!(world.clock.now().0 < Duration::from_secs(2), "five rounds of 200 ms: {:?}", world.clock.now());
    assert_eq!(world.leave().await.decided, 300);
}
