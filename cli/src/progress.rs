//! What a person sees while a run goes on: bars on a terminal, lines in a log. Never on stdout, never decides anything.

use crate::say;
use domain::run::RunSpec;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::eval::v1::outcome::Kind as OutcomeKind;
use proto::eval::v1::{
    AbandonCause, AbandonedEvent, DecidedEvent, ErrorKind, FailureKind, PresetEvent, RunStatus, WorkerChange,
    WorkerEvent,
};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;
use tokio::time::Instant;

/// A log gets a line for each trial up to this many trials, and one every few seconds above.
const LINES_FOR_EACH_TRIAL: usize = 200;
/// The pause between lines of a long run's log.
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// Progress of one run.
pub(crate) struct Progress {
    view: View,
    presets: BTreeMap<String, Counts>,
    total: usize,
    last_line: Instant,
}

enum View {
    Bars { all: MultiProgress, bars: BTreeMap<String, ProgressBar> },
    Lines,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    total: u64,
    decided: u64,
    passed: u64,
    failed: u64,
    errored: u64,
}

impl Progress {
    /// Begins.
    pub(crate) fn start(spec: &RunSpec) -> Self {
        let mut presets: BTreeMap<String, Counts> = BTreeMap::new();
        for trial in domain::matrix::trials(&spec.suites, &spec.presets, spec.trials) {
            presets.entry(trial.preset.to_string()).or_default().total += 1;
        }
        let total = presets.values().map(|counts| usize::try_from(counts.total).unwrap_or(usize::MAX)).sum();
        let cells = presets.len();
        say::note(&format!(
            "run {}: {total} trials, {cells} preset{}, sandbox {}",
            spec.run,
            if cells == 1 { "" } else { "s" },
            match spec.sandbox {
                domain::run::Sandbox::Docker => "docker",
                domain::run::Sandbox::Local => "local",
            }
        ));
        // After the line above: bars that are drawn already would be left behind on the screen.
        let view = if std::io::stderr().is_terminal() { bars(spec, &presets) } else { View::Lines };
        Self { view, presets, total, last_line: Instant::now() }
    }

    /// Where things stand.
    pub(crate) fn status(&mut self, status: &RunStatus) {
        for preset in &status.presets {
            let tally = preset.tally.unwrap_or_default();
            if let Some(counts) = self.presets.get_mut(&preset.preset) {
                counts.decided = u64::from(tally.decided);
                counts.passed = counts.passed.max(u64::from(tally.passed));
                counts.failed = counts.failed.max(u64::from(tally.failed));
                counts.errored = counts.errored.max(u64::from(tally.errored));
            }
            self.draw(&preset.preset);
        }
    }

    /// A trial was decided.
    pub(crate) fn decided(&mut self, event: &DecidedEvent) {
        let preset = event.trial.split('.').nth(2).unwrap_or_default().to_owned();
        let word = outcome_word(event);
        let Some(counts) = self.presets.get_mut(&preset) else { return };
        counts.decided = (counts.decided + 1).min(counts.total);
        match event.outcome.as_ref().and_then(|outcome| outcome.kind.as_ref()) {
            Some(OutcomeKind::Passed(_)) => counts.passed += 1,
            Some(OutcomeKind::Failed(_)) => counts.failed += 1,
            _ => counts.errored += 1,
        }
        self.draw(&preset);
        if matches!(self.view, View::Lines) {
            let done: u64 = self.presets.values().map(|counts| counts.decided).sum();
            if self.total <= LINES_FOR_EACH_TRIAL {
                say::note(&format!(
                    "[{done}/{}] {:<28} {}  {} steps, {:.1} s",
                    self.total, word, event.trial, event.steps, event.seconds
                ));
            } else if self.last_line.elapsed() >= LINE_PAUSE || done == self.total as u64 {
                self.last_line = Instant::now();
                let passed: u64 = self.presets.values().map(|counts| counts.passed).sum();
                let errored: u64 = self.presets.values().map(|counts| counts.errored).sum();
                say::note(&format!("[{done}/{}] {passed} passed, {errored} errored", self.total));
            }
        }
    }

    /// An attempt ended without a result.
    pub(crate) fn abandoned(&mut self, event: &AbandonedEvent) {
        if matches!(event.cause(), AbandonCause::Drained | AbandonCause::Cancelled) {
            return;
        }
        let again = if event.again_after.is_some() { "it will be tried again" } else { "no attempt is left" };
        self.line(&format!(
            "attempt {} of {} ended without a result: {}; {again}",
            event.attempt, event.trial, event.text
        ));
    }

    /// A worker came or went.
    pub(crate) fn worker(&mut self, event: &WorkerEvent) {
        let text = match event.change() {
            WorkerChange::Suspect => "is not heard of; its leases run on",
            WorkerChange::Lost => "is lost; its trials are granted again",
            WorkerChange::Joined | WorkerChange::Left | WorkerChange::Unspecified => return,
        };
        self.line(&format!("worker {} {text}", event.worker));
    }

    /// A preset is paused or goes on.
    pub(crate) fn preset(&mut self, event: &PresetEvent) {
        if event.paused.is_empty() {
            self.line(&format!("preset {} goes on", event.preset));
        } else {
            self.line(&format!("preset {} is paused: {}", event.preset, event.paused));
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&mut self) {
        if let View::Bars { bars, .. } = &self.view {
            for bar in bars.values() {
                bar.abandon();
            }
        }
    }

    /// A line for people, above the bars.
    pub(crate) fn line(&self, text: &str) {
        match &self.view {
            View::Bars { all, .. } => drop(all.println(text)),
            View::Lines => say::note(text),
        }
    }

    fn draw(&self, preset: &str) {
        if let (View::Bars { bars, .. }, Some(counts)) = (&self.view, self.presets.get(preset))
            && let Some(bar) = bars.get(preset)
        {
            bar.set_position(counts.decided);
            let errored =
                if counts.errored > 0 { format!(", {} errored", counts.errored) } else { String::new() };
            bar.set_message(format!("{} passed, {} failed{errored}", counts.passed, counts.failed));
        }
    }
}

fn bars(spec: &RunSpec, presets: &BTreeMap<String, Counts>) -> View {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    let width = presets.keys().map(String::len).max().unwrap_or(0);
    let style = ProgressStyle::with_template(
        "{prefix} {bar:32.green/black.bright} {pos:>5}/{len} {elapsed_precise} {msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("━━╌");
    let bars = spec
        .presets
        .iter()
        .filter_map(|preset| {
            let name = preset.name.to_string();
            let counts = presets.get(&name)?;
            let bar = all.add(ProgressBar::new(counts.total).with_style(style.clone()));
            bar.set_prefix(format!("{name:<width$}"));
            bar.enable_steady_tick(Duration::from_millis(250));
            Some((name, bar))
        })
        .collect();
    View::Bars { all, bars }
}

fn outcome_word(event: &DecidedEvent) -> String {
    match event.outcome.as_ref().and_then(|outcome| outcome.kind.as_ref()) {
        Some(OutcomeKind::Passed(_)) => "passed".to_owned(),
        Some(OutcomeKind::Failed(kind)) => {
            let name = FailureKind::try_from(*kind).unwrap_or_default().as_str_name();
            format!("failed: {}", name.trim_start_matches("FAILURE_KIND_").to_lowercase())
        }
        Some(OutcomeKind::Errored(kind)) => {
            let name = ErrorKind::try_from(*kind).unwrap_or_default().as_str_name();
            format!("ERRORED: {}", name.trim_start_matches("ERROR_KIND_").to_lowercase())
        }
        None => "decided".to_owned(),
    }
}
