//! The report of one preset of a run. Its json holds every key of the original system's `report.json` with the original's meaning, in
//! the original's order, and ours after them.

use crate::compare::Banner;
use crate::links::{Links, Target};
use crate::settings::{self, Setting};
use crate::summary::{Summary, summarize};
use crate::table::{Column, End, Sample, Texts};
use crate::text;
use crate::view::RunView;
use domain::id::PresetName;
use domain::usage::Usage;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use std::collections::HashSet;

/// The report of one preset. Borrows the view, so that a large run is not held twice.
#[derive(Debug)]
pub struct PresetReport<'a> {
    pub(crate) view: &'a RunView,
    pub(crate) links: &'a Links,
    pub(crate) place: usize,
    pub(crate) column: &'a Column,
    pub(crate) summary: Summary,
    pub(crate) ids: Ids,
}

/// The report of a preset; `None` when the run has no such preset.
#[must_use]
pub fn preset_report<'a>(
    view: &'a RunView,
    preset: &PresetName,
    links: &'a Links,
) -> Option<PresetReport<'a>> {
    let place = view.column_of(preset)?;
    let column = view.table.columns.get(place)?;
    let summary = summarize(&view.table, column, None);
    Some(PresetReport { view, links, place, column, summary, ids: Ids::new(view) })
}

/// How results are called: the case's id; with `#n` for the second and later trials; with the suite in front where two suites have a
/// case of that name.
#[derive(Debug)]
pub(crate) struct Ids {
    with_suite: bool,
    separator: String,
}

impl Ids {
    fn new(view: &RunView) -> Self {
        let mut seen = HashSet::new();
        let with_suite = view.table.rows.iter().any(|row| !seen.insert(row.case.as_str()));
        let mut separator = "#".to_owned();
        while view.table.rows.iter().any(|row| row.case.contains(&separator)) {
            separator.push('#');
        }
        Self { with_suite, separator }
    }

    pub(crate) fn of(&self, view: &RunView, sample: &Sample) -> String {
        let Some(row) = view.table.rows.get(sample.row as usize) else { return String::new() };
        let mut id = String::new();
        if self.with_suite {
            id.push_str(view.table.suites.get(row.suite as usize).map_or("", String::as_str));
            id.push('/');
        }
        id.push_str(&row.case);
        if sample.index > 0 {
            id.push_str(&self.separator);
            id.push_str(&sample.index.to_string());
        }
        id
    }
}

/// One result: the original's keys, then ours.
#[derive(Debug, Serialize)]
pub(crate) struct ResultEntry<'a> {
    pub(crate) id: String,
    pub(crate) ok: bool,
    pub(crate) finished: bool,
    pub(crate) steps: u32,
    pub(crate) seconds: f64,
    pub(crate) summary: &'a str,
    pub(crate) trace: String,
    pub(crate) session: String,
    pub(crate) error: Option<&'a str>,
    pub(crate) failure_type: Option<&'a str>,
    pub(crate) suite: &'a str,
    pub(crate) case: &'a str,
    pub(crate) trial: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    pub(crate) outcome: &'static str,
    pub(crate) attempt: Option<u32>,
    pub(crate) tool_calls: u32,
    pub(crate) failed_tool_calls: u32,
    /// `None` when no call reported any.
    pub(crate) tokens: Option<u64>,
    pub(crate) cost_usd: Option<f64>,
    pub(crate) usage: Option<Usage>,
    pub(crate) bound_by: Option<&'a str>,
    pub(crate) notes: Vec<&'static str>,
    pub(crate) patch: Option<String>,
}

