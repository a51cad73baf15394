//! Reads suite files by hand, so that every complaint names file, case and key, and all complaints come at once.

use super::{Case, Network, Suite, WorkspaceSource};
use crate::id::{CaseId, SuiteId};
use crate::text::nearest;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The notation of a suite file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, the original's.
    Json,
    /// TOML with the same keys (`[[cases]]`).
    Toml,
}

/// One complaint about a suite file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the person named it.
    pub file: String,
    /// The case: its id where it has one, else its position from 1.
    pub case: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(case) = &self.case {
            write!(f, "case {case}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "key `{key}`: ")?;
        }
        f.write_str(&self.message)
    }
}

const SUITE_KEYS: [&str; 4] = ["name", "description", "defaults", "cases"];
/// Keys that a case and `defaults` share.
const SHARED_KEYS: [&str; 16] = [
    "workspace",
    "workspace_template",
    "expect_contains",
    "verify_command",
    "verify_feedback_attempts",
    "tags",
    "trials",
    "timeout_seconds",
    "verify_timeout_seconds",
    "image",
    "network",
    "env",
    "verify_files",
    "protected",
    "cluster",
    "task",
];
const CASE_ONLY_KEYS: [&str; 1] = ["id"];

/// Reads a suite.
///
/// # Errors
/// Every problem found, in the order of the file; never an empty list.
pub fn parse(text: &str, format: Format, file: &str) -> Result<Suite, Vec<Problem>> {
    let mut reader = Reader { file: file.to_owned(), case: None, problems: Vec::new() };
    let suite = reader.suite(text, format);
    match suite {
        Some(suite) if reader.problems.is_empty() => Ok(suite),
        _ => {
            if reader.problems.is_empty() {
                reader.say(None, "is not a suite");
            }
            Err(reader.problems)
        }
    }
}

struct Reader {
    file: String,
    case: Option<String>,
    problems: Vec<Problem>,
}

