//! One entry of a report file's `results`. Entries are taken in one by one, so that a large file costs no second copy.

use crate::table::{NOTES, Texts, Tools};
use domain::outcome::Note;
use domain::usage::Usage;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// How an entry ended, in the file's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed(String),
    Errored(String),
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) suite: Option<String>,
    pub(super) case: String,
    pub(super) trial: Option<u32>,
    pub(super) cluster: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) finished: bool,
    pub(super) notes: Vec<Note>,
    pub(super) steps: u32,
    pub(super) tools: Option<Tools>,
    pub(super) usage: Option<Usage>,
    pub(super) seconds: f64,
    pub(super) texts: Texts,
    /// Whether it is the original system's.
    pub(super) foreign: bool,
}

/// The entries of a file and what was wrong with others.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) present: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) bad: Vec<String>,
}

impl<'de> Deserialize<'de> for Results {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ResultsVisitor)
    }
}

struct ResultsVisitor;

impl<'de> Visitor<'de> for ResultsVisitor {
    type Value = Results;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`results` as an array")
    }

    fn visit_unit<E>(self) -> Result<Results, E> {
        Ok(Results::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Results, A::Error> {
        let mut results = Results { present: true, ..Results::default() };
        while let Some(value) = seq.next_element::<Value>()? {
            let number = results.entries.len() + results.bad.len() + 1;
            match entry(&value) {
                Ok(entry) => results.entries.push(entry),
                Err(why) => results.bad.push(format!("result {number} is left out: {why}")),
            }
            if results.bad.len() >= 100 {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                results.bad.push("too many broken results; the rest is left out".to_owned());
            }
        }
        Ok(results)
    }
}

/// A text, or a number or truth value as text.
pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A number that counts something.
pub(super) fn count(value: &Value) -> Option<u64> {
    value.as_u64()
}

fn count32(value: &Value) -> Option<u32> {
    count(value).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn entry(value: &Value) -> Result<Entry, String> {
    if !value.is_object() {
        return Err("it is not an object".to_owned());
    }
    let id = word(&value["id"]).ok_or("it has no `id`")?;
    let ours = word(&value["outcome"]);
    let ok = value["ok"].as_bool();
    let why = word(&value["failure_type"]);
    let outcome = match (ours.as_deref(), ok) {
        (Some("passed"), _) | (None, Some(true)) => Outcome::Passed,
        (Some("failed"), _) | (None, Some(false)) => {
            Outcome::Failed(why.clone().unwrap_or_else(|| "unknown".to_owned()))
        }
        (Some("errored"), _) => Outcome::Errored(why.clone().unwrap_or_else(|| "unknown".to_owned())),
        (Some(other), _) => return Err(format!("`{other}` is no outcome")),
        (None, None) => return Err(format!("`{id}` says neither `ok` nor `outcome`")),
    };
    let mut notes: Vec<Note> = value["notes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|note| {
            NOTES.iter().find(|(_, known)| note.as_str() == Some(*known)).map(|(note, _)| *note)
        })
        .collect();
    if outcome == Outcome::Passed && why.as_deref() == Some("recovered_tool_failure") {
        notes.push(Note::RecoveredToolFailure);
    }
    let calls = count32(&value["tool_calls"]);
    let seconds = value["seconds"].as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    Ok(Entry {
        suite: word(&value["suite"]),
        case: word(&value["case"]).unwrap_or(id),
        trial: count32(&value["trial"]),
        cluster: word(&value["cluster"]),
        outcome,
        finished: value["finished"].as_bool().unwrap_or(false),
        notes,
        steps: count32(&value["steps"]).unwrap_or(0),
        tools: calls.map(|calls| Tools { calls, failed: count32(&value["failed_tool_calls"]).unwrap_or(0) }),
        usage: serde_json::from_value(value["usage"].clone()).ok(),
        seconds: seconds.unwrap_or(0.0),
        texts: Texts {
            summary: word(&value["summary"]).unwrap_or_default().into_boxed_str(),
            error: word(&value["error"]).map(String::into_boxed_str),
            bound_by: word(&value["bound_by"]).map(String::into_boxed_str),
            trace: word(&value["trace"]).map(String::into_boxed_str),
        },
        foreign: ours.is_none(),
    })
}
