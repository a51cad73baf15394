//! Verdicts to json, markdown and html; comparison and statistics. Pure: knows no folder, no clock and no network, imports `domain` only.
//! The same facts always give the same bytes (R1).
//!
//! ```text
//! run.json + verdicts ─▶ RunView ─┬▶ preset_report ─▶ report.{json,md,html}
//!                                 └▶ comparison ────▶ comparison.{json,md,html}, manifest
//! report.json, ours or the original's ─▶ Loaded ─▶ compare_reports ─▶ Comparison
//! ```

mod compare;
mod html;
mod links;
mod load;
mod manifest;
mod markdown;
mod matrix;
mod preset;
mod settings;
pub mod stats;
mod summary;
mod table;
pub mod text;
mod view;

pub use compare::{
    Banner, Broken, ComparedColumn, ComparedPair, Comparison, Level, Options, RunHead, SuiteColumn,
    compare_reports, compare_reports_with, comparison, comparison_with,
};
pub use links::{Links, Target};
pub use load::Loaded;
pub use manifest::Places;
pub use matrix::{Cell, Mark, Matrix, MatrixRow};
pub use preset::{PresetReport, preset_report};
pub use settings::Setting;
pub use summary::{Cost, Count, Reliability, Summary, Tokens};
pub use view::{Facts, RunView};

/// Two spaces of indent and a final newline, as in every file of ours that people read.
fn to_json(value: &impl serde::Serialize) -> String {
    // The types of this crate have string keys and finite numbers (others become null), so there is nothing to fail on.
    let mut json = serde_json::to_string_pretty(value).unwrap_or_default();
    json.push('\n');
    json
}
