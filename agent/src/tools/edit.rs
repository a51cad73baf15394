//! Changing files: `write_file`, `replace_text`, `apply_patch`, behind the write gate.

use super::args::Args;
use super::{Desk, Progress, Running, ToolResult, path, unexpected};
use crate::patch as diff;
use domain::ops::{Change, FileContent, Op, OpError, Reply};
use std::collections::BTreeMap;

/// Largest file that is edited by its content.
const MAX_EDIT: u64 = 8 * 1024 * 1024;

fn gate(action: String, desk: &Desk<'_>) -> Result<(), ToolResult> {
    if desk.permissions.allow_write {
        return Ok(());
    }
    Err(ToolResult::refused(
        action,
        "writing is not allowed in this task; look and answer without changing files",
    ))
}

/// A file path to write to, not the workspace itself.
fn file_path(given: &str) -> Result<String, ToolResult> {
    let resolved = path::resolve(given).map_err(ToolResult::error)?;
    if resolved == "." || given.ends_with('/') {
        return Err(ToolResult::error(format!("`{given}` is a directory, not a file")));
    }
    Ok(resolved)
}

/// Begins `write_file`.
pub(super) fn write(args: &Args<'_>, desk: &Desk<'_>) -> Result<Progress, ToolResult> {
    let path = file_path(args.text("path"))?;
    gate(format!("write: {path}"), desk)?;
    let content = args.text("content");
    let said = format!("Wrote {path} ({} bytes)", content.len());
    let changes = vec![Change::Write { path, bytes: content.as_bytes().to_vec(), mode: None }];
    Ok(Progress::Ask(Op::Apply { changes }, Running::Write(Write { said })))
}

/// Changes on their way into the workspace.
#[derive(Debug)]
pub(crate) struct Write {
    said: String,
}

impl Write {
    pub(super) fn finish(self, reply: &Reply) -> Progress {
        match reply {
            Reply::Applied => Progress::Done(ToolResult::ok(self.said)),
            other => unexpected(other),
        }
    }
}

/// Begins `replace_text`.
pub(super) fn replace(args: &Args<'_>, desk: &Desk<'_>) -> Result<Progress, ToolResult> {
    let path = file_path(args.text("path"))?;
    gate(format!("write: {path}"), desk)?;
    let old = args.text("old");
    if old.is_empty() {
        return Err(ToolResult::error(
            "`old` is empty: to create a file use write_file, to insert use apply_patch",
        ));
    }
    let op = Op::Read { path: path.clone(), offset: 0, max_bytes: MAX_EDIT };
    let replace = Replace { path, old: old.as_bytes().to_vec(), new: args.text("new").as_bytes().to_vec() };
    Ok(Progress::Ask(op, Running::Replace(replace)))
}

/// A replacement that waits for the file.
#[derive(Debug)]
pub(crate) struct Replace {
    path: String,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Replace {
    pub(super) fn resume(self, reply: Reply) -> Progress {
        let Reply::File(file) = reply else {
            return unexpected(&reply);
        };
        if file.total_bytes > MAX_EDIT {
            let why = format!("`{}` has {} bytes, too long for replace_text", self.path, file.total_bytes);
            return Progress::Done(ToolResult::error(why));
        }
        let Some((at, old, new, times)) = self.locate(&file.bytes) else {
            let why = format!(
                "`old` was not found in `{}`; it must match the file exactly, indentation included: read the file again",
                self.path
            );
            return Progress::Done(ToolResult::error(why));
        };
        let bytes = [&file.bytes[..at], &new[..], &file.bytes[at + old.len()..]].concat();
        let said = if times > 1 {
            format!("Replaced the first of {times} occurrences in {}", self.path)
        } else {
            format!("Replaced text in {}", self.path)
        };
        let changes = vec![Change::Write { path: self.path, bytes, mode: None }];
        Progress::Ask(Op::Apply { changes }, Running::Write(Write { said }))
    }

    /// Where the text is, as it stands or with the file's CRLF line ends, and how often.
    fn locate(&self, bytes: &[u8]) -> Option<(usize, Vec<u8>, Vec<u8>, usize)> {
        let as_given = (self.old.clone(), self.new.clone());
        let with_crlf = (to_crlf(&self.old), to_crlf(&self.new));
        [as_given, with_crlf].into_iter().find_map(|(old, new)| {
            let at = find(bytes, &old)?;
            let times = count(bytes, &old);
            Some((at, old, new, times))
        })
    }
}

fn to_crlf(text: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(text.len() + 8);
    for (index, byte) in text.iter().enumerate() {
        if *byte == b'\n' && (index == 0 || text[index - 1] != b'\r') {
            converted.push(b'\r');
        }
        converted.push(*byte);
    }
    converted
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let first = *part.first()?;
    let mut from = 0;
    while let Some(step) = text.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + step;
        if text[at..].starts_with(part) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn count(text: &[u8], part: &[u8]) -> usize {
    let (mut times, mut from) = (0, 0);
    while let Some(at) = find(&text[from..], part) {
        times += 1;
        from += at + part.len();
    }
    times
}

/// Begins `apply_patch`.
pub(super) fn patch(args: &Args<'_>, desk: &Desk<'_>) -> Result<Progress, ToolResult> {
    let set = diff::parse(args.text("patch")).map_err(|error| ToolResult::error(error.to_string()))?;
    let paths = set.paths();
    gate(format!("write: {}", paths.join(", ")), desk)?;
    let op = Op::ReadMany { paths: paths.clone(), max_bytes_each: MAX_EDIT };
    Ok(Progress::Ask(op, Running::Patch(Patch { set, paths })))
}

/// A patch that waits for the files it touches.
#[derive(Debug)]
pub(crate) struct Patch {
    set: diff::PatchSet,
    paths: Vec<String>,
}

impl Patch {
    pub(super) fn resume(self, reply: Reply) -> Progress {
        let Reply::Files(files) = reply else {
            return unexpected(&reply);
        };
        let before = match collect(self.paths, files) {
            Ok(before) => before,
            Err(result) => return Progress::Done(result),
        };
        match self.set.apply(before) {
            Err(error) => Progress::Done(ToolResult::error(error.to_string())),
            Ok(applied) if applied.changes.is_empty() => {
                Progress::Done(ToolResult::error("the patch changes nothing"))
            }
            Ok(applied) => Progress::Ask(
                Op::Apply { changes: applied.changes },
                Running::Write(Write { said: applied.report }),
            ),
        }
    }
}

fn collect(
    paths: Vec<String>,
    files: Vec<Result<FileContent, OpError>>,
) -> Result<BTreeMap<String, Option<diff::File>>, ToolResult> {
    if files.len() != paths.len() {
        return Err(ToolResult::error("the workspace answered with something else than was asked for"));
    }
    let mut before = BTreeMap::new();
    for (path, file) in paths.into_iter().zip(files) {
        let found = match file {
            Ok(content) if content.total_bytes > MAX_EDIT => {
                return Err(ToolResult::error(format!("`{path}` is too long to be patched")));
            }
            Ok(content) => Some(diff::File { bytes: content.bytes, mode: content.mode }),
            Err(OpError::NotFound(_)) => None,
            Err(error) => return Err(ToolResult::from(error)),
        };
        before.insert(path, found);
    }
    Ok(before)
}
