//! The numbers of one column, whole or of one suite. What each means is written in `docs/metrics.md`.

use crate::stats::{ClusteredRate, Clusters, Interval, Spread, Z95, pass_all_k, pass_at_k, wilson};
use crate::table::{Column, End, NOTES, Row, Sample, Table, Texts};
use crate::text::{plural, thousands};
use domain::outcome::Failure;
use serde::Serialize;
use std::collections::BTreeMap;

/// How often a word was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The word.
    pub word: String,
    /// How often.
    pub count: u64,
}

/// Tokens of a column. What nobody reported is unknown, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tokens {
    /// Prompt tokens, cached ones included; a lower bound unless `complete`, `None` when nothing at all is known.
    pub input: Option<u64>,
    /// Prompt tokens served from a cache.
    pub cached_input: Option<u64>,
    /// Completion tokens.
    pub output: Option<u64>,
    /// Input and output.
    pub total: Option<u64>,
    /// Model calls that were answered.
    pub calls: u64,
    /// Calls whose usage nobody reported.
    pub unreported_calls: u64,
    /// Trials of report files that do not speak of tokens.
    pub unknown_trials: u64,
    /// Whether every call is in the numbers.
    pub complete: bool,
}

/// Money of a column.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cost {
    /// US dollars; `None` unless every trial's cost is known.
    pub usd: Option<f64>,
    /// The part that is known.
    pub known_usd: f64,
    /// Trials whose cost is unknown.
    pub unknown_trials: u64,
    /// `usd` by passed trial.
    pub usd_per_pass: Option<f64>,
}

/// Chances over several trials of a case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reliability {
    /// Number of trials.
    pub k: u32,
    /// Mean over cases of the chance that at least one of `k` trials passes.
    pub pass_at_k: f64,
    /// Mean over cases of the chance that all `k` trials pass.
    pub pass_all_k: f64,
    /// Cases with at least `k` measured trials; only they are in the means.
    pub cases: u64,
}

/// The numbers of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Trials that were to be.
    pub planned: u64,
    /// Trials with a verdict.
    pub decided: u64,
    /// Decided trials that say something about the model: passed or failed.
    pub measured: u64,
    /// Passed trials.
    pub passed: u64,
    /// Failed trials.
    pub failed: u64,
    /// Trials that could not be measured; in no rate.
    pub errored: u64,
    /// Planned trials without a verdict; in no rate.
    pub missing: u64,
    /// `passed / measured`.
    pub pass_rate: Option<f64>,
    /// 95 % Wilson interval of the rate, by effective sample size where trials are not independent.
    pub interval: Option<Interval>,
    /// 95 % Wilson interval as if all trials were independent.
    pub wilson: Option<Interval>,
    /// What trials of one case and clusters do to the certainty.
    pub clustered: Option<ClusteredRate>,
    /// The rate if all unmeasured trials had failed, and if all had passed.
    pub bounds: Option<Interval>,
    /// Whether every planned trial was measured.
    pub valid: bool,
    /// In words, when not.
    pub validity: Option<String>,
    /// Failures by type, in the order of the taxonomy.
    pub failures: Vec<Count>,
    /// Errors by reason.
    pub errors: Vec<Count>,
    /// Trials by annotation.
    pub notes: Vec<Count>,
    /// Trials by the limit that ended them.
    pub bound_by: Vec<Count>,
    /// Cases with a measured trial.
    pub cases: u64,
    /// Cases whose measured trials disagree.
    pub unstable_cases: u64,
    /// Model calls of measured trials.
    pub steps: Spread,
    /// Tool calls; `None` where reports do not say.
    pub tool_calls: Option<u64>,
    /// Failed tool calls.
    pub failed_tool_calls: Option<u64>,
    /// Tokens of all decided trials.
    pub tokens: Tokens,
    /// Money of all decided trials.
    pub cost: Cost,
    /// Wall seconds of measured trials.
    pub seconds: Spread,
    /// Empty where every case has one trial.
    pub reliability: Vec<Reliability>,
}

/// Sums up a column over a range of rows (all of them, or those of a suite).
pub(crate) fn summarize(table: &Table, column: &Column, suite: Option<u32>) -> Summary {
    let inside =
        |row: u32| table.rows.get(row as usize).filter(|row| suite.is_none_or(|suite| row.suite == suite));
    let mut tally = Tally::new(table);
    for (sample, texts) in column.samples.iter().zip(&column.texts) {
        if let Some(row) = inside(sample.row) {
            tally.add(sample, texts, row);
        }
    }
    tally.end_row();
    // What a file counts without listing belongs to its only suite.
    let whole = suite.is_none() || suite == column.suite;
    let rows_planned: u64 = table
        .rows
        .iter()
        .filter(|row| suite.is_none_or(|suite| row.suite == suite))
        .map(|row| u64::from(row.planned))
        .sum();
    let (passed_unlisted, failed_unlisted) = if whole { column.unlisted } else { (0, 0) };
    let missing_said = if whole { column.missing } else { 0 };
    tally.finish(table, rows_planned, missing_said, passed_unlisted, failed_unlisted)
}

