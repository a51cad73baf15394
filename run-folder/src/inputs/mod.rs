//! What a case needs, packed so that it can travel: deterministic `tar.zst`, named by its digest. Knows directories and archives,
//! nothing of suites or stores.

mod gather;
mod pack;
mod unpack;

pub use gather::{pack_files, pack_in_place, pack_template};
pub use unpack::{Entry, entries, unpack};

use bytes::Bytes;
use domain::suite::InputDigest;
use domain::{Fault, Retry};
use std::path::{Component, Path, PathBuf};

/// A packed input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its name: lower-case hex SHA-256 of the bytes.
    pub digest: InputDigest,
    /// The archive.
    pub bytes: Bytes,
    /// How many files and links are in it.
    pub files: u64,
}

/// How much may be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of all files together, before compression.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { bytes: 256 << 20, entries: 200_000 }
    }
}

/// Why something could not be packed or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("failed to {what} `{path}`")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder could not be walked.
    #[error("failed to walk `{path}`")]
    Walk {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: ignore::Error,
    },
    /// More than the limit.
    #[error("`{path}` holds {} of files, more than the limit of {}; the biggest: {}", mib(*bytes), mib(*limit), tell(biggest))]
    TooBig {
        /// The folder.
        path: PathBuf,
        /// How much there is.
        bytes: u64,
        /// How much may be.
        limit: u64,
        /// The biggest files.
        biggest: Vec<(PathBuf, u64)>,
    },
    /// More files than the limit.
    #[error("`{path}` holds more than {limit} files; the fullest folders: {}", folders(fullest))]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// How many may be.
        limit: u64,
        /// The folders with most files directly in them.
        fullest: Vec<(PathBuf, u64)>,
    },
    /// A symbolic link that leaves the folder.
    #[error("`{path}` is a link to `{target}`, which is outside of what is packed")]
    LinkOut {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// Neither file, folder nor link.
    #[error("`{path}` is a {kind}: only files, folders and links can be packed")]
    Special {
        /// The thing.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A destination that is not a plain relative path.
    #[error("`{path}` is no place inside a workspace")]
    Destination {
        /// The path.
        path: PathBuf,
    },
    /// An archive with an entry that must not be unpacked.
    #[error("the archive holds `{path}`, {why}")]
    Hostile {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No archive, or cut short.
    #[error("the archive is damaged")]
    Damaged(#[source] std::io::Error),
}

impl Error {
    /// The disk may be full only now.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Io { .. } => Retry::Backoff,
            _ => Retry::No,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Io { .. } | Self::Damaged(_) | Self::Hostile { .. } => Fault::Infra,
            _ => Fault::User,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooBig { .. } | Self::TooMany { .. } => {
                Some("name a smaller `workspace`, list what is not needed in .gitignore, or raise the limit")
            }
            Self::LinkOut { .. } => Some(
                "everything a case needs travels with the run: put a copy in its place, or list the link in .gitignore",
            ),
            Self::Special { .. } => Some("remove it, or list it in .gitignore"),
            _ => None,
        }
    }
}

fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people, one digit behind the point")]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.1} MiB")
}

fn tell(biggest: &[(PathBuf, u64)]) -> String {
    let told: Vec<String> =
        biggest.iter().map(|(path, bytes)| format!("`{}` ({})", path.display(), mib(*bytes))).collect();
    told.join(", ")
}

fn folders(fullest: &[(PathBuf, u64)]) -> String {
    let told: Vec<String> =
        fullest.iter().map(|(path, files)| format!("`{}` ({files})", path.display())).collect();
    told.join(", ")
}

/// Whether a path is relative, not empty, and made of names alone.
fn is_plain(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes();
    !bytes.is_empty()
        && !bytes.contains(&0)
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a link at `link` (relative to the root) that points to `target` stays beneath the root, read name by name. `..` that would
/// climb through another link is not seen here: unpacking refuses to write through links, and tools resolve beneath the workspace.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests;
