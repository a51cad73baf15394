//! Losing the permission to spend, in every state, and leaving.

use super::world::{Setup, attempt, lease, passed, run, trial, write};
use crate::actors::root::Drain;
use proto::message::{Cause, FromCoordinator, FromWorker, RevokeReason};
use serde_json::json;
use std::time::Duration;

fn slow() -> serde_json::Value {
    json!([{"text": "DONE", "latency_ms": 60_000}])
}

fn revoke(reason: RevokeReason) -> FromCoordinator {
    FromCoordinator::Revoke { run: run(), lease: lease("l1"), trials: Vec::new(), reason }
}

#[tokio::test(start_paused = true)]
async fn l1_a_lease_that_is_not_renewed_stops_the_agent_before_it_is_over_there() {
    let mut setup = Setup::repair(slow());
    setup.ttl = Duration::from_secs(30);
    let mut world = setup.start().await;
    world.renewing = false;
    let granted = world.clock.now();
    world.grant("l1", &[0]).await;
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::LeaseLost, true, false));
    let stopped = world.clock.now().since(granted);
    assert!(stopped <= Duration::from_millis(30_100), "{stopped:?}");
    let view = world.folder.attempts(&trial(0)).await.unwrap().remove(0);
    assert!(view.result.is_none() && view.abandoned.is_some_and(|record| !record.counts));
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_lets_the_agent_go_on() {
    let mut setup = Setup::new(slow());
    setup.ttl = Duration::from_secs(30);
    let mut world = setup.start().await;
    assert_eq!(world.verdict().await.outcome, passed());
}

#[tokio::test(start_paused = true)]
async fn cut_off_it_finishes_within_the_lease_and_tells_the_next_stream() {
    let mut setup = Setup::new(json!([{"text": "DONE", "latency_ms": 20_000}]));
    setup.ttl = Duration::from_secs(30);
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.disconnect().await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(
        world.folder.verdict(&trial(0)).await.unwrap().unwrap().outcome,
        passed(),
        "the verdict stands"
    );
    assert_eq!(world.connect().await.held, []);
    assert_eq!(world.decided().await.outcome, passed());
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_is_told_what_is_in_flight() {
    let mut world = Setup::new(slow()).start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.disconnect().await;
    let hello = world.connect().await;
    let held = &hello.held[0];
    assert_eq!((held.lease.as_str(), &held.run, held.trials.len()), ("l1", &run(), 1));
    assert_eq!(
        (held.trials[0].attempt, held.trials[0].progress.as_str()),
        (Some(attempt(1)), "model call 1")
    );
    assert_eq!(world.decided().await.outcome, passed());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_stops_and_is_not_tried_again() {
    let mut world = Setup::repair(slow()).start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.say(revoke(RevokeReason::Cancelled)).await;
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::Cancelled, false, false));
    assert!(world.clock.now().0 < Duration::from_secs(3), "at once, not at the end of the model call");
    assert_eq!(world.kinds(1).await.last().map(String::as_str), Some("note"), "the trace says why");
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoke_before_the_claim_leaves_nothing() {
    let mut setup = Setup::new(slow());
    setup.slots = 1;
    setup.trials = 2;
    let mut world = setup.start().await;
    world.grant("l1", &[0, 1]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.say(revoke(RevokeReason::Lost)).await;
    let queued = world.abandoned().await;
    assert_eq!((queued.trial, queued.attempt), (trial(1), None));
    assert_eq!(world.abandoned().await.trial, trial(0));
    assert_eq!(world.folder.attempts(&trial(1)).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn draining_lets_attempts_finish() {
    let mut setup = Setup::new(slow());
    setup.slots = 1;
    setup.trials = 2;
    let mut world = setup.start().await;
    world.grant("l1", &[0, 1]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.root.tell(Drain(world.clock.now() + Duration::from_secs(600))).await.unwrap();
    match world.heard().await {
        FromWorker::Returned { trials, .. } => assert_eq!(trials, [trial(1)]),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.decided().await.outcome, passed());
    assert_eq!(world.wait_for_end().await.decided, 1);
}

#[tokio::test(start_paused = true)]
async fn the_drain_deadline_abandons_what_is_left_and_it_does_not_count() {
    let mut world = Setup::repair(slow()).start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.root.tell(Drain(world.clock.now() + Duration::from_secs(10))).await.unwrap();
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::Drained, true, false));
    let summary = world.wait_for_end().await;
    assert_eq!((summary.decided, summary.abandoned), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_interrupts_a_repair_round() {
    let mut setup = Setup::repair(json!([write("a.txt", "good\n"), {"text": "DONE"}]));
    // The verify command never comes back.
    setup.sandboxes = workspace::FakeSandboxes::new().commands(|_, _| workspace::fake::ended(1, "no"));
    setup.case.verify_feedback_attempts = 1;
    setup.script = json!({"format": 1, "models": {"model": {"default": [
        {"text": "DONE"}, {"text": "DONE", "latency_ms": 60_000}
    ]}}});
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.say(revoke(RevokeReason::Lost)).await;
    assert_eq!(world.abandoned().await.cause, Cause::LeaseLost);
    assert!(world.kinds(1).await.contains(&"verify.result".to_owned()), "it was in its repair round");
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_killed_is_reported_and_its_workspace_closed() {
    let world = Setup::repair(slow()).start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.root.kill();
    world.root.wait_for_shutdown_result().await.unwrap();
    // The attempt is killed by the root's end, the workspace by the attempt's.
    while world.sandboxes.still_open() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.folder.verdict(&trial(0)).await.unwrap(), None);
}
