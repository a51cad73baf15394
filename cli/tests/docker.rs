//! The main job in containers: nothing is left behind, not even after kill -9 of the process in the middle and a resume.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;
use std::time::Duration;
use support::{Scratch, repository_file, results, verdicts, wait_until};

const LIMIT: Duration = Duration::from_secs(300);

/// The engine and the default image; the script starts and builds what is missing, or says why it cannot.
fn engine() {
    let script = repository_file("workspace/scripts/docker-up.sh");
    let done =
        Command::new("sh").args([&script, "--base"]).env("OCH", env!("CARGO_BIN_EXE_och")).output().unwrap();
    assert!(done.status.success(), "docker-up.sh: {}", String::from_utf8_lossy(&done.stderr));
}

fn docker(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Containers that a process made, warm ones included, running or not.
fn containers(process: i32) -> Vec<String> {
    docker(&["ps", "--all", "--quiet", "--filter", &format!("label=och.owner-pid={process}")])
}

#[test]
fn the_repair_suite_runs_in_containers_and_leaves_nothing() {
    engine();
    let scratch = Scratch::new();
    let volumes = docker(&["volume", "ls", "--quiet"]).len();
    let running = scratch.start(&[
        "lab-compare",
        &repository_file("suites/repair.json"),
        "--config",
        &repository_file("suites/demo.toml"),
        "--presets",
        "careful",
        "hasty",
        "--sandbox",
        "docker",
        "--run-id",
        "in-containers",
        "--concurrency",
        "4",
    ]);
    let process = running.id();
    let said = running.wait(LIMIT);
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
    let all = verdicts(&scratch.run_folder("eval-runs"));
    let passed = |preset: &str| {
        all.iter()
            .filter(|verdict| {
                verdict["trial"].as_str().unwrap().contains(&format!(".{preset}."))
                    && verdict["outcome"]["type"] == "passed"
            })
            .count()
    };
    assert_eq!((passed("careful"), passed("hasty")), (12, 5), "{all:#?}");
    assert_eq!(containers(process), Vec::<String>::new());
    assert_eq!(docker(&["volume", "ls", "--quiet"]).len(), volumes);
}

#[test]
fn kill_9_leaves_no_container_and_resume_finishes() {
    engine();
    let scratch = Scratch::new();
    // A model that thinks for a while, so that the kill meets running containers.
    let mut script: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(repository_file("suites/repair.script.json")).unwrap())
            .unwrap();
    for turns in script["models"]["careful"]["cases"].as_object_mut().unwrap().values_mut() {
        for turn in turns.as_array_mut().unwrap() {
            turn["latency_ms"] = 700.into();
        }
    }
    scratch.write("slow.script.json", &script.to_string());
    scratch.write(
        "slow.toml",
        "[permissions]\nallow_write = true\n[presets.careful]\nprovider = \"scripted\"\nmodel = \"careful\"\nscript = \"slow.script.json\"\n",
    );
    let running = scratch.start(&[
        "lab-compare",
        &repository_file("suites/repair.json"),
        "--config",
        "slow.toml",
        "--presets",
        "careful",
        "--sandbox",
        "docker",
        "--run-id",
        "killed",
        "--concurrency",
        "4",
    ]);
    let process = running.id();
    let folder = scratch.path().join("eval-runs/killed");
    wait_until("containers at work and a verdict", LIMIT, || {
        !verdicts(&folder).is_empty() && !containers(process).is_empty()
    });
    running.kill();
    assert!(verdicts(&folder).len() < 12, "the kill came too late to show anything");
    // A dead worker's end of the pipe closes, the tool server ends, and the engine removes the container.
    wait_until("the containers of the dead worker to go", LIMIT, || containers(process).is_empty());
    let resumed = scratch.start(&["resume", "killed"]);
    let again = resumed.id();
    let said = resumed.wait(LIMIT);
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
    let all = verdicts(&folder);
    assert_eq!((all.len(), results(&folder).len()), (12, 12));
    assert!(all.iter().all(|verdict| verdict["outcome"]["type"] == "passed"), "{all:#?}");
    assert_eq!(containers(again), Vec::<String>::new());
}
