//! What a coordinator is told at start. Owns the defaults; reads no file and no environment.

use crate::lease::Terms;
use crate::machine::Policy;
use crate::pause::Patience;
use domain::id::{Incarnation, RunId};
use domain::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// How a coordinator serves.
#[derive(Debug, Clone)]
pub struct Config {
    /// This life of the coordinator.
    pub incarnation: Incarnation,
    /// How often workers send heartbeats.
    pub heartbeat: Duration,
    /// How long leases last.
    pub ttl: Duration,
    /// What is added to leases on this side; `None` = one heartbeat.
    pub grace: Option<Duration>,
    /// Largest shard.
    pub shard_size: u32,
    /// The shared token that every call must carry.
    pub token: Option<Secret<String>>,
    /// TLS of the port.
    pub tls: Option<TlsFiles>,
    /// Whether a port that is not loopback may be served without token and TLS.
    pub insecure: bool,
    /// This machine, for people.
    pub host: String,
    /// Where others can dial this coordinator, when it differs from the listener's address.
    pub advertised: Option<String>,
    /// Runs to open at start.
    pub resume: Vec<RunId>,
    /// Whether the caller has proven already that the store creates once.
    pub store_is_proven: bool,
    /// How patient it is with providers.
    pub patience: Patience,
    /// How long streams may take to end when the coordinator stops.
    pub stop_deadline: Duration,
}

/// Files of TLS, in PEM form.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs certificates of clients; `None` = clients need none.
    pub client_ca: Option<PathBuf>,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            heartbeat: Duration::from_secs(5),
            ttl: Duration::from_secs(30),
            grace: None,
            shard_size: 4,
            token: None,
            tls: None,
            insecure: false,
            host: String::new(),
            advertised: None,
            resume: Vec::new(),
            store_is_proven: false,
            patience: Patience::default(),
            stop_deadline: Duration::from_secs(5),
        }
    }

    pub(crate) fn policy(&self, max_attempts: u32) -> Policy {
        Policy {
            terms: Terms { ttl: self.ttl, grace: self.grace.unwrap_or(self.heartbeat) },
            heartbeat: self.heartbeat,
            shard_size: self.shard_size,
            max_attempts: max_attempts.max(1),
            max_troubles: 10,
            first_backoff: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(60),
            conclude_at_once: 32,
            patience: self.patience,
        }
    }

    /// How often machines are told the time.
    pub(crate) fn tick(&self) -> Duration {
        (self.heartbeat / 4).clamp(Duration::from_millis(5), Duration::from_millis(250))
    }
}
