//! Errors of reading and writing a run folder. Owns what they say and how they answer `retry` and `fault`.

use crate::layout::IllegalName;
use crate::once::{Undecided, is_permanent};
use crate::records::RecordError;
use domain::id::{AttemptNo, RunId, TrialKey};
use domain::{Fault, Retry};

/// Why a run folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store did not answer a read.
    #[error("failed to read `{key}`")]
    Read {
        /// The key, with its run.
        key: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The store did not list.
    #[error("failed to list `{prefix}`")]
    List {
        /// The folder.
        prefix: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The store neither took an object nor said that one is there.
    #[error("failed to write `{key}` after {tries} tries")]
    Write {
        /// The key, with its run.
        key: String,
        /// How often it was tried.
        tries: u32,
        /// What the store said last.
        #[source]
        source: object_store::Error,
    },
    /// The store did not delete an object.
    #[error("failed to delete `{key}`")]
    Delete {
        /// The key, with its run.
        key: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// An object is no record that this version can read.
    #[error("failed to understand `{key}`")]
    Record {
        /// The key, with its run.
        key: String,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A folder without `run.json` does not exist.
    #[error("no run `{run}` in `{url}`")]
    NoSuchRun {
        /// The run.
        run: RunId,
        /// The store.
        url: String,
    },
    /// An object that another one speaks of is not there.
    #[error("`{key}` is missing")]
    Missing {
        /// The key, with its run.
        key: String,
    },
    /// An object is not what its digest says.
    #[error("`{key}` has digest {found}, expected {expected}")]
    Digest {
        /// The key, with its run.
        key: String,
        /// What it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// Somebody else wrote where only we may write.
    #[error("`{key}` exists already with other content")]
    Foreign {
        /// The key, with its run.
        key: String,
    },
    /// An attempt was to end before all of its chunks were safe.
    #[error("attempt {attempt} of `{trial}` has {unsure} chunks that are not stored")]
    ChunksNotStored {
        /// The trial.
        trial: TrialKey,
        /// The attempt.
        attempt: AttemptNo,
        /// How many.
        unsure: usize,
    },
    /// A result does not belong to the attempt it was written for, or does not survive being read back.
    #[error("the result is not one of attempt {attempt} of `{trial}`: {why}")]
    WrongResult {
        /// The trial.
        trial: TrialKey,
        /// The attempt.
        attempt: AttemptNo,
        /// What differs.
        why: String,
    },
    /// A run with undecided trials cannot be sealed.
    #[error("run `{run}` has {undecided} undecided trials, `{example}` among them")]
    Undecided {
        /// The run.
        run: RunId,
        /// How many.
        undecided: usize,
        /// One of them.
        example: TrialKey,
    },
    /// A run that is still open is not deleted.
    #[error("run `{run}` is not sealed")]
    NotSealed {
        /// The run.
        run: RunId,
    },
    /// A name that cannot be part of a key.
    #[error("cannot store under this name")]
    Name(#[from] IllegalName),
}

impl Error {
    pub(crate) fn undecided(key: String, undecided: Undecided) -> Self {
        Self::Write { key, tries: undecided.tries, source: undecided.source }
    }

    /// Whether the same call can succeed later.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Read { source, .. }
            | Self::List { source, .. }
            | Self::Write { source, .. }
            | Self::Delete { source, .. } => {
                if is_permanent(source) {
                    Retry::No
                } else {
                    Retry::Backoff
                }
            }
            Self::Record { source, .. } => source.retry(),
            _ => Retry::No,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Record { source, .. } => source.fault(),
            Self::NoSuchRun { .. } | Self::NotSealed { .. } => Fault::User,
            Self::Foreign { .. }
            | Self::ChunksNotStored { .. }
            | Self::WrongResult { .. }
            | Self::Undecided { .. }
            | Self::Name(_) => Fault::Bug,
            _ => Fault::Infra,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Record { source, .. } => source.hint(),
            Self::NoSuchRun { .. } => Some("`och status --store …` lists the runs of a store"),
            Self::NotSealed { .. } => {
                Some("finish it with `och resume`, or say that it may go although it is open")
            }
            Self::Write { source: object_store::Error::NotFound { .. }, .. }
            | Self::List { source: object_store::Error::NotFound { .. }, .. } => {
                Some("does the bucket or directory exist?")
            }
            Self::Read { source, .. } | Self::Write { source, .. } | Self::List { source, .. } => {
                match source {
                    object_store::Error::PermissionDenied { .. }
                    | object_store::Error::Unauthenticated { .. } => {
                        Some("the store refused the credentials of this process's environment")
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
