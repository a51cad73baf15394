//! `comparison.md`.

use super::{banners, header, row};
use crate::compare::{ComparedColumn, Comparison};
use crate::matrix::{Cell, Mark};
use crate::stats::{Interval, Spread};
use crate::summary::{Count, Summary};
use crate::text::{self, cell, decimals, percent, plural, points, thousands};
use std::fmt::Write as _;

impl Comparison {
    /// The comparison as Markdown.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut page = "# Eval Report Comparison\n\n".to_owned();
        if let Some(run) = &self.run {
            let _ = writeln!(
                page,
                "Run `{}` ({}), created {}, {}.\n",
                cell(&run.run),
                run.state,
                cell(&run.created_at),
                cell(&run.tool)
            );
        }
        page.push_str(&banners(&self.banners));
        if self.columns.is_empty() {
            page.push_str("No preset was executed.\n\n");
        } else {
            for finding in &self.findings {
                let _ = writeln!(page, "- {}", cell(finding));
            }
            if !self.findings.is_empty() {
                page.push('\n');
            }
            self.overview(&mut page);
            self.case_matrix(&mut page);
            self.differences(&mut page);
            self.outcomes(&mut page);
            self.resources(&mut page);
            self.reliability(&mut page);
        }
        self.tail(&mut page);
        let end = page.trim_end().len();
        page.truncate(end);
        page.push('\n');
        page
    }

    fn title(&self, column: usize) -> String {
        self.columns.get(column).map(|column| cell(&column.title)).unwrap_or_default()
    }

    /// The original's table, one row for each suite and column, with ours to the right.
    fn overview(&self, page: &mut String) {
        let titles = [
            "Suite",
            "Provider",
            "Model",
            "Passed",
            "Pass Rate",
            "Failures",
            "Avg Steps",
            "Total Seconds",
            "Column",
            "95 % interval",
            "Errors",
            "Not decided",
            "Valid",
        ];
        page.push_str(&header(&titles, 3));
        for group in &self.by_suite {
            if let Some(column) = self.columns.get(group.column) {
                page.push_str(&overview_row(&group.suite, column, &group.summary));
            }
        }
        if self.suites.len() > 1 {
            for (place, column) in self.columns.iter().enumerate() {
                if self.by_suite.iter().filter(|group| group.column == place).count() > 1 {
                    page.push_str(&overview_row("all suites", column, &column.summary));
                }
            }
        }
        page.push_str(
            "\nPass rates count measured trials only: errors and undecided trials are in no rate. ",
        );
        page.push_str("Intervals are Wilson's; where a case has several trials, at the effective number of independent trials.\n\n");
    }

    fn case_matrix(&self, page: &mut String) {
        page.push_str("## Case Matrix\n\n");
        let several = self.suites.len() > 1;
        let mut titles = vec!["Case".to_owned()];
        titles.extend(self.matrix.columns.iter().map(|title| cell(title)));
        page.push_str(&header(&titles.iter().map(String::as_str).collect::<Vec<_>>(), titles.len()));
        for line in &self.matrix.rows {
            let case = if several {
                format!("{} / {}", cell(&line.suite), cell(&line.case))
            } else {
                cell(&line.case)
            };
            let mut cells = vec![case];
            cells.extend(line.cells.iter().map(matrix_cell));
            page.push_str(&row(&cells));
        }
        page.push('\n');
        let left_out: u64 = self.matrix.left_out.iter().sum();
        if left_out > 0 {
            let [differing, other, passing] = self.matrix.left_out;
            let _ = writeln!(
                page,
                "{} of {} cases are listed. Left out: {} that differ, {} others that did not pass everywhere, {} that passed everywhere. Totals count all of them.\n",
                thousands(self.matrix.cases - left_out),
                thousands(self.matrix.cases),
                thousands(differing),
                thousands(other),
                thousands(passing)
            );
        }
    }

    fn differences(&self, page: &mut String) {
        if self.differences.is_empty() {
            return;
        }
        page.push_str(
            "## Differences\n\nPaired by case and trial; only trials measured on both sides count.\n\n",
        );
        page.push_str(&header(
            &[
                "Column",
                "Against",
                "In words",
                "Difference",
                "95 % interval",
                "Pairs",
                "Only it",
                "Only the other",
                "p",
                "p (Holm)",
                "Unpaired",
            ],
            3,
        ));
        for pair in &self.differences {
            let mut cells = vec![self.title(pair.column), self.title(pair.against), cell(&pair.verdict)];
            match &pair.difference {
                Some(found) => cells.extend([
                    points(found.estimate),
                    text::point_range(found.interval),
                    thousands(found.pairs.total()),
                    thousands(found.pairs.only_first),
                    thousands(found.pairs.only_second),
                    text::p_value(found.p_value),
                    pair.p_corrected.map_or_else(|| "-".to_owned(), text::p_value),
                ]),
                None => cells.extend(std::iter::repeat_n("-".to_owned(), 7)),
            }
            cells.push(thousands(pair.unpaired));
            page.push_str(&row(&cells));
        }
        page.push('\n');
    }

    fn outcomes(&self, page: &mut String) {
        page.push_str("## How Trials Ended\n\n");
        page.push_str(&header(
            &["Column", "Passed", "Failures", "Errors", "Not decided", "Bound by", "Notes", "Unstable cases"],
            1,
        ));
        for column in &self.columns {
            let summary = &column.summary;
            page.push_str(&row(&[
                cell(&column.title),
                thousands(summary.passed),
                words(&summary.failures),
                words(&summary.errors),
                thousands(summary.missing),
                times(&summary.bound_by),
                times(&summary.notes),
                format!("{} of {}", thousands(summary.unstable_cases), thousands(summary.cases)),
            ]));
        }
        page.push('\n');
    }

    fn resources(&self, page: &mut String) {
        page.push_str("## Resources\n\n");
        page.push_str(&header(
            &[
                "Column",
                "Median Steps",
                "Tool Calls",
                "Failed Tools",
                "Input Tokens",
                "Cached",
                "Output Tokens",
                "Cost",
                "Cost per Pass",
                "Median Seconds",
                "p90 Seconds",
                "Total Seconds",
            ],
            1,
        ));
        for column in &self.columns {
            let summary = &column.summary;
            let known = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), thousands);
            page.push_str(&row(&[
                cell(&column.title),
                decimals(summary.steps.median, 1),
                known(summary.tool_calls),
                known(summary.failed_tool_calls),
                text::tokens(&summary.tokens, summary.tokens.input),
                text::tokens(&summary.tokens, summary.tokens.cached_input),
                text::tokens(&summary.tokens, summary.tokens.output),
                text::cost(&summary.cost),
                summary.cost.usd_per_pass.map_or_else(|| "-".to_owned(), text::dollars),
                decimals(summary.seconds.median, 3),
                decimals(summary.seconds.p90, 3),
                decimals(total(&summary.seconds), 3),
            ]));
        }
        page.push('\n');
    }

    fn reliability(&self, page: &mut String) {
        if self.columns.iter().all(|column| column.summary.reliability.is_empty()) {
            return;
        }
        page.push_str("## Reliability\n\npass@k: at least one of k trials passes. pass^k: all k pass. Means over cases with at least k measured trials.\n\n");
        page.push_str(&header(&["Column", "k", "pass@k", "pass^k", "Cases"], 1));
        for column in &self.columns {
            for chance in &column.summary.reliability {
                page.push_str(&row(&[
                    cell(&column.title),
                    chance.k.to_string(),
                    percent(Some(chance.pass_at_k)),
                    percent(Some(chance.pass_all_k)),
                    thousands(chance.cases),
                ]));
            }
        }
        page.push('\n');
    }

    fn tail(&self, page: &mut String) {
        if !self.skipped.is_empty() {
            page.push_str("## Skipped Providers\n\n");
            page.push_str(&header(&["Preset", "Reason"], 2));
            for skipped in &self.skipped {
                page.push_str(&row(&[cell(&skipped.preset), cell(&skipped.reason)]));
            }
            page.push('\n');
        }
        if !self.broken.is_empty() {
            page.push_str("## Broken Reports\n\n");
            page.push_str(&header(&["Report", "Why"], 2));
            for broken in &self.broken {
                page.push_str(&row(&[cell(&broken.report), cell(&broken.reason)]));
            }
            page.push('\n');
        }
        if !self.settings.is_empty() || !self.notes.is_empty() {
            page.push_str(if self.settings.is_empty() { "## Notes\n\n" } else { "## How It Was Run\n\n" });
            for setting in &self.settings {
                let _ = writeln!(page, "- {}: {}", cell(&setting.name), cell(&setting.value));
            }
            for note in &self.notes {
                let _ = writeln!(page, "- {}", cell(note));
            }
        }
    }
}

