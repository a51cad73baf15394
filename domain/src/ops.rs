//! What can be asked of a workspace: the meeting point of `agent` and `workspace`. Paths are relative to the workspace, with `/`.
//!
//! Sent to the in-container tool server in a compact form, so these enums stay externally tagged; nothing here is stored.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Default cap on each output stream of a command, in bytes.
pub const OUTPUT_CAP: u64 = 256 * 1024;

/// One request to a workspace. Every path is resolved beneath the workspace; one that leads outside (absolute, `..`, through a
/// link) is answered with [`OpError::Escapes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Lists one directory, sorted by name.
    List {
        /// The directory; `.` is the workspace itself.
        path: String,
    },
    /// Lists all files below a directory, sorted by path; skips directories named in `skip_dirs` and never follows links.
    Walk {
        /// Where to begin.
        path: String,
        /// Names of directories not entered.
        skip_dirs: Vec<String>,
        /// Stop after so many files.
        max_files: u64,
        /// Whether to compute each regular file's SHA-256.
        hashes: bool,
    },
    /// Reads a regular file.
    Read {
        /// The file.
        path: String,
        /// First byte wanted.
        offset: u64,
        /// At most so many bytes.
        max_bytes: u64,
    },
    /// Reads several files, each up to `max_bytes_each`; one answer a path, in order.
    ReadMany {
        /// The files.
        paths: Vec<String>,
        /// Cap for each.
        max_bytes_each: u64,
    },
    /// Literal text search, line by line, in a file or below a directory; skips binary files, links and `skip_dirs`.
    Search {
        /// The text; case-sensitive.
        pattern: String,
        /// File or directory.
        path: String,
        /// Names of directories not entered.
        skip_dirs: Vec<String>,
        /// Stop after so many matches.
        max_matches: u64,
        /// Cut each line at so many bytes.
        max_line_bytes: u64,
    },
    /// Changes several files, all or none: contents are staged first, checked, then put in place.
    Apply {
        /// The changes, with distinct paths.
        changes: Vec<Change>,
    },
    /// Runs a command.
    Exec(ExecSpec),
    /// Ends every process that earlier commands left behind.
    KillAll,
}

/// One change to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Creates or replaces a regular file; makes its parent directories.
    Write {
        /// The file.
        path: String,
        /// Its whole content.
        #[serde(with = "raw")]
        bytes: Vec<u8>,
        /// Permission bits; `None` keeps those of an existing file, else 0644.
        mode: Option<u32>,
    },
    /// Removes a file or link; a missing one is an error.
    Delete {
        /// The file.
        path: String,
    },
    /// Makes a symbolic link, in place of a file or link of that name. The target is data: it may lead anywhere, and is followed
    /// only inside the workspace.
    Link {
        /// The link.
        path: String,
        /// What it points to, as stored.
        target: String,
    },
    /// Removes whatever is there, a directory with all it holds; nothing there is fine. Links are not followed.
    RemoveAll {
        /// The file, link or directory.
        path: String,
    },
}

/// A command to run in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// What to run.
    pub command: Command,
    /// Directory, relative to the workspace.
    pub cwd: String,
    /// Environment added to the workspace's own small one.
    pub env: BTreeMap<String, String>,
    /// After so long the whole process tree is killed.
    pub timeout_millis: u64,
    /// Cap on each of stdout and stderr: head and tail are kept, the middle is counted and dropped while reading.
    pub output_cap: u64,
}

impl ExecSpec {
    /// A shell command at the workspace's root with the default cap.
    #[must_use]
    pub fn shell(line: impl Into<String>, timeout: std::time::Duration) -> Self {
        Self {
            command: Command::Shell(line.into()),
            cwd: ".".to_owned(),
            env: BTreeMap::new(),
            timeout_millis: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            output_cap: OUTPUT_CAP,
        }
    }
}

/// How a command is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments, no shell.
    Argv(Vec<String>),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecEnd {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Killed at its time limit, with its whole process tree.
    TimedOut,
    /// Could not be started.
    NotStarted(String),
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOutput {
    /// How it ended.
    pub end: ExecEnd,
    /// Its standard output within the cap, raw bytes.
    #[serde(with = "raw")]
    pub stdout: Vec<u8>,
    /// Its standard error within the cap, raw bytes.
    #[serde(with = "raw")]
    pub stderr: Vec<u8>,
    /// Bytes of stdout dropped from the middle.
    pub stdout_dropped: u64,
    /// Bytes of stderr dropped from the middle.
    pub stderr_dropped: u64,
    /// Wall time in milliseconds.
    pub millis: u64,
}

impl ExecOutput {
    /// Exit code 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.end == ExecEnd::Exited(0)
    }
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link (not followed).
    Link,
    /// A socket, pipe or device.
    Other,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path relative to the workspace; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes of a regular file.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Lower-case hex SHA-256, when asked for.
    pub sha256: Option<String>,
    /// A link's target, as stored.
    pub target: Option<String>,
}

/// The content of a file, or a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// The bytes read.
    #[serde(with = "raw")]
    pub bytes: Vec<u8>,
    /// The whole file's size.
    pub total_bytes: u64,
    /// Permission bits.
    pub mode: u32,
}

/// One matching line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineMatch {
    /// The file.
    pub path: String,
    /// Line number from 1.
    pub line: u64,
    /// The line, invalid UTF-8 replaced, cut at the asked length.
    pub text: String,
}

/// The answer to an [`Op`], of the shape its variant calls for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `List` and `Walk`.
    Entries {
        /// The entries.
        entries: Vec<Entry>,
        /// Whether a limit cut the list.
        truncated: bool,
    },
    /// To `Read`.
    File(FileContent),
    /// To `ReadMany`, in order.
    Files(Vec<Result<FileContent, OpError>>),
    /// To `Search`.
    Matches {
        /// The matches.
        matches: Vec<LineMatch>,
        /// Whether a limit cut the list.
        truncated: bool,
    },
    /// To `Apply`.
    Applied,
    /// To `Exec`.
    Exec(ExecOutput),
    /// To `KillAll`: how many processes were ended.
    Killed(u64),
    /// The operation was refused or failed; the workspace is fine and nothing was changed.
    Refused(OpError),
}

/// Why an operation was refused. These go back to the model as a tool error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OpError {
    /// No such file or directory.
    #[error("`{0}` does not exist")]
    NotFound(String),
    /// A regular file was wanted.
    #[error("`{0}` is not a regular file")]
    NotAFile(String),
    /// A directory was wanted.
    #[error("`{0}` is not a directory")]
    NotADirectory(String),
    /// The path leads outside the workspace.
    #[error("`{0}` leads outside the workspace")]
    Escapes(String),
    /// The system said no.
    #[error("`{path}`: {why}")]
    Io {
        /// The path.
        path: String,
        /// The system's words.
        why: String,
    },
}

/// Bytes as one piece: serde takes a `Vec<u8>` for a list of numbers and walks it one by one, which for contents is the larger part of
/// the cost of a call.
pub mod raw {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};
    use std::fmt;

    /// Writes bytes as one piece.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Reads bytes from one piece, or from a list of numbers in formats that know no bytes.
    ///
    /// # Errors
    /// Those of the format.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = list.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_survive_formats_with_and_without_bytes() {
        let change = Change::Write { path: "a".to_owned(), bytes: vec![0, 255, 10], mode: None };
        let json = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), change);
    }
}
