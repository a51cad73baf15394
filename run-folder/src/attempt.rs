//! Writing an attempt: claimed → open → finished → decided, as types, so that nothing can be written after the end. Must not know
//! what runs inside an attempt.

use crate::chunks::{ChunkKind, Ledger, sha256};
use crate::error::Error;
use crate::folder::RunFolder;
use crate::layout::{self, Place};
use crate::once::{Created, Patience};
use crate::records::{AbandonRecord, ClaimRecord, decode};
use bytes::Bytes;
use domain::id::{AttemptNo, Incarnation, TrialKey};
use domain::outcome::{AttemptResult, ChunkRef, Verdict};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who owns an attempt number.
#[derive(Debug)]
pub enum Claim {
    /// We do: here is the pen.
    Mine(AttemptWriter<Open>),
    /// Somebody else does: take the next number.
    Theirs(ClaimRecord),
}

/// The one who may write into an attempt folder. `S` is [`Open`] or [`Finished`].
#[derive(Debug)]
pub struct AttemptWriter<S> {
    folder: RunFolder,
    trial: TrialKey,
    attempt: AttemptNo,
    state: S,
}

/// Chunks may be written.
#[derive(Debug)]
pub struct Open {
    incarnation: Incarnation,
    ledger: Mutex<Ledger>,
}

/// The result is written; only the verdict is missing.
#[derive(Debug)]
pub struct Finished {
    verdict: Verdict,
}

/// What became of a finished attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    /// The trial's verdict rests on this attempt.
    Ours(Verdict),
    /// Another attempt, or the coordinator, was faster: this one is kept and never used.
    Orphaned {
        /// The verdict that stands.
        theirs: Verdict,
    },
}

impl RunFolder {
    /// Takes an attempt number. The same claim sent again is still ours, as long as it is the same to the byte.
    ///
    /// # Errors
    /// When the store does not answer; the number may then be ours or not, and the same call finds out.
    pub async fn claim(
        &self,
        trial: &TrialKey,
        attempt: AttemptNo,
        claim: &ClaimRecord,
    ) -> Result<Claim, Error> {
        let place = Place::Claim(trial.clone(), attempt);
        match self.create_record(&place, claim).await? {
            Created::Theirs(theirs) => Ok(Claim::Theirs(theirs)),
            Created::Mine => Ok(Claim::Mine(AttemptWriter {
                folder: self.clone(),
                trial: trial.clone(),
                attempt,
                state: Open { incarnation: claim.incarnation.clone(), ledger: Mutex::default() },
            })),
        }
    }
}

impl<S> AttemptWriter<S> {
    /// The attempt.
    #[must_use]
    pub const fn attempt(&self) -> AttemptNo {
        self.attempt
    }

    /// The trial.
    #[must_use]
    pub const fn trial(&self) -> &TrialKey {
        &self.trial
    }
}

impl AttemptWriter<Open> {
    /// Stores the next piece of a trace or transcript: whole lines. After an error, the same bytes again go under the same number.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn put_chunk(&self, kind: ChunkKind, bytes: Bytes) -> Result<ChunkRef, Error> {
        let digest = sha256(&bytes);
        let number = self.ledger().number(kind, &digest);
        let place = Place::Chunk(self.trial.clone(), self.attempt, kind, number);
        self.folder.create_mine(&place, &bytes, Patience::SHORT).await?;
        let chunk =
            ChunkRef { path: layout::chunk_path(kind, number), bytes: bytes.len() as u64, sha256: digest };
        self.ledger().wrote_chunk(kind, &chunk);
        Ok(chunk)
    }

    /// Stores an artifact: a patch, a log, a session.
    ///
    /// # Errors
    /// When the name is not legal, names something else already, or the store does not answer.
    pub async fn put_artifact(&self, name: &str, bytes: Bytes) -> Result<ChunkRef, Error> {
        let name: layout::Name = name.parse()?;
        let path = layout::artifact_path(&name);
        let place = Place::Artifact(self.trial.clone(), self.attempt, name);
        self.folder.create_mine(&place, &bytes, Patience::SHORT).await?;
        let artifact = ChunkRef { path, bytes: bytes.len() as u64, sha256: sha256(&bytes) };
        self.ledger().wrote(&artifact);
        Ok(artifact)
    }

    /// Ends the attempt with a result, its last object. The list of chunks in it is the writer's own, whatever the caller put there.
    /// A store that stays away is waited for about six minutes: the money is spent.
    ///
    /// # Errors
    /// When chunks are not stored, the result is of another attempt, or the store stays away.
    pub async fn finish(self, result: &AttemptResult) -> Result<AttemptWriter<Finished>, Error> {
        let (chunks, unsure) = {
            let ledger = self.ledger();
            (ledger.written(), ledger.unsure())
        };
        if unsure > 0 {
            return Err(Error::ChunksNotStored { trial: self.trial, attempt: self.attempt, unsure });
        }
        let result = AttemptResult { chunks, ..result.clone() };
        let place = Place::Result(self.trial.clone(), self.attempt);
        let bytes = self.folder.encode(&place, &result)?;
        if let Some(why) = self.why_wrong(&result, &bytes) {
            return Err(Error::WrongResult { trial: self.trial, attempt: self.attempt, why });
        }
        self.folder.create_mine(&place, &bytes, Patience::LONG).await?;
        let Self { folder, trial, attempt, .. } = self;
        Ok(AttemptWriter {
            folder,
            trial,
            attempt,
            state: Finished { verdict: Verdict::from_result(&result) },
        })
    }

    /// Ends the attempt without a result.
    ///
    /// # Errors
    /// When the store does not answer. The claim then stays open and counts once its owner is known to be dead.
    pub async fn abandon(self, why: &AbandonRecord) -> Result<(), Error> {
        let place = Place::Abandoned(self.trial.clone(), self.attempt);
        let bytes = self.folder.encode(&place, why)?;
        self.folder.create_mine(&place, &bytes, Patience::SHORT).await
    }

    /// A helper that reads the result back must come to the same verdict: what does not survive being stored is refused.
    fn why_wrong(&self, result: &AttemptResult, bytes: &[u8]) -> Option<String> {
        if result.trial != self.trial {
            return Some(format!("it is one of trial `{}`", result.trial));
        }
        if result.attempt != self.attempt {
            return Some(format!("it is one of attempt {}", result.attempt));
        }
        if result.incarnation != self.state.incarnation {
            return Some(format!("it was made by `{}`", result.incarnation));
        }
        match decode::<AttemptResult>(bytes) {
            Ok(read) if read == *result => None,
            Ok(_) => Some("it reads back differently".to_owned()),
            Err(error) => Some(format!("it does not read back: {error}")),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.state.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttemptWriter<Finished> {
    /// The verdict that follows from the result.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.state.verdict
    }

    /// Writes the verdict, unless there is one. A store that stays away is waited for about six minutes; after that anybody can help
    /// with [`RunFolder::settle`].
    ///
    /// # Errors
    /// When the store stays away.
    pub async fn decide(self) -> Result<Decided, Error> {
        let stands = self.folder.decide(&self.state.verdict, Patience::LONG).await?;
        if stands.attempt == Some(self.attempt) {
            Ok(Decided::Ours(stands))
        } else {
            Ok(Decided::Orphaned { theirs: stands })
        }
    }
}
