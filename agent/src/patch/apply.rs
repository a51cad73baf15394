//! Applying a patch to files in memory. Owns line ends and the rules of creating, deleting and renaming.

use super::place::{self, Place};
use super::{Applied, Error, File, FilePatch, Hunk, Kind, Line, PatchSet};
use domain::ops::Change;
use std::collections::BTreeMap;

/// Files by path; `None` does not exist.
type Files = BTreeMap<String, Option<File>>;

impl PatchSet {
    /// Applies all of it to the files as they are, or says why nothing was applied.
    pub(crate) fn apply(&self, before: Files) -> Result<Applied, Error> {
        let mut files = before.clone();
        let mut report = String::from("Patched files:");
        for patch in &self.files {
            let done = one(patch, &mut files)?;
            report.push_str("\n- ");
            report.push_str(&done);
        }
        let mut changes = Vec::new();
        for (path, after) in files {
            let known = before.get(&path).and_then(Option::as_ref);
            match after {
                None if known.is_some() => changes.push(Change::Delete { path }),
                Some(file) if known != Some(&file) => {
                    let moved = known.is_none() && file.mode != CREATED;
                    let changed = known.is_some_and(|known| known.mode != file.mode);
                    let mode = (moved || changed).then_some(file.mode);
                    changes.push(Change::Write { path, bytes: file.bytes, mode });
                }
                _ => {}
            }
        }
        Ok(Applied { changes, report })
    }
}

/// Permission bits of a file that is made new.
const CREATED: u32 = 0o644;

fn refuse<T>(path: &str, why: impl Into<String>) -> Result<T, Error> {
    Err(Error::File { path: path.to_owned(), why: why.into() })
}

fn one(patch: &FilePatch, files: &mut Files) -> Result<String, Error> {
    match (&patch.old, &patch.new) {
        (None, Some(new)) => create(patch, new, files),
        (Some(old), None) => delete(patch, old, files),
        (Some(old), Some(_)) if patch.deleted => delete(patch, old, files),
        (Some(old), Some(new)) if patch.renamed || patch.copied => relocate(patch, old, new, files),
        (Some(old), Some(new)) if old == new => modify(patch, new, files),
        (Some(old), Some(new)) => renamed_in_names_only(patch, old, new, files),
        (None, None) => refuse("/dev/null", "is named on both sides"),
    }
}

fn current(path: &str, files: &Files) -> Option<File> {
    files.get(path).cloned().flatten()
}

fn create(patch: &FilePatch, path: &str, files: &mut Files) -> Result<String, Error> {
    if current(path, files).is_some() {
        return refuse(
            path,
            "exists already: a patch from /dev/null only creates; change it with a patch of the file itself",
        );
    }
    if patch.hunks.iter().flat_map(|hunk| &hunk.lines).any(|line| line.kind != Kind::Added) {
        return refuse(path, "is created by this patch, so every line of it must begin with `+`");
    }
    let (bytes, _) = edit(path, &[], &patch.hunks)?;
    files.insert(path.to_owned(), Some(File { bytes, mode: patch.mode.unwrap_or(CREATED) }));
    Ok(format!("{path} (created)"))
}

fn delete(patch: &FilePatch, path: &str, files: &mut Files) -> Result<String, Error> {
    let Some(file) = current(path, files) else {
        return refuse(path, "does not exist, so it cannot be deleted");
    };
    if !patch.hunks.is_empty() {
        let (left, _) = edit(path, &file.bytes, &patch.hunks)?;
        if !left.is_empty() {
            let lines = left.split(|byte| *byte == b'\n').count();
            return refuse(
                path,
                format!(
                    "would keep about {lines} lines that the patch does not remove, so it is not deleted"
                ),
            );
        }
    }
    files.insert(path.to_owned(), None);
    Ok(format!("{path} (deleted)"))
}

