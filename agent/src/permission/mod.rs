//! What a shell command line may do. Every simple command in it is judged, wherever it hides; what cannot be judged is not
//! allowed.
//!
//! A line is read twice: by a strict scanner of our own, which takes expansions, substitutions and here-documents out, and by
//! `brush-parser`, which sees the grammar of what is left. Where the two readings disagree the line is refused, and so is every
//! construct that `sh` and `bash` understand differently. Each command then falls into a class:
//!
//! - *inspect*: looks at files of the workspace;
//! - *test*: runs the project's tests, and so the project's code, inside the sandbox;
//! - *write*: changes files of the workspace;
//! - *execute*: runs arbitrary code inside the sandbox, or takes arguments that are known only when it runs.
//!
//! With the shell switched on, inspecting and testing are allowed; writing and executing only where writing is. Network and
//! privilege programs, paths outside of the workspace, and programs named by a path outside or by an expansion never are. With
//! executing allowed the sandbox is what confines a command; the policy then keeps honest commands honest.

mod assign;
mod exec;
mod git;
mod inspect;
mod paths;
mod programs;
mod runners;
mod scan;
mod script;
#[cfg(test)]
mod tests;
mod walk;
mod word;
mod wrap;

use domain::run::Permissions;

/// Longest line that is read at all.
const MAX_LINE: usize = 64 * 1024;
/// How deep command lines may hide in command lines.
const MAX_DEPTH: usize = 6;

/// What a command amounts to, from harmless to powerful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Inspect,
    Test,
    Write,
    Execute,
}

/// A class and the command that made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) class: Class,
    because: String,
}

impl Verdict {
    fn inspect() -> Self {
        Self { class: Class::Inspect, because: String::new() }
    }

    fn new(class: Class, because: impl Into<String>) -> Self {
        Self { class, because: because.into() }
    }

    /// The more powerful of both.
    fn with(self, other: Self) -> Self {
        if other.class > self.class { other } else { self }
    }
}

/// Why a line is refused, for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the shell tool is switched off for this task; use the file tools")]
    Off,
    #[error(
        "{0}, and this task allows no writing: only inspecting files and running the project's tests is allowed"
    )]
    NeedsWriting(String),
    #[error("`{0}` uses the network, which is never allowed")]
    Network(String),
    #[error("`{0}` is not allowed")]
    Forbidden(String),
    #[error("`{0}` is not a known program; use the usual tools by their bare names")]
    Unknown(String),
    #[error("`{0}` is outside the workspace")]
    Outside(String),
    #[error("the command cannot be judged: {0}")]
    Unjudged(String),
}

type Judged = Result<Verdict, Refusal>;

/// Judges a command line under these permissions.
pub(crate) fn judge(line: &str, permissions: &Permissions) -> Result<Class, Refusal> {
    if !permissions.allow_shell {
        return Err(Refusal::Off);
    }
    let verdict = classify(line)?;
    if verdict.class > Class::Test && !permissions.allow_write {
        return Err(Refusal::NeedsWriting(verdict.because));
    }
    Ok(verdict.class)
}

/// Classifies a command line.
pub(crate) fn classify(line: &str) -> Judged {
    if line.trim().is_empty() {
        return Err(Refusal::Unjudged("it is empty".to_owned()));
    }
    if line.len() > MAX_LINE {
        return Err(Refusal::Unjudged(format!(
            "it is longer than {MAX_LINE} bytes; write a script file instead"
        )));
    }
    walk::line(line, &assign::Variables::default(), 0)
}

fn unjudged<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unjudged(why.into()))
}
