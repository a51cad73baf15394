//! Report files read back: the original's, ours, and files that are no reports.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod fixture;

use fixture::{links, several, small, view};
use report::{Comparison, Links, Loaded, RunView, compare_reports, comparison, preset_report};

fn testdata(name: &str) -> Loaded {
    let path = format!("{}/testdata/{name}.json", env!("CARGO_MANIFEST_DIR"));
    Loaded::read(&format!("{name}.json"), &std::fs::read_to_string(path).unwrap())
}

fn compared(names: &[&str]) -> Comparison {
    let loaded: Vec<Loaded> = names.iter().map(|name| testdata(name)).collect();
    compare_reports(&loaded, &Links::none())
}

/// One broken or foreign file stops nothing, suites do not mix, titles differ, and what is odd is said.
#[test]
fn original_reports_compare() {
    let found = compared(&[
        "original-mixed",
        "original-minimal",
        "original-other-suite",
        "original-no-results",
        "foreign-benchmark",
        "half-written",
    ]);
    insta::assert_snapshot!(found.to_markdown());
    assert!(found.to_html().contains("Broken reports"));
}

#[test]
fn suites_are_never_merged_by_id() {
    let found = compared(&["original-mixed", "original-other-suite"]);
    let rows: Vec<(&str, &str)> = found
        .matrix
        .rows
        .iter()
        .map(|row| (row.suite.as_str(), row.case.as_str()))
        .filter(|(_, case)| *case == "list-files")
        .collect();
    assert_eq!(rows, [("smoke", "list-files"), ("repair", "list-files")]);
    assert_eq!(found.differences[0].difference, None);
    assert_eq!(found.differences[0].verdict, "no trial was measured on both sides");
}

#[test]
fn titles_are_never_alike() {
    let names = ["original-mixed", "original-minimal", "original-mixed", "original-other-suite"];
    let found = compared(&names);
    let mut titles: Vec<&str> = found.columns.iter().map(|column| column.title.as_str()).collect();
    titles.sort_unstable();
    titles.dedup();
    assert_eq!(titles.len(), names.len(), "{titles:?}");
    assert!(titles.contains(&"mock/mock-coder"), "no more than it takes: {titles:?}");
}

#[test]
fn what_the_original_does_not_say_is_unknown() {
    let found = compared(&["original-mixed"]);
    let summary = &found.columns[0].summary;
    assert_eq!((summary.passed, summary.failed, summary.errored), (1, 3, 0));
    assert_eq!((summary.tokens.total, summary.tokens.unknown_trials, summary.tool_calls), (None, 4, None));
    assert_eq!((summary.cost.usd, summary.cost.unknown_trials), (None, 4));
    assert!((summary.seconds.total - 30.35).abs() < 1e-9);
    assert!(found.notes.iter().any(|note| note.contains("`exception`")), "{:?}", found.notes);
}

#[track_caller]
fn check_broken(text: &str, reason: &str) {
    let broken = Loaded::read("x", text).broken().unwrap_or_else(|| panic!("`{text}` was read"));
    assert!(broken.reason.starts_with(reason), "{}", broken.reason);
}

#[test]
fn broken_files_say_why() {
    check_broken("", "cut off");
    check_broken("{", "cut off");
    check_broken("hello", "not valid JSON");
    check_broken("[]", "not a report");
    check_broken("42", "not a report");
    check_broken("{}", "not a report: it has neither");
    check_broken(r#"{"results": 3}"#, "not a report");
    check_broken(r#"{"results": [], "format": 2}"#, "written in format 2");
    assert_eq!(Loaded::unreadable("gone.json", "no such file").broken().unwrap().reason, "no such file");
}

#[test]
fn odd_files_are_read_as_far_as_they_go() {
    let odd = r#"{"suite": 7, "started_at": null, "model_name": ["x"], "total": "many", "results": [
        {"id": 3, "ok": true}, {"id": "", "ok": true}, {"ok": true}, null, {"id": "q"}, {"id": "r", "outcome": "maybe"},
        {"id": "big", "ok": false, "steps": 99999999999, "seconds": -4, "failure_type": 9, "notes": 3, "usage": "much"}]}"#;
    let found = compare_reports(&[Loaded::read("odd.json", &format!("\u{feff}{odd}"))], &Links::none());
    assert!(found.broken.is_empty());
    let summary = &found.columns[0].summary;
    assert_eq!((summary.passed, summary.failed, summary.missing, summary.valid), (1, 1, 5, false));
    assert_eq!(found.columns[0].title, "unknown/unknown");
    assert_eq!(found.notes.len(), 5, "{:?}", found.notes);
    assert!(found.to_html().contains("unknown/unknown"));
}