fn relocate(patch: &FilePatch, old: &str, new: &str, files: &mut Files) -> Result<String, Error> {
    let Some(mut file) = current(old, files) else {
        return refuse(old, "does not exist");
    };
    if old != new && current(new, files).is_some() {
        return refuse(new, "exists already, so nothing can be moved or copied there");
    }
    let (bytes, notes) = edit(old, &file.bytes, &patch.hunks)?;
    file.bytes = bytes;
    file.mode = patch.mode.unwrap_or(file.mode);
    if patch.renamed {
        files.insert(old.to_owned(), None);
    }
    files.insert(new.to_owned(), Some(file));
    let how = if patch.renamed { "renamed" } else { "copied" };
    Ok(format!("{new} ({how} from {old}{})", with(&notes)))
}

fn modify(patch: &FilePatch, path: &str, files: &mut Files) -> Result<String, Error> {
    let Some(mut file) = current(path, files) else {
        // `@@ -0,0 +1,3 @@` for a file that is not there: a new file in all but name.
        let creates = patch.created
            || (!patch.hunks.is_empty()
                && patch.hunks.iter().all(|hunk| {
                    hunk.start.is_some_and(|(start, count)| start == 0 && count == 0)
                        && hunk.lines.iter().all(|line| line.kind == Kind::Added)
                }));
        if creates {
            return create(patch, path, files);
        }
        return refuse(path, "does not exist; to create it use `--- /dev/null`");
    };
    if patch.created {
        return create(patch, path, files);
    }
    let (bytes, notes) = edit(path, &file.bytes, &patch.hunks)?;
    file.bytes = bytes;
    file.mode = patch.mode.unwrap_or(file.mode);
    files.insert(path.to_owned(), Some(file));
    Ok(match notes.is_empty() {
        true => path.to_owned(),
        false => format!("{path} ({})", notes.join("; ")),
    })
}

/// Two different names without a word about renaming: a backup name on the old side is common, a silent rename is not wanted.
fn renamed_in_names_only(
    patch: &FilePatch,
    old: &str,
    new: &str,
    files: &mut Files,
) -> Result<String, Error> {
    match (current(old, files).is_some(), current(new, files).is_some()) {
        (false, true) => modify(patch, new, files),
        (_, false) => refuse(
            new,
            format!(
                "is not there, and the patch names `{old}` on its other side: to rename, say `rename from` and `rename to`"
            ),
        ),
        (true, true) => refuse(new, format!("and `{old}` are both there: name the same file on both sides")),
    }
}

fn with(notes: &[String]) -> String {
    if notes.is_empty() { String::new() } else { format!("; {}", notes.join("; ")) }
}

/// A line of a file: its text and its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row<'a> {
    text: &'a [u8],
    end: &'static [u8],
}

fn rows(bytes: &[u8]) -> Vec<Row<'_>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|row| match (row.strip_suffix(b"\r\n"), row.strip_suffix(b"\n")) {
            (Some(text), _) => Row { text, end: b"\r\n" },
            (None, Some(text)) => Row { text, end: b"\n" },
            (None, None) => Row { text: row, end: b"" },
        })
        .collect()
}

