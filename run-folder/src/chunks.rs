//! Pieces of traces and transcripts: what kinds there are, how they are numbered and fingerprinted. Knows nothing of their content.

use domain::outcome::ChunkRef;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A stream of an attempt that is stored in numbered pieces of whole lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkKind {
    /// Events.
    Trace,
    /// Provider requests and responses.
    Transcript,
}

impl ChunkKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Trace, Self::Transcript];

    /// The folder of its pieces inside an attempt folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Transcript => "transcript",
        }
    }

    pub(crate) fn from_folder(folder: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.folder() == folder)
    }
}

/// Lower-case hex SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What an attempt has written. A piece whose write has not succeeded keeps its number, so that writing it again cannot store it
/// twice under two numbers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: BTreeMap<ChunkKind, u32>,
    unsure: BTreeMap<(ChunkKind, String), u32>,
    written: BTreeMap<String, ChunkRef>,
}

impl Ledger {
    /// The number for a piece: the one it had when an earlier write of the same bytes did not succeed, else the next one.
    pub(crate) fn number(&mut self, kind: ChunkKind, digest: &str) -> u32 {
        let next = self.next.entry(kind).or_default();
        *self.unsure.entry((kind, digest.to_owned())).or_insert_with(|| {
            let number = *next;
            *next += 1;
            number
        })
    }

    /// Notes that a piece is safe.
    pub(crate) fn wrote_chunk(&mut self, kind: ChunkKind, chunk: &ChunkRef) {
        self.unsure.remove(&(kind, chunk.sha256.clone()));
        self.wrote(chunk);
    }

    /// Notes that an object is safe.
    pub(crate) fn wrote(&mut self, chunk: &ChunkRef) {
        self.written.insert(chunk.path.clone(), chunk.clone());
    }

    /// Everything that is safe, by path.
    pub(crate) fn written(&self) -> Vec<ChunkRef> {
        self.written.values().cloned().collect()
    }

    /// How many pieces are not known to be safe.
    pub(crate) fn unsure(&self) -> usize {
        self.unsure.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_its_number_until_it_is_safe() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.number(ChunkKind::Trace, "a"), 0);
        assert_eq!(ledger.number(ChunkKind::Trace, "a"), 0);
        assert_eq!(ledger.number(ChunkKind::Trace, "b"), 1);
        assert_eq!(ledger.number(ChunkKind::Transcript, "a"), 0);
        assert_eq!(ledger.unsure(), 3);
        let chunk = ChunkRef { path: "trace/00000.jsonl".into(), bytes: 1, sha256: "a".into() };
        ledger.wrote_chunk(ChunkKind::Trace, &chunk);
        assert_eq!(ledger.number(ChunkKind::Trace, "a"), 2, "the same bytes again are a new piece");
        assert_eq!(ledger.written(), [chunk]);
    }

    #[test]
    fn digests_are_those_of_everybody_else() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
