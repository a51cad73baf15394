//! Report files, ours and the original system's, read back for comparison. Tolerant: whatever a file lacks is unknown, whatever it
//! contradicts is said, and a file that is no report is shown as broken instead of stopping everything.

mod entry;

use crate::compare::Broken;
use crate::links::Links;
use crate::table::{Column, Notes, Row, Sample, Table, Texts};
use crate::text;
use crate::view::{RunView, count32};
use entry::{Entry, Outcome, Results};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A report file, read or broken.
#[derive(Debug)]
pub struct Loaded {
    label: String,
    content: Result<Content, String>,
}

#[derive(Debug)]
struct Content {
    started_at: String,
    provider: String,
    model: String,
    preset: Option<String>,
    suites: Vec<String>,
    entries: Vec<Entry>,
    missing: u64,
    unlisted: (u64, u64),
    remarks: Vec<String>,
}

/// The keys that are read. Leaves are any value, so that one odd key does not cost the file.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Raw {
    format: Value,
    suite: Value,
    started_at: Value,
    model_provider: Value,
    model_name: Value,
    preset: Value,
    total: Value,
    passed: Value,
    missing: Value,
    results: Results,
}

impl Loaded {
    /// Reads the text of a report file. `label` is the file as the person named it; it tells columns apart where nothing else does.
    #[must_use]
    pub fn read(label: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let content = match serde_json::from_str::<Raw>(text) {
            Ok(raw) => content(label, raw),
            Err(error) => Err(if error.is_eof() {
                format!("cut off: {error}")
            } else if error.is_data() {
                format!("not a report: {error}")
            } else {
                format!("not valid JSON: {error}")
            }),
        };
        Self { label: label.to_owned(), content }
    }

    /// The reports of all presets of a run, as if read from their files: for comparing runs with each other.
    #[must_use]
    pub fn of_run(label: &str, view: &RunView, links: &Links) -> Vec<Self> {
        let report = |preset| {
            let report = crate::preset_report(view, preset, links)?;
            Some(Self::read(&format!("{label}/{preset}"), &report.to_json()))
        };
        view.presets().filter_map(report).collect()
    }

    /// A file that could not even be opened.
    #[must_use]
    pub fn unreadable(label: &str, reason: &str) -> Self {
        Self { label: label.to_owned(), content: Err(reason.to_owned()) }
    }

    /// The file as the person named it.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Why the file is no report, when it is none.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        let reason = self.content.as_ref().err()?;
        Some(Broken { report: self.label.clone(), reason: reason.clone() })
    }
}

fn content(label: &str, raw: Raw) -> Result<Content, String> {
    if let Some(format) = raw.format.as_u64().filter(|format| *format > 1) {
        return Err(format!("written in format {format}, this version reads format 1"));
    }
    if !raw.results.present && raw.total.is_null() {
        return Err("not a report: it has neither `results` nor `total`".to_owned());
    }
    let suite = entry::word(&raw.suite).unwrap_or_else(|| "unnamed suite".to_owned());
    let mut remarks: Vec<String> = raw.results.bad.iter().map(|bad| format!("{label}: {bad}")).collect();
    let mut entries = raw.results.entries;
    let mut suites = Vec::new();
    for entry in &mut entries {
        let name = entry.suite.get_or_insert_with(|| suite.clone());
        if !suites.contains(name) {
            suites.push(name.clone());
        }
    }
    if suites.is_empty() {
        suites.push(suite);
    }
    let (total, passed) = (entry::count(&raw.total), entry::count(&raw.passed));
    let listed = entries.len() as u64;
    let listed_passed = entries.iter().filter(|entry| entry.outcome == Outcome::Passed).count() as u64;
    let mut unlisted = (0, 0);
    match (total, passed) {
        (Some(total), Some(passed)) if listed == 0 && total > 0 => {
            let passed = passed.min(total);
            unlisted = (passed, total - passed);
            remarks.push(format!("{label}: it counts {} and lists none", text::plural(total, "case")));
        }
        (Some(total), Some(passed)) if (total, passed) != (listed, listed_passed) => {
            remarks.push(format!("{label}: it says {passed} of {total} passed, its results say {listed_passed} of {listed}; the results count"));
        }
        _ => {}
    }
    let exceptions =
        entries.iter().filter(|e| e.foreign && e.outcome == Outcome::Failed("exception".to_owned())).count();
    if exceptions > 0 {
        let cases = text::plural(exceptions as u64, "case");
        remarks.push(format!("{label}: {cases} ended as `exception`, which in this format also stands for provider and machine trouble"));
    }
    Ok(Content {
        started_at: entry::word(&raw.started_at).unwrap_or_default(),
        provider: entry::word(&raw.model_provider).unwrap_or_else(|| "unknown".to_owned()),
        model: entry::word(&raw.model_name).unwrap_or_else(|| "unknown".to_owned()),
        preset: entry::word(&raw.preset),
        suites,
        entries,
        missing: entry::count(&raw.missing).unwrap_or(0) + raw.results.bad.len() as u64,
        unlisted,
        remarks,
    })
}

