//! Columns side by side: presets of a run, or report files. Decides what is compared and what is shown; renders nothing.

use crate::links::{Links, Target};
use crate::load::{self, Loaded};
use crate::matrix::{self, Matrix};
use crate::settings::{self, Setting};
use crate::stats::{Difference, PairedTrials, holm};
use crate::summary::{Summary, summarize};
use crate::table::{Column, Sample, Table, Texts};
use crate::text;
use crate::view::RunView;
use domain::run::SkippedPreset;
use serde::Serialize;

/// How much of a comparison is listed. Totals are always exact; what is not listed is counted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The column that the others are compared with: its title; the first one when absent or unknown.
    pub baseline: Option<String>,
    /// Rows of the case matrix.
    pub max_rows: usize,
    /// Trials shown one by one, over the whole matrix.
    pub max_marks: usize,
    /// Trials shown one by one in a cell.
    pub max_marks_in_cell: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { baseline: None, max_rows: 500, max_marks: 8_000, max_marks_in_cell: 20 }
    }
}

/// Something that a reader must know before any number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Banner {
    /// How bad.
    pub level: Level,
    /// A few words.
    pub title: String,
    /// The rest.
    pub text: String,
}

/// How bad a [`Banner`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The numbers are not the whole story.
    Warning,
    /// Good to know.
    Note,
}

/// A column of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedColumn {
    /// Its title; never two alike.
    pub title: String,
    /// The preset, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The API.
    pub model_provider: String,
    /// The model.
    pub model_name: String,
    /// When it was made, as the report says.
    pub started_at: String,
    /// The report file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Link to its own page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// Over all suites.
    pub summary: Summary,
}

/// The numbers of one column in one suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuiteColumn {
    /// The suite.
    pub suite: String,
    /// Index of the column.
    pub column: usize,
    /// Over the suite.
    pub summary: Summary,
}

/// One column against another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedPair {
    /// Index of the column.
    pub column: usize,
    /// Index of the column it is compared with.
    pub against: usize,
    /// `None` when no trial was measured on both sides.
    pub difference: Option<Difference>,
    /// The p-value after Holm's correction for all columns compared with this one.
    pub p_corrected: Option<f64>,
    /// Measured trials of either side without a measured partner.
    pub unpaired: u64,
    /// Whether the corrected p-value is below 0.05.
    pub distinguishable: bool,
    /// In plain words.
    pub verdict: String,
}

/// Of which run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunHead {
    /// The run.
    pub run: String,
    /// UTC.
    pub created_at: String,
    /// `och 0.1.0`.
    pub tool: String,
    /// The run whose errored trials this one repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// `sealed`, `complete`, `incomplete` or `cancelled`.
    pub state: String,
    /// Trials of the whole run.
    pub planned: u64,
    /// Of them, decided.
    pub decided: u64,
}

/// A report file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The file, as the person named it.
    pub report: String,
    /// Why.
    pub reason: String,
}

/// A comparison, ready for rendering.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Version of this record.
    pub format: u32,
    /// The suites.
    pub suites: Vec<String>,
    /// The run, when all columns are presets of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunHead>,
    /// What to know first.
    pub banners: Vec<Banner>,
    /// The findings in sentences.
    pub findings: Vec<String>,
    /// The columns.
    pub columns: Vec<ComparedColumn>,
    /// The columns suite by suite: only pairs that have trials.
    pub by_suite: Vec<SuiteColumn>,
    /// Columns against the baseline, then against the best where that is another.
    pub differences: Vec<ComparedPair>,
    /// Case by case.
    pub matrix: Matrix,
    /// Presets that did not run.
    pub skipped: Vec<SkippedPreset>,
    /// Report files that could not be read.
    pub broken: Vec<Broken>,
    /// How it was run.
    pub settings: Vec<Setting>,
    /// Sentences for people.
    pub notes: Vec<String>,
}

/// Compares the presets of a run.
#[must_use]
pub fn comparison(view: &RunView, links: &Links) -> Comparison {
    comparison_with(view, links, &Options::default())
}

/// Compares the presets of a run.
#[must_use]
pub fn comparison_with(view: &RunView, links: &Links, options: &Options) -> Comparison {
    let trace = |column: usize, sample: &Sample, _: &Texts| {
        links.to(Target::Trace(&view.key(column, sample)?, sample.attempt?))
    };
    let mut made = build(&view.table, options, &trace);
    for (column, preset) in made.columns.iter_mut().zip(&view.presets) {
        column.report = links.to(Target::Report(&preset.name));
    }
    let head = run_head(view);
    made.banners.splice(0..0, settings::run_banners(view, &head));
    made.run = Some(head);
    made.skipped.clone_from(&view.skipped);
    made.settings = settings::of_run(view);
    made.notes.clone_from(&view.notes);
    made
}

/// Compares report files, ours and the original's. A broken one is listed as broken and stops nothing.
#[must_use]
pub fn compare_reports(loaded: &[Loaded], links: &Links) -> Comparison {
    compare_reports_with(loaded, links, &Options::default())
}

