//! Where a report's links lead. The report knows no layout of folders: whoever places it says how to get from there to the rest.

use domain::id::{AttemptNo, PresetName, TrialKey};
use std::fmt;

/// Something that a report wants to point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// The trace of the attempt that a verdict rests on.
    Trace(&'a TrialKey, AttemptNo),
    /// The conversation of that attempt.
    Session(&'a TrialKey, AttemptNo),
    /// What that attempt changed in the workspace.
    Patch(&'a TrialKey, AttemptNo),
    /// The page of one preset.
    Report(&'a PresetName),
    /// The page that compares the presets of the run.
    Comparison,
    /// A path found in a loaded report file, as that file wrote it; or `report.html`, the page beside it.
    Stored {
        /// The report file, as the person named it.
        report: &'a str,
        /// The path inside it.
        path: &'a str,
    },
}

type Resolve = dyn Fn(Target<'_>) -> Option<String> + Send + Sync;

/// Answers a [`Target`] with a link that works from where the report lies, or with nothing.
pub struct Links(Box<Resolve>);

impl Links {
    /// Links made by `resolve`. It is asked only for what is shown, and must always give the same answer.
    pub fn new(resolve: impl Fn(Target<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(resolve))
    }

    /// No links at all.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| None)
    }

    /// The link to a target; `None` where there is none or where it is not safe to follow.
    #[must_use]
    pub fn to(&self, target: Target<'_>) -> Option<String> {
        (self.0)(target).filter(|href| is_safe(href)).map(|href| encode(&href))
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links")
    }
}

/// Whether a link is relative or of a scheme that only reads: report files are input too, and `javascript:` is a link.
fn is_safe(href: &str) -> bool {
    // `//host/path` leads to another host.
    if href.is_empty() || href.starts_with("//") {
        return false;
    }
    let head = href.split(['/', '?', '#']).next().unwrap_or_default();
    match head.split_once(':') {
        None => true,
        Some((scheme, _)) => {
            let scheme = scheme.to_ascii_lowercase();
            ["http", "https", "file", "s3", "gs", "az"].contains(&scheme.as_str())
        }
    }
}

/// Percent-encodes what would end a link early or change its meaning in HTML or Markdown.
fn encode(href: &str) -> String {
    let mut encoded = String::with_capacity(href.len());
    for c in href.chars() {
        if c.is_control() || " \"'<>()[]{}|\\^`".contains(c) || !c.is_ascii() {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    encoded.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        } else {
            encoded.push(c);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(href: &str, expect: Option<&str>) {
        let owned = href.to_owned();
        let links = Links::new(move |_| Some(owned.clone()));
        assert_eq!(links.to(Target::Comparison).as_deref(), expect);
    }

    #[test]
    fn only_harmless_links_are_followed() {
        check("../attempts/a.b.c.0/01/trace/00000.jsonl", Some("../attempts/a.b.c.0/01/trace/00000.jsonl"));
        check("https://example.org/x?y=1#z", Some("https://example.org/x?y=1#z"));
        check("a b/ü\"><script>.jsonl", Some("a%20b/%C3%BC%22%3E%3Cscript%3E.jsonl"));
        check("x](evil)", Some("x%5D%28evil%29"));
        for bad in [
            "//evil.example/x",
            "",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "\u{1}javascript:x",
            "vbscript:x",
        ] {
            check(bad, None);
        }
    }
}
