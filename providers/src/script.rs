//! Script files: what a model says, turn by turn. Owns their format and the choice of the turn, for the scripted provider and for
//! the scripted servers alike.
//!
//! The turn is chosen without memory, by the number of assistant messages in the request; past the end the last turn repeats. Errors
//! stand before the turn that they delay, and come again `times` times.

use crate::BuildError;
use crate::reply::{RawCall, arguments_from_json};
use domain::chat::StopReason;
use domain::text::nearest;
use domain::usage::Usage;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// A script file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    models: BTreeMap<String, ModelFile>,
    #[serde(default, rename = "match")]
    matches: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    #[serde(default)]
    cases: BTreeMap<String, Vec<TurnFile>>,
    default: Option<Vec<TurnFile>>,
    #[serde(default, rename = "match")]
    matches: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnFile {
    text: Option<String>,
    reasoning: Option<String>,
    #[serde(default)]
    tool_calls: Vec<CallFile>,
    stop: Option<String>,
    usage: Option<UsageFile>,
    #[serde(default)]
    latency_ms: u64,
    error: Option<Fault>,
    model: Option<String>,
    times: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallFile {
    id: Option<String>,
    name: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageFile {
    input: u64,
    #[serde(default)]
    cached_input: u64,
    output: u64,
}

/// What goes wrong instead of a reply. Exactly one of the fields but `headers` and `body` is set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// An answer with this status.
    pub status: Option<u16>,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body: a string as it is, anything else as JSON.
    pub body: Option<Value>,
    /// The connection is dropped before an answer.
    #[serde(default)]
    pub drop: bool,
    /// The reply breaks off in its middle.
    #[serde(default)]
    pub half: bool,
    /// The reply stops in its middle and nothing more comes.
    #[serde(default)]
    pub stall: bool,
    /// Status 200 and a body that is no reply.
    #[serde(default)]
    pub garbage: bool,
    /// The whole reply, and then the connection breaks.
    #[serde(default)]
    pub late_drop: bool,
}

impl Fault {
    /// The body of an answer with a status.
    pub(crate) fn body_text(&self) -> String {
        match &self.body {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "{\"error\":{\"message\":\"scripted error\"}}".to_owned(),
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let kinds = [self.status.is_some(), self.drop, self.half, self.stall, self.garbage, self.late_drop];
        match kinds.iter().filter(|kind| **kind).count() {
            1 => Ok(()),
            0 => Err("an error needs `status`, `drop`, `half`, `stall`, `garbage` or `late_drop`"),
            _ => Err("an error is only one of `status`, `drop`, `half`, `stall`, `garbage`, `late_drop`"),
        }
    }
}

/// What a model says in one turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Turn {
    pub text: String,
    pub reasoning: Option<String>,
    pub calls: Vec<(Option<String>, String, Value)>,
    pub stop: Option<String>,
    pub usage: Option<Usage>,
    pub latency: Duration,
    pub model: Option<String>,
}

impl Turn {
    /// The calls as a provider reads them.
    pub(crate) fn raw_calls(&self) -> Vec<RawCall> {
        self.calls
            .iter()
            .map(|(id, name, arguments)| RawCall {
                id: id.clone(),
                name: name.clone(),
                arguments: arguments_from_json(arguments),
            })
            .collect()
    }

    /// The word for why it stopped; the likely one where the script says nothing.
    pub(crate) fn stop_word(&self) -> &str {
        self.stop.as_deref().unwrap_or(if self.calls.is_empty() { "stop" } else { "tool_calls" })
    }

    /// The stop reason, from the words of either vendor.
    pub(crate) fn stop_reason(&self) -> StopReason {
        match self.stop_word() {
            "stop" | "end_turn" | "stop_sequence" => StopReason::EndTurn,
            "tool_calls" | "tool_use" => StopReason::ToolUse,
            "length" | "max_tokens" => StopReason::Length,
            "content_filter" | "refusal" => StopReason::Refusal,
            word => StopReason::Other { word: word.to_owned() },
        }
    }
}

/// One place in a conversation: the errors that come first, and the turn. Without a turn the last error repeats for ever.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Slot {
    pub errors: Vec<(Fault, u32, Duration)>,
    pub turn: Option<Turn>,
}

