//! Whether a text, taken as a path, stays in the workspace.

use super::word::Word;
use super::{Class, Judged, Refusal, Verdict};

/// Files outside of every workspace that lead nowhere.
const DEVICES: [&str; 7] =
    ["/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/0", "/dev/fd/1", "/dev/fd/2"];

/// Whether a path names one of the harmless devices.
pub(super) fn is_device(path: &str) -> bool {
    DEVICES.contains(&path)
}

/// Whether a path leads out of the workspace, read as text. Links are the workspace's own business.
pub(super) fn leads_out(path: &str, glob: bool) -> bool {
    if path.starts_with('/') {
        return !is_device(path);
    }
    let mut depth = 0_i32;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            part if glob && may_be_parent(part) => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

/// Whether a pattern such as `.*` can stand for `..`.
fn may_be_parent(part: &str) -> bool {
    part.starts_with('.')
        && part.contains(['*', '?', '['])
        && part
            .chars()
            .all(|c| matches!(c, '.' | '*' | '?' | '[' | ']' | '!' | '^' | '-') || part.contains('['))
}

/// The paths that may be glued to an option: `--file=/x`, `-f/x`, `-I../x`.
fn glued(option: &str) -> Vec<&str> {
    let mut paths = Vec::new();
    if let Some((_, value)) = option.split_once('=') {
        paths.push(value);
    }
    let body = option.trim_start_matches('-');
    let letters = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(body.len());
    if body[letters..].starts_with('/') || body[letters..].starts_with("..") {
        paths.push(&body[letters..]);
    }
    paths
}

/// Refuses a word that is a path outside, alone or glued to an option.
pub(super) fn check(word: &Word) -> Result<(), Refusal> {
    let glob = matches!(word, Word::Text { glob: true, .. });
    for text in word.texts().unwrap_or_default() {
        let out = if text.starts_with('-') && text.len() > 1 {
            glued(text).into_iter().find(|path| leads_out(path, glob))
        } else {
            leads_out(text, glob).then_some(text)
        };
        if let Some(path) = out {
            return Err(Refusal::Outside(path.replacen("/~", "~", 1)));
        }
    }
    Ok(())
}

/// Judges arguments that are paths or options: refused outside, `class` inside, execute where unknown.
pub(super) fn all(args: &[Word], class: Class, because: &str) -> Judged {
    let mut verdict = Verdict::new(class, because);
    for word in args {
        check(word)?;
        verdict = verdict.with(certainty(word, because));
    }
    Ok(verdict)
}

/// Execute for a word that is known only when it runs, or that may turn into an option.
pub(super) fn certainty(word: &Word, program: &str) -> Verdict {
    let vague = match word {
        Word::Unknown => true,
        Word::OneOf(texts) => texts.iter().any(|text| {
            text.starts_with('-') || text.chars().any(char::is_whitespace) || leads_out(text, true)
        }),
        Word::Text { .. } => false,
    };
    if vague {
        return Verdict::new(Class::Execute, format!("an argument of {program} is known only when it runs"));
    }
    Verdict::inspect()
}
