//! Looking at files: `list_files`, `read_file`, `search_text`.

use super::args::Args;
use super::{MAX_RESULT, Progress, Running, SEARCH_SKIPS, ToolResult, path, unexpected};
use domain::ops::{Entry, EntryKind, Op, Reply};
use domain::text;

const MAX_MATCHES: u64 = 100;
const MAX_LINE: u64 = 400;
/// How much of a file is asked for at once, and how often at most for one call.
const WINDOW: u64 = 256 * 1024;
const MAX_WINDOWS: u32 = 256;

/// Begins `list_files`.
pub(super) fn list(args: &Args<'_>) -> Result<Progress, ToolResult> {
    let path = path::resolve(args.text_or("path", ".")).map_err(ToolResult::error)?;
    Ok(Progress::Ask(Op::List { path: path.clone() }, Running::List(List)))
}

/// A listing under way.
#[derive(Debug)]
pub(crate) struct List;

impl List {
    pub(super) fn finish(self, reply: Reply) -> Progress {
        let Reply::Entries { mut entries, truncated } = reply else {
            return unexpected(&reply);
        };
        entries.sort_by_cached_key(|entry| (entry.path.to_lowercase(), entry.path.clone()));
        let mut content = String::new();
        let mut left_out = 0_usize;
        for entry in &entries {
            let line = list_line(entry);
            if content.len() + line.len() > MAX_RESULT {
                left_out += 1;
            } else {
                content.push_str(&line);
            }
        }
        if left_out > 0 {
            content.push_str(&format!("… ({left_out} more entries)\n"));
        } else if truncated {
            content.push_str("… (more entries, not listed)\n");
        }
        let content = content.trim_end();
        Progress::Done(ToolResult::ok(if content.is_empty() { "(empty)" } else { content }))
    }
}

fn list_line(entry: &Entry) -> String {
    let name = entry.path.rsplit('/').next().unwrap_or(&entry.path);
    match entry.kind {
        EntryKind::Dir => format!("{name}/\n"),
        EntryKind::Link => match &entry.target {
            Some(target) => format!("{name} -> {target}\n"),
            None => format!("{name} (link)\n"),
        },
        EntryKind::File => format!("{name}\n"),
        EntryKind::Other => format!("{name} (not a regular file)\n"),
    }
}

/// Begins `read_file`.
pub(super) fn read(args: &Args<'_>) -> Result<Progress, ToolResult> {
    let path = path::resolve(args.text("path")).map_err(ToolResult::error)?;
    let read = Read {
        path,
        first: args.number("offset").unwrap_or(1),
        limit: args.number("limit").unwrap_or(u64::MAX),
        line: 1,
        at: 0,
        windows: 0,
        taken: Vec::new(),
    };
    Ok(read.ask())
}

/// A file being read window by window until the wanted lines are there.
#[derive(Debug)]
pub(crate) struct Read {
    path: String,
    first: u64,
    limit: u64,
    /// The number of the line that the next byte belongs to.
    line: u64,
    at: u64,
    windows: u32,
    taken: Vec<u8>,
}

impl Read {
    fn ask(self) -> Progress {
        let op = Op::Read { path: self.path.clone(), offset: self.at, max_bytes: WINDOW };
        Progress::Ask(op, Running::Read(self))
    }

    pub(super) fn resume(mut self, reply: Reply) -> Progress {
        let Reply::File(file) = reply else {
            return unexpected(&reply);
        };
        if self.at == 0 && file.bytes.iter().take(8192).any(|byte| *byte == 0) {
            return Progress::Done(ToolResult::ok(format!(
                "(binary file, {} bytes, not shown)",
                file.total_bytes
            )));
        }
        if self.at == 0 && file.total_bytes == 0 {
            return Progress::Done(ToolResult::ok("(empty file)"));
        }
        for piece in file.bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line >= self.first {
                if self.line - self.first >= self.limit {
                    return self.page(file.total_bytes, None);
                }
                if self.taken.len() + piece.len() > MAX_RESULT {
                    return self.page(file.total_bytes, Some(piece));
                }
                self.taken.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                self.line += 1;
            }
        }
        self.at += file.bytes.len() as u64;
        self.windows += 1;
        if self.at >= file.total_bytes || file.bytes.is_empty() {
            return self.end();
        }
        if self.windows >= MAX_WINDOWS {
            return Progress::Done(ToolResult::error(format!(
                "`{}` is too long to page so far: line {} lies beyond its first {} bytes",
                self.path, self.first, self.at
            )));
        }
        self.ask()
    }

    /// The file ended.
    fn end(self) -> Progress {
        if self.taken.is_empty() {
            let lines = self.line.saturating_sub(1).max(1);
            return Progress::Done(ToolResult::error(format!(
                "`{}` has {lines} lines; there is no line {}",
                self.path, self.first
            )));
        }
        Progress::Done(ToolResult::ok(String::from_utf8_lossy(&self.taken).into_owned()))
    }

    /// There is more of the file than fits or was wanted; `next` is the line that no longer fitted.
    fn page(mut self, total: u64, next: Option<&[u8]>) -> Progress {
        let whole_lines = !self.taken.is_empty() && self.taken.ends_with(b"\n");
        let mut go_on = self.line;
        if let (false, Some(piece)) = (whole_lines, next) {
            // One line alone is longer than a result: show its head and go on after it.
            let room = MAX_RESULT.saturating_sub(self.taken.len()).min(piece.len());
            self.taken.extend_from_slice(&piece[..room]);
            self.taken.extend_from_slice(b"\n");
            go_on = self.line + 1;
        }
        let cut = if whole_lines { "" } else { "the last line shown is cut; " };
        let mut content = String::from_utf8_lossy(&self.taken).into_owned();
        content.push_str(&format!(
            "… ({cut}lines {} to {} of a file of {total} bytes; read on with offset={go_on})",
            self.first,
            go_on - 1
        ));
        Progress::Done(ToolResult::ok(content))
    }
}

/// Begins `search_text`.
pub(super) fn search(args: &Args<'_>) -> Result<Progress, ToolResult> {
    let pattern = args.text("pattern");
    if pattern.is_empty() {
        return Err(ToolResult::error("search_text needs a pattern that is not empty"));
    }
    if pattern.contains('\n') {
        return Err(ToolResult::error(
            "search_text looks at single lines: the pattern cannot hold a line break",
        ));
    }
    let path = path::resolve(args.text_or("path", ".")).map_err(ToolResult::error)?;
    let op = Op::Search {
        pattern: pattern.to_owned(),
        path,
        skip_dirs: SEARCH_SKIPS.iter().map(|name| (*name).to_owned()).collect(),
        max_matches: MAX_MATCHES,
        max_line_bytes: MAX_LINE,
    };
    Ok(Progress::Ask(op, Running::Search))
}

/// Ends `search_text`.
pub(super) fn found(reply: Reply) -> Progress {
    let Reply::Matches { matches, truncated } = reply else {
        return unexpected(&reply);
    };
    if matches.is_empty() {
        return Progress::Done(ToolResult::ok("(no matches)"));
    }
    let mut content = String::new();
    for hit in &matches {
        content.push_str(&format!("{}:{}: {}\n", hit.path, hit.line, hit.text));
    }
    let mut content = text::cut(content.trim_end(), MAX_RESULT);
    if truncated {
        content
            .push_str(&format!("\n… (stopped at {} matches; search for something narrower)", matches.len()));
    }
    Progress::Done(ToolResult::ok(content))
}
