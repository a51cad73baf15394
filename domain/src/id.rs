//! Typed names. Owns which characters are legal in a key; knows nothing of what the names stand for.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

/// Longest legal id, in bytes. Four of them and three dots stay below the 255 bytes of a file name.
pub const MAX_ID_BYTES: usize = 60;

/// Why a text is not a legal id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("an id must not be empty")]
    Empty,
    /// A character outside `[a-z0-9-]`, or a leading dash.
    #[error(
        "`{text}` is not a legal id: lower-case letters, digits and `-`, starting with a letter or digit"
    )]
    Illegal {
        /// The text as given.
        text: String,
    },
    /// More than [`MAX_ID_BYTES`].
    #[error("`{text}` is longer than {MAX_ID_BYTES} bytes")]
    TooLong {
        /// The text as given.
        text: String,
    },
    /// A key of several parts has the wrong number of them.
    #[error("`{text}` is not a trial key: expected `suite.case.preset.index`")]
    NotATrialKey {
        /// The text as given.
        text: String,
    },
    /// Not a positive number.
    #[error("`{text}` is not a positive number")]
    NotANumber {
        /// The text as given.
        text: String,
    },
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong { text: text.to_owned() });
    }
    let legal = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !legal || text.starts_with('-') {
        return Err(IdError::Illegal { text: text.to_owned() });
    }
    Ok(())
}

/// Turns any text into a legal id. A text that is legal already stays as it is; any other is folded to legal characters and gets a
/// short hash of the original, so that two different texts never meet in one id.
#[must_use]
pub fn fold(text: &str) -> String {
    if check(text).is_ok() {
        return text.to_owned();
    }
    let mut folded = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            folded.push(c);
        } else if !folded.is_empty() && !folded.ends_with('-') {
            folded.push('-');
        }
        if folded.len() >= MAX_ID_BYTES - 9 {
            break;
        }
    }
    let folded = folded.trim_matches('-');
    let hash = fnv1a(text.as_bytes());
    if folded.is_empty() { format!("x-{hash:08x}") } else { format!("{folded}-{hash:08x}") }
}

/// The 32-bit FNV-1a hash (Fowler, Noll, Vo): small, stable across versions and machines, not for security.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Takes a legal id.
            ///
            /// # Errors
            /// When the text is empty, too long or has an illegal character.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                check(text.as_ref())?;
                Ok(Self(text.as_ref().into()))
            }

            /// Makes a legal id of any text; see [`fold`].
            #[must_use]
            pub fn folded(text: &str) -> Self {
                Self(fold(text).into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A suite's key: the stem of its file, folded.
    SuiteId
);
text_id!(
    /// A case's key inside its suite: its id, folded where it was not legal.
    CaseId
);
text_id!(
    /// The name of a preset.
    PresetName
);
text_id!(
    /// One run, and the name of its folder: `20261120-1745-repair-7f3k2m`; sorts by time, never reused.
    RunId
);
text_id!(
    /// A worker's name for people, stable across its lives.
    WorkerName
);
text_id!(
    /// One life of one process: random, never reused. The writer of everything in an attempt folder.
    Incarnation
);
text_id!(
    /// One lease, unique within a coordinator's reign.
    LeaseId
);

/// The number of a trial of one (case, preset), from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialIndex(pub u32);

impl fmt::Display for TrialIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an attempt at a trial, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptNo(pub NonZeroU32);

impl AttemptNo {
    /// The first attempt.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// Takes a number from 1; `None` for 0.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number after this one (saturating).
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for AttemptNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

impl FromStr for AttemptNo {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| IdError::NotANumber { text: text.to_owned() })
    }
}

/// The number of one coordinator's reign over a run, from 1: the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub NonZeroU64);

impl Epoch {
    /// The first reign.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// Takes a number from 1; `None` for 0.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The reign after this one (saturating).
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// One trial: the unit of statistics. Printed and parsed as `suite.case.preset.index`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialKey {
    /// The suite.
    pub suite: SuiteId,
    /// The case in the suite.
    pub case: CaseId,
    /// The preset.
    pub preset: PresetName,
    /// Which of the trials of this cell.
    pub index: TrialIndex,
}

impl fmt::Display for TrialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.suite, self.case, self.preset, self.index)
    }
}

impl fmt::Debug for TrialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrialKey({self})")
    }
}

impl FromStr for TrialKey {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let not_a_key = || IdError::NotATrialKey { text: text.to_owned() };
        let mut parts = text.split('.');
        let (Some(suite), Some(case), Some(preset), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(not_a_key());
        };
        let number: u32 = index.parse().map_err(|_| not_a_key())?;
        if number.to_string() != index {
            return Err(not_a_key());
        }
        Ok(Self {
            suite: suite.parse()?,
            case: case.parse()?,
            preset: preset.parse()?,
            index: TrialIndex(number),
        })
    }
}

impl Serialize for TrialKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrialKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folding_keeps_legal_ids_and_separates_others() {
        assert_eq!(fold("repair-calculator"), "repair-calculator");
        assert_ne!(fold("Fix_Add"), fold("fix-add"));
        assert_ne!(fold("a/b"), fold("a.b"));
        assert!(fold("../../../x").starts_with("x-"));
        assert!(fold("修复").starts_with("x-"));
    }

    proptest! {
        #[test]
        fn every_folded_text_is_legal(text in ".{0,200}") {
            prop_assert!(check(&fold(&text)).is_ok());
        }

        #[test]
        fn trial_keys_survive_printing(a in "[a-z0-9][a-z0-9-]{0,20}", b in "[a-z0-9][a-z0-9-]{0,20}", c in "[a-z0-9][a-z0-9-]{0,20}", n in 0u32..5000) {
            let key = TrialKey { suite: a.parse().unwrap(), case: b.parse().unwrap(), preset: c.parse().unwrap(), index: TrialIndex(n) };
            prop_assert_eq!(key.to_string().parse::<TrialKey>().unwrap(), key);
        }

        #[test]
        fn no_text_panics_the_parsers(text in ".{0,80}") {
            let parsed = text.parse::<TrialKey>();
            prop_assert!(parsed.is_err() || parsed.unwrap().to_string() == text);
        }
    }
}