/// The running sums.
#[derive(Debug)]
struct Tally<'a> {
    passed: u64,
    failures: BTreeMap<u16, u64>,
    errors: BTreeMap<u16, u64>,
    notes: BTreeMap<&'static str, u64>,
    bound_by: BTreeMap<&'a str, u64>,
    clusters: Clusters,
    steps: Vec<f64>,
    seconds: Vec<f64>,
    tool_calls: Option<u64>,
    failed_tool_calls: Option<u64>,
    input: u64,
    cached: u64,
    output: u64,
    calls: u64,
    unreported: u64,
    unknown_trials: u64,
    known_usd: f64,
    unknown_cost: u64,
    /// The case being read: row, measured, passed.
    current: (u32, u32, u32),
    /// Cases by (measured, passed), for the chances of k trials.
    cases: BTreeMap<(u32, u32), u64>,
}

impl<'a> Tally<'a> {
    fn new(table: &Table) -> Self {
        let clusters = table.rows.iter().map(|row| row.cluster as usize + 1).max().unwrap_or(0);
        Self {
            passed: 0,
            failures: BTreeMap::new(),
            errors: BTreeMap::new(),
            notes: BTreeMap::new(),
            bound_by: BTreeMap::new(),
            clusters: Clusters::new(clusters),
            steps: Vec::new(),
            seconds: Vec::new(),
            tool_calls: Some(0),
            failed_tool_calls: Some(0),
            input: 0,
            cached: 0,
            output: 0,
            calls: 0,
            unreported: 0,
            unknown_trials: 0,
            known_usd: 0.0,
            unknown_cost: 0,
            current: (u32::MAX, 0, 0),
            cases: BTreeMap::new(),
        }
    }

    fn add(&mut self, sample: &Sample, texts: &'a Texts, row: &Row) {
        if sample.row != self.current.0 {
            self.end_row();
            self.current = (sample.row, 0, 0);
        }
        match sample.end {
            End::Passed => self.passed += 1,
            End::Failed(word) => *self.failures.entry(word).or_default() += 1,
            End::Errored(word) => *self.errors.entry(word).or_default() += 1,
        }
        for word in sample.notes.words() {
            *self.notes.entry(word).or_default() += 1;
        }
        if let Some(limit) = texts.bound_by.as_deref() {
            *self.bound_by.entry(limit).or_default() += 1;
        }
        if sample.end.is_measured() {
            self.current.1 += 1;
            self.current.2 += u32::from(sample.end.passed());
            self.clusters.add(row.cluster, sample.end.passed());
            self.steps.push(f64::from(sample.steps));
            self.seconds.push(sample.seconds);
        }
        self.tool_calls = self.tool_calls.zip(sample.tools).map(|(sum, tools)| sum + u64::from(tools.calls));
        self.failed_tool_calls =
            self.failed_tool_calls.zip(sample.tools).map(|(sum, tools)| sum + u64::from(tools.failed));
        self.add_usage(sample);
    }

    fn add_usage(&mut self, sample: &Sample) {
        let Some(usage) = sample.usage else {
            self.unknown_trials += 1;
            self.unknown_cost += 1;
            return;
        };
        self.input = self.input.saturating_add(usage.input_tokens);
        self.cached = self.cached.saturating_add(usage.cached_input_tokens);
        self.output = self.output.saturating_add(usage.output_tokens);
        self.calls += u64::from(usage.calls);
        self.unreported += u64::from(usage.unreported);
        match usage.cost_usd {
            Some(cost) if cost.is_finite() => self.known_usd += cost,
            // No call, no cost.
            _ if usage.calls == 0 => {}
            _ => self.unknown_cost += 1,
        }
    }

    /// Closes the case being read.
    fn end_row(&mut self) {
        let (_, measured, passed) = std::mem::replace(&mut self.current, (u32::MAX, 0, 0));
        if measured > 0 {
            *self.cases.entry((measured, passed)).or_default() += 1;
        }
    }