/// The sum, where there is anything to sum up.
fn total(spread: &Spread) -> Option<f64> {
    (spread.count > 0).then_some(spread.total)
}

fn overview_row(suite: &str, column: &ComparedColumn, summary: &Summary) -> String {
    row(&[
        cell(suite),
        cell(&column.model_provider),
        cell(&column.model_name),
        format!("{}/{}", summary.passed, summary.measured),
        percent(summary.pass_rate),
        failures(summary),
        decimals(summary.steps.mean, 2),
        decimals(total(&summary.seconds), 3),
        match &column.report {
            Some(href) => format!("[{}]({href})", cell(&column.title)),
            None => cell(&column.title),
        },
        interval(summary.interval),
        thousands(summary.errored),
        thousands(summary.missing),
        summary.validity.as_deref().map_or_else(|| "yes".to_owned(), |why| format!("no: {}", cell(why))),
    ])
}

fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |ends| format!("{} to {}", percent(Some(ends.low)), percent(Some(ends.high))),
    )
}

/// The original's list: sorted `type=count`, `-` when empty.
fn failures(summary: &Summary) -> String {
    let mut failures = summary.failures.clone();
    failures.sort_by(|a, b| a.word.cmp(&b.word));
    words(&failures)
}

fn words(counts: &[Count]) -> String {
    if counts.is_empty() {
        return "-".to_owned();
    }
    let words: Vec<String> =
        counts.iter().map(|count| format!("{}={}", cell(&count.word), count.count)).collect();
    words.join(", ")
}

