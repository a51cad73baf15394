//! Runs that are interrupted go on without paying again: kill -9 of everything, Ctrl-C, and reports of a half-done run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;
use support::{Scratch, claims, results, verdicts, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
const SLOW_MOCK: &str = "[presets.slow]\nprovider = \"mock\"\nmodel = \"mock-coder\"\nlatency_ms = 200\n";

fn slow_suite(scratch: &Scratch) {
    scratch.write("ws/README", "x");
    scratch.write("slow.toml", SLOW_MOCK);
    scratch.write(
        "s.json",
        r#"{"cases":[{"id":"hello","task":"Say hello.","workspace_template":"ws","expect_contains":"Mock run completed"}]}"#,
    );
}

const RUN: [&str; 14] = [
    "lab-compare",
    "s.json",
    "--presets",
    "slow",
    "--config",
    "slow.toml",
    "--sandbox",
    "local",
    "--trials",
    "60",
    "--concurrency",
    "4",
    "--context-chars",
    "0",
];

/// Waits until the run that was just started has so many verdicts.
#[track_caller]
fn wait_for_verdicts(scratch: &Scratch, what: &str, count: usize) {
    let runs = scratch.path().join("eval-runs");
    wait_until(what, LIMIT, || {
        runs.is_dir()
            && std::fs::read_dir(&runs).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                path.join("run.json").is_file() && verdicts(&path).len() >= count
            })
    });
}

#[test]
fn kill_9_in_the_middle_loses_and_repeats_nothing_that_was_decided() {
    let scratch = Scratch::new();
    slow_suite(&scratch);
    let running = scratch.start(&RUN);
    wait_for_verdicts(&scratch, "a third of the trials", 20);
    running.kill();
    let folder = scratch.run_folder("eval-runs");
    let decided = verdicts(&folder);
    let (paid, begun) = (results(&folder).len(), claims(&folder).len());
    assert!(decided.len() < 60, "the kill came too late to show anything");
    let name = folder.file_name().unwrap().to_str().unwrap();

    // The reports of a half-done run say so.
    let half = scratch.run(&["report", name]);
    assert_eq!(half.code, Some(3), "{}", half.stderr);
    let page = std::fs::read_to_string(folder.join("report/comparison.md")).unwrap();
    assert!(page.to_lowercase().contains("incomplete"), "{page}");

    let said = scratch.run(&["resume", name, "--concurrency", "8"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
    assert_eq!(verdicts(&folder).len(), 60);
    assert!(folder.join("sealed.json").is_file());
    for verdict in decided {
        let again = std::fs::read_to_string(
            folder.join(format!("verdicts/{}.json", verdict["trial"].as_str().unwrap())),
        )
        .unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&again).unwrap(), verdict, "V1");
    }
    // No result was paid twice: what had a result keeps it, what was only begun is begun once more.
    assert_eq!(results(&folder).len(), 60, "{paid} were paid before the kill");
    assert!(claims(&folder).len() <= 60 + (begun - paid), "only attempts in flight may be repeated");
}

#[test]
fn one_interrupt_drains_and_says_how_to_go_on() {
    let scratch = Scratch::new();
    slow_suite(&scratch);
    let running = scratch.start(&RUN);
    wait_for_verdicts(&scratch, "some verdicts", 5);
    running.signal("-INT");
    let said = running.wait(LIMIT);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    let folder = scratch.run_folder("eval-runs");
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(said.stderr.contains(&format!("och resume {name}")), "{}", said.stderr);
    // What was in flight was finished, not thrown away.
    assert_eq!(claims(&folder).len(), results(&folder).len());
    assert!(verdicts(&folder).len() < 60, "the signal came too late to show anything");
    let said = scratch.run(&["resume", &name, "--concurrency", "8"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
    assert_eq!((verdicts(&folder).len(), results(&folder).len(), claims(&folder).len()), (60, 60, 60));
}

#[test]
fn resuming_a_sealed_run_spends_nothing() {
    let scratch = Scratch::new();
    slow_suite(&scratch);
    let said = scratch.run(&["eval", "s.json", "--preset", "mock", "--sandbox", "local", "--run-id", "done"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let folder = scratch.run_folder("eval-runs");
    let before = claims(&folder).len();
    let said = scratch.run(&["resume", "done"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("sealed already"), "{}", said.stderr);
    assert_eq!(claims(&folder).len(), before);
    assert_eq!(scratch.run(&["resume", "nothing-here"]).code, Some(2));
}

#[test]
fn a_cancelled_run_is_sealed_with_its_undecided_trials_errored() {
    let scratch = Scratch::new();
    slow_suite(&scratch);
    let running = scratch.start(&RUN);
    wait_for_verdicts(&scratch, "some verdicts", 5);
    let folder = scratch.run_folder("eval-runs");
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(scratch.run(&["cancel", &name]).code, Some(0));
    let said = running.wait(LIMIT);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    let all = verdicts(&folder);
    assert_eq!(all.len(), 60);
    assert!(folder.join("sealed.json").is_file());
    assert!(all.iter().any(|verdict| verdict["outcome"]["why"] == "cancelled"));
    assert!(all.iter().any(|verdict| verdict["outcome"]["type"] == "passed"));
}