/// Compares report files.
#[must_use]
pub fn compare_reports_with(loaded: &[Loaded], links: &Links, options: &Options) -> Comparison {
    let (table, notes) = load::table(loaded);
    let trace = |column: usize, _: &Sample, texts: &Texts| {
        let report = table.columns.get(column)?.source.as_deref()?;
        links.to(Target::Stored { report, path: texts.trace.as_deref()? })
    };
    let mut made = build(&table, options, &trace);
    for column in &mut made.columns {
        let source = column.source.clone().unwrap_or_default();
        column.report = links.to(Target::Stored { report: &source, path: "report.html" });
    }
    made.broken = loaded.iter().filter_map(Loaded::broken).collect();
    made.notes = notes;
    made
}

pub(crate) type TraceLink<'a> = &'a dyn Fn(usize, &Sample, &Texts) -> Option<String>;

fn build(table: &Table, options: &Options, trace: TraceLink<'_>) -> Comparison {
    let columns: Vec<ComparedColumn> = table.columns.iter().map(|column| compared(table, column)).collect();
    let mut by_suite = Vec::new();
    for (place, suite) in table.suites.iter().enumerate() {
        let number = crate::view::count32(place);
        for (column, data) in table.columns.iter().enumerate() {
            let summary = match (table.suites.len(), columns.get(column)) {
                (1, Some(whole)) => whole.summary.clone(),
                _ => summarize(table, data, Some(number)),
            };
            if summary.planned > 0 {
                by_suite.push(SuiteColumn { suite: suite.clone(), column, summary });
            }
        }
    }
    let differences = differences(table, &columns, options);
    let same = same_cases(table);
    let findings = findings(&columns, &differences, same);
    let mut banners = settings::column_banners(&columns);
    if !same {
        banners.insert(0, different_cases());
    }
    Comparison {
        format: 1,
        suites: table.suites.clone(),
        run: None,
        banners,
        findings,
        by_suite,
        differences,
        matrix: matrix::matrix(table, options, trace),
        columns,
        skipped: Vec::new(),
        broken: Vec::new(),
        settings: Vec::new(),
        notes: Vec::new(),
    }
}

fn compared(table: &Table, column: &Column) -> ComparedColumn {
    ComparedColumn {
        title: column.title.clone(),
        preset: column.preset.clone(),
        model_provider: column.provider.clone(),
        model_name: column.model.clone(),
        started_at: column.started_at.clone(),
        source: column.source.clone(),
        report: None,
        summary: summarize(table, column, None),
    }
}

fn run_head(view: &RunView) -> RunHead {
    let (planned, decided) = (view.planned(), view.decided());
    let state = match (&view.cancelled, view.sealed, decided < planned) {
        (Some(_), _, _) => "cancelled",
        (None, _, true) => "incomplete",
        (None, true, false) => "sealed",
        (None, false, false) => "complete",
    };
    RunHead {
        run: view.run.to_string(),
        created_at: view.created_at.clone(),
        tool: view.tool.clone(),
        parent: view.parent.as_ref().map(ToString::to_string),
        state: state.to_owned(),
        planned,
        decided,
    }
}

/// Every column against the baseline; and against the best one, where that is neither the baseline nor alone with it.
fn differences(table: &Table, columns: &[ComparedColumn], options: &Options) -> Vec<ComparedPair> {
    if columns.len() < 2 {
        return Vec::new();
    }
    let named = |title: &String| columns.iter().position(|column| column.title == *title);
    let baseline = options.baseline.as_ref().and_then(named).unwrap_or(0);
    let mut pairs = against(table, baseline);
    if let Some(best) = best(columns)
        && best != baseline
        && columns.len() > 2
    {
        let more = against(table, best).into_iter();
        pairs.extend(more.filter(|pair| pair.column != baseline && pair.difference.is_some()));
    }
    pairs
}

/// The column of the highest rate; the first of equals.
pub(crate) fn best(columns: &[ComparedColumn]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, column) in columns.iter().enumerate() {
        if let Some(rate) = column.summary.pass_rate
            && best.is_none_or(|(_, most)| rate > most)
        {
            best = Some((place, rate));
        }
    }
    best.map(|(place, _)| place)
}

fn against(table: &Table, against: usize) -> Vec<ComparedPair> {
    let others: Vec<usize> = (0..table.columns.len()).filter(|column| *column != against).collect();
    let found: Vec<(Option<Difference>, u64)> = others
        .iter()
        .map(|column| match (table.columns.get(*column), table.columns.get(against)) {
            (Some(first), Some(second)) => pair(table, first, second),
            _ => (None, 0),
        })
        .collect();
    let p_values: Vec<f64> =
        found.iter().filter_map(|(found, _)| found.as_ref().map(|d| d.p_value)).collect();
    let mut corrected = holm(&p_values).into_iter();
    let mut pairs = Vec::new();
    for (column, (difference, unpaired)) in others.into_iter().zip(found) {
        let p_corrected = difference.as_ref().and_then(|_| corrected.next());
        let distinguishable = p_corrected.is_some_and(|p| p < 0.05);
        let verdict = words(difference.as_ref(), distinguishable);
        pairs.push(ComparedPair {
            column,
            against,
            difference,
            p_corrected,
            unpaired,
            distinguishable,
            verdict,
        });
    }
    pairs
}