/// One table of all readable reports, and remarks about them. Cases are the same only when suite and id are.
pub(crate) fn table(loaded: &[Loaded]) -> (Table, Vec<String>) {
    let read: Vec<(&str, &Content)> = loaded
        .iter()
        .filter_map(|loaded| loaded.content.as_ref().ok().map(|content| (loaded.label.as_str(), content)))
        .collect();
    let mut table = Table::default();
    let mut remarks = Vec::new();
    for (_, content) in &read {
        remarks.extend(content.remarks.iter().cloned());
        for suite in &content.suites {
            if !table.suites.contains(suite) {
                table.suites.push(suite.clone());
            }
        }
    }
    let rows = rows(&mut table, &read);
    let titles = titles(&read);
    for ((label, content), title) in read.iter().zip(titles) {
        let column = column(&mut table, &rows, label, content, title, &mut remarks);
        table.columns.push(column);
    }
    (table, remarks)
}

type Rows<'a> = HashMap<(&'a str, &'a str), u32>;

fn rows<'a>(table: &mut Table, read: &[(&str, &'a Content)]) -> Rows<'a> {
    let place =
        |suite: &str, suites: &[String]| count32(suites.iter().position(|known| known == suite).unwrap_or(0));
    let mut found: BTreeMap<(u32, &str), (&str, Option<&str>)> = BTreeMap::new();
    for entry in read.iter().flat_map(|(_, content)| &content.entries) {
        let suite = entry.suite.as_deref().unwrap_or_default();
        let known = found.entry((place(suite, &table.suites), &entry.case)).or_insert((suite, None));
        known.1 = known.1.or(entry.cluster.as_deref());
    }
    let mut clusters: HashMap<(u32, &str), u32> = HashMap::new();
    let mut rows = Rows::new();
    let mut next_cluster = 0;
    for ((suite, case), (suite_name, cluster)) in found {
        let mut fresh = || {
            next_cluster += 1;
            next_cluster - 1
        };
        let cluster = match cluster {
            Some(name) => *clusters.entry((suite, name)).or_insert_with(fresh),
            None => fresh(),
        };
        rows.insert((suite_name, case), count32(table.rows.len()));
        table.rows.push(Row { suite, case: case.to_owned(), cluster, planned: 0 });
    }
    rows
}

