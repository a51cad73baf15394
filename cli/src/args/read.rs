//! Arguments of the commands that only look, or tidy up.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum SuitesCommand {
    /// Check suite files; spends and writes nothing
    Check {
        /// Suite files, or directories searched for them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Directory that suite paths may not leave
        #[arg(long)]
        root: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// The run [default, for status: all of them]
    pub(crate) run: Option<String>,
    /// Where run folders live (or OCH_STORE)
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Directory of run folders, as in the original
    #[arg(long, default_value = "eval-runs")]
    pub(crate) output_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReportArgs {
    /// The run
    pub(crate) run: String,
    /// Where run folders live (or OCH_STORE)
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Directory of run folders, as in the original
    #[arg(long, default_value = "eval-runs")]
    pub(crate) output_dir: PathBuf,
    /// Copy the comparison here: same stem, suffixes .md, .json and .html
    #[arg(long)]
    pub(crate) comparison_output: Option<PathBuf>,
    /// Print the manifest as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CompareArgs {
    /// report.json files, or folders that hold some
    #[arg(required = true)]
    pub(crate) reports: Vec<PathBuf>,
    /// Write Markdown here instead of stdout
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
    /// Print JSON on stdout
    #[arg(long, conflicts_with = "output")]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CleanArgs {
    /// Whole runs to delete; a run that is not sealed needs --force
    pub(crate) runs: Vec<String>,
    /// Where run folders live (or OCH_STORE)
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Directory of run folders, as in the original
    #[arg(long, default_value = "eval-runs")]
    pub(crate) output_dir: PathBuf,
    /// Also delete runs that are not sealed
    #[arg(long)]
    pub(crate) force: bool,
}
