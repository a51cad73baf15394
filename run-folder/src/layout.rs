//! Where everything lies. Every key of a run folder is made here and taken apart here, and nowhere else.

use crate::chunks::ChunkKind;
use domain::id::{AttemptNo, Epoch, TrialKey};
use domain::suite::InputDigest;
use std::fmt;
use std::str::FromStr;

/// Folder of all verdicts, flat, so that one LIST says how far a run is.
pub(crate) const VERDICTS: &str = "verdicts";
/// Folder of all attempts.
pub(crate) const ATTEMPTS: &str = "attempts";
/// Folder of all reigns.
pub(crate) const EPOCHS: &str = "epochs";
/// Longest name of an artifact, or of a part of a report's path.
const MAX_NAME_BYTES: usize = 100;

/// An object of a run folder, by what it is. Printed as its key relative to the folder and parsed back from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `run.json`
    Run,
    /// `inputs/<sha256>.tar.zst`
    Input(InputDigest),
    /// `epochs/000001.json`
    Epoch(Epoch),
    /// `cancel.json`
    Cancel,
    /// `attempts/<trial>/<nn>/claim.json`
    Claim(TrialKey, AttemptNo),
    /// `attempts/<trial>/<nn>/trace/00000.jsonl`, and transcript likewise
    Chunk(TrialKey, AttemptNo, ChunkKind, u32),
    /// `attempts/<trial>/<nn>/artifacts/<name>`
    Artifact(TrialKey, AttemptNo, Name),
    /// `attempts/<trial>/<nn>/result.json`
    Result(TrialKey, AttemptNo),
    /// `attempts/<trial>/<nn>/abandoned.json`
    Abandoned(TrialKey, AttemptNo),
    /// `verdicts/<trial>.json`
    Verdict(TrialKey),
    /// `journal/000001-00000.jsonl`
    Journal(Epoch, u64),
    /// `sealed.json`
    Sealed,
    /// `report/<path>`
    Report(ReportPath),
}

/// A name that is no legal name of an artifact or report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a legal name: at most {MAX_NAME_BYTES} lower-case letters, digits, `-`, `_` and `.`, starting with a letter or digit"
)]
pub struct IllegalName {
    /// The name as given.
    pub name: String,
}

/// The name of an artifact: one path segment that is safe on every file system and in every URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The path of a report: segments like [`Name`], joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportPath(String);

impl FromStr for Name {
    type Err = IllegalName;
    fn from_str(text: &str) -> Result<Self, IllegalName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let legal = text.len() <= MAX_NAME_BYTES
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.'));
        if legal { Ok(Self(text.to_owned())) } else { Err(IllegalName { name: text.to_owned() }) }
    }
}

impl FromStr for ReportPath {
    type Err = IllegalName;
    fn from_str(text: &str) -> Result<Self, IllegalName> {
        text.split('/').try_for_each(|segment| segment.parse::<Name>().map(drop))?;
        Ok(Self(text.to_owned()))
    }
}