/// The content after all hunks, and what was loose about their places.
fn edit(path: &str, bytes: &[u8], hunks: &[Hunk]) -> Result<(Vec<u8>, Vec<String>), Error> {
    let rows = rows(bytes);
    let texts: Vec<&[u8]> = rows.iter().map(|row| row.text).collect();
    let ended = rows.iter().filter(|row| !row.end.is_empty()).count();
    let crlf = rows.iter().filter(|row| row.end == b"\r\n").count() * 2 > ended;
    let mut out = Output { rows: Vec::new(), last_said: None };
    let mut notes = Vec::new();
    let (mut at, mut drift) = (0_usize, 0_isize);
    for (index, hunk) in hunks.iter().enumerate() {
        let place = place::find(&texts, hunk, at, drift).map_err(|why| Error::Hunk {
            path: path.to_owned(),
            hunk: index + 1,
            line: hunk.at,
            why,
        })?;
        if let Some(looseness) = &place.looseness {
            notes.push(format!("hunk {}: {looseness}", index + 1));
        }
        if let Some(said) = place::said(hunk) {
            let found = place.at.saturating_sub(place.trimmed.0);
            drift = found.cast_signed() - said.cast_signed();
        }
        out.rows.extend(rows[at..place.at].iter().map(|row| Piece::kept(*row)));
        at = merge(&mut out, &rows, hunk, &place, crlf);
    }
    let untouched_tail = at < rows.len();
    out.rows.extend(rows[at..].iter().map(|row| Piece::kept(*row)));
    let unterminated = match (untouched_tail, out.last_said) {
        (true, _) | (false, None) => rows.last().is_some_and(|row| row.end.is_empty()),
        (false, Some(said)) => said,
    };
    Ok((out.bytes(unterminated, crlf), notes))
}

/// A line of the new content.
#[derive(Debug)]
struct Piece<'a> {
    text: &'a [u8],
    end: &'static [u8],
}

impl<'a> Piece<'a> {
    fn kept(row: Row<'a>) -> Self {
        Self { text: row.text, end: row.end }
    }
}

struct Output<'a> {
    rows: Vec<Piece<'a>>,
    /// What the last hunk said about the end of its new side: `true` for "no newline", `None` where it said nothing.
    last_said: Option<bool>,
}

/// Puts one hunk's lines out and answers with the index of the next old line.
fn merge<'a>(out: &mut Output<'a>, rows: &[Row<'a>], hunk: &'a Hunk, place: &Place, crlf: bool) -> usize {
    let end = hunk.lines.len() - place.trimmed.1;
    let lines = &hunk.lines[place.trimmed.0..end];
    // A carriage return anywhere in the hunk says that the patch carries line ends itself.
    let carries = lines.iter().any(|line| line.text.ends_with(b"\r"));
    let mut at = place.at;
    for line in lines {
        match line.kind {
            Kind::Context => {
                out.rows.push(Piece::kept(rows[at]));
                at += 1;
            }
            Kind::Removed => at += 1,
            Kind::Added => out.rows.push(added(line, carries, crlf)),
        }
    }
    out.last_said = said_about_the_end(lines);
    at
}

fn added(line: &Line, carries: bool, crlf: bool) -> Piece<'_> {
    match line.text.strip_suffix(b"\r") {
        Some(text) => Piece { text, end: b"\r\n" },
        None if crlf && !carries => Piece { text: &line.text, end: b"\r\n" },
        None => Piece { text: &line.text, end: b"\n" },
    }
}

fn said_about_the_end(lines: &[Line]) -> Option<bool> {
    let last_new = lines.iter().rev().find(|line| line.kind != Kind::Removed);
    if last_new.is_some_and(|line| line.unterminated) {
        return Some(true);
    }
    // The old side had no newline and the new side has: the patch adds it.
    let last_old = lines.iter().rev().find(|line| line.kind != Kind::Added);
    last_old.is_some_and(|line| line.unterminated).then_some(false)
}

impl Output<'_> {
    fn bytes(self, unterminated: bool, crlf: bool) -> Vec<u8> {
        let break_of_file: &[u8] = if crlf { b"\r\n" } else { b"\n" };
        let count = self.rows.len();
        let mut bytes = Vec::with_capacity(self.rows.iter().map(|row| row.text.len() + 2).sum());
        for (index, row) in self.rows.iter().enumerate() {
            bytes.extend_from_slice(row.text);
            let last = index + 1 == count;
            match (last && unterminated, row.end.is_empty()) {
                (true, _) => {}
                (false, true) => bytes.extend_from_slice(break_of_file),
                (false, false) => bytes.extend_from_slice(row.end),
            }
        }
        bytes
    }
}
