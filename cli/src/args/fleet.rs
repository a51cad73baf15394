//! Arguments of the services and of what talks to them.

use super::eval::SandboxChoice;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How to reach a coordinator.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectArgs {
    /// File with the shared token (or OCH_TOKEN_FILE)
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the certificate authority of the coordinator (PEM)
    #[arg(long)]
    pub(crate) tls_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CoordinatorArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub(crate) listen: SocketAddr,
    /// Where run folders live (or OCH_STORE)
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Address that clients and workers are told, when it is not the one listened on
    #[arg(long)]
    pub(crate) advertise: Option<String>,
    /// File with the shared token (or OCH_TOKEN_FILE); required off loopback
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificate chain (PEM); required off loopback
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key (PEM)
    #[arg(long, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Listen off loopback without token or TLS: for networks that are private by other means
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Seconds between heartbeats
    #[arg(long, default_value_t = 5.0)]
    pub(crate) heartbeat_seconds: f64,
    /// Seconds a lease lives without one
    #[arg(long, default_value_t = 30.0)]
    pub(crate) lease_seconds: f64,
    /// Runs to go on with at once
    #[arg(long = "resume", value_name = "RUN")]
    pub(crate) resume: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// The coordinator (or OCH_COORDINATOR): http://… or https://…
    #[arg(long)]
    pub(crate) coordinator: Option<String>,
    /// A name for people [default: the host's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Trials in flight
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slots: u32,
    /// Where workspaces live
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) sandbox: SandboxChoice,
    /// Seconds that attempts in flight get after SIGTERM
    #[arg(long, default_value_t = 20.0)]
    pub(crate) drain_seconds: f64,
    /// Use this store instead of the one the coordinator names
    #[arg(long)]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ResumeArgs {
    /// The run
    pub(crate) run: String,
    /// Where run folders live (or OCH_STORE)
    #[arg(long)]
    pub(crate) store: Option<String>,
    /// Directory of run folders, as in the original
    #[arg(long, default_value = "eval-runs")]
    pub(crate) output_dir: PathBuf,
    /// Hand the run to this coordinator instead of running it here
    #[arg(long)]
    pub(crate) coordinator: Option<String>,
    /// Workers in this process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) workers: u32,
    /// Trials in flight over all workers of this process [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: Option<u32>,
    /// Copy the comparison here
    #[arg(long)]
    pub(crate) comparison_output: Option<PathBuf>,
    /// Print the manifest as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
