//! A run as reports see it: what was planned, what was decided. Made from `run.json` and the verdicts alone, so that the same folder
//! gives the same report (R1), whoever renders it and in whatever order the verdicts arrive.

use crate::table::{Column, End, Notes, Row, Sample, Table, Texts, Tools};
use domain::id::{CaseId, PresetName, RunId, SuiteId, TrialIndex, TrialKey};
use domain::matrix::case_trials;
use domain::outcome::{ErrorReason, Failure, Note, Outcome, Verdict};
use domain::preset::Preset;
use domain::run::{Limits, Permissions, RunSpec, Sandbox, SkippedPreset};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a report says beside plan and verdicts. Everything in it must come from the run folder, or two renderings would differ.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether `sealed.json` exists.
    pub sealed: bool,
    /// The reason in `cancel.json`, when it exists.
    pub cancelled: Option<String>,
    /// Trials with more than one result.
    pub contested: BTreeSet<TrialKey>,
    /// Sentences for people: what the sandbox enforces and what it does not, warnings of the run.
    pub notes: Vec<String>,
}

/// A run, ready for rendering. Read-only.
#[derive(Debug)]
pub struct RunView {
    pub(crate) run: RunId,
    pub(crate) created_at: String,
    pub(crate) tool: String,
    pub(crate) parent: Option<RunId>,
    pub(crate) suites: Vec<SuiteView>,
    pub(crate) presets: Vec<Preset>,
    pub(crate) trials: u32,
    pub(crate) limits: Limits,
    pub(crate) permissions: Permissions,
    pub(crate) sandbox: Sandbox,
    pub(crate) skipped: Vec<SkippedPreset>,
    pub(crate) sealed: bool,
    pub(crate) cancelled: Option<String>,
    pub(crate) notes: Vec<String>,
    /// Trials of each preset.
    pub(crate) planned: u64,
    /// Verdicts on trials that the run does not have.
    pub(crate) foreign: u64,
    /// Clusters with more than one case.
    pub(crate) shared_clusters: BTreeSet<u32>,
    /// Keys of the rows of `table`.
    pub(crate) keys: Vec<(SuiteId, CaseId)>,
    /// One column a preset, in the order of the run.
    pub(crate) table: Table,
}

/// A suite of the run, without its cases.
#[derive(Debug, Clone)]
pub(crate) struct SuiteView {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) description: Option<String>,
}

impl RunView {
    /// Builds the view. Verdicts may come in any order and are consumed one by one, so that a caller can stream them.
    #[must_use]
    pub fn new(spec: &RunSpec, verdicts: impl IntoIterator<Item = Verdict>, facts: Facts) -> Self {
        let (mut table, keys) = rows_of(spec);
        let rows: HashMap<&(SuiteId, CaseId), u32> =
            keys.iter().enumerate().map(|(row, key)| (key, count32(row))).collect();
        let presets: HashMap<&PresetName, usize> =
            spec.presets.iter().enumerate().map(|(column, preset)| (&preset.name, column)).collect();
        let words = Words::add_to(&mut table);
        let mut columns: Vec<Vec<(Sample, Texts)>> = spec.presets.iter().map(|_| Vec::new()).collect();
        let mut foreign = 0;
        let mut lookup = None;
        for verdict in verdicts {
            let key = (verdict.trial.suite.clone(), verdict.trial.case.clone());
            let row = match &lookup {
                Some((last, row)) if *last == key => Some(*row),
                _ => rows.get(&key).copied(),
            };
            let column = presets.get(&verdict.trial.preset).and_then(|column| columns.get_mut(*column));
            let planned = row.and_then(|row| table.rows.get(row as usize)).map_or(0, |row| row.planned);
            match (row, column) {
                (Some(row), Some(column)) if verdict.trial.index.0 < planned => {
                    lookup = Some((key, row));
                    let contested = facts.contested.contains(&verdict.trial);
                    column.push(sample(verdict, row, contested, &words));
                }
                _ => foreign += 1,
            }
        }
        table.columns = spec
            .presets
            .iter()
            .zip(columns)
            .map(|(preset, found)| column(preset, &spec.created_at, found))
            .collect();
        let planned = table.rows.iter().map(|row| u64::from(row.planned)).sum();
        Self {
            run: spec.run.clone(),
            created_at: spec.created_at.clone(),
            tool: spec.tool.clone(),
            parent: spec.parent.clone(),
            suites: suites_of(spec),
            presets: spec.presets.clone(),
            trials: spec.trials,
            limits: spec.limits.clone(),
            permissions: spec.permissions.clone(),
            sandbox: spec.sandbox,
            skipped: spec.skipped.clone(),
            sealed: facts.sealed,
            cancelled: facts.cancelled,
            notes: facts.notes,
            planned,
            foreign,
            shared_clusters: shared_clusters(&table),
            keys,
            table,
        }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// The presets that ran, in the order of the run.
    pub fn presets(&self) -> impl Iterator<Item = &PresetName> {
        self.presets.iter().map(|preset| &preset.name)
    }

    /// Trials of the whole run that were planned.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.planned.saturating_mul(self.presets.len() as u64)
    }