impl<'a> PresetReport<'a> {
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&'a Sample, &'a Texts)> + use<'a> {
        self.column.samples.iter().zip(&self.column.texts)
    }

    pub(crate) fn entry(&self, sample: &'a Sample, texts: &'a Texts) -> ResultEntry<'a> {
        let table = &self.view.table;
        let (outcome, why) = match sample.end {
            End::Passed => ("passed", None),
            End::Failed(word) => ("failed", Some(table.word_at(word))),
            End::Errored(word) => ("errored", Some(table.word_at(word))),
        };
        let key = self.view.key(self.place, sample);
        let to = |target: fn(&'_ domain::id::TrialKey, domain::id::AttemptNo) -> Target<'_>| {
            let key = key.as_ref()?;
            self.links.to(target(key, sample.attempt?))
        };
        let row = table.rows.get(sample.row as usize);
        let usage = sample.usage;
        ResultEntry {
            id: self.ids.of(self.view, sample),
            ok: sample.end.passed(),
            finished: sample.finished,
            steps: sample.steps,
            seconds: sample.seconds,
            summary: &texts.summary,
            trace: to(|key, attempt| Target::Trace(key, attempt)).unwrap_or_default(),
            session: to(|key, attempt| Target::Session(key, attempt)).unwrap_or_default(),
            error: texts.error.as_deref(),
            failure_type: why,
            suite: row.and_then(|row| table.suites.get(row.suite as usize)).map_or("", String::as_str),
            case: row.map_or("", |row| row.case.as_str()),
            trial: sample.index,
            cluster: self.cluster(sample),
            outcome,
            attempt: sample.attempt.map(domain::id::AttemptNo::get),
            tool_calls: sample.tools.map_or(0, |tools| tools.calls),
            failed_tool_calls: sample.tools.map_or(0, |tools| tools.failed),
            tokens: usage.filter(|usage| usage.unreported == 0).map(|usage| usage.total_tokens()),
            cost_usd: usage.and_then(|usage| if usage.calls == 0 { Some(0.0) } else { usage.cost_usd }),
            usage,
            bound_by: texts.bound_by.as_deref(),
            notes: sample.notes.words().collect(),
            patch: to(|key, attempt| Target::Patch(key, attempt)),
        }
    }

    /// The cluster's number as a name, where a case shares it with another.
    fn cluster(&self, sample: &Sample) -> Option<String> {
        let cluster = self.view.table.rows.get(sample.row as usize)?.cluster;
        let (suite, _) = self.view.keys.get(sample.row as usize)?;
        self.view.shared_clusters.contains(&cluster).then(|| format!("{suite}:{cluster}"))
    }

    /// Names of the suites, joined.
    pub(crate) fn suite(&self) -> String {
        self.view.table.suites.join(", ")
    }

    pub(crate) fn banners(&self) -> Vec<Banner> {
        settings::preset_banners(self.view, &self.summary)
    }

    /// `report.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            suite: String,
            started_at: String,
            model_provider: &'a str,
            model_name: &'a str,
            total: u64,
            passed: u64,
            #[serde(serialize_with = "results")]
            results: &'a PresetReport<'a>,
            format: u32,
            run: &'a str,
            created_at: &'a str,
            tool: &'a str,
            preset: &'a str,
            trials: u32,
            planned: u64,
            missing: u64,
            summary: &'a Summary,
            settings: Vec<Setting>,
            banners: Vec<Banner>,
            notes: &'a [String],
        }
        let body = Body {
            suite: self.suite(),
            started_at: text::compact_time(&self.view.created_at),
            model_provider: &self.column.provider,
            model_name: &self.column.model,
            total: self.summary.decided,
            passed: self.summary.passed,
            results: self,
            format: 1,
            run: self.view.run.as_str(),
            created_at: &self.view.created_at,
            tool: &self.view.tool,
            preset: &self.column.title,
            trials: self.view.trials,
            planned: self.summary.planned,
            missing: self.summary.missing,
            summary: &self.summary,
            settings: settings::of_run(self.view),
            banners: self.banners(),
            notes: &self.view.notes,
        };
        crate::to_json(&body)
    }
}

fn results<S: Serializer>(report: &&PresetReport<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(report.column.samples.len()))?;
    for (sample, texts) in report.samples() {
        seq.serialize_element(&report.entry(sample, texts))?;
    }
    seq.end()
}
