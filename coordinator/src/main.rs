//! The small binary of the coordinator alone: arguments in, `serve` called, errors told.

use clap::Parser as _;
use coordinator::{Config, args::Args};
use std::process::ExitCode;

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
    let store = run_folder::Store::open(&args.store).map_err(|error| coordinator::args::told(&error))?;
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    // Failing only says that it was done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let incarnation = domain::id::Incarnation::folded(&format!("c{:016x}", rand::random::<u64>()));
    let config = args.config(Config::new(incarnation))?;
    let now_utc = || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string();
    let stop = coordinator::args::stop_signal()?;
    coordinator::serve(config, listener, store, now_utc, stop).await.map_err(|error| {
        let hint = error.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        coordinator::args::told(&error) + &hint
    })
}