/// Walks two sorted columns side by side.
fn pair(table: &Table, first: &Column, second: &Column) -> (Option<Difference>, u64) {
    let measured = |column: &Column| {
        let samples: Vec<(u32, u32, bool)> = column
            .samples
            .iter()
            .filter(|sample| sample.end.is_measured())
            .map(|sample| (sample.row, sample.index, sample.end.passed()))
            .collect();
        samples
    };
    let (first, second) = (measured(first), measured(second));
    let mut pairs = PairedTrials::default();
    let mut matched = 0;
    let mut others = second.iter().peekable();
    for (row, index, passed) in &first {
        while others.next_if(|(r, i, _)| (r, i) < (row, index)).is_some() {}
        if let Some((_, _, other)) = others.next_if(|(r, i, _)| (r, i) == (row, index)) {
            let cluster = table.rows.get(*row as usize).map_or(*row, |row| row.cluster);
            pairs.add(cluster, *passed, *other);
            matched += 1;
        }
    }
    let unpaired = (first.len() + second.len()) as u64 - 2 * matched;
    (pairs.difference(), unpaired)
}

fn words(difference: Option<&Difference>, distinguishable: bool) -> String {
    let Some(difference) = difference else {
        return "no trial was measured on both sides".to_owned();
    };
    let discordant = difference.pairs.only_first + difference.pairs.only_second;
    if discordant == 0 {
        return format!(
            "same outcome in all {} pairs: not distinguishable at this sample size",
            difference.pairs.total()
        );
    }
    if !distinguishable {
        return "not distinguishable at this sample size".to_owned();
    }
    let direction = if difference.estimate > 0.0 { "better" } else { "worse" };
    format!("{direction}, distinguishable from noise")
}

/// Whether all columns speak of the same cases, decided or still to be decided.
fn same_cases(table: &Table) -> bool {
    let cases = |column: &Column| {
        let mut spoken: Vec<bool> = table.rows.iter().map(|row| row.planned > 0).collect();
        for sample in &column.samples {
            if let Some(case) = spoken.get_mut(sample.row as usize) {
                *case = true;
            }
        }
        (spoken, column.unlisted)
    };
    let mut columns = table.columns.iter();
    let Some(first) = columns.next().map(cases) else { return true };
    columns.all(|column| cases(column) == first)
}

/// Title of the banner that forbids ranking.
pub(crate) const DIFFERENT_CASES: &str = "Different cases";

fn different_cases() -> Banner {
    let text = "The columns do not speak of the same cases, so their pass rates do not compare. Differences are taken over shared cases only.";
    Banner { level: Level::Warning, title: DIFFERENT_CASES.to_owned(), text: text.to_owned() }
}

/// Differences told in sentences.
const MAX_FINDINGS: usize = 4;

/// The few sentences that most readers came for.
fn findings(columns: &[ComparedColumn], differences: &[ComparedPair], same_cases: bool) -> Vec<String> {
    let mut findings = Vec::new();
    let rates = columns.iter().filter(|column| column.summary.pass_rate.is_some()).count();
    if let Some(column) = best(columns).and_then(|best| columns.get(best)).filter(|_| rates > 1 && same_cases)
    {
        let same = columns.iter().filter(|other| other.summary.pass_rate == column.summary.pass_rate).count();
        let summary = &column.summary;
        let score = format!(
            "{} of {} measured trials ({})",
            text::thousands(summary.passed),
            text::thousands(summary.measured),
            text::percent(summary.pass_rate)
        );
        findings.push(if same > 1 {
            format!("{same} columns share the highest pass rate: {score}.")
        } else {
            format!("{} has the highest pass rate: {score}.", column.title)
        });
    }
    let title = |place: usize| columns.get(place).map_or("", |column| column.title.as_str());
    let base = differences.first().map(|pair| pair.against);
    let mut pairs: Vec<&ComparedPair> =
        differences.iter().filter(|pair| Some(pair.against) == base).collect();
    // The leader's lead is what most readers look for.
    pairs.sort_by_key(|pair| Some(pair.column) != best(columns));
    let compared = pairs.len();
    for pair in pairs.into_iter().take(MAX_FINDINGS) {
        if let Some(difference) = &pair.difference {
            findings.push(format!(
                "{} against {}: {} (95 % interval {}), {}.",
                title(pair.column),
                title(pair.against),
                text::points(difference.estimate),
                text::point_range(difference.interval),
                pair.verdict
            ));
        }
    }
    if compared > MAX_FINDINGS {
        findings.push(format!(
            "{} compared below.",
            text::plural((compared - MAX_FINDINGS) as u64, "more column")
        ));
    }
    findings
}
