//! `report.md` of one preset.

use super::{banners, header, row};
use crate::preset::{PresetReport, ResultEntry};
use crate::text::{self, cell, fence, percent, thousands};
use std::fmt::Write as _;

/// Results in the table.
const MAX_ROWS: usize = 5_000;
/// Case summaries.
const MAX_SUMMARIES: usize = 500;

impl PresetReport<'_> {
    /// The report as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let summary = &self.summary;
        let mut page = format!("# Eval Report: {}\n\n", cell(&self.suite()));
        let _ = writeln!(page, "- Started: {}", cell(&text::compact_time(&self.view.created_at)));
        let _ = writeln!(page, "- Model provider: {}", cell(&self.column.provider));
        let _ = writeln!(page, "- Model name: {}", cell(&self.column.model));
        let _ = writeln!(
            page,
            "- Passed: `{}/{}` ({})",
            summary.passed,
            summary.measured,
            percent(summary.pass_rate)
        );
        if let Some(interval) = summary.interval {
            let _ = writeln!(
                page,
                "- 95 % interval: {} to {}",
                percent(Some(interval.low)),
                percent(Some(interval.high))
            );
        }
        let _ = writeln!(page, "- Preset: {}", cell(&self.column.title));
        let _ = writeln!(page, "- Run: {}", cell(self.view.run.as_str()));
        let _ = writeln!(page, "- Errors: {}", summary.errored);
        let _ = writeln!(page, "- Not decided: {}", summary.missing);
        let _ = writeln!(page, "- Tokens: {}", text::tokens(&summary.tokens, summary.tokens.total));
        let _ = writeln!(page, "- Cost: {}\n", text::cost(&summary.cost));
        page.push_str(&banners(&self.banners()));
        self.results_table(&mut page);
        self.case_summaries(&mut page);
        let end = page.trim_end().len();
        page.truncate(end);
        page.push('\n');
        page
    }

    fn results_table(&self, page: &mut String) {
        let titles = [
            "Case", "Status", "Failure", "Finished", "Steps", "Seconds", "Trace", "Session", "Bound by",
            "Notes", "Tokens", "Cost",
        ];
        page.push_str(&header(&titles, titles.len()));
        for (sample, texts) in self.samples().take(MAX_ROWS) {
            page.push_str(&result_row(&self.entry(sample, texts)));
        }
        page.push('\n');
        left_out(page, self.column.samples.len(), MAX_ROWS, "results");
    }

    fn case_summaries(&self, page: &mut String) {
        page.push_str("## Case Summaries\n\n");
        for (sample, texts) in self.samples().take(MAX_SUMMARIES) {
            let entry = self.entry(sample, texts);
            let _ = writeln!(page, "### {}\n", cell(&entry.id));
            if let Some(why) = entry.failure_type {
                let _ = writeln!(page, "- Failure type: {}\n", cell(why));
            }
            let _ = writeln!(page, "{}\n", fence(entry.summary));
            if let Some(error) = entry.error {
                let _ = writeln!(page, "Error:\n\n{}\n", fence(error));
            }
        }
        left_out(page, self.column.samples.len(), MAX_SUMMARIES, "summaries");
    }
}

fn left_out(page: &mut String, all: usize, shown: usize, what: &str) {
    if all > shown {
        let _ = writeln!(
            page,
            "{} of {} {what} are shown; report.json has all of them.\n",
            thousands(shown as u64),
            thousands(all as u64)
        );
    }
}

fn result_row(entry: &ResultEntry<'_>) -> String {
    let link =
        |href: &str, word: &str| if href.is_empty() { "-".to_owned() } else { format!("[{word}]({href})") };
    row(&[
        cell(&entry.id),
        match entry.outcome {
            "passed" => "PASS",
            "failed" => "FAIL",
            _ => "ERROR",
        }
        .to_owned(),
        entry.failure_type.map_or_else(|| "-".to_owned(), cell),
        if entry.finished { "yes" } else { "no" }.to_owned(),
        entry.steps.to_string(),
        format!("{:.3}", entry.seconds),
        link(&entry.trace, "trace"),
        link(&entry.session, "session"),
        entry.bound_by.map_or_else(|| "-".to_owned(), cell),
        if entry.notes.is_empty() { "-".to_owned() } else { entry.notes.join(", ") },
        entry.tokens.map_or_else(|| "unknown".to_owned(), thousands),
        entry.cost_usd.map_or_else(|| "unknown".to_owned(), text::dollars),
    ])
}
