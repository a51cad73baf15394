//! The small binary of the worker alone: arguments in, `serve` called, errors told.

use clap::Parser as _;
use std::process::ExitCode;
use std::sync::Arc;
use worker::args::{Args, key, stop_signal, told};

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            tracing::error!("{text}");
            ExitCode::from(4)
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let config = args.config()?;
    let sandboxes = args.sandboxes(&config).await?;
    for text in sandboxes.describe() {
        tracing::info!("{text}");
    }
    let now_utc = || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string();
    let endpoints = Arc::new(providers::Endpoints::new(Arc::new(key), Arc::new(now_utc)));
    let (stop, held) = (stop_signal()?, Arc::clone(&sandboxes));
    let worked = worker::serve(config, endpoints, sandboxes, now_utc, stop).await;
    held.shutdown().await;
    let summary = worked.map_err(|error| {
        let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        told(&error) + &hint
    })?;
    tracing::info!(decided = summary.decided, abandoned = summary.abandoned, "left");
    Ok(())
}
