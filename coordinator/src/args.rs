//! The arguments of the small binary, and what they make of a configuration. `och coordinator` has its own, richer ones.

use crate::config::{Config, TlsFiles};
use domain::id::RunId;
use domain::secret::Secret;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Serves the runs of a store to workers.
#[derive(Debug, clap::Parser)]
#[command(name = "och-coordinator", version)]
pub struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
    /// Where the runs are: a directory, or `s3://`, `gs://`, `az://`.
    #[arg(long, default_value = "eval-runs")]
    pub store: String,
    /// A file with the token that every call must carry.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// The certificate chain, PEM.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Who signs certificates of clients, PEM.
    #[arg(long, requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Serve a port that others can reach without token and TLS.
    #[arg(long)]
    insecure: bool,
    /// Where others can dial this coordinator.
    #[arg(long)]
    advertise: Option<String>,
    /// Runs to open at start.
    #[arg(long)]
    resume: Vec<RunId>,
}

impl Args {
    /// Puts the arguments into a configuration; reads the token file.
    ///
    /// # Errors
    /// When the token file cannot be read or is empty; the text is for people.
    pub fn config(self, mut config: Config) -> Result<Config, String> {
        if let Some(path) = self.token_file {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
            let token = text.trim();
            if token.is_empty() {
                return Err(format!("the token file `{}` is empty", path.display()));
            }
            config.token = Some(Secret::new(token.to_owned()));
        }
        let client_ca = self.tls_client_ca;
        config.tls = self.tls_cert.zip(self.tls_key).map(|(cert, key)| TlsFiles { cert, key, client_ca });
        config.insecure = self.insecure;
        config.advertised = self.advertise;
        config.resume = self.resume;
        Ok(config)
    }
}

/// Ends with the first SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be listened to; the text is for people.
pub fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen to signals: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// An error and its causes in one line.
#[must_use]
pub fn told(error: &dyn std::error::Error) -> String {
    crate::error::chain(error)
}
