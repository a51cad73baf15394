//! How long a comparison of a million verdicts takes and how much memory: `cargo run --release -p report --example million`.
//! Takes the number of cases, presets and trials as arguments (default 25000 4 10). Prints one line a step.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark prints what the clock says, and stops when it cannot go on"
)]

#[path = "../tests/fixture/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod fixture;

use domain::outcome::{ErrorReason, Failure, Outcome, Verdict};
use domain::preset::ProviderKind;
use report::{Facts, Links, RunView};
use std::fs;
use std::time::Instant;

/// A line of `/proc/self/status`, in MiB; 0 where there is no such file.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let [cases, presets, trials] =
        [(0, 25_000), (1, 4), (2, 10)].map(|(at, default)| numbers.get(at).copied().unwrap_or(default));
    let titles: Vec<String> = (0..cases).map(|number| format!("case-{number:06}")).collect();
    let names: Vec<String> = (0..presets).map(|number| format!("preset-{number}")).collect();
    let suite = fixture::suite("scale", &titles.iter().map(String::as_str).collect::<Vec<_>>());
    let kinds: Vec<(&str, ProviderKind, &str)> =
        names.iter().map(|name| (name.as_str(), ProviderKind::Mock, "mock-coder")).collect();
    let spec = fixture::spec(vec![suite], &kinds, trials);

    let mut next = fixture::numbers(1);
    let verdicts = domain::matrix::trials(&spec.suites, &spec.presets, spec.trials).map(|trial| {
        let hard = u64::from(domain::id::fnv1a(trial.case.as_str().as_bytes()) % 400);
        match next() {
            0..=2 => Verdict::errored(trial, ErrorReason::ProviderUnavailable, "503 from the endpoint"),
            roll if roll + hard < 900 => fixture::verdict(trial, Outcome::Passed),
            roll => fixture::failed(trial, Failure::ALL[usize::try_from(roll % 7).unwrap_or(0)]),
        }
    });
    let say = |what: &str, start: Instant, bytes: usize| {
        println!(
            "{what:<22} {:>7.2} s {:>10} bytes   now {:>5} MiB, most {:>5} MiB",
            start.elapsed().as_secs_f64(),
            bytes,
            memory("VmRSS:"),
            memory("VmHWM:")
        );
    };
    let all = Instant::now();
    let start = Instant::now();
    let view = RunView::new(&spec, verdicts, Facts { sealed: true, ..Facts::default() });
    say(&format!("view of {}", view.decided()), start, 0);
    let links = Links::new(|target| match target {
        report::Target::Trace(trial, attempt) => {
            Some(format!("../attempts/{trial}/{attempt}/trace/00000.jsonl"))
        }
        _ => None,
    });
    let start = Instant::now();
    let comparison = report::comparison(&view, &links);
    say("comparison", start, 0);
    let start = Instant::now();
    say("comparison.html", start, comparison.to_html().len());
    let start = Instant::now();
    say("comparison.md", start, comparison.to_markdown().len());
    let start = Instant::now();
    say("comparison.json", start, comparison.to_json().len());
    say("all of comparison", all, 0);
    if let Some(path) = std::env::args().nth(4) {
        // A benchmark may fail loudly.
        let written = fs::write(&path, comparison.to_html());
        println!("{path}: {written:?}");
    }
    drop(comparison);
    for name in view.presets().take(1) {
        let Some(report) = report::preset_report(&view, name, &links) else { continue };
        let start = Instant::now();
        say("one report.html", start, report.to_html().len());
        let start = Instant::now();
        say("one report.md", start, report.to_markdown().len());
        let start = Instant::now();
        say("one report.json", start, report.to_json().len());
    }
}
