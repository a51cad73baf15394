//! The arguments of the small binary, and what they make of a configuration. `och worker` has its own, richer ones.

use crate::Config;
use domain::id::{Incarnation, WorkerName};
use domain::run::Sandbox;
use domain::secret::Secret;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use workspace::{DockerConfig, DockerSandboxes, Isolation, LocalConfig, LocalSandboxes, Sandboxes};

/// Works for a coordinator.
#[derive(Debug, clap::Parser)]
#[command(name = "och-worker", version)]
pub struct Args {
    /// The coordinator: `http://host:port` or `https://host:port`.
    #[arg(long)]
    coordinator: String,
    /// Its name for people, stable across its lives.
    #[arg(long, default_value = "worker")]
    name: String,
    /// Attempts at once.
    #[arg(long, default_value_t = 8)]
    slots: u32,
    /// Where attempts run.
    #[arg(long, default_value = "docker")]
    sandbox: Kind,
    /// Where the engine listens.
    #[arg(long, env = "DOCKER_HOST", default_value = workspace::DEFAULT_HOST)]
    docker_host: String,
    /// Where programs of local workspaces are looked for.
    #[arg(long, env = "PATH", default_value = "/usr/local/bin:/usr/bin:/bin")]
    program_path: PathBuf,
    /// A file with the token that every call must carry.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Who signs the coordinator's certificate, PEM.
    #[arg(long)]
    tls_ca: Option<PathBuf>,
    /// The store, when the one that the coordinator names is reached by another name here.
    #[arg(long)]
    store: Option<String>,
    /// Where packed inputs are kept while they are used.
    #[arg(long, default_value = "/tmp/och-cache")]
    cache_dir: PathBuf,
    /// Seconds that attempts in flight may go on after the wish to leave.
    #[arg(long, default_value_t = 60)]
    drain_seconds: u64,
}

/// Kinds of workspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Containers.
    Docker,
    /// Confined temporary directories.
    Local,
}

impl Args {
    /// Puts the arguments into a configuration; reads the token file and opens the store.
    ///
    /// # Errors
    /// When one of them cannot be used; the text is for people.
    pub fn config(&self) -> Result<Config, String> {
        let incarnation = Incarnation::folded(&format!("w{:016x}", rand::random::<u64>()));
        let (name, url) = (WorkerName::folded(&self.name), self.coordinator.clone());
        let mut config = Config::new(name, incarnation, url, self.slots, self.cache_dir.clone());
        config.drain_deadline = Duration::from_secs(self.drain_seconds);
        config.tls_ca = self.tls_ca.clone();
        config.sandbox = Some(match self.sandbox {
            Kind::Docker => Sandbox::Docker,
            Kind::Local => Sandbox::Local,
        });
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
            let token = text.trim();
            if token.is_empty() {
                return Err(format!("the token file `{}` is empty", path.display()));
            }
            config.token = Some(Secret::new(token.to_owned()));
        }
        if let Some(url) = &self.store {
            config.store = Some(run_folder::Store::open(url).map_err(|error| told(&error))?);
        }
        Ok(config)
    }

    /// Makes the workspaces' maker.
    ///
    /// # Errors
    /// When it cannot be had; the text is for people.
    pub async fn sandboxes(&self, config: &Config) -> Result<Arc<dyn Sandboxes>, String> {
        let incarnation = config.incarnation.clone();
        Ok(match self.sandbox {
            Kind::Docker => {
                let mut docker = DockerConfig::new(incarnation);
                docker.host = self.docker_host.clone();
                Arc::new(DockerSandboxes::connect(docker).await.map_err(|error| told(&error))?)
            }
            Kind::Local => {
                let path = self.program_path.clone().into_os_string();
                let local = LocalConfig { incarnation, path, temp: None, isolation: Isolation::default() };
                Arc::new(LocalSandboxes::start(local).await.map_err(|error| told(&error))?)
            }
        })
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

/// A provider's key, by the name of its variable: the one place where the small binary reads keys.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the variable's name comes from a preset")]
pub fn key(variable: &str) -> Option<Secret<String>> {
    let value = std::env::var(variable).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| Secret::new(value.to_owned()))
}

/// An error and its causes in one line.
#[must_use]
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    crate::chain(error)
}
