//! A workspace compared with the files it began with: what changed as a patch, and putting back what must be as it was. Works through
//! operations alone, so it is the same for every kind of workspace.

mod diff;
mod restore;

pub use diff::unified;
pub use restore::{overlay, restore};

use crate::archive::{Archive, ItemKind};
use crate::contract::{Lost, Workspace};
use domain::ops::{Entry, EntryKind, Op, OpError, Reply};
use domain::{Fault, Retry};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;

/// Files of a workspace that are looked through.
const MAX_FILES: u64 = 300_000;

/// Why a workspace could not be compared or put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workspace is gone.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The archive cannot be read.
    #[error("failed to read the archive: {why}")]
    Archive {
        /// What is wrong.
        why: String,
    },
    /// A glob is not one.
    #[error("`{glob}` is not a glob: {why}")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong.
        why: String,
    },
    /// The workspace refused, for a reason that lies in its files: too many, too large, no room.
    #[error("the workspace refused: {0}")]
    Refused(OpError),
}

impl Error {
    /// Whether trying again, in another workspace, can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Lost(_) | Self::Archive { .. } => Retry::Backoff,
            Self::Glob { .. } | Self::Refused(_) => Retry::No,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Lost(lost) if lost.counts => Fault::Model,
            Self::Lost(_) | Self::Archive { .. } => Fault::Infra,
            Self::Glob { .. } => Fault::User,
            Self::Refused(_) => Fault::Model,
        }
    }
}

/// What a file or link is, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    File { mode: u32, bytes: u64, sha256: Option<String> },
    Link { target: String },
    Other,
}

impl Thing {
    fn executable(&self) -> bool {
        matches!(self, Self::File { mode, .. } if mode & 0o111 != 0)
    }
}

/// All files and links of an archive by path; names that are not UTF-8 as the workspace shows them.
async fn originals(archive: &Archive) -> Result<BTreeMap<String, Thing>, Error> {
    let archive = archive.clone();
    blocking(move || {
        let mut things = BTreeMap::new();
        archive.each(|item, content| {
            let thing = match item.kind {
                ItemKind::Dir { .. } => return Ok(ControlFlow::Continue(())),
                ItemKind::Link { target } => {
                    Thing::Link { target: String::from_utf8_lossy(&target).into_owned() }
                }
                ItemKind::File { mode, bytes } => Thing::File { mode, bytes, sha256: Some(hash(content)?) },
            };
            things.insert(clean(&item.path), thing);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(things)
    })
    .await
}

/// The contents of the wanted files of an archive.
async fn contents(archive: &Archive, wanted: Vec<String>) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let archive = archive.clone();
    blocking(move || {
        let mut found = BTreeMap::new();
        archive.each(|item, content| {
            let path = clean(&item.path);
            if matches!(item.kind, ItemKind::File { .. }) && wanted.binary_search(&path).is_ok() {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                found.insert(path, bytes);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    })
    .await
}

/// All files and links of a workspace by path.
async fn present(workspace: &dyn Workspace, skip_dirs: &[&str]) -> Result<BTreeMap<String, Thing>, Error> {
    let skip_dirs = skip_dirs.iter().map(|name| (*name).to_owned()).collect();
    let op = Op::Walk { path: ".".to_owned(), skip_dirs, max_files: MAX_FILES, hashes: true };
    match workspace.run(op).await? {
        Reply::Entries { entries, truncated: false } => {
            Ok(entries.into_iter().map(|entry| (entry.path.clone(), thing(entry))).collect())
        }
        Reply::Entries { .. } => {
            let why = "more files, or deeper folders, than can be looked through".to_owned();
            Err(Error::Refused(OpError::Io { path: ".".to_owned(), why }))
        }
        Reply::Refused(error) => Err(Error::Refused(error)),
        other => Err(unexpected(&other)),
    }
}

fn thing(entry: Entry) -> Thing {
    match entry.kind {
        EntryKind::File => Thing::File { mode: entry.mode, bytes: entry.bytes, sha256: entry.sha256 },
        EntryKind::Link => Thing::Link { target: entry.target.unwrap_or_default() },
        EntryKind::Dir | EntryKind::Other => Thing::Other,
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::Lost(Lost::engine(format!("unexpected answer {reply:?}")))
}

/// A path of an archive as the workspace shows it.
fn clean(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.split('/').filter(|name| !name.is_empty() && *name != ".").collect::<Vec<_>>().join("/")
}

fn hash(content: &mut dyn Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match content.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Error::Archive { why: error.to_string() })?;
    done.map_err(|error| Error::Archive { why: error.to_string() })
}
