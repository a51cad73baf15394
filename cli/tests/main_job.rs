//! The main job on this machine, through the real binary: suites in, run folder and reports out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use support::{Scratch, claims, files, repository_file, results, verdicts};

fn read(path: &std::path::Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn outcomes(folder: &std::path::Path) -> BTreeMap<String, String> {
    verdicts(folder)
        .iter()
        .map(|verdict| {
            let outcome = &verdict["outcome"];
            let why = outcome["why"].as_str().map_or(String::new(), |why| format!(":{why}"));
            (
                verdict["trial"].as_str().unwrap().to_owned(),
                format!("{}{why}", outcome["type"].as_str().unwrap()),
            )
        })
        .collect()
}

/// README's promise: two presets differ on the repair suite, by real edits and real verification, with no key and no Docker.
#[test]
fn scripted_presets_differ_on_the_repair_suite() {
    let scratch = Scratch::new();
    let said = scratch.run(&[
        "lab-compare",
        &repository_file("suites/repair.json"),
        "--config",
        &repository_file("suites/demo.toml"),
        "--presets",
        "careful",
        "hasty",
        "--sandbox",
        "local",
        "--comparison-output",
        "out/repair.md",
        "--json",
    ]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
    let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(manifest["reports"].as_array().unwrap().len(), 2, "{manifest}");
    assert_eq!(manifest["skipped"], Value::Array(Vec::new()));

    let folder = scratch.run_folder("eval-runs");
    let outcomes = outcomes(&folder);
    let of = |preset: &str| -> BTreeMap<&str, &str> {
        let marker = format!(".{preset}.0");
        outcomes
            .iter()
            .filter(|(trial, _)| trial.ends_with(&marker))
            .map(|(trial, outcome)| {
                (trial.trim_start_matches("repair.").trim_end_matches(marker.as_str()), outcome.as_str())
            })
            .collect()
    };
    let careful = of("careful");
    assert_eq!(careful.len(), 12);
    assert!(careful.values().all(|outcome| *outcome == "passed"), "{careful:?}");
    let hasty = of("hasty");
    let expected: BTreeMap<&str, &str> = [
        ("calculator", "passed"),
        ("text-utils", "passed"),
        ("sales-pipeline", "failed:verification_failure"),
        ("rate-window", "failed:max_steps"),
        ("disk-alert", "failed:verification_failure"),
        ("access-log", "passed"),
        ("version-bump", "failed:expectation_mismatch"),
        ("site-build", "failed:tool_failure"),
        ("customer-report", "failed:verification_failure"),
        ("service-config", "passed"),
        ("landing-page", "passed"),
        ("order-states", "failed:exception"),
    ]
    .into_iter()
    .collect();
    let short: BTreeMap<&str, &str> =
        hasty.iter().map(|(case, outcome)| (case.trim_start_matches("repair-"), *outcome)).collect();
    assert_eq!(short, expected);

    // E2: without faults there are as many attempts as trials, and every one was concluded.
    assert_eq!((claims(&folder).len(), results(&folder).len()), (24, 24));
    for report in [
        "comparison.md",
        "comparison.json",
        "comparison.html",
        "careful/report.json",
        "hasty/report.html",
        "hasty/report.md",
    ] {
        assert!(folder.join("report").join(report).is_file(), "{report}");
    }
    for copy in ["out/repair.md", "out/repair.json", "out/repair.html"] {
        assert!(scratch.path().join(copy).is_file(), "{copy}");
    }
    let report = read(&folder.join("report/hasty/report.json"));
    for key in ["suite", "started_at", "model_provider", "model_name", "total", "passed", "results"] {
        assert!(!report[key].is_null(), "{key}");
    }
    assert_eq!((report["total"].as_u64(), report["passed"].as_u64()), (Some(12), Some(5)));
    let entry = &report["results"][0];
    for key in
        ["id", "ok", "finished", "steps", "seconds", "summary", "trace", "session", "error", "failure_type"]
    {
        assert!(entry.get(key).is_some(), "{key}");
    }
    // Links work from where the report lies.
    let trace = entry["trace"].as_str().unwrap();
    assert!(folder.join("report/hasty").join(trace).is_file(), "{trace}");

    // `och compare` reads what was written, and `och report` writes the same bytes again (R1).
    let before = std::fs::read(folder.join("report/comparison.html")).unwrap();
    let run = folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(scratch.run(&["report", run]).code, Some(0));
    assert_eq!(std::fs::read(folder.join("report/comparison.html")).unwrap(), before);
    let compared = scratch.run(&["compare", folder.to_str().unwrap()]);
    assert_eq!(compared.code, Some(0), "{}", compared.stderr);
    assert!(compared.stdout.contains("careful") && compared.stdout.contains("hasty"), "{}", compared.stdout);
}

#[test]
fn the_mock_passes_the_original_s_mock_suites_unchanged() {
    for suite in [
        "suites/smoke.json",
        "model-labs/deepseek/mock-smoke-suite.json",
        "model-labs/local/mock-smoke-suite.json",
    ] {
        let scratch = Scratch::new();
        let said = scratch.run(&[
            "eval",
            &repository_file(suite),
            "--preset",
            "mock",
            "--max-steps",
            "2",
            "--sandbox",
            "local",
        ]);
        assert_eq!(said.code, Some(0), "{suite}\n{}\n{}", said.stdout, said.stderr);
    }
}

#[test]
fn eval_exits_1_when_a_trial_fails() {
    let scratch = Scratch::new();
    scratch.write("ws/README", "x");
    scratch.write("s.json", r#"{"cases":[{"id":"never","task":"Say hello.","workspace_template":"ws","expect_contains":"NEVER_SAID"}]}"#);
    let said = scratch.run(&["eval", "s.json", "--preset", "mock", "--sandbox", "local", "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["results"][0]["failure_type"], "expectation_mismatch");
}

#[test]
fn missing_keys_are_listed_or_refused() {
    let scratch = Scratch::new();
    let suite = repository_file("suites/smoke.json");
    let said = scratch.run(&[
        "lab-compare",
        &suite,
        "--presets",
        "mock",
        "deepseek",
        "--sandbox",
        "local",
        "--json",
    ]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        manifest["skipped"],
        serde_json::json!([{"preset": "deepseek", "reason": "missing DEEPSEEK_API_KEY"}])
    );
    let page = std::fs::read_to_string(scratch.run_folder("eval-runs").join("report/comparison.md")).unwrap();
    assert!(page.contains("missing DEEPSEEK_API_KEY"), "{page}");

    let none = scratch.run(&["lab-compare", &suite, "--presets", "claude"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("claude: missing ANTHROPIC_API_KEY"), "{}", none.stderr);
    let unknown = scratch.run(&["lab-compare", &suite, "--presets", "deepsek"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("did you mean `deepseek`?"), "{}", unknown.stderr);
}

#[test]
fn the_user_s_own_tree_is_never_edited() {
    let scratch = Scratch::new();
    scratch.write("tree/calc.py", "def add(a, b):\n    return a - b\n");
    scratch.write("tree/.gitignore", "secret.env\n");
    scratch.write("tree/secret.env", "TOKEN=canary-in-an-ignored-file\n");
    scratch.write(
        "tree/s.json",
        r#"{"cases":[{"id":"fix","task":"Fix add.","workspace":".","expect_contains":"DONE"}]}"#,
    );
    scratch.write(
        "tree/s.script.json",
        r#"{"format":1,"models":{"scripted":{"cases":{"fix":[
            {"tool_calls":[{"name":"replace_text","arguments":{"path":"calc.py","old":"a - b","new":"a + b"}}]},
            {"text":"DONE"}]}}}}"#,
    );
    std::process::Command::new("git")
        .args(["init", "-q"])
        .current_dir(scratch.path().join("tree"))
        .status()
        .unwrap();
    let said =
        scratch.run(&["eval", "tree/s.json", "--preset", "scripted", "--allow-write", "--sandbox", "local"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.stdout, said.stderr);
    assert_eq!(
        std::fs::read_to_string(scratch.path().join("tree/calc.py")).unwrap(),
        "def add(a, b):\n    return a - b\n"
    );
    let folder = scratch.run_folder("eval-runs");
    let patch =
        files(&folder).into_iter().find(|file| file.ends_with("artifacts/patch.diff")).expect("a patch");
    let patch = std::fs::read_to_string(patch).unwrap();
    assert!(patch.contains("+    return a + b"), "{patch}");
    // What git ignores does not travel.
    let input = files(&folder).into_iter().find(|file| file.to_string_lossy().ends_with(".tar.zst")).unwrap();
    let names: Vec<String> = run_folder::inputs::entries(&std::fs::read(input).unwrap())
        .unwrap()
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    assert!(names.contains(&"calc.py".to_owned()) && !names.contains(&"secret.env".to_owned()), "{names:?}");
}

#[test]
fn a_second_run_of_the_same_id_is_refused() {
    let scratch = Scratch::new();
    let suite = repository_file("suites/smoke.json");
    let arguments = ["eval", suite.as_str(), "--preset", "mock", "--sandbox", "local", "--run-id", "twice"];
    assert_eq!(scratch.run(&arguments).code, Some(0));
    let again = scratch.run(&arguments);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("och resume twice"), "{}", again.stderr);
}