    /// Trials of the whole run that have a verdict.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.table.columns.iter().map(|column| column.samples.len() as u64).sum()
    }

    /// Decided trials that could not be measured.
    #[must_use]
    pub fn errored(&self) -> u64 {
        let errored =
            |column: &Column| column.samples.iter().filter(|sample| !sample.end.is_measured()).count();
        self.table.columns.iter().map(|column| errored(column) as u64).sum()
    }

    /// Trials that passed.
    #[must_use]
    pub fn passed(&self) -> u64 {
        let passed = |column: &Column| column.samples.iter().filter(|sample| sample.end.passed()).count();
        self.table.columns.iter().map(|column| passed(column) as u64).sum()
    }

    pub(crate) fn column_of(&self, preset: &PresetName) -> Option<usize> {
        self.presets.iter().position(|known| known.name == *preset)
    }

    /// The key of a sample of a column.
    pub(crate) fn key(&self, column: usize, sample: &Sample) -> Option<TrialKey> {
        let (suite, case) = self.keys.get(sample.row as usize)?;
        let preset = &self.presets.get(column)?.name;
        Some(TrialKey {
            suite: suite.clone(),
            case: case.clone(),
            preset: preset.clone(),
            index: TrialIndex(sample.index),
        })
    }
}

pub(crate) fn count32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The rows of a run and their keys. Two suites of one name are told apart by their ids.
fn rows_of(spec: &RunSpec) -> (Table, Vec<(SuiteId, CaseId)>) {
    let mut table = Table::default();
    let mut keys = Vec::new();
    let mut clusters: HashMap<(u32, &str), u32> = HashMap::new();
    let mut next_cluster = 0;
    for (place, suite) in spec.suites.iter().enumerate() {
        let alone = spec.suites.iter().filter(|other| other.name == suite.name).count() == 1;
        let label = if alone { suite.name.clone() } else { format!("{} ({})", suite.name, suite.id) };
        table.suites.push(label);
        for case in &suite.cases {
            let mut fresh = || {
                let cluster = next_cluster;
                next_cluster += 1;
                cluster
            };
            let cluster = match &case.cluster {
                Some(name) => *clusters.entry((count32(place), name)).or_insert_with(fresh),
                None => fresh(),
            };
            table.rows.push(Row {
                suite: count32(place),
                case: case.title.clone(),
                cluster,
                planned: case_trials(case, spec.trials),
            });
            keys.push((suite.id.clone(), case.id.clone()));
        }
    }
    (table, keys)
}

fn shared_clusters(table: &Table) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    table.rows.iter().map(|row| row.cluster).filter(|cluster| !seen.insert(*cluster)).collect()
}

fn suites_of(spec: &RunSpec) -> Vec<SuiteView> {
    let view = |suite: &domain::suite::Suite| SuiteView {
        name: suite.name.clone(),
        source: suite.source.clone(),
        description: suite.description.clone(),
    };
    spec.suites.iter().map(view).collect()
}

/// Numbers of the words of our own taxonomy.
struct Words {
    failures: BTreeMap<Failure, u16>,
    errors: BTreeMap<ErrorReason, u16>,
}

impl Words {
    fn add_to(table: &mut Table) -> Self {
        const ERRORS: [ErrorReason; 5] = [
            ErrorReason::AttemptsExhausted,
            ErrorReason::WorkspaceUnavailable,
            ErrorReason::ProviderUnavailable,
            ErrorReason::ProviderRejected,
            ErrorReason::Cancelled,
        ];
        Self {
            failures: Failure::ALL.iter().map(|why| (*why, table.word(why.as_str()))).collect(),
            errors: ERRORS.iter().map(|why| (*why, table.word(why.as_str()))).collect(),
        }
    }

    fn end(&self, outcome: Outcome) -> End {
        match outcome {
            Outcome::Passed => End::Passed,
            Outcome::Failed { why } => End::Failed(self.failures.get(&why).copied().unwrap_or(u16::MAX)),
            Outcome::Errored { why } => End::Errored(self.errors.get(&why).copied().unwrap_or(u16::MAX)),
        }
    }
}

fn sample(verdict: Verdict, row: u32, contested: bool, words: &Words) -> (Sample, Texts) {
    let mut notes = Notes::default();
    verdict.notes.iter().for_each(|note| notes.insert(*note));
    if contested {
        notes.insert(Note::Contested);
    }
    let sample = Sample {
        row,
        index: verdict.trial.index.0,
        end: words.end(verdict.outcome),
        finished: verdict.finished,
        notes,
        steps: verdict.steps,
        tools: Some(Tools { calls: verdict.tool_calls, failed: verdict.failed_tool_calls }),
        usage: Some(verdict.usage),
        seconds: if verdict.seconds.is_finite() { verdict.seconds.max(0.0) } else { 0.0 },
        attempt: verdict.attempt,
    };
    let texts = Texts {
        summary: verdict.summary.into_boxed_str(),
        error: verdict.error.map(String::into_boxed_str),
        bound_by: verdict.bound_by.map(String::into_boxed_str),
        trace: None,
    };
    (sample, texts)
}

/// Sorts what was found. A folder holds one verdict a trial; of several the one of the lowest attempt counts, in any order of arrival.
fn column(preset: &Preset, created_at: &str, mut found: Vec<(Sample, Texts)>) -> Column {
    let order = |(sample, texts): &(Sample, Texts)| {
        (sample.row, sample.index, sample.attempt, texts.summary.clone(), sample.steps)
    };
    if !found.is_sorted_by(|a, b| (a.0.row, a.0.index) < (b.0.row, b.0.index)) {
        found.sort_unstable_by(|a, b| {
            let quick = (a.0.row, a.0.index).cmp(&(b.0.row, b.0.index));
            quick.then_with(|| order(a).cmp(&order(b)))
        });
        found.dedup_by(|later, first| (later.0.row, later.0.index) == (first.0.row, first.0.index));
    }
    found.shrink_to_fit();
    let (samples, texts) = found.into_iter().unzip();
    Column {
        title: preset.name.to_string(),
        preset: Some(preset.name.to_string()),
        provider: preset.provider.as_str().to_owned(),
        model: preset.model.clone(),
        started_at: created_at.to_owned(),
        source: None,
        samples,
        texts,
        suite: None,
        missing: 0,
        unlisted: (0, 0),
    }
}
