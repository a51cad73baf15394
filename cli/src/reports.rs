//! Reports of a run, made from its folder alone and written back into it; copies go where the person asked.

use crate::exit::Expected;
use anyhow::{Context as _, Result};
use domain::id::{AttemptNo, TrialKey};
use domain::matrix;
use domain::outcome::{Outcome, Verdict};
use domain::run::Sandbox;
use report::text;
use report::{Comparison, Facts, Links, Places, RunView, Target};
use run_folder::{ChunkKind, Place, RunFolder};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What was written.
pub(crate) struct Written {
    /// The manifest of the comparison, as JSON.
    pub(crate) manifest: String,
    /// The comparison for a terminal.
    pub(crate) table: String,
    /// Each preset's report.json.
    pub(crate) preset_reports: Vec<(String, String)>,
    /// The page to open, when the folder is on this machine.
    pub(crate) page: Option<String>,
    /// Copies outside the folder.
    pub(crate) copies: Vec<PathBuf>,
    pub(crate) total: usize,
    pub(crate) failed: usize,
    pub(crate) errored: usize,
    pub(crate) undecided: usize,
}

/// Renders every report of the run.
///
/// # Errors
/// When the folder cannot be read, or a copy cannot be written. A report that cannot be stored in the folder is only a warning.
pub(crate) async fn write(folder: &RunFolder, copy_to: Option<&Path>) -> Result<Written> {
    let spec = folder.spec().await?;
    let sealed = folder.sealed().await?;
    let verdicts = folder.verdicts().await?;
    let total = matrix::trials(&spec.suites, &spec.presets, spec.trials).count();
    let count = |test: fn(&Verdict) -> bool| verdicts.values().filter(|verdict| test(verdict)).count();
    let failed = count(|verdict| matches!(verdict.outcome, Outcome::Failed { .. }));
    let errored = count(|verdict| matches!(verdict.outcome, Outcome::Errored { .. }));
    let undecided = total.saturating_sub(verdicts.len());
    let closed = sealed.is_some();
    let facts = Facts {
        sealed: closed,
        cancelled: folder.cancelled().await?,
        contested: match sealed {
            Some(seal) => seal.contested.into_iter().collect::<BTreeSet<TrialKey>>(),
            None => folder.contested().await?,
        },
        notes: notes(spec.sandbox),
    };
    let view = RunView::new(&spec, verdicts.into_values(), facts);

    let comparison = report::comparison(&view, &links("comparison", None));
    let mut files = vec![
        ("comparison.md".to_owned(), comparison.to_markdown()),
        ("comparison.json".to_owned(), comparison.to_json()),
        ("comparison.html".to_owned(), comparison.to_html()),
    ];
    let mut preset_reports = Vec::new();
    for preset in view.presets() {
        let links = links("preset", None);
        let Some(report) = report::preset_report(&view, preset, &links) else { continue };
        let json = report.to_json();
        files.push((format!("{preset}/report.md"), report.to_markdown()));
        files.push((format!("{preset}/report.html"), report.to_html()));
        files.push((format!("{preset}/report.json"), json.clone()));
        preset_reports.push((preset.to_string(), json));
    }
    for (path, text) in files {
        if let Err(error) = folder.put_report(&path, text.into_bytes().into()).await {
            crate::say::warn(&format!("report/{path} was not stored: {error}"));
        }
    }
    let copies = match copy_to {
        Some(target) => copy(&view, folder, target)?,
        None => Vec::new(),
    };
    let shown = |path: &str| format!("{}/report/{path}", shown_folder(folder));
    let report_paths: Vec<String> =
        preset_reports.iter().map(|(preset, _)| shown(&format!("{preset}/report.json"))).collect();
    let places = Places {
        suites: spec.suites.iter().map(|suite| suite.source.clone()).collect(),
        reports: report_paths,
        comparison: copies.first().map_or_else(|| shown("comparison.md"), |path| path.display().to_string()),
        html: Some(shown("comparison.html")),
        json: Some(shown("comparison.json")),
        folder: Some(shown_folder(folder)),
    };
    Ok(Written {
        manifest: comparison.manifest(&places).trim_end().to_owned(),
        table: text_table(&comparison),
        page: folder.local_path().map(|_| shown("comparison.html")),
        preset_reports,
        copies,
        total,
        failed,
        errored,
        undecided,
    })
}

