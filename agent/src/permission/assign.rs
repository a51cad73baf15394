//! Variables: which names may be set at all, and what a name can hold anywhere in a line. The order of assignments is not
//! followed: a variable can hold whatever any part of the line puts into it, or nothing.

use super::word::Word;
use super::{Class, Judged, Refusal, Verdict};
use std::collections::BTreeMap;

/// Names that change how programs are found, loaded or started.
const NEVER: [&str; 26] = [
    "PATH",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "CDPATH",
    "PAGER",
    "EDITOR",
    "VISUAL",
    "BROWSER",
    "SHELL",
    "HOME",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "NODE_OPTIONS",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "LESSOPEN",
    "RIPGREP_CONFIG_PATH",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "MAKEFLAGS",
];
const NEVER_PREFIXES: [&str; 6] = ["LD_", "DYLD_", "GIT_", "SSH_", "DOCKER_", "BASH_FUNC_"];
const NEVER_ENDS: [&str; 2] = ["_PROXY", "_proxy"];

/// Names that only change how programs print or that tests are told.
const HARMLESS: [&str; 30] = [
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "COLUMNS",
    "LINES",
    "CI",
    "DEBUG",
    "VERBOSE",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "PYTHONHASHSEED",
    "PYTHONUTF8",
    "PYTHONIOENCODING",
    "PYTHONWARNINGS",
    "PYTHONPATH",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "RUST_TEST_THREADS",
    "CARGO_TERM_COLOR",
    "CARGO_INCREMENTAL",
    "CARGO_NET_OFFLINE",
    "NODE_ENV",
    "GOMAXPROCS",
    "GOTRACEBACK",
    "TESTING",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
];

/// What variables can hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, Option<Vec<String>>>,
    /// What loops put into names.
    loops: BTreeMap<String, Option<Vec<String>>>,
    /// Set when something unseen may set any of them.
    tainted: bool,
}

impl Variables {
    /// Adds what an assignment puts into a name; it may hold nothing before.
    pub(super) fn may_be(&mut self, name: &str, value: &Word) {
        self.values.entry(name.to_owned()).or_insert_with(|| Some(vec![String::new()]));
        add(&mut self.values, name, value);
    }

    /// Adds what a loop puts into its name.
    pub(super) fn loops_over(&mut self, name: &str, words: &[Word]) {
        self.loops.entry(name.to_owned()).or_insert_with(|| Some(Vec::new()));
        for word in words {
            add(&mut self.loops, name, word);
        }
    }

    /// A name that is set to something unknown.
    pub(super) fn unknown(&mut self, name: &str) {
        self.values.insert(name.to_owned(), None);
    }

    /// Everything may be set to anything.
    pub(super) fn taint(&mut self) {
        self.tainted = true;
    }

    /// Takes over what another part of the line may set.
    pub(super) fn merge(&mut self, other: Self) {
        self.tainted |= other.tainted;
        for (mine, theirs) in [(&mut self.values, other.values), (&mut self.loops, other.loops)] {
            for (name, values) in theirs {
                match values {
                    Some(values) => {
                        mine.entry(name.clone()).or_insert_with(|| Some(Vec::new()));
                        values.iter().for_each(|value| add(mine, &name, &Word::known(value.as_str())));
                    }
                    None => {
                        mine.insert(name, None);
                    }
                }
            }
        }
    }

    /// What a name can hold; `None` when that is not known.
    pub(super) fn values(&self, name: &str) -> Option<Vec<String>> {
        if self.tainted || !can_be_followed(name) {
            return None;
        }
        match (self.values.get(name), self.loops.get(name)) {
            (None, None) => None,
            (Some(values), None) => values.clone(),
            // Before, or instead of, its first turn the loop has put nothing there.
            (None, Some(values)) => values.clone().map(|values| [values, vec![String::new()]].concat()),
            (Some(one), Some(other)) => {
                one.clone().zip(other.clone()).map(|(one, other)| [one, other].concat())
            }
        }
    }

    /// The variables inside a loop: its own name holds what loops and assignments put there, and never nothing before them.
    pub(super) fn within_loop(&self, name: &str) -> Self {
        let mut inside = self.clone();
        if let Some(values) = self.loops.get(name).filter(|_| !self.values.contains_key(name)) {
            inside.values.insert(name.to_owned(), values.clone());
        }
        inside
    }
}

fn add(map: &mut BTreeMap<String, Option<Vec<String>>>, name: &str, value: &Word) {
    let Some(known) = map.get_mut(name) else {
        return;
    };
    match (known.as_mut(), value.texts()) {
        (Some(known), Some(texts)) if known.len() + texts.len() <= 64 => {
            known.extend(texts.into_iter().map(str::to_owned));
        }
        _ => *known = None,
    }
}

/// Whether a name can hold only what the line itself puts into it: names in capitals may come from outside.
fn can_be_followed(name: &str) -> bool {
    name.chars().any(|c| c.is_ascii_lowercase())
}

/// Judges the setting of a variable, for one command or for the rest of the line.
pub(super) fn judge(name: &str, value: &Word) -> Judged {
    let never = NEVER.contains(&name)
        || NEVER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || NEVER_ENDS.iter().any(|end| name.ends_with(end));
    if never {
        return Err(Refusal::Forbidden(format!("{name}=")));
    }
    if can_be_followed(name) {
        return Ok(Verdict::inspect());
    }
    if HARMLESS.contains(&name) || name.starts_with("LC_") {
        super::paths::check(value)?;
        return Ok(match value {
            Word::Unknown if name == "PYTHONPATH" => execute(name),
            _ => Verdict::inspect(),
        });
    }
    Ok(execute(name))
}

fn execute(name: &str) -> Verdict {
    Verdict::new(Class::Execute, format!("setting {name} may change what a program does"))
}
