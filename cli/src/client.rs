//! Talking to a coordinator: starts a run and watches it to its end, across lost connections.

use crate::drive::Ending;
use crate::exit::Expected;
use crate::progress::Progress;
use crate::say;
use anyhow::Result;
use proto::dial::{Dial, describe_status};
use proto::eval::v1::run_event::Kind;
use proto::eval::v1::{ListRunsRequest, RunState, RunStatus, StartRunRequest, WatchRunRequest};
use run_folder::{RunFolder, Store};
use std::time::Duration;

/// Pause between tries to reach the coordinator again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Tries without a single event in between before giving up.
const TRIES: u32 = 60;

/// Asks whether a coordinator answers at all, before a run is planned for it.
///
/// # Errors
/// When it does not answer, or does not take the token.
pub(crate) async fn reach(dial: &Dial) -> Result<()> {
    let mut client = dial.run_client()?;
    match client.list_runs(ListRunsRequest { limit: 1 }).await {
        Ok(_) => Ok(()),
        Err(status) => Err(Expected::unusable(format!(
            "the coordinator at {} cannot be used: {}",
            dial.url,
            describe_status(&status)
        ))
        .into()),
    }
}

/// Starts the run (again: it is idempotent) and watches it.
///
/// # Errors
/// When the coordinator cannot be reached, refuses the run, uses another store, or can no longer go on with it.
pub(crate) async fn watch(
    dial: &Dial,
    folder: &RunFolder,
    store: &Store,
    progress: &mut Progress,
) -> Result<Ending> {
    let mut failures = 0_u32;
    loop {
        match watch_once(dial, folder, store, progress, &mut failures).await {
            Ok(Some(ending)) => return Ok(ending),
            Ok(None) => {}
            Err(status) if is_final(status.code()) => {
                let text = describe_status(&status);
                return Err(
                    Expected::unusable(format!("the coordinator at {} refused: {text}", dial.url)).into()
                );
            }
            Err(status) => {
                failures += 1;
                if failures == 1 {
                    progress.line(&format!(
                        "the coordinator does not answer, trying again: {}",
                        describe_status(&status)
                    ));
                }
                if failures >= TRIES {
                    return Err(Expected::unusable(format!(
                        "the coordinator at {} does not answer: {}",
                        dial.url,
                        describe_status(&status)
                    ))
                    .hint(format!(
                        "nothing decided is lost; go on with `och resume {} --store {}`",
                        folder.id(),
                        store.url()
                    ))
                    .into());
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn is_final(code: tonic::Code) -> bool {
    use tonic::Code::{
        FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unauthenticated, Unimplemented,
    };
    matches!(
        code,
        FailedPrecondition | InvalidArgument | NotFound | PermissionDenied | Unauthenticated | Unimplemented
    )
}

/// One connection. `None` when the stream ended before the run did.
async fn watch_once(
    dial: &Dial,
    folder: &RunFolder,
    store: &Store,
    progress: &mut Progress,
    failures: &mut u32,
) -> Result<Option<Ending>, tonic::Status> {
    let mut client = dial.run_client().map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
    let run = folder.id().to_string();
    let started = client.start_run(StartRunRequest { run: run.clone() }).await?.into_inner();
    if started.store != store.url() {
        return Err(tonic::Status::failed_precondition(format!(
            "it keeps its runs in `{}`, this run lies in `{}`; pass --store {}",
            started.store,
            store.url(),
            started.store
        )));
    }
    if let Some(status) = &started.status {
        progress.status(status);
    }
    let mut events = client.watch_run(WatchRunRequest { run }).await?.into_inner();
    while let Some(event) = events.message().await? {
        *failures = 0;
        match event.kind {
            Some(Kind::Status(status)) => progress.status(&status),
            Some(Kind::Decided(event)) => progress.decided(&event),
            Some(Kind::Abandoned(event)) => progress.abandoned(&event),
            Some(Kind::Worker(event)) => progress.worker(&event),
            Some(Kind::Preset(event)) => progress.preset(&event),
            Some(Kind::End(end)) => return ended(end.status.unwrap_or_default(), progress),
            None => {}
        }
    }
    Ok(None)
}

fn ended(status: RunStatus, progress: &mut Progress) -> Result<Option<Ending>, tonic::Status> {
    progress.status(&status);
    let tally = status.tally.unwrap_or_default();
    match status.state() {
        RunState::Sealed => Ok(Some(Ending::Sealed)),
        RunState::Fenced => Err(tonic::Status::failed_precondition(format!(
            "run `{}` is fenced: a newer coordinator reigns over it {}",
            status.run, status.note
        ))),
        RunState::Broken => Err(tonic::Status::failed_precondition(status.note)),
        _ => {
            if !status.note.is_empty() {
                say::note(&status.note);
            }
            // The coordinator is leaving; it may come back.
            Err(tonic::Status::unavailable(format!(
                "the coordinator left with {} trials undecided",
                tally.total - tally.decided
            )))
        }
    }
}
