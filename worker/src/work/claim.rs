//! Claiming an attempt number, and looking at a trial whose number was taken.

use super::{Body, Pen};
use crate::judge::Notice;
use crate::machine::Event;
use domain::Retry;
use domain::id::AttemptNo;
use proto::message::Cause;
use run_folder::{Claim, ClaimRecord, TrialState};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The pause before a store that is away is asked again; the folder's own tries come on top.
const PAUSE: Duration = Duration::from_secs(2);

/// Creates the claim of this number. A store that is away is waited for as long as nobody interrupts.
pub(crate) async fn claim(body: &mut Body, number: AttemptNo, stop: &CancellationToken) -> Event {
    body.number = number;
    body.progress.set("claiming");
    let claim = ClaimRecord {
        incarnation: body.deps.incarnation.clone(),
        worker: body.deps.worker.clone(),
        epoch: Some(body.epoch),
        nonce: format!("{:016x}", rand::random::<u64>()),
        image: None,
        claimed_at: (body.deps.now_utc)(),
    };
    let folder = body.run.folder.clone();
    let trial = body.key.trial.clone();
    let claimed = patiently(stop, || folder.claim(&trial, number, &claim)).await;
    match claimed {
        Ok(Claim::Mine(writer)) => {
            body.pen = Pen::Open(Arc::new(writer));
            Event::ClaimWon
        }
        Ok(Claim::Theirs(theirs)) => {
            tracing::info!(run = %body.key.run, trial = %body.key.trial, attempt = %number, by = %theirs.incarnation, "attempt number is taken");
            Event::ClaimTaken
        }
        Err(event) => event,
    }
}

/// Looks whether the trial is still open, and helps it to its verdict when it is one object short.
pub(crate) async fn look(body: &mut Body, stop: &CancellationToken) -> Event {
    let folder = body.run.folder.clone();
    let trial = body.key.trial.clone();
    let max_attempts = body.run.spec.limits.max_attempts;
    let state = match patiently(stop, || folder.trial_state(&trial, max_attempts)).await {
        Ok(state) => state,
        Err(event) => return event,
    };
    match state {
        TrialState::Decided(verdict) => Event::AlreadyDecided(Box::new(verdict)),
        TrialState::Pending { next, .. } => Event::StillOpen(next),
        TrialState::Claimed { attempt, .. } => Event::StillOpen(attempt.next()),
        TrialState::Settleable(_) => match patiently(stop, || folder.settle(&trial, max_attempts)).await {
            Ok(Some(verdict)) => Event::AlreadyDecided(Box::new(verdict)),
            Ok(None) => Event::StillOpen(body.number.next()),
            Err(event) => event,
        },
        TrialState::Exhausted => {
            Event::ClaimFailed(Notice::of(Cause::LeaseLost, "the trial has used up its attempts"))
        }
    }
}

/// Asks the store until it answers or somebody interrupts. A call under way is not interrupted: what it did must be known.
async fn patiently<T, F>(stop: &CancellationToken, call: impl Fn() -> F) -> Result<T, Event>
where
    F: Future<Output = Result<T, run_folder::Error>>,
{
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.retry() == Retry::No => {
                return Err(Event::ClaimFailed(crate::store_notice(&error)));
            }
            Err(error) => {
                tracing::warn!(error = %crate::chain(&error), "the store is away");
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return Err(Event::Interrupted);
                }
            }
        }
    }
}