impl Place {
    /// The key relative to the run folder.
    #[must_use]
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// The place with this key; `None` when no such place exists, or when its key would be written differently.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        let segments: Vec<&str> = key.split('/').collect();
        let place = match *segments.as_slice() {
            ["run.json"] => Self::Run,
            ["cancel.json"] => Self::Cancel,
            ["sealed.json"] => Self::Sealed,
            ["inputs", file] => {
                let digest = file.strip_suffix(".tar.zst")?;
                is_sha256(digest).then(|| Self::Input(InputDigest(digest.to_owned())))?
            }
            [EPOCHS, file] => Self::Epoch(file.strip_suffix(".json")?.parse().ok().and_then(Epoch::new)?),
            [VERDICTS, file] => Self::Verdict(file.strip_suffix(".json")?.parse().ok()?),
            ["journal", file] => {
                let (epoch, number) = file.strip_suffix(".jsonl")?.split_once('-')?;
                Self::Journal(epoch.parse().ok().and_then(Epoch::new)?, number.parse().ok()?)
            }
            ["report", ..] => Self::Report(key.strip_prefix("report/")?.parse().ok()?),
            [ATTEMPTS, trial, number, ref rest @ ..] => {
                let (trial, attempt): (TrialKey, AttemptNo) = (trial.parse().ok()?, number.parse().ok()?);
                match *rest {
                    ["claim.json"] => Self::Claim(trial, attempt),
                    ["result.json"] => Self::Result(trial, attempt),
                    ["abandoned.json"] => Self::Abandoned(trial, attempt),
                    ["artifacts", name] => Self::Artifact(trial, attempt, name.parse().ok()?),
                    [kind, file] => {
                        let number = file.strip_suffix(".jsonl")?.parse().ok()?;
                        Self::Chunk(trial, attempt, ChunkKind::from_folder(kind)?, number)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        (place.key() == key).then_some(place)
    }

    /// The trial and attempt whose folder this lies in.
    #[must_use]
    pub const fn attempt(&self) -> Option<(&TrialKey, AttemptNo)> {
        match self {
            Self::Claim(trial, attempt)
            | Self::Chunk(trial, attempt, ..)
            | Self::Artifact(trial, attempt, _)
            | Self::Result(trial, attempt)
            | Self::Abandoned(trial, attempt) => Some((trial, *attempt)),
            _ => None,
        }
    }

    /// Whether the object must survive a power cut once it was written: everything that decides, but not the bulk.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Run
                | Self::Epoch(_)
                | Self::Cancel
                | Self::Claim(..)
                | Self::Result(..)
                | Self::Abandoned(..)
                | Self::Verdict(_)
                | Self::Sealed
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run.json"),
            Self::Input(digest) => write!(f, "inputs/{}.tar.zst", digest.0),
            Self::Epoch(epoch) => write!(f, "{EPOCHS}/{epoch}.json"),
            Self::Cancel => f.write_str("cancel.json"),
            Self::Claim(trial, attempt) => write!(f, "{}claim.json", attempt_folder(trial, *attempt)),
            Self::Chunk(trial, attempt, kind, number) => {
                write!(f, "{}{}", attempt_folder(trial, *attempt), chunk_path(*kind, *number))
            }
            Self::Artifact(trial, attempt, name) => {
                write!(f, "{}{}", attempt_folder(trial, *attempt), artifact_path(name))
            }
            Self::Result(trial, attempt) => write!(f, "{}result.json", attempt_folder(trial, *attempt)),
            Self::Abandoned(trial, attempt) => {
                write!(f, "{}abandoned.json", attempt_folder(trial, *attempt))
            }
            Self::Verdict(trial) => write!(f, "{VERDICTS}/{trial}.json"),
            Self::Journal(epoch, number) => write!(f, "journal/{epoch}-{number:05}.jsonl"),
            Self::Sealed => f.write_str("sealed.json"),
            Self::Report(path) => write!(f, "report/{}", path.0),
        }
    }
}

/// The folder of all attempts at a trial, without a slash at the end.
pub(crate) fn trial_folder(trial: &TrialKey) -> String {
    format!("{ATTEMPTS}/{trial}")
}

/// The folder of an attempt, with a slash at the end.
pub(crate) fn attempt_folder(trial: &TrialKey, attempt: AttemptNo) -> String {
    format!("{ATTEMPTS}/{trial}/{attempt}/")
}

/// The attempt whose folder has this name.
pub(crate) fn attempt_number(folder: &str) -> Option<AttemptNo> {
    folder.parse().ok().filter(|attempt: &AttemptNo| attempt.to_string() == folder)
}

/// A chunk's path inside its attempt folder.
pub(crate) fn chunk_path(kind: ChunkKind, number: u32) -> String {
    format!("{}/{number:05}.jsonl", kind.folder())
}

/// An artifact's path inside its attempt folder.
pub(crate) fn artifact_path(name: &Name) -> String {
    format!("artifacts/{}", name.0)
}

/// Whether a text is a lower-case hex SHA-256.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests;