impl Reader {
    fn say(&mut self, key: Option<&str>, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.clone(),
            case: self.case.clone(),
            key: key.map(str::to_owned),
            message: message.into(),
        });
    }

    fn suite(&mut self, text: &str, format: Format) -> Option<Suite> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value: Value = match format {
            Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
            Format::Toml => toml::from_str(text).map_err(|error: toml::de::Error| error.to_string()),
        }
        .map_err(|error| self.say(None, format!("cannot be read: {}", error.trim())))
        .ok()?;
        let Value::Object(top) = value else {
            self.say(None, format!("must be an object with `cases`, not {}", kind(&value)));
            return None;
        };
        self.unknown_keys(&top, &SUITE_KEYS);
        let stem = file_stem(&self.file);
        let name = self.text(&top, "name").unwrap_or_else(|| stem.clone());
        let description = self.text(&top, "description");
        let defaults = match top.get("defaults") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => {
                self.unknown_keys(map, &SHARED_KEYS);
                map.clone()
            }
            Some(other) => {
                self.say(Some("defaults"), format!("must be an object, not {}", kind(other)));
                Map::new()
            }
        };
        let cases = match top.get("cases") {
            Some(Value::Array(cases)) if !cases.is_empty() => cases.clone(),
            Some(Value::Array(_)) => {
                self.say(Some("cases"), "is empty: a suite needs at least one case");
                return None;
            }
            Some(other) => {
                self.say(Some("cases"), format!("must be a list, not {}", kind(other)));
                return None;
            }
            None => {
                self.say(Some("cases"), "is missing: a suite needs at least one case");
                return None;
            }
        };
        let mut read = Vec::new();
        let mut titles = BTreeSet::new();
        for (position, case) in cases.iter().enumerate() {
            self.case = Some(format!("#{}", position + 1));
            let Some(case) = self.case(case, &defaults) else { continue };
            if !titles.insert(case.title.clone()) {
                self.say(Some("id"), format!("`{}` is used twice; ids must differ", case.title));
            }
            read.push(case);
        }
        self.case = None;
        Some(Suite { id: SuiteId::folded(&stem), name, source: self.file.clone(), description, cases: read })
    }

    fn case(&mut self, value: &Value, defaults: &Map<String, Value>) -> Option<Case> {
        let Value::Object(own) = value else {
            self.say(None, format!("must be an object, not {}", kind(value)));
            return None;
        };
        let title = match own.get("id") {
            Some(Value::String(id)) if !id.trim().is_empty() => Some(id.clone()),
            Some(Value::String(_)) => {
                self.say(Some("id"), "must not be empty");
                None
            }
            Some(other) => {
                self.say(Some("id"), format!("must be a text, not {}", kind(other)));
                None
            }
            None => {
                self.say(Some("id"), "is missing");
                None
            }
        };
        if let Some(title) = &title {
            self.case = Some(format!("`{title}`"));
        }
        let known: Vec<&str> = CASE_ONLY_KEYS.iter().chain(SHARED_KEYS.iter()).copied().collect();
        self.unknown_keys(own, &known);
        let mut map = defaults.clone();
        // A case that names one kind of workspace replaces the default of the other kind.
        if own.contains_key("workspace") || own.contains_key("workspace_template") {
            map.remove("workspace");
            map.remove("workspace_template");
        }
        map.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        let task = self.text(&map, "task");
        if task.as_deref().is_none_or(|task| task.trim().is_empty())
            && map.get("task").is_none_or(Value::is_string)
        {
            self.say(Some("task"), if task.is_some() { "must not be empty" } else { "is missing" });
        }
        let workspace = self.workspace(&map);
        let case = Case {
            id: CaseId::folded(title.as_deref().unwrap_or("case")),
            title: title.clone().unwrap_or_default(),
            task: task.unwrap_or_default(),
            workspace,
            expect_contains: self.text(&map, "expect_contains").filter(|marker| !marker.is_empty()),
            verify_command: self.text(&map, "verify_command").filter(|command| !command.trim().is_empty()),
            verify_feedback_attempts: self.number(&map, "verify_feedback_attempts", 0, 100).map_or(1, small),
            tags: self.texts(&map, "tags"),
            trials: self.number(&map, "trials", 1, 1_000_000).map(small),
            timeout_seconds: self.number(&map, "timeout_seconds", 1, 7 * 86_400),
            verify_timeout_seconds: self.number(&map, "verify_timeout_seconds", 1, 86_400),
            image: self.text(&map, "image").filter(|image| !image.is_empty()),
            network: self.network(&map),
            env: self.table(&map, "env"),
            verify_files: self.table(&map, "verify_files"),
            protected: self.texts(&map, "protected"),
            cluster: self.text(&map, "cluster").filter(|cluster| !cluster.is_empty()),
            input: None,
            verify_input: None,
        };
        self.forbid_odd_paths(&case);
        title.map(|_| case)
    }

    fn forbid_odd_paths(&mut self, case: &Case) {
        for destination in case.verify_files.keys() {
            let odd = destination.is_empty()
                || destination.starts_with('/')
                || destination.split('/').any(|part| part == ".." || part.is_empty());
            if odd {
                self.say(
                    Some("verify_files"),
                    format!("`{destination}` must be a path inside the workspace, without `..`"),
                );
            }
        }
        for name in case.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                self.say(Some("env"), format!("`{name}` is not a variable's name"));
            }
        }
    }

    fn workspace(&mut self, map: &Map<String, Value>) -> WorkspaceSource {
        let template = self.text(map, "workspace_template").filter(|path| !path.is_empty());
        let in_place = self.text(map, "workspace").filter(|path| !path.is_empty());
        match (template, in_place) {
            (Some(path), _) => WorkspaceSource::Template { path },
            (None, path) => WorkspaceSource::InPlace { path: path.unwrap_or_else(|| ".".to_owned()) },
        }
    }

    fn network(&mut self, map: &Map<String, Value>) -> Network {
        match self.text(map, "network").as_deref() {
            None | Some("none") => Network::None,
            Some("full") => Network::Full,
            Some(other) => {
                self.say(Some("network"), format!("`{other}` is not known; use `none` or `full`"));
                Network::None
            }
        }
    }

    fn unknown_keys(&mut self, map: &Map<String, Value>, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("is not known; did you mean `{near}`?"),
                None => format!("is not known; known keys are {}", known.join(", ")),
            };
            self.say(Some(key), hint);
        }
    }

    fn text(&mut self, map: &Map<String, Value>, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => {
                self.say(Some(key), format!("must be a text, not {}", kind(other)));
                None
            }
        }
    }

    fn number(&mut self, map: &Map<String, Value>, key: &str, least: u64, most: u64) -> Option<u64> {
        match map.get(key)? {
            Value::Null => None,
            value => match value.as_u64() {
                Some(number) if (least..=most).contains(&number) => Some(number),
                _ => {
                    self.say(
                        Some(key),
                        format!("must be a whole number from {least} to {most}, not {value}"),
                    );
                    None
                }
            },
        }
    }

    fn texts(&mut self, map: &Map<String, Value>, key: &str) -> Vec<String> {
        match map.get(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(other) => {
                self.say(Some(key), format!("must be a list of texts, not {}", kind(other)));
                Vec::new()
            }
        }
    }

    fn table(&mut self, map: &Map<String, Value>, key: &str) -> BTreeMap<String, String> {
        match map.get(key) {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(items)) if items.values().all(Value::is_string) => items
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            Some(other) => {
                self.say(Some(key), format!("must be an object of texts, not {}", kind(other)));
                BTreeMap::new()
            }
        }
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The name of a suite file without its directory and its last suffix.
fn file_stem(file: &str) -> String {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text, Format::Json, "s/tiny.json").unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn the_original_s_keys_keep_their_meaning() {
        let suite = parse(
            r#"{"name":"tiny","cases":[{"id":"fix-add","task":"Make the tests pass, end with DONE_ADD.",
            "workspace_template":"fx/add","expect_contains":"DONE_ADD",
            "verify_command":"python -m unittest discover -s tests -t .","verify_feedback_attempts":2},
            {"id":"Plain_One","task":"t","expect_contains":"","workspace":"../.."}, {"id":"bare","task":"t"}]}"#,
            Format::Json,
            "suites/tiny.json",
        )
        .unwrap();
        assert_eq!((suite.id.as_str(), suite.name.as_str()), ("tiny", "tiny"));
        let [add, plain, bare] = &suite.cases[..] else { panic!() };
        assert_eq!(add.workspace, WorkspaceSource::Template { path: "fx/add".into() });
        assert_eq!((add.expect_contains.as_deref(), add.verify_feedback_attempts), (Some("DONE_ADD"), 2));
        assert_eq!((plain.expect_contains.as_deref(), plain.title.as_str()), (None, "Plain_One"));
        assert!(plain.id.as_str().starts_with("plain-one-"));
        assert_eq!(bare.workspace, WorkspaceSource::InPlace { path: ".".into() });
        assert_eq!(bare.verify_feedback_attempts, 1);
    }

    #[test]
    fn toml_and_defaults_work() {
        let suite = parse(
            "name = 'n'\n[defaults]\nnetwork = 'full'\ntrials = 3\nworkspace = 'here'\n[[cases]]\nid = 'a'\ntask = 't'\n[[cases]]\nid = 'b'\ntask = 't'\ntrials = 1\nworkspace_template = 'fx'\n",
            Format::Toml,
            "x.toml",
        )
        .unwrap();
        assert_eq!(suite.cases[0].network, Network::Full);
        assert_eq!(suite.cases.iter().map(|case| case.trials).collect::<Vec<_>>(), [Some(3), Some(1)]);
        assert_eq!(suite.cases[1].workspace, WorkspaceSource::Template { path: "fx".into() });
    }

    #[test]
    fn complaints_name_file_case_and_key_and_come_all_at_once() {
        assert_eq!(
            problems(
                r#"{"cases":[{"id":"a","task":"t","expect_contain":"X"},{"task":5},{"id":"a","task":"t","trials":0},{"id":"b"},7]}"#
            ),
            [
                "s/tiny.json: case `a`: key `expect_contain`: is not known; did you mean `expect_contains`?",
                "s/tiny.json: case #2: key `id`: is missing",
                "s/tiny.json: case #2: key `task`: must be a text, not a number",
                "s/tiny.json: case `a`: key `trials`: must be a whole number from 1 to 1000000, not 0",
                "s/tiny.json: case `a`: key `id`: `a` is used twice; ids must differ",
                "s/tiny.json: case `b`: key `task`: is missing",
                "s/tiny.json: case #5: must be an object, not a number",
            ]
        );
    }

    #[test]
    fn wrong_tops_are_refused() {
        assert_eq!(problems("[]"), ["s/tiny.json: must be an object with `cases`, not a list"]);
        assert_eq!(problems("{}"), ["s/tiny.json: key `cases`: is missing: a suite needs at least one case"]);
        assert_eq!(
            problems(r#"{"cases":[]}"#),
            ["s/tiny.json: key `cases`: is empty: a suite needs at least one case"]
        );
        assert!(problems("{")[0].starts_with("s/tiny.json: cannot be read: EOF"));
        assert_eq!(
            problems(r#"{"cases":[{"id":"a","task":"t","expect_contains":3}]}"#),
            ["s/tiny.json: case `a`: key `expect_contains`: must be a text, not a number"]
        );
        assert_eq!(
            problems(r#"{"cases":[{"id":"a","task":"t","verify_files":{"../x":"y"}}]}"#),
            [
                "s/tiny.json: case `a`: key `verify_files`: `../x` must be a path inside the workspace, without `..`"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,200}", json in "[\\[\\]{}\":,a-z0-9 ]{0,200}") {
            for input in [&text, &json] {
                for format in [Format::Json, Format::Toml] {
                    let read = parse(input, format, "x.json");
                    prop_assert!(read.map_or_else(|problems| !problems.is_empty(), |suite| !suite.cases.is_empty()));
                }
            }
        }
    }
}
