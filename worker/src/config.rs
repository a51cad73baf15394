//! What a worker is told before it starts. Reads no environment and no file; whoever embeds a worker fills it in.

use crate::record::ChunkLimits;
use crate::shipping::ShipLimits;
use domain::id::{Incarnation, WorkerName};
use domain::run::Sandbox;
use domain::secret::Secret;
use run_folder::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The configuration of a worker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name for people, stable across its lives.
    pub name: WorkerName,
    /// This life: random, never used before.
    pub incarnation: Incarnation,
    /// The coordinator's URL.
    pub coordinator: String,
    /// Attempts at once, at least 1.
    pub slots: u32,
    /// The token shared with the coordinator.
    pub token: Option<Secret<String>>,
    /// File with the certificate authorities to trust, for `https`.
    pub tls_ca: Option<PathBuf>,
    /// Where packed inputs are kept while they are used.
    pub cache_dir: PathBuf,
    /// Bytes of packed inputs kept beyond those in use.
    pub cache_bytes: u64,
    /// Where chunks wait while the store is away.
    pub spool_dir: PathBuf,
    /// How long attempts in flight may go on after the wish to leave.
    pub drain_deadline: Duration,
    /// The store; without one, what the coordinator names is opened.
    pub store: Option<Store>,
    /// Which workspaces this worker has. When given, trials of runs that want others are not begun.
    pub sandbox: Option<Sandbox>,
    /// Facts for people.
    pub labels: BTreeMap<String, String>,
    /// How often leftovers of dead workers are looked for.
    pub reap_every: Duration,
    /// How long the end of an attempt waits for a store that is away.
    pub store_patience: Duration,
    pub(crate) chunks: ChunkLimits,
    pub(crate) shipping: ShipLimits,
}

impl Config {
    /// A configuration with the defaults of everything but its identity.
    #[must_use]
    pub fn new(
        name: WorkerName,
        incarnation: Incarnation,
        coordinator: impl Into<String>,
        slots: u32,
        cache_dir: PathBuf,
    ) -> Self {
        Self {
            name,
            incarnation,
            coordinator: coordinator.into(),
            slots: slots.max(1),
            token: None,
            tls_ca: None,
            spool_dir: cache_dir.join("spool"),
            cache_dir,
            cache_bytes: 4 << 30,
            drain_deadline: Duration::from_secs(60),
            store: None,
            sandbox: None,
            labels: BTreeMap::new(),
            reap_every: Duration::from_secs(60),
            store_patience: Duration::from_secs(600),
            chunks: ChunkLimits::default(),
            shipping: ShipLimits::default(),
        }
    }
}
