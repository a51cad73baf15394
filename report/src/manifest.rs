//! The manifest of a comparison: where everything was written. The original system's keys first, then ours.

use crate::compare::{Comparison, RunHead};
use domain::run::SkippedPreset;
use serde::Serialize;

/// Where the caller put things.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The suite files, as the person named them.
    pub suites: Vec<String>,
    /// `report.json` of each preset, in the order of the columns.
    pub reports: Vec<String>,
    /// The comparison in Markdown.
    pub comparison: String,
    /// The comparison as a page.
    pub html: Option<String>,
    /// The comparison for programs.
    pub json: Option<String>,
    /// The run folder or its address.
    pub folder: Option<String>,
}

#[derive(Serialize)]
struct Manifest<'a> {
    suite: String,
    reports: &'a [String],
    comparison: &'a str,
    skipped: &'a [SkippedPreset],
    format: u32,
    suites: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a RunHead>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a str>,
    columns: Vec<ManifestColumn<'a>>,
    findings: &'a [String],
}

#[derive(Serialize)]
struct ManifestColumn<'a> {
    preset: &'a str,
    model_provider: &'a str,
    model_name: &'a str,
    planned: u64,
    passed: u64,
    failed: u64,
    errored: u64,
    missing: u64,
    pass_rate: Option<f64>,
    interval: Option<crate::stats::Interval>,
    valid: bool,
    cost_usd: Option<f64>,
    tokens: Option<u64>,
}

impl Comparison {
    /// The comparison for programs: everything that the pages show.
    #[must_use]
    pub fn to_json(&self) -> String {
        crate::to_json(self)
    }

    /// The manifest, as json.
    #[must_use]
    pub fn manifest(&self, places: &Places) -> String {
        let columns = self.columns.iter().map(|column| {
            let summary = &column.summary;
            ManifestColumn {
                preset: column.preset.as_deref().unwrap_or(&column.title),
                model_provider: &column.model_provider,
                model_name: &column.model_name,
                planned: summary.planned,
                passed: summary.passed,
                failed: summary.failed,
                errored: summary.errored,
                missing: summary.missing,
                pass_rate: summary.pass_rate,
                interval: summary.interval,
                valid: summary.valid,
                cost_usd: summary.cost.usd,
                tokens: summary.tokens.total.filter(|_| summary.tokens.complete),
            }
        });
        crate::to_json(&Manifest {
            suite: places.suites.join(", "),
            reports: &places.reports,
            comparison: &places.comparison,
            skipped: &self.skipped,
            format: 1,
            suites: &places.suites,
            run: self.run.as_ref(),
            folder: places.folder.as_deref(),
            html: places.html.as_deref(),
            json: places.json.as_deref(),
            columns: columns.collect(),
            findings: &self.findings,
        })
    }
}