fn reload(view: &RunView) -> Comparison {
    compare_reports(&Loaded::of_run("run", view, &links()), &links())
}

/// What a report file says is what the run says: counts, intervals, pairs, clusters, money.
#[test]
fn our_reports_survive_the_way_through_files() {
    for run in [small(), several()] {
        let view = view(run);
        let (direct, through) = (comparison(&view, &links()), reload(&view));
        assert!(through.broken.is_empty() && through.notes.is_empty(), "{:?}", through.notes);
        assert_eq!(direct.suites, through.suites);
        for (one, two) in direct.columns.iter().zip(&through.columns) {
            let (mut one, mut two) = (one.summary.clone(), two.summary.clone());
            for summary in [&mut one, &mut two] {
                // Sums of fractions depend on the order of rows in their last digits.
                for spread in [&mut summary.seconds, &mut summary.steps] {
                    spread.total = (spread.total * 1e6).round();
                    spread.mean = spread.mean.map(|mean| (mean * 1e6).round());
                }
                summary.cost.known_usd = (summary.cost.known_usd * 1e6).round();
                summary.cost.usd = summary.cost.usd.map(|usd| (usd * 1e6).round());
                summary.cost.usd_per_pass = summary.cost.usd_per_pass.map(|usd| (usd * 1e6).round());
                summary.reliability.iter_mut().for_each(|chance| {
                    chance.pass_at_k = (chance.pass_at_k * 1e9).round();
                    chance.pass_all_k = (chance.pass_all_k * 1e9).round();
                });
                if let Some(rate) = &mut summary.clustered {
                    rate.clustered_standard_error = (rate.clustered_standard_error * 1e9).round();
                    rate.effective_count = (rate.effective_count * 1e6).round();
                    rate.interval.low = (rate.interval.low * 1e9).round();
                    rate.interval.high = (rate.interval.high * 1e9).round();
                }
                if let Some(interval) = &mut summary.interval {
                    interval.low = (interval.low * 1e9).round();
                    interval.high = (interval.high * 1e9).round();
                }
            }
            assert_eq!(one, two);
        }
        for (one, two) in direct.differences.iter().zip(&through.differences) {
            let (a, b) = (one.difference.as_ref().unwrap(), two.difference.as_ref().unwrap());
            assert_eq!(
                (one.column, one.against, a.pairs, a.clusters, one.unpaired),
                (two.column, two.against, b.pairs, b.clusters, two.unpaired)
            );
            assert!((a.p_value - b.p_value).abs() < 1e-9 && (a.interval.low - b.interval.low).abs() < 1e-9);
            assert_eq!(one.verdict, two.verdict);
        }
        assert_eq!(direct.matrix.differing, through.matrix.differing);
    }
}

#[test]
fn two_runs_of_one_preset_can_be_compared() {
    let view = view(small());
    let text = preset_report(&view, &"steady".parse().unwrap(), &links()).unwrap().to_json();
    let found = compare_reports(
        &[Loaded::read("before/report.json", &text), Loaded::read("after/report.json", &text)],
        &Links::none(),
    );
    let titles: Vec<&str> = found.columns.iter().map(|column| column.title.as_str()).collect();
    assert_eq!(titles, ["scripted/steady-1 (before/report.json)", "scripted/steady-1 (after/report.json)"]);
    assert_eq!(
        found.differences[0].verdict,
        "same outcome in all 12 pairs: not distinguishable at this sample size"
    );
}

/// Every report file of ours ever committed is read, whatever has changed since.
#[test]
fn every_format_ever_written_is_read() {
    let folder = format!("{}/testdata", env!("CARGO_MANIFEST_DIR"));
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("report-format-") {
            let loaded = Loaded::read(&name, &std::fs::read_to_string(&path).unwrap());
            assert_eq!(loaded.broken(), None);
            let found = compare_reports(&[loaded], &Links::none());
            assert_eq!(found.notes, Vec::<String>::new(), "{name}");
            let summary = &found.columns[0].summary;
            assert_eq!((summary.passed, summary.failed, summary.errored), (4, 7, 1), "{name}");
            assert_eq!((summary.tokens.total, summary.cost.usd.is_some()), (Some(39_710), true), "{name}");
            read += 1;
        }
    }
    assert!(read >= 1);
}
