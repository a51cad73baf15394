//! What a model is told about a repository before it looks itself: the map and the context pack. Owns which files count, how they
//! are read within bounds, and how relevance is scored; reads through operations only and never names the host's directories.

mod pack;
mod symbols;
#[cfg(test)]
mod tests;

use domain::ops::{Entry, EntryKind, FileContent, Op, OpError, Reply};

/// Directories that are not part of a project's own text.
const SKIPPED_DIRS: [&str; 26] = [
    ".git",
    ".hg",
    ".svn",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".venv",
    ".gradle",
    ".idea",
    ".cache",
    ".next",
    ".terraform",
    "__pycache__",
    "bower_components",
    "build",
    "coverage",
    "dist",
    "eval-runs",
    "node_modules",
    "runs",
    "site-packages",
    "target",
    "vendor",
    "venv",
];
/// Files that say nothing about a project.
const SKIPPED_ENDS: [&str; 9] =
    [".lock", ".min.js", ".min.css", ".map", ".pyc", ".pyo", ".class", ".o", ".so"];
/// Files walked at most.
const MAX_FILES: u64 = 20_000;
/// Larger files are listed without lines and symbols.
const MAX_READ: u64 = 250_000;
/// Bytes of one reading request, and of all of them together.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
const ALL_BYTES: u64 = 32 * 1024 * 1024;

/// A file of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    path: String,
    language: &'static str,
    lines: u64,
    symbols: Vec<String>,
}

/// A scanned workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Repository {
    sources: Vec<Source>,
    truncated: bool,
}

impl Repository {
    /// How many files the map has.
    pub(crate) fn files(&self) -> u64 {
        self.sources.len() as u64
    }
}

/// A scan under way: walks, then reads what is worth reading in batches.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    repository: Repository,
    walked: bool,
    /// Indices into the sources, still to be read, last first; with their sizes.
    waiting: Vec<(usize, u64)>,
    /// Those being read.
    reading: Vec<usize>,
}

/// What a scan needs or came to.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// This operation.
    Ask(Op),
    /// The workspace refused to be walked.
    Refused(OpError),
    /// It is done.
    Done(Repository),
}

impl Scan {
    /// Begins.
    pub(crate) fn start() -> (Self, Op) {
        let op = Op::Walk {
            path: ".".to_owned(),
            skip_dirs: SKIPPED_DIRS.iter().map(|name| (*name).to_owned()).collect(),
            max_files: MAX_FILES,
            hashes: false,
        };
        (Self::default(), op)
    }

    /// Goes on with a reply.
    pub(crate) fn resume(&mut self, reply: Reply) -> Scanned {
        match reply {
            Reply::Entries { entries, truncated } if !self.walked => self.list(entries, truncated),
            Reply::Files(files) => self.take(&files),
            Reply::Refused(error) if !self.walked => return Scanned::Refused(error),
            // The map is worth having without the contents.
            _ => self.waiting.clear(),
        }
        self.next()
    }

    fn list(&mut self, entries: Vec<Entry>, truncated: bool) {
        self.walked = true;
        self.repository.truncated = truncated;
        let mut files: Vec<Entry> = entries.into_iter().filter(counts).collect();
        files.sort_by_cached_key(|entry| (entry.path.to_lowercase(), entry.path.clone()));
        let mut budget = ALL_BYTES;
        for (index, entry) in files.into_iter().enumerate() {
            if entry.kind == EntryKind::File
                && entry.bytes <= MAX_READ
                && entry.bytes > 0
                && entry.bytes <= budget
            {
                budget -= entry.bytes;
                self.waiting.push((index, entry.bytes));
            }
            let language = symbols::language(&entry.path);
            self.repository.sources.push(Source {
                path: entry.path,
                language,
                lines: 0,
                symbols: Vec::new(),
            });
        }
        self.waiting.reverse();
    }

    fn take(&mut self, files: &[Result<FileContent, OpError>]) {
        for (index, file) in std::mem::take(&mut self.reading).into_iter().zip(files) {
            let (Some(source), Ok(content)) = (self.repository.sources.get_mut(index), file) else {
                continue;
            };
            if content.bytes.contains(&0) {
                source.language = "binary";
                continue;
            }
            let text = String::from_utf8_lossy(&content.bytes);
            source.lines = text.lines().count() as u64;
            source.symbols = symbols::of(source.language, &text);
        }
    }

    fn next(&mut self) -> Scanned {
        let mut paths = Vec::new();
        let mut bytes = 0;
        while let Some((index, size)) = self.waiting.last().copied() {
            if !paths.is_empty() && bytes + size > BATCH_BYTES {
                break;
            }
            self.waiting.pop();
            self.reading.push(index);
            bytes += size;
            if let Some(source) = self.repository.sources.get(index) {
                paths.push(source.path.clone());
            }
        }
        if paths.is_empty() {
            return Scanned::Done(std::mem::take(&mut self.repository));
        }
        Scanned::Ask(Op::ReadMany { paths, max_bytes_each: MAX_READ })
    }
}

fn counts(entry: &Entry) -> bool {
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    entry.kind == EntryKind::File
        && !SKIPPED_ENDS.iter().any(|end| name.ends_with(end))
        && !entry.path.split('/').rev().skip(1).any(|part| SKIPPED_DIRS.contains(&part))
}
