//! Helping what is one object short: a result without a verdict, a trial without hope. Must not decide whether a claim is alive.

use crate::derive::{AttemptFacts, TrialFacts, TrialState, derive};
use crate::error::Error;
use crate::folder::RunFolder;
use crate::layout::Place;
use crate::once::{Created, Patience};
use domain::id::{AttemptNo, TrialKey};
use domain::outcome::{AttemptResult, ErrorReason, Verdict};
use std::collections::BTreeMap;

impl RunFolder {
    /// Decides a trial that can be decided without running anything: helps a result to its verdict, gives up a hopeless trial. Open
    /// claims are taken for dead: only for trials that nobody holds a lease on. `None` when the trial must be tried (again).
    ///
    /// # Errors
    /// When the store does not answer or a record cannot be read.
    pub async fn settle(&self, trial: &TrialKey, max_attempts: u32) -> Result<Option<Verdict>, Error> {
        let facts = self.facts(trial).await?;
        let attempts = facts.attempts.clone();
        match derive(facts, max_attempts).with_claim_dead(max_attempts) {
            TrialState::Decided(verdict) => Ok(Some(verdict)),
            TrialState::Settleable(attempt) => self.help(trial, attempt).await.map(Some),
            TrialState::Exhausted => {
                let verdict = Verdict::errored(
                    trial.clone(),
                    ErrorReason::AttemptsExhausted,
                    tell_exhausted(&attempts),
                );
                self.decide(&verdict, Patience::SHORT).await.map(Some)
            }
            TrialState::Pending { .. } | TrialState::Claimed { .. } => Ok(None),
        }
    }

    /// Decides that a trial could not be measured, unless it has a verdict already; returns the one that stands.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn decide_errored(
        &self,
        trial: &TrialKey,
        why: ErrorReason,
        text: &str,
    ) -> Result<Verdict, Error> {
        self.decide(&Verdict::errored(trial.clone(), why, text), Patience::SHORT).await
    }

    /// Writes the verdict that follows from a stored result.
    async fn help(&self, trial: &TrialKey, attempt: AttemptNo) -> Result<Verdict, Error> {
        let place = Place::Result(trial.clone(), attempt);
        let result: Option<AttemptResult> = self.record(&place).await?;
        let result = result.ok_or_else(|| Error::Missing { key: self.key(&place) })?;
        if result.trial != *trial || result.attempt != attempt {
            let why = format!("it names attempt {} of `{}`", result.attempt, result.trial);
            return Err(Error::WrongResult { trial: trial.clone(), attempt, why });
        }
        self.decide(&Verdict::from_result(&result), Patience::SHORT).await
    }

    /// Writes a verdict unless there is one; returns the one that stands.
    pub(crate) async fn decide(&self, verdict: &Verdict, patience: Patience) -> Result<Verdict, Error> {
        let place = Place::Verdict(verdict.trial.clone());
        let bytes = self.encode(&place, verdict)?;
        match self.create(&place, &bytes, patience).await? {
            Created::Mine => Ok(verdict.clone()),
            Created::Theirs(found) => self.decode(&place, &found),
        }
    }

    /// Everything the folder says about a trial. The objects that decide are asked for by name, so that a stale listing cannot lead to
    /// paying twice.
    pub(crate) async fn facts(&self, trial: &TrialKey) -> Result<TrialFacts, Error> {
        if let Some(verdict) = self.verdict(trial).await? {
            return Ok(TrialFacts { verdict: Some(verdict), attempts: BTreeMap::new() });
        }
        let numbers = self.attempt_numbers(trial).await?;
        let mut attempts = BTreeMap::new();
        for attempt in numbers {
            attempts.insert(attempt, self.attempt_facts(trial, attempt).await?);
        }
        let mut next = attempts.last_key_value().map_or(AttemptNo::FIRST, |(attempt, _)| attempt.next());
        loop {
            let facts = self.attempt_facts(trial, next).await?;
            if facts == AttemptFacts::default() {
                break;
            }
            attempts.insert(next, facts);
            next = next.next();
        }
        // A result that appeared while we looked may have its verdict by now; then so have we.
        Ok(TrialFacts { verdict: None, attempts })
    }

    async fn attempt_facts(&self, trial: &TrialKey, attempt: AttemptNo) -> Result<AttemptFacts, Error> {
        let claim = Place::Claim(trial.clone(), attempt);
        let places =
            [claim.clone(), Place::Result(trial.clone(), attempt), Place::Abandoned(trial.clone(), attempt)];
        let mut found = self.read_many(&places).await?.into_iter();
        let (claim_bytes, result, abandoned) =
            (found.next().flatten(), found.next().flatten(), found.next().flatten());
        let claimed_by = claim_bytes
            .map(|bytes| self.decode::<crate::records::ClaimRecord>(&claim, &bytes))
            .transpose()?
            .map(|record| record.incarnation);
        let abandoned = abandoned.map(|bytes| self.decode(&places[2], &bytes)).transpose()?;
        Ok(AttemptFacts { claimed_by, result: result.is_some(), abandoned })
    }
}

/// Why a trial was given up. A function of the folder alone, so that two helpers write the same bytes.
fn tell_exhausted(attempts: &BTreeMap<AttemptNo, AttemptFacts>) -> String {
    let told: Vec<String> = attempts
        .iter()
        .map(|(attempt, facts)| match &facts.abandoned {
            Some(abandoned) if abandoned.counts || !abandoned.retryable => {
                format!("attempt {attempt}: {}", abandoned.reason)
            }
            Some(abandoned) => format!("attempt {attempt} (not counted): {}", abandoned.reason),
            None => format!("attempt {attempt}: died without a word"),
        })
        .collect();
    format!("no attempt reached a result; {}", told.join("; "))
}