impl Slot {
    /// The error of the n-th try (from 0) at this place; `None` = the turn.
    pub(crate) fn fault(&self, tries: u32) -> Option<(&Fault, Duration)> {
        let mut left = tries;
        for (fault, times, latency) in &self.errors {
            if left < *times {
                return Some((fault, *latency));
            }
            left -= times;
        }
        match (&self.turn, self.errors.last()) {
            (None, Some((fault, _, latency))) => Some((fault, *latency)),
            _ => None,
        }
    }
}

/// The turns of one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelScript {
    cases: BTreeMap<String, Vec<Slot>>,
    default: Option<Vec<Slot>>,
    matches: BTreeMap<String, Vec<String>>,
}

/// A script, checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    models: BTreeMap<String, ModelScript>,
}

impl Script {
    /// Reads a script file. `name` is for the message.
    pub(crate) fn read(name: &str, value: &Value) -> Result<Self, BuildError> {
        let bad = |why: String| BuildError::BadScript { script: name.to_owned(), why };
        let file = File::deserialize(value).map_err(|error| bad(error.to_string()))?;
        if file.format != 1 {
            return Err(bad(format!("format {} is not known here, only 1", file.format)));
        }
        let mut models = BTreeMap::new();
        for (model, section) in file.models {
            let mut cases = BTreeMap::new();
            for (case, turns) in section.cases {
                let slots = slots(turns).map_err(|why| bad(format!("{model}: case `{case}`: {why}")))?;
                cases.insert(case, slots);
            }
            let default = section.default.map(slots).transpose();
            let default = default.map_err(|why| bad(format!("{model}: default: {why}")))?;
            let mut matches = file.matches.clone();
            matches.extend(section.matches);
            models.insert(model, ModelScript { cases, default, matches });
        }
        Ok(Self { models })
    }

    /// The section of a model; `*` stands for any.
    pub(crate) fn model(&self, model: &str) -> Result<&ModelScript, String> {
        self.models.get(model).or_else(|| self.models.get("*")).ok_or_else(|| {
            match nearest(model, self.models.keys().map(String::as_str)) {
                Some(near) => format!("the script has no model `{model}`; the nearest is `{near}`"),
                None => format!("the script has no model `{model}`"),
            }
        })
    }
}

impl ModelScript {
    /// The turns of the case with one of these names, else of the case with a marker in one of these texts (the longest marker
    /// wins), else the default ones.
    pub(crate) fn turns(&self, names: &[&str], texts: &[&str]) -> Result<&[Slot], String> {
        names
            .iter()
            .find_map(|name| self.cases.get(*name))
            .or_else(|| self.marked(texts))
            .or(self.default.as_ref())
            .map(Vec::as_slice)
            .ok_or_else(|| match names.first() {
                Some(name) => format!("the script has no case `{name}` and no default"),
                None => "no marker of the script stands in the request, and it has no default".to_owned(),
            })
    }

    fn marked(&self, texts: &[&str]) -> Option<&Vec<Slot>> {
        self.matches
            .iter()
            .filter_map(|(case, markers)| Some((self.cases.get(case)?, markers)))
            .flat_map(|(slots, markers)| markers.iter().map(move |marker| (slots, marker)))
            .filter(|(_, marker)| texts.iter().any(|text| text.contains(marker.as_str())))
            .max_by_key(|(_, marker)| marker.len())
            .map(|(slots, _)| slots)
    }
}

/// The place in a conversation; past the end the last one.
pub(crate) fn slot(slots: &[Slot], assistant_messages: usize) -> Option<&Slot> {
    slots.get(assistant_messages).or_else(|| slots.last())
}

