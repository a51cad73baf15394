//! The arguments as a person types them ("low" arguments). Owns names, defaults and help; decides nothing.

mod eval;
mod fleet;
mod read;

pub(crate) use eval::{
    AgentArgs, ApprovalMode, EvalArgs, LabCompareArgs, ModelArgs, ProviderChoice, RunArgs, SandboxChoice,
};
pub(crate) use fleet::{ConnectArgs, CoordinatorArgs, ResumeArgs, WorkerArgs};
pub(crate) use read::{CleanArgs, CompareArgs, ReportArgs, StatusArgs, SuitesCommand};

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Runs coding-agent evals at any size.
#[derive(Debug, Parser)]
#[command(
    name = "och",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done (eval: all passed) · 1 some trials failed (eval) · 2 usage or invalid input · \
                  3 some trials errored, run incomplete or cancelled · 4 store, Docker engine or coordinator unusable · 70 a defect of och"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct GlobalArgs {
    /// More log lines on stderr (-v info, -vv debug, -vvv trace)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run suites against several presets side by side and compare them
    LabCompare(Box<LabCompareArgs>),
    /// Run a suite against one preset
    Eval(Box<EvalArgs>),
    /// Go on with a run that was interrupted
    Resume(ResumeArgs),
    /// Say how far runs are
    Status(StatusArgs),
    /// Ask a run to stop for good; undecided trials become errored (cancelled)
    Cancel(StatusArgs),
    /// Write a run's reports again, from its folder alone
    Report(ReportArgs),
    /// Compare report.json files or run folders, ours and the original system's
    Compare(CompareArgs),
    /// Work on suite files
    #[command(subcommand)]
    Suites(SuitesCommand),
    /// List the presets
    Presets {
        /// The configuration file
        #[arg(long)]
        config: Option<std::path::PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Build or list container images
    #[command(subcommand)]
    Images(ImagesCommand),
    /// Check this machine: store, Docker engine, sandbox, keys
    Doctor {
        /// The store to check
        #[arg(long)]
        store: Option<String>,
    },
    /// Remove containers that dead workers left behind, and whole runs that are named
    Clean(CleanArgs),
    /// Serve runs to workers
    Coordinator(CoordinatorArgs),
    /// Work for a coordinator
    Worker(WorkerArgs),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// Build the default image from Debian packages, without a registry
    Build,
}
