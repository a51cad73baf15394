//! The records of a run folder: one line of JSON, `"format": 1` first. Owns their envelope and the records that no other crate
//! needs to know whole; the bodies of `run.json`, results and verdicts are domain types.

use bytes::Bytes;
use domain::id::{Epoch, Incarnation, WorkerName};
use domain::outcome::{AttemptResult, Verdict};
use domain::run::RunSpec;
use domain::{Fault, Retry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The major version of every record this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// Something that is stored as a record. Fields may be added as long as they have defaults: readers keep quiet about unknown ones.
pub trait Record: Serialize + DeserializeOwned {
    /// What to call it in messages.
    const NAME: &'static str;
}

macro_rules! records {
    ($($record:ty = $name:literal),+ $(,)?) => {
        $(impl Record for $record { const NAME: &'static str = $name; })+
    };
}

records! {
    RunSpec = "run",
    EpochRecord = "epoch",
    CancelRecord = "cancel wish",
    ClaimRecord = "claim",
    AbandonRecord = "end of an attempt",
    AttemptResult = "result",
    Verdict = "verdict",
}

/// One reign of a coordinator: `epochs/<n>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The coordinator's life.
    pub incarnation: Incarnation,
    /// Where it can be dialled.
    pub address: String,
    /// Its machine, for people.
    pub host: String,
    /// UTC, for people.
    pub started_at: String,
}

/// A wish to stop: `cancel.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRecord {
    /// Why, for people.
    pub reason: String,
}

/// Who tries: `claim.json`. The bytes tell one writer from another, so that a writer can recognise its own claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The worker's life. The only writer of everything in the attempt folder.
    pub incarnation: Incarnation,
    /// The worker's name, for people.
    pub worker: WorkerName,
    /// The reign that granted the trial; `None` when no coordinator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Random text made for this one try of this one trial. The same claim sent again has the same nonce.
    pub nonce: String,
    /// Digest of the container image, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// UTC, for people.
    pub claimed_at: String,
}

/// Why an attempt ended without a result: `abandoned.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbandonRecord {
    /// Why, for people.
    pub reason: String,
    /// Whether the trial may be tried again.
    pub retryable: bool,
    /// Whether it counts towards the attempts a trial may use up.
    pub counts: bool,
}

/// Why a record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or without a format number.
    #[error("not a record of a run folder: no `format`")]
    NoFormat(#[source] Option<serde_json::Error>),
    /// A newer version wrote it.
    #[error("{record} has format {found}, this version reads up to {FORMAT}")]
    TooNew {
        /// What it is.
        record: &'static str,
        /// Its format.
        found: u64,
    },
    /// The right format, the wrong fields.
    #[error("{record} is damaged")]
    Damaged {
        /// What it should be.
        record: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A value that JSON cannot carry, such as an infinite number.
    #[error("{record} cannot be written as JSON")]
    Unwritable {
        /// What it is.
        record: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl RecordError {
    /// Never: bytes that exist do not change.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::No
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::TooNew { .. } => Fault::User,
            Self::NoFormat(_) | Self::Damaged { .. } => Fault::Infra,
            Self::Unwritable { .. } => Fault::Bug,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TooNew { .. } => Some("the run was written by a newer och: update this one to read it"),
            Self::NoFormat(_) | Self::Damaged { .. } => {
                Some("the object was changed or cut short after it was written; nothing in och does that")
            }
            Self::Unwritable { .. } => None,
        }
    }
}

/// The bytes of a record: one line, `"format"` first.
///
/// # Errors
/// When a value has no place in JSON.
pub fn encode<R: Record>(record: &R) -> Result<Bytes, RecordError> {
    let unwritable = |source| RecordError::Unwritable { record: R::NAME, source };
    let mut line = format!("{{\"format\":{FORMAT}").into_bytes();
    let start = line.len();
    serde_json::to_writer(&mut line, record).map_err(unwritable)?;
    // The body is an object: its opening brace becomes the comma after the format.
    match line.get(start..start + 2) {
        Some(b"{}") => drop(line.remove(start)),
        Some([b'{', _]) => line[start] = b',',
        _ => return Err(unwritable(serde::ser::Error::custom("a record must be an object"))),
    }
    line.push(b'\n');
    Ok(line.into())
}

/// Reads a record.
///
/// # Errors
/// When the bytes are no record, are of a newer format, or lack fields.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, RecordError> {
    check_format(R::NAME, bytes)?;
    serde_json::from_slice(bytes).map_err(|source| RecordError::Damaged { record: R::NAME, source })
}

/// Checks the format number alone.
pub(crate) fn check_format(record: &'static str, bytes: &[u8]) -> Result<(), RecordError> {
    #[derive(Deserialize)]
    struct Head {
        format: Option<u64>,
    }
    if bytes.starts_with(b"{\"format\":1,") {
        return Ok(());
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|source| RecordError::NoFormat(Some(source)))?;
    match head.format {
        None | Some(0) => Err(RecordError::NoFormat(None)),
        Some(found) if found > u64::from(FORMAT) => Err(RecordError::TooNew { record, found }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
