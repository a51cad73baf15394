//! `och`: reads arguments, runs one command, prints what went wrong and returns a documented exit code.

mod args;
mod client;
mod commands;
mod config;
mod connect;
mod drive;
mod env_vars;
mod exit;
mod plan;
mod presets;
mod progress;
mod reports;
mod sandbox;
mod say;
mod signals;
mod stores;
mod suites;
mod telemetry;
mod wall;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    // reqwest and tonic take the process-wide provider; a second installation (in tests) is harmless.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error).context("failed to start the runtime")),
    };
    let code = runtime.block_on(async {
        let telemetry = telemetry::start(&args.global);
        let code = match Box::pin(commands::run(args)).await {
            Ok(code) => code.into(),
            Err(error) => exit::report(&error),
        };
        telemetry.stop();
        code
    });
    // A stuck blocking call (a dead engine, a hung file system) must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}
