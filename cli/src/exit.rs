//! Exit codes, expected errors and their hints. Owns how a failure looks to a person.

use std::fmt;
use std::process::ExitCode;

/// The documented exit codes of `och`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done; for `eval`: all passed.
    Ok,
    /// Some trials failed (`eval`, and any command given a gate).
    Failed,
    /// Usage or invalid input; nothing was spent, nothing written.
    Usage,
    /// Some trials errored, or the run is incomplete or cancelled.
    Incomplete,
    /// Store, Docker engine or coordinator unusable, or fenced.
    Unusable,
    /// A defect of och.
    Bug,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Ok => 0,
            Code::Failed => 1,
            Code::Usage => 2,
            Code::Incomplete => 3,
            Code::Unusable => 4,
            Code::Bug => 70,
        })
    }
}

/// An error that a person can mend: what failed, the exit code, and hints.
#[derive(Debug)]
pub(crate) struct Expected {
    code: Code,
    message: String,
    hints: Vec<String>,
}

impl Expected {
    /// Bad usage or input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into(), hints: Vec::new() }
    }

    /// Something outside is not usable.
    pub(crate) fn unusable(message: impl Into<String>) -> Self {
        Self { code: Code::Unusable, message: message.into(), hints: Vec::new() }
    }

    /// Adds a way out.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Expected {}

/// Prints an error with its chain and hints to stderr and gives the exit code.
#[expect(clippy::print_stderr, reason = "this is where errors reach people")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    // `downcast_ref` sees contexts, the chain sees causes.
    let expected = error
        .downcast_ref::<Expected>()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<Expected>()));
    eprintln!("error: {error}");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if text != last {
            eprintln!("  caused by: {text}");
        }
        last = text;
    }
    match expected {
        Some(expected) => {
            for hint in &expected.hints {
                eprintln!("hint: {hint}");
            }
            expected.code.into()
        }
        None => {
            eprintln!("hint: this looks like a defect of och; please report it with the lines above");
            Code::Bug.into()
        }
    }
}
