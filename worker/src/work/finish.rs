//! The end of an attempt: artifacts, last chunks, result, verdict; or the record of why there is none.

use super::{Body, Pen, verify};
use crate::judge::Notice;
use crate::machine::{Conclusion, Event};
use bytes::Bytes;
use domain::Retry;
use domain::outcome::{AttemptResult, MAX_RESULT_SUMMARY, Outcome};
use domain::text;
use domain::trace::TraceEvent;
use run_folder::{AbandonRecord, AttemptWriter, Decided, Open};
use std::sync::Arc;
use std::time::Duration;

/// Longest error text in a result.
const MAX_RESULT_ERROR: usize = 64 * 1024;
/// The pause before an artifact is tried again; the folder's own tries come on top.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the end of an abandoned attempt tries to leave something behind.
const FAREWELL: Duration = Duration::from_secs(10);

/// Writes everything up to `result.json`. The workspace ends meanwhile.
pub(crate) async fn finish(body: &mut Body, conclusion: Conclusion) -> Event {
    body.progress.set("finishing");
    if body.touched {
        verify::make_patch(body).await;
    }
    let artifacts = artifacts(body, &conclusion);
    body.close_workspace().await;
    let result = result(body, conclusion);
    let patience = body.deps.store_patience;
    let (flushed, stored) = {
        let pen = match &body.pen {
            Pen::Open(writer) => Arc::clone(writer),
            Pen::None | Pen::Finished(_) => return Event::Crashed("there is no claim to finish".to_owned()),
        };
        let everything = async {
            let flushed = body.flush().await;
            let stored = put_artifacts(&pen, artifacts).await;
            (flushed, stored)
        };
        match tokio::time::timeout(patience, everything).await {
            Ok(ends) => ends,
            Err(_) => return Event::StoreFailed(format!("the store took nothing for {patience:?}")),
        }
    };
    if let Err(why) = flushed.and(stored) {
        return Event::StoreFailed(body.cleaned(why));
    }
    let Pen::Open(shared) = std::mem::take(&mut body.pen) else {
        return Event::Crashed("there is no claim to finish".to_owned());
    };
    let Some(writer) = Arc::into_inner(shared) else {
        return Event::Crashed("chunks are under way after the last one was stored".to_owned());
    };
    match writer.finish(&result).await {
        Ok(finished) => {
            body.pen = Pen::Finished(Box::new(finished));
            Event::Stored
        }
        Err(error) => Event::StoreFailed(crate::chain(&error)),
    }
}

/// Creates the verdict.
pub(crate) async fn commit(body: &mut Body) -> Event {
    body.progress.set("committing");
    let Pen::Finished(writer) = std::mem::take(&mut body.pen) else {
        return Event::Crashed("there is no result to decide on".to_owned());
    };
    match writer.decide().await {
        Ok(Decided::Ours(verdict)) => Event::Committed { verdict: Box::new(verdict), orphaned: false },
        Ok(Decided::Orphaned { theirs }) => Event::Committed { verdict: Box::new(theirs), orphaned: true },
        Err(error) => Event::StoreFailed(crate::chain(&error)),
    }
}

/// Ends an attempt without a result: the workspace is gone afterwards, and what the store takes in short time is there.
pub(crate) async fn abandon(body: &mut Body, notice: Notice) -> Event {
    body.progress.set("giving up");
    body.trace(&TraceEvent::Note { text: format!("abandoned, {}: {}", notice.cause.as_str(), notice.text) });
    body.close_workspace().await;
    if !matches!(tokio::time::timeout(FAREWELL, body.flush()).await, Ok(Ok(()))) {
        body.forget_chunks().await;
    }
    if let Pen::Open(shared) = std::mem::take(&mut body.pen)
        && let Some(writer) = Arc::into_inner(shared)
    {
        let reason = format!("{}: {}", notice.cause.as_str(), notice.text);
        let record = AbandonRecord {
            reason: body.cleaned(reason),
            retryable: notice.retryable,
            counts: notice.counts,
        };
        // What cannot be written is told over the wire; and without either, the claim counts as a sudden death.
        if !matches!(tokio::time::timeout(FAREWELL, writer.abandon(&record)).await, Ok(Ok(()))) {
            tracing::warn!(run = %body.key.run, trial = %body.key.trial, attempt = %body.number, "could not write why the attempt was abandoned");
        }
    }
    Event::Abandoned
}

/// What is worth keeping beside the trace: the patch when there is one, what the verify command said, and the session unless a pass
/// changed nothing. So a trial without changes and failures costs no artifact.
fn artifacts(body: &mut Body, conclusion: &Conclusion) -> Vec<(String, Bytes)> {
    let mut artifacts = Vec::new();
    if let Some(patch) = body.patch.take().filter(|patch| !patch.is_empty()) {
        artifacts.push(("patch.diff".to_owned(), Bytes::from(patch)));
    }
    artifacts.append(&mut body.logs);
    if conclusion.outcome != Outcome::Passed || !artifacts.is_empty() {
        match serde_json::to_vec_pretty(&body.agent.session()) {
            Ok(session) => artifacts.push(("session.json".to_owned(), Bytes::from(session))),
            Err(error) => tracing::error!(%error, "a session cannot be written as JSON"),
        }
    }
    artifacts.into_iter().map(|(name, bytes)| (name, body.cleaned_bytes(bytes))).collect()
}

fn result(body: &Body, conclusion: Conclusion) -> AttemptResult {
    let shown = |text: String, cut: fn(&str, usize) -> String, max| cut(&body.cleaned(text), max);
    AttemptResult {
        trial: body.key.trial.clone(),
        attempt: body.number,
        incarnation: body.deps.incarnation.clone(),
        outcome: conclusion.outcome,
        finished: conclusion.finished,
        steps: conclusion.steps,
        tool_calls: conclusion.tool_calls,
        failed_tool_calls: conclusion.failed_tool_calls,
        usage: conclusion.usage,
        seconds: conclusion.seconds,
        summary: shown(conclusion.summary, text::cut, MAX_RESULT_SUMMARY),
        error: conclusion.error.map(|error| shown(error, text::cut_middle, MAX_RESULT_ERROR)),
        bound_by: conclusion.bound_by,
        notes: conclusion.notes,
        verify: conclusion.verify,
        chunks: Vec::new(),
    }
}

async fn put_artifacts(writer: &AttemptWriter<Open>, artifacts: Vec<(String, Bytes)>) -> Result<(), String> {
    for (name, bytes) in artifacts {
        loop {
            match writer.put_artifact(&name, bytes.clone()).await {
                Ok(_) => break,
                Err(error) if error.retry() == Retry::No => return Err(crate::chain(&error)),
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "the store is away");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    Ok(())
}
