//! Closing a run: the object that says that nothing more will come, with the whole table in it. A function of the folder, so that
//! whoever seals writes the same bytes.

use crate::chunks::hex;
use crate::error::Error;
use crate::folder::RunFolder;
use crate::layout::{self, Place};
use crate::once::{Created, Patience};
use crate::records::{FORMAT, Record, RecordError};
use bytes::Bytes;
use domain::id::{AttemptNo, RunId, TrialKey};
use domain::matrix;
use domain::outcome::{Outcome, Verdict};
use domain::usage::Usage;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The body of `sealed.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealRecord {
    /// The run.
    pub run: RunId,
    /// Lower-case hex SHA-256 over the verdict objects, byte by byte, in the order of the table.
    pub digest: String,
    /// Sums over the table.
    pub totals: Totals,
    /// Trials of which more than one attempt reached a result.
    pub contested: Vec<TrialKey>,
    /// The table: every trial of `run.json`, sorted by its key as text.
    pub verdicts: Vec<Verdict>,
}

impl Record for SealRecord {
    const NAME: &'static str = "seal";
}

/// Sums over all trials of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Trials.
    pub trials: u64,
    /// Passed.
    pub passed: u64,
    /// Failed by the model.
    pub failed: u64,
    /// Could not be measured.
    pub errored: u64,
    /// Seconds of all attempts that verdicts rest on.
    pub seconds: f64,
    /// Tokens and money of all attempts that verdicts rest on.
    pub usage: Usage,
}

impl Totals {
    fn add(&mut self, verdict: &Verdict) {
        self.trials += 1;
        match verdict.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Errored { .. } => self.errored += 1,
        }
        self.seconds += verdict.seconds;
        self.usage.add(&verdict.usage);
    }
}

impl RunFolder {
    /// Closes the run. Again, or by somebody else at the same time, is harmless; the seal that stands is returned.
    ///
    /// # Errors
    /// [`Error::Undecided`] when a trial of `run.json` has no verdict; or when the store does not answer.
    pub async fn seal(&self) -> Result<SealRecord, Error> {
        if let Some(seal) = self.sealed().await? {
            return Ok(seal);
        }
        let spec = self.spec().await?;
        let trials: BTreeMap<String, TrialKey> = matrix::trials(&spec.suites, &spec.presets, spec.trials)
            .map(|trial| (trial.to_string(), trial))
            .collect();
        let places: Vec<Place> = trials.values().cloned().map(Place::Verdict).collect();
        let found = self.read_many(&places).await?;
        let undecided: Vec<&TrialKey> = trials
            .values()
            .zip(&found)
            .filter_map(|(trial, bytes)| bytes.is_none().then_some(trial))
            .collect();
        if let Some(example) = undecided.first() {
            return Err(Error::Undecided {
                run: self.id().clone(),
                undecided: undecided.len(),
                example: (*example).clone(),
            });
        }
        let objects: Vec<Bytes> = found.into_iter().flatten().collect();
        let mut totals = Totals::default();
        for (place, bytes) in places.iter().zip(&objects) {
            totals.add(&self.decode(place, bytes)?);
        }
        let contested =
            self.contested().await?.into_iter().filter(|trial| trials.contains_key(&trial.to_string()));
        let bytes = sealed_bytes(self.id(), &totals, &contested.collect(), &objects)
            .map_err(|source| Error::Record { key: self.key(&Place::Sealed), source })?;
        match self.create(&Place::Sealed, &bytes, Patience::SHORT).await? {
            Created::Mine => self.decode(&Place::Sealed, &bytes),
            // A zombie's result between two looks makes two seals differ: the first one stands.
            Created::Theirs(found) => self.decode(&Place::Sealed, &found),
        }
    }

    /// The seal, when the run is closed.
    ///
    /// # Errors
    /// When the store does not answer or the seal cannot be read.
    pub async fn sealed(&self) -> Result<Option<SealRecord>, Error> {
        self.record(&Place::Sealed).await
    }

    /// The trials of which more than one attempt reached a result: one LIST of all attempts.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn contested(&self) -> Result<BTreeSet<TrialKey>, Error> {
        let mut results: BTreeMap<TrialKey, BTreeSet<AttemptNo>> = BTreeMap::new();
        for place in self.list(layout::ATTEMPTS).await? {
            if let Place::Result(trial, attempt) = place {
                results.entry(trial).or_default().insert(attempt);
            }
        }
        Ok(results.into_iter().filter_map(|(trial, results)| (results.len() > 1).then_some(trial)).collect())
    }
}

/// The bytes of a seal. The verdict objects go in as they are stored, fields of newer writers included: the version of the one who
/// seals makes no difference.
fn sealed_bytes(
    run: &RunId,
    totals: &Totals,
    contested: &BTreeSet<TrialKey>,
    objects: &[Bytes],
) -> Result<Bytes, RecordError> {
    let json = |value: serde_json::Result<String>| {
        value.map_err(|source| RecordError::Unwritable { record: SealRecord::NAME, source })
    };
    let mut hasher = Sha256::new();
    objects.iter().for_each(|object| hasher.update(object));
    let mut line = format!(
        "{{\"format\":{FORMAT},\"run\":{},\"digest\":\"{}\",\"totals\":{},\"contested\":{},\"verdicts\":[",
        json(serde_json::to_string(run))?,
        hex(&hasher.finalize()),
        json(serde_json::to_string(totals))?,
        json(serde_json::to_string(contested))?,
    )
    .into_bytes();
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        line.extend_from_slice(object.trim_ascii());
    }
    line.extend_from_slice(b"]}\n");
    Ok(line.into())
}
