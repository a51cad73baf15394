//! `och worker`: works for a coordinator until it is told to stop; the first signal drains, the second stops now.

use super::coordinator::seconds;
use crate::args::WorkerArgs;
use crate::drive;
use crate::exit::{Code, Expected};
use crate::signals::Signals;
use crate::{connect, env_vars, sandbox, say, stores};
use anyhow::Result;
use domain::id::WorkerName;
use std::sync::Arc;

/// Works.
pub(crate) async fn run(args: WorkerArgs) -> Result<Code> {
    let coordinator = args
        .coordinator
        .clone()
        .or_else(|| env_vars::read(env_vars::OCH_COORDINATOR))
        .ok_or_else(|| Expected::usage("name the coordinator with --coordinator or OCH_COORDINATOR"))?;
    connect::check_url(&coordinator)?;
    let name = args.name.clone().or_else(hostname).unwrap_or_else(|| "worker".to_owned());
    let incarnation = crate::plan::incarnation();
    let kind = sandbox::choose(args.sandbox, &[]).await?;
    let sandboxes = sandbox::make(kind, &incarnation).await?;
    for text in sandboxes.describe() {
        say::note(&format!("sandbox: {text}"));
    }
    let mut config = drive::worker_config(WorkerName::folded(&name), incarnation, coordinator, args.slots);
    config.token = connect::token(args.connect.token_file.as_deref())?;
    config.tls_ca = args.connect.tls_ca.clone();
    config.drain_deadline = seconds("--drain-seconds", args.drain_seconds)?;
    config.sandbox = Some(kind);
    if let Some(url) = &args.store {
        config.store = Some(stores::open(Some(url), std::path::Path::new("eval-runs"))?);
    }
    let mut signals = Signals::listen()?;
    let (drain, drained) = tokio::sync::oneshot::channel::<()>();
    let work =
        worker::serve(config, drive::endpoints(), Arc::clone(&sandboxes), crate::wall::now_utc, async move {
            // A dropped sender means the same as a signal: stop.
            drop(drained.await);
        });
    tokio::pin!(work);
    let summary = tokio::select! {
        done = &mut work => done,
        () = signals.next() => {
            say::note("draining: attempts in flight may finish; a second signal stops now");
            drop(drain);
            tokio::select! {
                done = &mut work => done,
                () = signals.next() => {
                    say::warn("stopped with attempts in flight; their leases end by themselves");
                    return Ok(Code::Incomplete);
                }
            }
        }
    }
    .map_err(|error| anyhow::Error::new(error).context(Expected::unusable("the worker stopped")));
    // Warm containers are given back whichever way the work ended.
    sandboxes.shutdown().await;
    let summary = summary?;
    say::note(&format!(
        "left: {} trials decided, {} attempts abandoned, {} results after another's verdict",
        summary.decided, summary.abandoned, summary.orphaned
    ));
    Ok(Code::Ok)
}

fn hostname() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}
