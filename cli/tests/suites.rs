//! Every suite of the repository loads and plans; unsound suites are refused before anything is written or spent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Scratch, repository_file};

#[test]
fn every_suite_of_the_repository_is_sound() {
    let scratch = Scratch::new();
    let said = scratch.run(&["suites", "check", &repository_file("suites"), &repository_file("model-labs")]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let cases: usize = said
        .stdout
        .lines()
        .map(|line| line.split_whitespace().nth(2).unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!((said.stdout.lines().count(), cases), (14, 45), "{}", said.stdout);
}

#[track_caller]
fn refused(suite: &str, complaint: &str) {
    let scratch = Scratch::new();
    scratch.write("here/s.json", suite);
    std::fs::create_dir_all(scratch.path().join("outside")).unwrap();
    let said = scratch.run(&["lab-compare", "here/s.json", "--presets", "mock", "--root", "here"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains(complaint), "wanted `{complaint}` in:\n{}", said.stderr);
    assert_eq!(said.stdout, "");
    assert!(!scratch.path().join("eval-runs").exists(), "nothing may be written");
    let check = scratch.run(&["suites", "check", "here/s.json", "--root", "here"]);
    assert_eq!(check.code, Some(2));
    assert!(check.stderr.contains(complaint), "{}", check.stderr);
}

#[test]
fn wrong_types_are_refused() {
    refused(
        r#"{"cases":[{"id":"a","task":"t","expect_contains":3}]}"#,
        "here/s.json: case `a`: key `expect_contains`: must be a text, not a number",
    );
}

#[test]
fn missing_ids_and_tasks_are_refused() {
    refused(r#"{"cases":[{"task":"t"}]}"#, "case #1: key `id`: is missing");
    refused(r#"{"cases":[{"id":"a"}]}"#, "case `a`: key `task`: is missing");
}

#[test]
fn repeated_ids_are_refused() {
    refused(
        r#"{"cases":[{"id":"a","task":"t"},{"id":"a","task":"t"}]}"#,
        "case `a`: key `id`: `a` is used twice",
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    refused(r#"{"cases":[{"id":"a","task":"t","expect_contain":"x"}]}"#, "did you mean `expect_contains`?");
}

#[test]
fn missing_templates_are_refused() {
    refused(
        r#"{"cases":[{"id":"a","task":"t","workspace_template":"nowhere"}]}"#,
        "key `workspace_template`: `nowhere` does not exist",
    );
}

#[test]
fn paths_outside_the_root_are_refused() {
    refused(
        r#"{"cases":[{"id":"a","task":"t","workspace":"../outside"}]}"#,
        "key `workspace`: `../outside` lies outside",
    );
}

#[test]
fn empty_case_lists_are_refused() {
    refused(r#"{"cases":[]}"#, "key `cases`: is empty");
    refused("[]", "must be an object with `cases`, not a list");
}

#[test]
fn a_workspace_above_the_size_limit_is_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    scratch.write("s.json", r#"{"cases":[{"id":"a","task":"t","workspace_template":"big"}]}"#);
    let file = std::fs::File::create(scratch.write("big/blob.bin", "")).unwrap();
    file.set_len(300 * 1024 * 1024).unwrap();
    let said = scratch.run(&["eval", "s.json", "--preset", "mock", "--sandbox", "local"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("blob.bin"), "{}", said.stderr);
    assert!(support::files(&scratch.path().join("eval-runs")).is_empty(), "nothing may be written");
}
