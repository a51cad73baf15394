//! The commands, one file each.

mod clean;
mod compare;
mod coordinator;
mod doctor;
mod evaluate;
mod images;
mod presets;
mod report;
mod resume;
mod status;
mod suites;
mod worker;

pub(crate) use presets::columns;

use crate::args::{Args, Command};
use crate::exit::Code;
use anyhow::Result;

/// Runs the command of the arguments.
pub(crate) async fn run(args: Args) -> Result<Code> {
    match args.command {
        Command::LabCompare(args) => Box::pin(evaluate::lab_compare(*args)).await,
        Command::Eval(args) => Box::pin(evaluate::eval(*args)).await,
        Command::Resume(args) => Box::pin(resume::run(args)).await,
        Command::Status(args) => status::run(args).await,
        Command::Cancel(args) => status::cancel(args).await,
        Command::Report(args) => report::run(args).await,
        Command::Compare(args) => compare::run(&args),
        Command::Suites(command) => suites::run(command),
        Command::Presets { config, json } => presets::run(config.as_deref(), json),
        Command::Images(crate::args::ImagesCommand::Build) => images::build().await,
        Command::Doctor { store } => doctor::run(store.as_deref()).await,
        Command::Clean(args) => clean::run(args).await,
        Command::Coordinator(args) => Box::pin(coordinator::run(args)).await,
        Command::Worker(args) => Box::pin(worker::run(args)).await,
        Command::Version => {
            crate::say::data(&format!("och {}", env!("CARGO_PKG_VERSION")));
            Ok(Code::Ok)
        }
    }
}