fn slots(turns: Vec<TurnFile>) -> Result<Vec<Slot>, String> {
    if turns.is_empty() {
        return Err("no turns".to_owned());
    }
    let mut slots = Vec::new();
    let mut open = Slot::default();
    for (number, turn) in (1_u32..).zip(turns) {
        let bad = |why: &str| format!("turn {number}: {why}");
        let latency = Duration::from_millis(turn.latency_ms);
        if let Some(fault) = turn.error {
            fault.check().map_err(bad)?;
            if turn.text.is_some() || !turn.tool_calls.is_empty() {
                return Err(bad("an error has no `text` and no `tool_calls`: the turn follows it"));
            }
            let times = turn.times.unwrap_or(1);
            if times == 0 {
                return Err(bad("`times` must be at least 1"));
            }
            open.errors.push((fault, times, latency));
            continue;
        }
        if turn.times.is_some() {
            return Err(bad("`times` is for errors"));
        }
        open.turn = Some(Turn {
            text: turn.text.unwrap_or_default(),
            reasoning: turn.reasoning,
            calls: turn
                .tool_calls
                .into_iter()
                .map(|call| {
                    let arguments =
                        if call.arguments.is_null() { Value::Object(Map::new()) } else { call.arguments };
                    (call.id, call.name, arguments)
                })
                .collect(),
            stop: turn.stop,
            usage: turn.usage.map(|usage| Usage::call(usage.input, usage.cached_input, usage.output)),
            latency,
            model: turn.model,
        });
        slots.push(std::mem::take(&mut open));
    }
    if !open.errors.is_empty() {
        slots.push(open);
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn refuse(value: &Value, part: &str) {
        let error = Script::read("s.json", value).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn errors_delay_the_turn_that_follows_them() {
        let value = json!({"format": 1, "models": {"m": {"default": [
            {"error": {"status": 429}, "times": 2},
            {"error": {"drop": true}},
            {"text": "one"},
            {"text": "two"},
            {"error": {"status": 500}},
        ]}}});
        let script = Script::read("s", &value).unwrap();
        let slots = script.model("m").unwrap().turns(&["x"], &[]).unwrap();
        assert_eq!(slots.len(), 3);
        let kinds: Vec<Option<Option<u16>>> =
            (0..5).map(|tries| slots[0].fault(tries).map(|(fault, _)| fault.status)).collect();
        assert_eq!(kinds, [Some(Some(429)), Some(Some(429)), Some(None), None, None]);
        assert_eq!(slot(slots, 1).unwrap().turn.as_ref().unwrap().text, "two");
        assert!(slot(slots, 9).unwrap().fault(99).is_some());
    }

    #[test]
    fn bad_scripts_are_refused_with_their_place() {
        let turns = |turns: Value| json!({"format": 1, "models": {"m": {"cases": {"fix": turns}}}});
        refuse(&json!({"format": 2, "models": {}}), "format 2");
        refuse(&json!({"format": 1}), "models");
        refuse(&turns(json!([{"txt": "x"}])), "txt");
        refuse(&turns(json!([])), "case `fix`: no turns");
        refuse(&turns(json!([{"text": "x"}, {"error": {}}])), "turn 2: an error needs");
        refuse(&turns(json!([{"error": {"status": 500, "drop": true}}])), "only one of");
        refuse(&turns(json!([{"error": {"drop": true}, "times": 0}])), "at least 1");
        refuse(&turns(json!([{"error": {"drop": true}, "text": "x"}])), "has no `text`");
        refuse(&turns(json!([{"text": "x", "times": 2}])), "for errors");
    }

    #[test]
    fn cases_are_found_by_name_or_marker() {
        let value = json!({"format": 1, "match": {"a": ["fix"], "b": ["fix the sum"]}, "models": {
            "m": {"cases": {"a": [{"text": "A"}], "b": [{"text": "B"}]}, "match": {"a": ["DONE_A"]}},
            "*": {"default": [{"text": "any"}]},
        }});
        let script = Script::read("s", &value).unwrap();
        let said = |model: &str, names: &[&str], texts: &[&str]| {
            let slots = script.model(model).unwrap().turns(names, texts);
            slots.map(|slots| slots[0].turn.as_ref().unwrap().text.clone()).ok()
        };
        assert_eq!(said("m", &[], &["please fix the sum"]).as_deref(), Some("B"));
        assert_eq!(said("m", &[], &["say DONE_A", "hello"]).as_deref(), Some("A"));
        assert_eq!(said("m", &["b"], &["say DONE_A"]).as_deref(), Some("B"));
        assert_eq!(said("m", &["c"], &["nothing"]), None);
        assert_eq!(said("other", &["c"], &[]).as_deref(), Some("any"));
    }
}
