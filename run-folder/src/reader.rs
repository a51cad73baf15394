//! Reading a run folder: what is decided, what was tried, what was said. Writes nothing.

use crate::chunks::{ChunkKind, sha256};
use crate::derive::{TrialState, derive};
use crate::error::Error;
use crate::folder::RunFolder;
use crate::layout::{self, Place};
use crate::records::{AbandonRecord, ClaimRecord};
use bytes::Bytes;
use domain::id::{AttemptNo, TrialKey};
use domain::matrix;
use domain::outcome::{AttemptResult, Verdict};
use domain::run::RunSpec;
use domain::trace::TraceLine;
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// Trials looked at at the same time.
const LOOKS: usize = 16;

/// One attempt as the folder shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptView {
    /// Its number.
    pub attempt: AttemptNo,
    /// Who made it.
    pub claim: Option<ClaimRecord>,
    /// What it concluded.
    pub result: Option<AttemptResult>,
    /// Why it ended without a result.
    pub abandoned: Option<AbandonRecord>,
}

impl RunFolder {
    /// The trials that have a verdict: one LIST.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn decided(&self) -> Result<BTreeSet<TrialKey>, Error> {
        let places = self.list(layout::VERDICTS).await?;
        Ok(places
            .into_iter()
            .filter_map(|place| match place {
                Place::Verdict(trial) => Some(trial),
                _ => None,
            })
            .collect())
    }

    /// A trial's verdict: one exact read.
    ///
    /// # Errors
    /// When the store does not answer or the verdict cannot be read.
    pub async fn verdict(&self, trial: &TrialKey) -> Result<Option<Verdict>, Error> {
        self.record(&Place::Verdict(trial.clone())).await
    }

    /// All verdicts: from the seal when there is one, else one by one.
    ///
    /// # Errors
    /// When the store does not answer or a verdict cannot be read.
    pub async fn verdicts(&self) -> Result<BTreeMap<TrialKey, Verdict>, Error> {
        if let Some(seal) = self.sealed().await? {
            return Ok(seal.verdicts.into_iter().map(|verdict| (verdict.trial.clone(), verdict)).collect());
        }
        let places: Vec<Place> = self.decided().await?.into_iter().map(Place::Verdict).collect();
        let found = self.read_many(&places).await?;
        let mut verdicts = BTreeMap::new();
        for (place, bytes) in places.iter().zip(found) {
            if let Some(bytes) = bytes {
                let verdict: Verdict = self.decode(place, &bytes)?;
                verdicts.insert(verdict.trial.clone(), verdict);
            }
        }
        Ok(verdicts)
    }

    /// Where a trial is: what to look at before spending. Reads the deciding objects by name and trusts no listing.
    ///
    /// # Errors
    /// When the store does not answer or a record cannot be read.
    pub async fn trial_state(&self, trial: &TrialKey, max_attempts: u32) -> Result<TrialState, Error> {
        Ok(derive(self.facts(trial).await?, max_attempts))
    }

    /// Where every undecided trial of the run is, in the order of the matrix: one LIST of verdicts, one of trials that were ever
    /// tried, and a look at each of those that is undecided.
    ///
    /// # Errors
    /// When the store does not answer or a record cannot be read.
    pub async fn undecided(&self, spec: &RunSpec) -> Result<Vec<(TrialKey, TrialState)>, Error> {
        let decided = self.decided().await?;
        let tried = self.tried().await?;
        let trials = matrix::trials(&spec.suites, &spec.presets, spec.trials);
        let open: Vec<TrialKey> = trials.filter(|trial| !decided.contains(trial)).collect();
        let states: Vec<(TrialKey, TrialState)> = futures::stream::iter(open)
            .map(|trial| {
                let tried = tried.contains(&trial);
                async move {
                    let state = if tried {
                        self.trial_state(&trial, spec.limits.max_attempts).await?
                    } else {
                        TrialState::Pending { counted: 0, next: AttemptNo::FIRST }
                    };
                    Ok::<_, Error>((trial, state))
                }
            })
            .buffered(LOOKS)
            .try_collect()
            .await?;
        Ok(states.into_iter().filter(|(_, state)| !matches!(state, TrialState::Decided(_))).collect())
    }

    /// The trials with at least one attempt folder: one LIST of folder names.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn tried(&self) -> Result<BTreeSet<TrialKey>, Error> {
        let names = self.store().folders(&format!("{}/{}", self.id(), layout::ATTEMPTS)).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The number for the next attempt at a trial.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn next_attempt(&self, trial: &TrialKey) -> Result<AttemptNo, Error> {
        Ok(self.attempt_numbers(trial).await?.last().map_or(AttemptNo::FIRST, |attempt| attempt.next()))
    }

    /// All attempts at a trial.
    ///
    /// # Errors
    /// When the store does not answer or a record cannot be read.
    pub async fn attempts(&self, trial: &TrialKey) -> Result<Vec<AttemptView>, Error> {
        let mut views = Vec::new();
        for attempt in self.attempt_numbers(trial).await? {
            views.push(AttemptView {
                attempt,
                claim: self.record(&Place::Claim(trial.clone(), attempt)).await?,
                result: self.record(&Place::Result(trial.clone(), attempt)).await?,
                abandoned: self.record(&Place::Abandoned(trial.clone(), attempt)).await?,
            });
        }
        Ok(views)
    }

    /// All events of an attempt so far. A line that is no event becomes one of type `unreadable`.
    ///
    /// # Errors
    /// When the store does not answer, or a chunk that the result lists is missing or damaged.
    pub async fn trace(&self, trial: &TrialKey, attempt: AttemptNo) -> Result<Vec<TraceLine>, Error> {
        let bytes = self.joined(trial, attempt, ChunkKind::Trace).await?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines
            .map(|line| {
                serde_json::from_slice(line).unwrap_or_else(|_| TraceLine {
                    time: String::new(),
                    kind: "unreadable".to_owned(),
                    data: String::from_utf8_lossy(line).into_owned().into(),
                })
            })
            .collect())
    }

    /// The transcript of an attempt so far, all chunks joined.
    ///
    /// # Errors
    /// When the store does not answer, or a chunk that the result lists is missing or damaged.
    pub async fn transcript(&self, trial: &TrialKey, attempt: AttemptNo) -> Result<Vec<u8>, Error> {
        self.joined(trial, attempt, ChunkKind::Transcript).await
    }

    /// An artifact of an attempt.
    ///
    /// # Errors
    /// When the name is not legal or the store does not answer.
    pub async fn artifact(
        &self,
        trial: &TrialKey,
        attempt: AttemptNo,
        name: &str,
    ) -> Result<Option<Bytes>, Error> {
        self.read(&Place::Artifact(trial.clone(), attempt, name.parse()?)).await
    }

    /// The chunks of a kind, joined. With a result the list and the digests are the result's; without one, whatever is there.
    async fn joined(&self, trial: &TrialKey, attempt: AttemptNo, kind: ChunkKind) -> Result<Vec<u8>, Error> {
        let result: Option<AttemptResult> = self.record(&Place::Result(trial.clone(), attempt)).await?;
        let folder = layout::attempt_folder(trial, attempt);
        let mut chunks: Vec<(Place, Option<String>)> = match result {
            Some(result) => result
                .chunks
                .into_iter()
                .filter_map(|chunk| {
                    Some((Place::parse(&format!("{folder}{}", chunk.path))?, Some(chunk.sha256)))
                })
                .collect(),
            None => {
                let places = self.list(folder.trim_end_matches('/')).await?;
                places.into_iter().map(|place| (place, None)).collect()
            }
        };
        chunks.retain(|(place, _)| matches!(place, Place::Chunk(_, _, of, _) if *of == kind));
        chunks.sort_unstable();
        let places: Vec<Place> = chunks.iter().map(|(place, _)| place.clone()).collect();
        let mut joined = Vec::new();
        for ((place, digest), bytes) in chunks.iter().zip(self.read_many(&places).await?) {
            let bytes = bytes.ok_or_else(|| Error::Missing { key: self.key(place) })?;
            if let Some(expected) = digest {
                let found = sha256(&bytes);
                if found != *expected {
                    return Err(Error::Digest { key: self.key(place), expected: expected.clone(), found });
                }
            }
            joined.extend_from_slice(&bytes);
        }
        Ok(joined)
    }

    /// The numbers of all attempt folders of a trial with anything in them.
    pub(crate) async fn attempt_numbers(&self, trial: &TrialKey) -> Result<BTreeSet<AttemptNo>, Error> {
        let folder = format!("{}/{}", self.id(), layout::trial_folder(trial));
        let names = self.store().folders(&folder).await?;
        Ok(names.iter().filter_map(|name| layout::attempt_number(name)).collect())
    }
}
