//! What the coordinator asks of a run folder: opening, looking before spending, concluding, sealing. Owns no rule; turns store answers
//! into events.

use crate::lease::TrialNo;
use crate::machine::{Conclusion, Event, Fence, Found, Opening, Policy};
use crate::{Shared, error::chain};
use domain::id::{Epoch, TrialKey};
use domain::matrix;
use domain::outcome::{ErrorReason, Verdict};
use futures::StreamExt as _;
use proto::status::{Code, Failure};
use run_folder::{EpochRecord, Error, RunFolder, TrialState};

/// Reads in flight at one time.
const AT_ONCE: usize = 32;

/// What a store's refusal means to a caller.
pub(crate) fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::NoSuchRun { .. } => Code::NotFound,
        _ => match error.fault() {
            domain::Fault::User => Code::FailedPrecondition,
            domain::Fault::Infra => Code::Unavailable,
            domain::Fault::Model | domain::Fault::Bug => Code::Internal,
        },
    };
    Failure::new(code, chain(error))
}

/// Claims the next reign over a run and derives what is to be done.
pub(crate) async fn open(folder: &RunFolder, shared: &Shared) -> Result<Opening, Failure> {
    let read = |error: Error| failure(&error);
    let spec = folder.spec().await.map_err(read)?;
    let who = EpochRecord {
        incarnation: shared.config.incarnation.clone(),
        address: shared.address.clone(),
        host: shared.config.host.clone(),
        started_at: (shared.now_utc)(),
    };
    let epoch = folder.reign(&who).await.map_err(read)?;
    let cancelled = folder.cancelled().await.map_err(read)?;
    let decided = folder.decided().await.map_err(read)?;
    // In a first reign nobody can have begun anything after this listing but by our grant.
    let attempted = if epoch == Epoch::FIRST { Some(folder.tried().await.map_err(read)?) } else { None };
    let policy: Policy = shared.config.policy(spec.limits.max_attempts);
    Ok(Opening {
        run: spec.run.clone(),
        epoch,
        presets: spec.presets.iter().map(|preset| (preset.name.clone(), preset.max_in_flight)).collect(),
        trials: matrix::trials(&spec.suites, &spec.presets, spec.trials).collect(),
        decided,
        attempted: attempted.map(|attempted| attempted.into_iter().collect()),
        cancelled,
        policy,
    })
}

const fn conclusion(verdict: &Verdict) -> Conclusion {
    Conclusion {
        outcome: verdict.outcome,
        usage: verdict.usage,
        seconds: verdict.seconds,
        steps: verdict.steps,
    }
}

/// Looks at trials that nobody holds a lease on: an open claim is a dead one.
pub(crate) async fn look(
    folder: RunFolder,
    round: u64,
    trials: Vec<(TrialNo, TrialKey)>,
    max_attempts: u32,
) -> Event {
    let folder = &folder;
    let found = futures::stream::iter(trials)
        .map(|(trial, key)| async move {
            let found = look_at(folder, &key, max_attempts).await;
            (trial, found.unwrap_or_else(|error| Found::Unknown(chain(&error))))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    Event::Looked { round, found }
}

async fn look_at(folder: &RunFolder, trial: &TrialKey, max_attempts: u32) -> Result<Found, Error> {
    Ok(match folder.trial_state(trial, max_attempts).await?.with_claim_dead(max_attempts) {
        TrialState::Decided(verdict) => Found::Decided(conclusion(&verdict)),
        TrialState::Pending { next, .. } => Found::Free(next),
        TrialState::Claimed { attempt, .. } => Found::Free(attempt.next()),
        TrialState::Settleable(_) | TrialState::Exhausted => {
            match folder.settle(trial, max_attempts).await? {
                Some(verdict) => Found::Decided(conclusion(&verdict)),
                None => Found::Free(folder.next_attempt(trial).await?),
            }
        }
    })
}

/// Decides a trial that no attempt will decide. A result that is there is helped to its verdict; only without one the trial is errored.
pub(crate) async fn conclude(
    folder: RunFolder,
    trial: TrialNo,
    key: TrialKey,
    (why, text): (ErrorReason, String),
    max_attempts: u32,
) -> Event {
    let verdict = conclude_one(&folder, &key, why, &text, max_attempts).await;
    Event::Concluded {
        trial,
        verdict: verdict.map(|verdict| conclusion(&verdict)).map_err(|error| chain(&error)),
    }
}

async fn conclude_one(
    folder: &RunFolder,
    trial: &TrialKey,
    why: ErrorReason,
    text: &str,
    max_attempts: u32,
) -> Result<Verdict, Error> {
    match folder.trial_state(trial, max_attempts).await? {
        TrialState::Decided(verdict) => return Ok(verdict),
        TrialState::Settleable(_) => {
            if let Some(verdict) = folder.settle(trial, max_attempts).await? {
                return Ok(verdict);
            }
        }
        TrialState::Pending { .. } | TrialState::Claimed { .. } | TrialState::Exhausted => {}
    }
    folder.decide_errored(trial, why, text).await
}

/// Whether this reign is still the newest.
pub(crate) async fn check_fence(folder: RunFolder, epoch: Epoch) -> Event {
    Event::FenceChecked(match folder.newer_epoch(Some(epoch)).await {
        Ok(None) => Fence::Ours,
        Ok(Some((epoch, record))) => {
            Fence::Newer { epoch, address: Some(record.address).filter(|address| !address.is_empty()) }
        }
        Err(error) => Fence::Unknown(chain(&error)),
    })
}

/// Whether somebody wants the run to stop. A store that does not answer is asked again with the next fence.
pub(crate) async fn look_for_cancel(folder: RunFolder) -> Event {
    Event::CancelLooked(folder.cancelled().await.unwrap_or_else(|error| {
        tracing::debug!(run = %folder.id(), %error, "cannot look for cancel.json");
        None
    }))
}

/// Closes the run, or says which verdicts are not there.
pub(crate) async fn seal(folder: RunFolder) -> Event {
    let error = match folder.seal().await {
        Ok(_) => return Event::Sealed,
        Err(error) => error,
    };
    let text = chain(&error);
    let missing = match &error {
        Error::Undecided { .. } => missing(&folder).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    Event::SealFailed { text, missing }
}

async fn missing(folder: &RunFolder) -> Result<Vec<TrialKey>, Error> {
    let spec = folder.spec().await?;
    let decided = folder.decided().await?;
    let trials = matrix::trials(&spec.suites, &spec.presets, spec.trials);
    Ok(trials.filter(|trial| !decided.contains(trial)).collect())
}
