//! Unified diffs as models write them: read tolerantly, applied strictly, all files or none. Owns what a patch means; touches no
//! file: it is given the files as they are and answers with the changes.

mod apply;
mod parse;
mod place;
#[cfg(test)]
mod tests;

use domain::ops::Change;

pub(crate) use parse::parse;

/// A file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

/// A patch of one or several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatchSet {
    files: Vec<FilePatch>,
}

/// What a patch does to one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct FilePatch {
    /// The file before; `None` is `/dev/null`.
    old: Option<String>,
    /// The file after; `None` is `/dev/null`.
    new: Option<String>,
    /// Said by `rename from` and `rename to`.
    renamed: bool,
    /// Said by `copy from` and `copy to`.
    copied: bool,
    /// Said by `new file mode`.
    created: bool,
    /// Said by `deleted file mode`.
    deleted: bool,
    /// Permission bits after, where the patch says them.
    mode: Option<u32>,
    hunks: Vec<Hunk>,
}

/// A hunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Hunk {
    /// The line of the patch that it begins at, from 1, for messages.
    at: usize,
    /// Where it says it begins in the old file, and how many old lines it says it has; `None` for a bare `@@`.
    start: Option<(usize, usize)>,
    /// The text after the second `@@`.
    heading: String,
    lines: Vec<Line>,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    kind: Kind,
    /// Without line break; may end with a carriage return.
    text: Vec<u8>,
    /// Followed by `\ No newline at end of file`.
    unterminated: bool,
}

/// What a line of a hunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Context,
    Removed,
    Added,
}

/// What a patch comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The changes, with distinct paths.
    pub(crate) changes: Vec<Change>,
    /// What was done, for the model.
    pub(crate) report: String,
}

/// Why a patch was refused. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing in the text is a patch.
    #[error(
        "no file patches found: a unified diff needs `--- a/path` and `+++ b/path` lines followed by `@@` hunks{hint}"
    )]
    Nothing {
        /// What may have been meant.
        hint: &'static str,
    },
    /// A line of the patch cannot be read.
    #[error("invalid patch: line {line} of the patch {why}")]
    Invalid {
        /// The line from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A path is refused.
    #[error("invalid patch: {0}")]
    Path(String),
    /// A file is not as the patch supposes.
    #[error("nothing was applied: `{path}` {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A hunk does not fit.
    #[error("nothing was applied: hunk {hunk} of `{path}` (line {line} of the patch) {why}")]
    Hunk {
        /// The file.
        path: String,
        /// The hunk from 1.
        hunk: usize,
        /// The line of the patch.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl PatchSet {
    /// Every path the patch speaks of, each once.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for path in self.files.iter().flat_map(|file| [&file.old, &file.new]).flatten() {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        paths
    }
}
