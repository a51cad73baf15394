//! `patch.diff`: a workspace against its input, in git's manner, for people and for `git apply`. Bounded in size and time; what is left
//! out is said.

use super::{Error, Thing, blocking, contents, originals, present, unexpected};
use crate::archive::Archive;
use crate::contract::Workspace;
use domain::ops::{Op, Reply};
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

/// Directories that tools fill and nobody reads in a patch.
const SKIP: [&str; 6] =
    [".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules"];

/// A file larger than this is named and not shown.
const MAX_FILE: u64 = 512 << 10;

/// Where a patch ends; what more changed is named.
const MAX_PATCH: usize = 4 << 20;

/// Bytes asked for in one request.
const BATCH: u64 = 8 << 20;

/// How long one file may take before its changes are shown more coarsely.
const PATIENCE: Duration = Duration::from_secs(2);

/// The difference as one patch; empty when there is none.
///
/// # Errors
/// When the workspace is lost, or one of both cannot be read.
pub async fn unified(original: &Archive, workspace: &dyn Workspace) -> Result<String, Error> {
    let mut old = originals(original).await?;
    old.retain(|path, _| !path.split('/').any(|name| SKIP.contains(&name)));
    let new = present(workspace, &SKIP).await?;
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed: Vec<String> =
        paths.into_iter().filter(|path| differ(old.get(*path), new.get(*path))).cloned().collect();
    if changed.is_empty() {
        return Ok(String::new());
    }
    let shown = |things: &BTreeMap<String, Thing>| -> Vec<String> {
        let small = |path: &&String| matches!(things.get(*path), Some(Thing::File { bytes, .. }) if *bytes <= MAX_FILE);
        changed.iter().filter(small).cloned().collect()
    };
    let old_texts = contents(original, shown(&old)).await?;
    let new_texts = read(workspace, shown(&new), &new).await?;
    blocking(move || {
        let mut patch = String::new();
        let mut left_out = Vec::new();
        for path in &changed {
            let old = Side { thing: old.get(path), text: old_texts.get(path) };
            let new = Side { thing: new.get(path), text: new_texts.get(path) };
            let one = file_patch(path, &old, &new);
            if patch.len() + one.len() > MAX_PATCH {
                left_out.push(path.as_str());
            } else {
                patch.push_str(&one);
            }
        }
        if !left_out.is_empty() {
            left_out.truncate(1000);
            // Writing to a string cannot fail.
            let _written = writeln!(patch, "# left out, the patch is too long: {}", left_out.join(", "));
        }
        Ok(patch)
    })
    .await
}

async fn read(
    workspace: &dyn Workspace,
    paths: Vec<String>,
    things: &BTreeMap<String, Thing>,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    let mut left = paths.into_iter().peekable();
    while left.peek().is_some() {
        let (mut batch, mut size) = (Vec::new(), 0);
        while let Some(path) = left.next_if(|_| size < BATCH) {
            size += match things.get(&path) {
                Some(Thing::File { bytes, .. }) => *bytes,
                _ => 0,
            };
            batch.push(path);
        }
        match workspace.run(Op::ReadMany { paths: batch.clone(), max_bytes_each: MAX_FILE }).await? {
            Reply::Files(files) => {
                // One that cannot be read is shown like a binary one.
                found.extend(
                    batch.into_iter().zip(files).filter_map(|(path, file)| Some((path, file.ok()?.bytes))),
                );
            }
            Reply::Refused(error) => return Err(Error::Refused(error)),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(found)
}

/// Whether a patch has something to say: content, kind, or the right to execute.
fn differ(old: Option<&Thing>, new: Option<&Thing>) -> bool {
    match (old, new) {
        (Some(Thing::File { sha256: old_hash, .. }), Some(Thing::File { sha256: new_hash, .. })) => {
            old_hash != new_hash || old.is_some_and(Thing::executable) != new.is_some_and(Thing::executable)
        }
        (Some(Thing::Other) | None, Some(Thing::Other) | None) => false,
        (old, new) => old != new,
    }
}

struct Side<'a> {
    thing: Option<&'a Thing>,
    text: Option<&'a Vec<u8>>,
}

impl Side<'_> {
    /// Git's mode; nothing for what git does not keep.
    fn mode(&self) -> Option<&'static str> {
        match self.thing? {
            Thing::Link { .. } => Some("120000"),
            thing @ Thing::File { .. } => Some(if thing.executable() { "100755" } else { "100644" }),
            Thing::Other => None,
        }
    }

    /// The content as text; nothing when it is binary, too large or unreadable.
    fn text(&self) -> Option<&str> {
        match self.thing {
            None | Some(Thing::Other) => Some(""),
            Some(Thing::Link { target }) => Some(target),
            Some(Thing::File { .. }) => {
                let text = std::str::from_utf8(self.text?).ok()?;
                (!text.contains('\0')).then_some(text)
            }
        }
    }

    fn unchanged_content(&self, other: &Self) -> bool {
        match (self.thing, other.thing) {
            (Some(Thing::File { sha256: Some(own), .. }), Some(Thing::File { sha256: Some(theirs), .. })) => {
                own == theirs
            }
            _ => false,
        }
    }
}

fn file_patch(path: &str, old: &Side<'_>, new: &Side<'_>) -> String {
    // A file that became a link, or the other way round, is one removed and one added, as in git.
    if let (Some(old_mode), Some(new_mode)) = (old.mode(), new.mode())
        && (old_mode == "120000") != (new_mode == "120000")
    {
        let none = Side { thing: None, text: None };
        return file_patch(path, old, &none) + &file_patch(path, &none, new);
    }
    let (a, b) = (quoted("a/", path), quoted("b/", path));
    let mut patch = format!("diff --git {a} {b}\n");
    match (old.mode(), new.mode()) {
        (None, Some(mode)) => patch.push_str(&format!("new file mode {mode}\n")),
        (Some(mode), None) => patch.push_str(&format!("deleted file mode {mode}\n")),
        (Some(old), Some(new)) if old != new => patch.push_str(&format!("old mode {old}\nnew mode {new}\n")),
        _ => {}
    }
    if old.unchanged_content(new) {
        return patch;
    }
    let from = if old.mode().is_some() { a } else { "/dev/null".to_owned() };
    let to = if new.mode().is_some() { b } else { "/dev/null".to_owned() };
    match (old.text(), new.text()) {
        (Some(old), Some(new)) => {
            let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
            patch.push_str(&diff.unified_diff().context_radius(3).header(&from, &to).to_string());
        }
        _ => patch.push_str(&format!("Binary files {from} and {to} differ\n")),
    }
    patch
}

/// A name as git writes it: with anything unusual in quotes, bytes as octal.
fn quoted(side: &str, path: &str) -> String {
    let usual = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if path.bytes().all(usual) {
        return format!("{side}{path}");
    }
    let mut text = format!("\"{side}");
    for byte in path.bytes() {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            byte if usual(byte) => text.push(char::from(byte)),
            byte => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        assert_eq!(quoted("a/", "plain name.txt"), "a/plain name.txt");
        assert_eq!(quoted("b/", "ü\n\"\\\t"), "\"b/\\303\\274\\n\\\"\\\\\\t\"");
    }
}