fn column(
    table: &mut Table,
    rows: &Rows<'_>,
    label: &str,
    content: &Content,
    title: String,
    remarks: &mut Vec<String>,
) -> Column {
    let mut next: HashMap<u32, u32> = HashMap::new();
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(content.entries.len());
    let mut repeated = 0_u64;
    for entry in &content.entries {
        let key = (entry.suite.as_deref().unwrap_or_default(), entry.case.as_str());
        let Some(row) = rows.get(&key).copied() else { continue };
        let unnumbered = next.entry(row).or_default();
        let index = entry.trial.unwrap_or(*unnumbered);
        if entry.trial.is_none() {
            repeated += u64::from(*unnumbered > 0);
            *unnumbered += 1;
        }
        if !seen.insert((row, index)) {
            remarks.push(format!(
                "{label}: `{}` trial {index} is listed twice; the first counts",
                text::brief(&entry.case, 80)
            ));
            continue;
        }
        found.push(sample(table, entry, row, index));
    }
    if repeated > 0 {
        let entries =
            if repeated == 1 { "1 entry repeats".to_owned() } else { format!("{repeated} entries repeat") };
        remarks.push(format!("{label}: {entries} the id of another; they count as further trials"));
    }
    found.sort_by_key(|(sample, _)| (sample.row, sample.index));
    let (samples, texts) = found.into_iter().unzip();
    Column {
        title,
        preset: content.preset.clone(),
        provider: content.provider.clone(),
        model: content.model.clone(),
        started_at: content.started_at.clone(),
        source: Some(label.to_owned()),
        suite: match content.suites.as_slice() {
            [only] => table.suites.iter().position(|known| known == only).map(count32),
            _ => None,
        },
        samples,
        texts,
        missing: content.missing,
        unlisted: content.unlisted,
    }
}

fn sample(table: &mut Table, entry: &Entry, row: u32, index: u32) -> (Sample, Texts) {
    let mut notes = Notes::default();
    entry.notes.iter().for_each(|note| notes.insert(*note));
    let end = match &entry.outcome {
        Outcome::Passed => crate::table::End::Passed,
        Outcome::Failed(word) => crate::table::End::Failed(table.word(word)),
        Outcome::Errored(word) => crate::table::End::Errored(table.word(word)),
    };
    let sample = Sample {
        row,
        index,
        end,
        finished: entry.finished,
        notes,
        steps: entry.steps,
        tools: entry.tools,
        usage: entry.usage,
        seconds: entry.seconds,
        attempt: None,
    };
    (sample, entry.texts.clone())
}

/// Titles that are never alike: `provider/model`, with as much more as it takes.
fn titles(read: &[(&str, &Content)]) -> Vec<String> {
    let base: Vec<String> =
        read.iter().map(|(_, content)| format!("{}/{}", content.provider, content.model)).collect();
    let mut titles = base.clone();
    for (place, title) in base.iter().enumerate() {
        let alike: Vec<usize> = (0..base.len()).filter(|other| base.get(*other) == Some(title)).collect();
        if alike.len() < 2 {
            continue;
        }
        let mores: [&dyn Fn(usize) -> Option<String>; 4] = [
            &|at| read.get(at).and_then(|(_, content)| content.preset.clone()),
            &|at| read.get(at).map(|(_, content)| content.suites.join(", ")),
            &|at| read.get(at).map(|(_, content)| content.started_at.clone()).filter(|time| !time.is_empty()),
            &|at| read.get(at).map(|(label, _)| (*label).to_owned()),
        ];
        let distinct = |more: &&&dyn Fn(usize) -> Option<String>| {
            let found: HashSet<Option<String>> = alike.iter().map(|at| more(*at)).collect();
            found.len() == alike.len()
        };
        let more = mores.iter().find(distinct).and_then(|more| more(place));
        let number = alike.iter().position(|at| *at == place).unwrap_or(0) + 1;
        if let Some(slot) = titles.get_mut(place) {
            *slot = more.map_or_else(|| format!("{title} #{number}"), |more| format!("{title} ({more})"));
        }
    }
    // A model may be called like another's title.
    for place in 0..titles.len() {
        let taken = titles.iter().take(place).any(|title| Some(title) == titles.get(place));
        if taken && let Some(slot) = titles.get_mut(place) {
            slot.push_str(&format!(" #{}", place + 1));
        }
    }
    titles
}