/// For words that have an equals sign of their own: `max_steps=8 ×2`.
fn times(counts: &[Count]) -> String {
    if counts.is_empty() {
        return "-".to_owned();
    }
    let words: Vec<String> =
        counts.iter().map(|count| format!("{} \u{d7}{}", cell(&count.word), count.count)).collect();
    words.join(", ")
}

fn matrix_cell(found: &Cell) -> String {
    if found.decided() == 0 {
        return if found.missing > 0 { "not decided".to_owned() } else { "-".to_owned() };
    }
    let single = found.decided() == 1 && found.missing == 0;
    let mut parts = Vec::new();
    if !single {
        parts.push(format!("{}/{}", found.passed, found.passed + found.failed));
    }
    parts.extend(found.trials.iter().map(mark));
    let more = found.decided() - found.trials.len() as u64;
    if more > 0 && !found.trials.is_empty() {
        parts.push(format!("and {} more", thousands(more)));
    }
    if found.errored > 0 && found.trials.is_empty() {
        parts.push(plural(found.errored, "error"));
    }
    if found.missing > 0 {
        parts.push(format!("{} not decided", thousands(found.missing)));
    }
    parts.join("; ")
}

/// `PASS (2 steps, 0.05s)`, `FAIL:max_steps (8 steps, 1.20s, max_steps=8)`; the word links to the trace.
fn mark(mark: &Mark) -> String {
    let why = mark.why.as_deref().map(cell).unwrap_or_default();
    let word = match mark.outcome {
        "passed" => "PASS".to_owned(),
        "failed" => format!("FAIL:{why}"),
        _ => format!("ERROR:{why}"),
    };
    let word = mark.trace.as_ref().map_or_else(|| word.clone(), |href| format!("[{word}]({href})"));
    let mut details = format!("{}, {:.2}s", plural(u64::from(mark.steps), "step"), mark.seconds);
    for more in mark.bound_by.iter().map(String::as_str).chain(mark.notes.iter().copied()) {
        let _ = write!(details, ", {}", cell(more));
    }
    format!("{word} ({details})")
}