/// The comparison for a terminal: one line a preset, then the findings.
pub(crate) fn text_table(comparison: &Comparison) -> String {
    let head = ["PRESET", "PASSED", "RATE", "95 % INTERVAL", "ERRORS", "STEPS", "TOKENS", "COST", "SECONDS"]
        .map(str::to_owned);
    let rows: Vec<[String; 9]> = comparison
        .columns
        .iter()
        .map(|column| {
            let summary = &column.summary;
            let interval = summary.interval.as_ref().map_or_else(
                || "-".to_owned(),
                |interval| format!("{:.0} – {:.0} %", interval.low * 100.0, interval.high * 100.0),
            );
            [
                column.preset.clone().unwrap_or_else(|| column.title.clone()),
                format!("{}/{}", summary.passed, summary.measured),
                text::percent(summary.pass_rate),
                interval,
                summary.errored.to_string(),
                text::decimals(summary.steps.mean, 1),
                text::tokens(&summary.tokens, summary.tokens.total),
                text::cost(&summary.cost),
                text::decimals(summary.seconds.median, 2),
            ]
        })
        .collect();
    let mut lines = vec![crate::commands::columns(&head, &rows)];
    if !comparison.findings.is_empty() {
        lines.push(String::new());
        lines.extend(comparison.findings.iter().map(|finding| text::visible(finding)));
    }
    for preset in &comparison.skipped {
        lines.push(format!("skipped {}: {}", preset.preset, preset.reason));
    }
    lines.join("\n")
}

/// The folder as a person would name it: relative to here where it lies below, else its full path or URL.
pub(crate) fn shown_folder(folder: &RunFolder) -> String {
    let Some(path) = folder.local_path() else {
        return format!("{}/{}", folder.store().url().trim_end_matches('/'), folder.id());
    };
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    let path = path.canonicalize().unwrap_or(path);
    here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned))
        .unwrap_or(path)
        .display()
        .to_string()
}

fn notes(sandbox: Sandbox) -> Vec<String> {
    match sandbox {
        Sandbox::Docker => Vec::new(),
        Sandbox::Local => vec![
            "workspaces were confined temporary directories of the worker's machine, not containers; `och doctor` says what that machine enforces"
                .to_owned(),
        ],
    }
}

/// Links from a report to the attempts of its run. Reports lie in `report/` or `report/<preset>/`; a copy elsewhere needs full paths.
fn links(place: &'static str, full: Option<String>) -> Links {
    Links::new(move |target| {
        let up = match (&full, place) {
            (Some(full), _) => format!("{full}/"),
            (None, "preset") => "../../".to_owned(),
            (None, _) => "../".to_owned(),
        };
        let at = |place: Place| Some(format!("{up}{place}"));
        let artifact = |trial: &TrialKey, number: AttemptNo, name: &str| {
            at(Place::Artifact(trial.clone(), number, name.parse().ok()?))
        };
        match target {
            Target::Trace(trial, number) => at(Place::Chunk(trial.clone(), number, ChunkKind::Trace, 0)),
            Target::Session(trial, number) => artifact(trial, number, "session.json"),
            Target::Patch(trial, number) => artifact(trial, number, "patch.diff"),
            Target::Report(preset) => Some(format!("{up}report/{preset}/report.html")),
            Target::Comparison => Some(format!("{up}report/comparison.html")),
            Target::Stored { .. } => None,
        }
    })
}

/// Writes the comparison beside `target` with the three suffixes. Links lead back into the run folder.
fn copy(view: &RunView, folder: &RunFolder, target: &Path) -> Result<Vec<PathBuf>> {
    let full = match folder.local_path() {
        Some(path) => path.canonicalize().unwrap_or(path).display().to_string(),
        None => shown_folder(folder),
    };
    let comparison = report::comparison(view, &links("copy", Some(full)));
    if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("failed to create `{}`", parent.display()))?;
    }
    let mut copies = Vec::new();
    for (suffix, text) in
        [("md", comparison.to_markdown()), ("json", comparison.to_json()), ("html", comparison.to_html())]
    {
        let path = target.with_extension(suffix);
        std::fs::write(&path, text).map_err(|error| {
            Expected::unusable(format!("cannot write the copy `{}`: {error}", path.display()))
                .hint(format!("the reports themselves are in {}/report", shown_folder(folder)))
        })?;
        copies.push(path);
    }
    Ok(copies)
}
