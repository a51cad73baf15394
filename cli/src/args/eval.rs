//! Arguments of the commands that spend money.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Where workspaces live, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SandboxChoice {
    /// Docker where an engine and the images are there, else local
    Auto,
    /// Containers
    Docker,
    /// A confined temporary directory on this machine
    Local,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApprovalMode {
    Never,
    Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProviderChoice {
    Mock,
    OpenaiCompatible,
    Anthropic,
    Scripted,
}

/// Flags of the agent, as the original has them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Agent")]
pub(crate) struct AgentArgs {
    /// The configuration file [default: och.config.toml where it exists]
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Model calls of one agent round [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) max_steps: Option<u32>,
    /// Characters of repository context packed before the task; 0 = none [default: 6000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=2_000_000))]
    pub(crate) context_chars: Option<u32>,
    /// Let the agent write files and execute programs in its workspace
    #[arg(long)]
    pub(crate) allow_write: bool,
    /// Evals are unattended: `ask` behaves like `never` and says so
    #[arg(long, value_enum)]
    pub(crate) approval_mode: Option<ApprovalMode>,
}

/// Flags of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArgs {
    /// Trials of each cell, where the case does not say otherwise
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) trials: u32,
    /// Where run folders live: a directory, s3://bucket/prefix, gs://… or az://… [default: --output-dir]
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Directory of run folders, as in the original
    #[arg(long, default_value = "eval-runs")]
    pub(crate) output_dir: PathBuf,
    /// Name of the run [default: made from time, suite and chance]
    #[arg(long)]
    pub(crate) run_id: Option<String>,
    /// Hand the run to this coordinator instead of running it here (http://… or https://…)
    #[arg(long)]
    pub(crate) coordinator: Option<String>,
    /// Where workspaces live
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) sandbox: SandboxChoice,
    /// Workers in this process (without --coordinator)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) workers: u32,
    /// Trials in flight over all workers of this process [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: Option<u32>,
    /// Only cases with one of these ids or tags
    #[arg(long = "case", value_name = "ID|TAG")]
    pub(crate) cases: Vec<String>,
    /// Directory that suite paths may not leave [default: the suite's git work tree, else the current directory]
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// Print JSON on stdout: the manifest (lab-compare) or the report (eval)
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: super::ConnectArgs,
}

/// Flags that describe one model, as the original has them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// The preset
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// The API
    #[arg(long, value_enum)]
    pub(crate) provider: Option<ProviderChoice>,
    /// Where the API is, with or without /v1
    #[arg(long)]
    pub(crate) base_url: Option<String>,
    /// The model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The environment variable that holds the key
    #[arg(long)]
    pub(crate) api_key_env: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EvalArgs {
    /// The suite file (JSON or TOML)
    pub(crate) suite: PathBuf,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Accepted as in the original; has no effect in evals
    #[arg(long, hide = true)]
    pub(crate) session: Option<PathBuf>,
    /// Accepted as in the original; has no effect in evals (see `och resume`)
    #[arg(long, hide = true)]
    pub(crate) resume: bool,
    /// Accepted as in the original; has no effect in evals
    #[arg(long, hide = true)]
    pub(crate) workspace: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LabCompareArgs {
    /// Suite files (JSON or TOML)
    #[arg(required = true)]
    pub(crate) suites: Vec<PathBuf>,
    /// The presets to compare
    #[arg(long, num_args = 1.., default_values = ["deepseek", "qwen", "openai", "claude"])]
    pub(crate) presets: Vec<String>,
    /// Run presets whose key is missing all the same; their trials error
    #[arg(long)]
    pub(crate) include_missing_keys: bool,
    /// Copy the comparison here: same stem, suffixes .md, .json and .html
    #[arg(long)]
    pub(crate) comparison_output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
