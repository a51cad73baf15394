//! How a run was run, and what a reader must know before its numbers, in words.

use crate::compare::{Banner, ComparedColumn, Level, RunHead};
use crate::summary::Summary;
use crate::table::NOTES;
use crate::text::{plural, thousands};
use crate::view::RunView;
use domain::outcome::Note;
use domain::preset::Preset;
use domain::run::Sandbox;
use serde::Serialize;

/// One line of "how it was run".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What.
    pub name: String,
    /// How.
    pub value: String,
}

fn setting(name: &str, value: impl Into<String>) -> Setting {
    Setting { name: name.to_owned(), value: value.into() }
}

/// The settings of a run that were in force.
pub(crate) fn of_run(view: &RunView) -> Vec<Setting> {
    let limits = &view.limits;
    let allowed = |yes: bool| if yes { "allowed" } else { "not allowed" };
    let mut settings = vec![
        setting("Trials per cell", view.trials.to_string()),
        setting(
            "Sandbox",
            match view.sandbox {
                Sandbox::Docker => "docker",
                Sandbox::Local => "local",
            },
        ),
        setting("Steps", format!("{} model calls a round", limits.max_steps)),
        setting("Context", format!("{} characters", thousands(u64::from(limits.context_chars)))),
        setting("Time limit", format!("{} s an attempt", limits.timeout_seconds)),
        setting("Verify time limit", format!("{} s", limits.verify_timeout_seconds)),
        setting("Tool time limit", format!("{} s", limits.tool_timeout_seconds)),
        setting("Memory", format!("{} MiB", limits.memory_mib)),
        setting("Processes", limits.pids.to_string()),
        setting("Disk", format!("{} MiB", limits.disk_mib)),
        setting("Attempts", format!("at most {} counted a trial", limits.max_attempts)),
        setting("Write tools", allowed(view.permissions.allow_write)),
        setting("Shell tool", allowed(view.permissions.allow_shell)),
    ];
    let suites = view.suites.iter();
    settings.extend(suites.map(|suite| setting(&format!("Suite {}", suite.name), suite.source.clone())));
    settings.extend(
        view.presets.iter().map(|preset| setting(&format!("Preset {}", preset.name), of_preset(preset))),
    );
    settings
}

/// A preset in one line. Names of key variables only; a preset holds no keys.
pub(crate) fn of_preset(preset: &Preset) -> String {
    let mut parts = vec![preset.provider.as_str().to_owned(), preset.model.clone()];
    parts.extend(preset.base_url.clone());
    parts.push(match preset.temperature {
        Some(temperature) => format!("temperature {temperature}"),
        None => "temperature not sent".to_owned(),
    });
    parts.push(format!("max_tokens {}", preset.max_tokens));
    parts.push(if preset.stream { "streamed" } else { "not streamed" }.to_owned());
    if let Some(price) = preset.price {
        let cached = price.cached_input.map(|cached| format!(", cached {cached}")).unwrap_or_default();
        parts.push(format!("USD per million tokens: in {}{cached}, out {}", price.input, price.output));
    }
    if preset.latency_ms > 0 {
        parts.push(format!("latency {} ms", preset.latency_ms));
    }
    if preset.error_rate > 0.0 {
        parts.push(format!("error rate {}, seed {}", preset.error_rate, preset.seed));
    }
    parts.join(", ")
}

/// The banners of one preset's report.
pub(crate) fn preset_banners(view: &RunView, summary: &Summary) -> Vec<Banner> {
    let mut banners = Vec::new();
    if summary.missing > 0 {
        let text = format!(
            "{} of {} trials are decided; the rest is in no rate.",
            thousands(summary.decided),
            thousands(summary.planned)
        );
        let title = if view.cancelled.is_some() { "Cancelled run" } else { "Incomplete run" };
        banners.push(Banner { level: Level::Warning, title: title.to_owned(), text });
    }
    if summary.errored > 0 {
        let text = format!(
            "{} could not be measured, through no fault of the model: in no rate.",
            plural(summary.errored, "trial")
        );
        banners.push(Banner { level: Level::Warning, title: "Errors".to_owned(), text });
    }
    banners
}

/// What the state of a run means for its numbers.
pub(crate) fn run_banners(view: &RunView, head: &RunHead) -> Vec<Banner> {
    let mut banners = Vec::new();
    let missing = head.planned.saturating_sub(head.decided);
    if let Some(reason) = &view.cancelled {
        let text = if missing > 0 {
            format!(
                "{reason}. {} of {} trials are decided; the rest is not in any rate.",
                thousands(head.decided),
                thousands(head.planned)
            )
        } else {
            format!("{reason}. All trials are decided, some of them as cancelled.")
        };
        banners.push(Banner { level: Level::Warning, title: "Cancelled run".to_owned(), text });
    } else if missing > 0 {
        let text = format!(
            "{} of {} trials are decided; {} have no verdict yet and are in no rate. `och resume {}` goes on.",
            thousands(head.decided),
            thousands(head.planned),
            thousands(missing),
            head.run
        );
        banners.push(Banner { level: Level::Warning, title: "Incomplete run".to_owned(), text });
    }
    if view.foreign > 0 {
        let text = format!(
            "{} on trials that this run does not have; they are ignored.",
            plural(view.foreign, "verdict")
        );
        banners.push(Banner { level: Level::Warning, title: "Foreign verdicts".to_owned(), text });
    }
    banners
}

/// The first few, and how many more.
fn listed(parts: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = parts.len().saturating_sub(SHOWN);
    let shown = parts.get(..SHOWN.min(parts.len())).unwrap_or_default().join("; ");
    if more > 0 { format!("{shown}; and {}", plural(more as u64, "more column")) } else { shown }
}

/// What errors and annotations mean for the numbers.
pub(crate) fn column_banners(columns: &[ComparedColumn]) -> Vec<Banner> {
    let mut banners = Vec::new();
    let invalid: Vec<String> = columns
        .iter()
        .filter(|column| column.summary.errored > 0)
        .map(|column| {
            format!(
                "{}: {} of {}",
                column.title,
                thousands(column.summary.errored),
                thousands(column.summary.decided)
            )
        })
        .collect();
    if !invalid.is_empty() {
        let text = format!(
            "Could not be measured, through no fault of the model, and in no rate: {}. Rates of these columns cover fewer trials than planned.",
            listed(&invalid)
        );
        banners.push(Banner { level: Level::Warning, title: "Errors".to_owned(), text });
    }
    let of_note = |note: Note| {
        let word = NOTES.iter().find(|(known, _)| *known == note).map_or("", |(_, word)| word);
        let all = columns.iter().flat_map(|column| &column.summary.notes);
        all.filter(|count| count.word == word).map(|count| count.count).sum::<u64>()
    };
    let contested = of_note(Note::Contested);
    if contested > 0 {
        let text = format!(
            "{} reached more than one result; the first verdict stands and the other is kept in the run folder.",
            plural(contested, "trial")
        );
        banners.push(Banner { level: Level::Note, title: "Contested".to_owned(), text });
    }
    let truncated = of_note(Note::Truncated);
    if truncated > 0 {
        let text = format!(
            "In {} a reply was cut off by the output limit; a higher max_tokens may change the outcome.",
            plural(truncated, "trial")
        );
        banners.push(Banner { level: Level::Note, title: "Truncated replies".to_owned(), text });
    }
    banners
}