    fn finish(
        self,
        table: &Table,
        rows_planned: u64,
        missing: u64,
        more_passed: u64,
        more_failed: u64,
    ) -> Summary {
        let passed = self.passed + more_passed;
        let failed = self.failures.values().sum::<u64>() + more_failed;
        let errored: u64 = self.errors.values().sum();
        let measured = passed + failed;
        let decided = measured + errored;
        let planned = rows_planned.max(decided + missing);
        let missing = planned - decided;
        let listed_only = more_passed + more_failed == 0;
        let clustered = self.clusters.rate().filter(|_| listed_only);
        let plain = wilson(float(passed), float(measured), Z95);
        let unmeasured = errored + missing;
        let cost_known = self.unknown_cost == 0 && decided > 0 && listed_only;
        let usd = cost_known.then_some(self.known_usd);
        Summary {
            planned,
            decided,
            measured,
            passed,
            failed,
            errored,
            missing,
            pass_rate: (measured > 0).then(|| float(passed) / float(measured)),
            interval: clustered
                .filter(|_| self.clusters.is_clustered())
                .map_or(plain, |rate| Some(rate.interval)),
            wilson: plain,
            clustered,
            bounds: (planned > 0).then(|| Interval {
                low: float(passed) / float(planned),
                high: float(passed + unmeasured) / float(planned),
            }),
            valid: unmeasured == 0 && measured > 0,
            validity: validity(measured, errored, missing, planned),
            failures: failures(table, &self.failures, more_failed),
            errors: counts(self.errors.iter().map(|(word, count)| (table.word_at(*word), *count))),
            notes: NOTES
                .iter()
                .filter_map(|(_, word)| self.notes.get(word).map(|count| count_of(word, *count)))
                .collect(),
            bound_by: counts(self.bound_by.iter().map(|(word, count)| (*word, *count))),
            cases: self.cases.values().sum(),
            unstable_cases: self
                .cases
                .iter()
                .filter(|((n, c), _)| *c > 0 && c < n)
                .map(|(_, count)| count)
                .sum(),
            reliability: reliability(&self.cases),
            steps: Spread::of(self.steps),
            tool_calls: self.tool_calls.filter(|_| decided > 0 && listed_only),
            failed_tool_calls: self.failed_tool_calls.filter(|_| decided > 0 && listed_only),
            tokens: tokens(
                [self.input, self.cached, self.output],
                [self.calls, self.unreported, self.unknown_trials + more_passed + more_failed],
                decided,
            ),
            cost: Cost {
                usd,
                known_usd: self.known_usd,
                unknown_trials: self.unknown_cost + more_passed + more_failed,
                usd_per_pass: usd.filter(|_| passed > 0).map(|usd| usd / float(passed)),
            },
            seconds: Spread::of(self.seconds),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

pub(crate) fn count_of(word: &str, count: u64) -> Count {
    Count { word: word.to_owned(), count }
}

fn counts<'a>(found: impl Iterator<Item = (&'a str, u64)>) -> Vec<Count> {
    let mut counts: Vec<Count> = found.map(|(word, count)| count_of(word, count)).collect();
    counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
    counts
}

/// Known failures first, in the order of the taxonomy; words of foreign reports after them.
fn failures(table: &Table, found: &BTreeMap<u16, u64>, unlisted: u64) -> Vec<Count> {
    let mut counts: Vec<Count> =
        found.iter().map(|(word, count)| count_of(table.word_at(*word), *count)).collect();
    if unlisted > 0 {
        counts.push(count_of("unlisted", unlisted));
    }
    let place = |word: &str| Failure::ALL.iter().position(|why| why.as_str() == word).unwrap_or(usize::MAX);
    counts.sort_by(|a, b| place(&a.word).cmp(&place(&b.word)).then_with(|| a.word.cmp(&b.word)));
    counts
}

fn validity(measured: u64, errored: u64, missing: u64, planned: u64) -> Option<String> {
    let mut parts = Vec::new();
    if errored > 0 {
        parts.push(format!("{} could not be measured", plural(errored, "trial")));
    }
    if missing > 0 {
        parts.push(format!("{} not decided", plural(missing, "trial")));
    }
    if parts.is_empty() {
        return (measured == 0).then(|| "no trial".to_owned());
    }
    let rest = if measured == 0 {
        "there is no rate".to_owned()
    } else {
        format!("the rate covers {} of {}", thousands(measured), thousands(planned))
    };
    Some(format!("{}; {rest}", parts.join(", ")))
}

fn tokens(
    [input, cached, output]: [u64; 3],
    [calls, unreported, unknown_trials]: [u64; 3],
    decided: u64,
) -> Tokens {
    let unknown = unreported + unknown_trials;
    // A reported zero is a number; zero with nothing reported is not.
    let nothing = decided == 0 || (unknown > 0 && input == 0 && output == 0);
    let known = |count: u64| (!nothing).then_some(count);
    Tokens {
        input: known(input),
        cached_input: known(cached),
        output: known(output),
        total: known(input.saturating_add(output)),
        calls,
        unreported_calls: unreported,
        unknown_trials,
        complete: unknown == 0 && decided > 0,
    }
}

/// Powers of two and the largest number of trials.
fn reliability(cases: &BTreeMap<(u32, u32), u64>) -> Vec<Reliability> {
    let most = cases.keys().map(|(measured, _)| *measured).max().unwrap_or(0);
    if most < 2 {
        return Vec::new();
    }
    let mut numbers: Vec<u32> = (0..32).map(|power| 1_u32 << power).take_while(|k| *k < most).collect();
    numbers.push(most);
    let at = |k: u32| {
        let (mut any, mut all, mut count) = (0.0, 0.0, 0);
        for ((measured, passed), cases) in cases {
            if let Some((one, every)) =
                pass_at_k(*measured, *passed, k).zip(pass_all_k(*measured, *passed, k))
            {
                any += one * float(*cases);
                all += every * float(*cases);
                count += cases;
            }
        }
        (count > 0).then(|| Reliability {
            k,
            pass_at_k: any / float(count),
            pass_all_k: all / float(count),
            cases: count,
        })
    };
    numbers.into_iter().filter_map(at).collect()
}
