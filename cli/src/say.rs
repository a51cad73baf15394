//! The two streams: data to stdout, everything for people to stderr. Nobody else prints.

use std::io::Write as _;

/// A line of data. A closed pipe (`och … | head`) is not an error.
pub(crate) fn data(line: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A line for people.
pub(crate) fn note(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// A warning for people.
pub(crate) fn warn(line: &str) {
    note(&format!("warning: {line}"));
}
