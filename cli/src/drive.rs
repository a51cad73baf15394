//! Brings a planned run to its end: through a coordinator elsewhere, or through the same coordinator and workers inside this process,
//! over the same gRPC contract. Owns what Ctrl-C means.

use crate::args::ConnectArgs;
use crate::exit::Expected;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::{client, connect, env_vars, sandbox, say, wall};
use anyhow::{Context as _, Result};
use domain::id::{Incarnation, WorkerName};
use domain::run::RunSpec;
use proto::dial::Dial;
use providers::Endpoints;
use run_folder::{RunFolder, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Trials in flight where nobody says otherwise.
const DEFAULT_CONCURRENCY: u32 = 8;
/// Heartbeat and lease time inside one process: everything dies together, so a resume need not wait long.
const LOCAL_HEARTBEAT: Duration = Duration::from_millis(1000);
const LOCAL_TTL: Duration = Duration::from_secs(5);

/// Who runs the run.
#[derive(Debug)]
pub(crate) enum Route {
    /// This process.
    Local {
        /// Workers.
        workers: u32,
        /// Trials in flight over all of them.
        concurrency: u32,
    },
    /// A coordinator and whoever works for it.
    Remote(Dial),
}

impl Route {
    /// From the flags.
    ///
    /// # Errors
    /// Usage errors of address, token and certificate.
    pub(crate) fn new(
        coordinator: Option<&str>,
        connect: &ConnectArgs,
        workers: u32,
        concurrency: Option<u32>,
    ) -> Result<Self> {
        let Some(url) = coordinator.map(str::to_owned).or_else(|| env_vars::read(env_vars::OCH_COORDINATOR))
        else {
            return Ok(Self::Local {
                workers,
                concurrency: concurrency.unwrap_or(DEFAULT_CONCURRENCY).max(workers),
            });
        };
        connect::dial(&url, connect).map(Self::Remote)
    }
}

/// How a run was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every trial is decided and the run is closed.
    Sealed,
    /// Stopped before that; nothing decided is lost.
    Interrupted {
        /// Trials without a verdict.
        undecided: u32,
    },
}

/// Runs a planned run until it is sealed or interrupted.
///
/// # Errors
/// When store, sandbox or coordinator cannot be used, or the run is fenced.
pub(crate) async fn drive(store: &Store, folder: &RunFolder, spec: &RunSpec, route: Route) -> Result<Ending> {
    let mut signals = Signals::listen()?;
    match route {
        Route::Remote(dial) => {
            let mut progress = Progress::start(spec);
            let watch = client::watch(&dial, folder, store, &mut progress);
            tokio::pin!(watch);
            tokio::select! {
                ending = &mut watch => ending,
                () = signals.next() => {
                    say::note("");
                    say::note(&format!("no longer watching; the coordinator goes on with run `{}`", folder.id()));
                    say::note(&format!("hint: `och status {} --store {}` says how far it is, `och cancel` stops it", folder.id(), store.url()));
                    undecided(folder, spec).await
                }
            }
        }
        Route::Local { workers, concurrency } => {
            local(store, folder, spec, workers, concurrency, &mut signals).await
        }
    }
}

async fn local(
    store: &Store,
    folder: &RunFolder,
    spec: &RunSpec,
    workers: u32,
    concurrency: u32,
    signals: &mut Signals,
) -> Result<Ending> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|error| Expected::unusable(format!("cannot listen on loopback: {error}")))?;
    let url = format!("http://{}", listener.local_addr()?);
    let (stop_coordinator, drain) = (CancellationToken::new(), CancellationToken::new());
    let mut services: JoinSet<Result<()>> = JoinSet::new();
    let mut config = coordinator::Config::new(crate::plan::incarnation());
    config.heartbeat = LOCAL_HEARTBEAT;
    config.ttl = LOCAL_TTL;
    config.store_is_proven = true;
    let shutdown = stop_coordinator.clone().cancelled_owned();
    let serving = coordinator::serve(config, listener, store.clone(), wall::now_utc, shutdown);
    services.spawn(async move {
        serving
            .await
            .map_err(|error| anyhow::Error::new(error).context(Expected::unusable("the coordinator stopped")))
    });
    let mut all_sandboxes = Vec::new();
    let mut crew: JoinSet<Result<()>> = JoinSet::new();
    for number in 0..workers {
        let slots = concurrency / workers + u32::from(number < concurrency % workers);
        let name = WorkerName::folded(&format!("local-{}", number + 1));
        let incarnation = crate::plan::incarnation();
        let sandboxes = sandbox::make(spec.sandbox, &incarnation).await?;
        all_sandboxes.push(Arc::clone(&sandboxes));
        let mut config = worker_config(name, incarnation, url.clone(), slots.max(1));
        config.store = Some(store.clone());
        config.sandbox = Some(spec.sandbox);
        // Each worker gets its own share of the limits, so each has its own limiters.
        let working =
            worker::serve(config, endpoints(), sandboxes, wall::now_utc, drain.clone().cancelled_owned());
        crew.spawn(async move {
            working
                .await
                .map(drop)
                .map_err(|error| anyhow::Error::new(error).context(Expected::unusable("a worker stopped")))
        });
    }
    let dial = Dial::plain(url);
    let mut progress = Progress::start(spec);
    let ended = {
        let watch = client::watch(&dial, folder, store, &mut progress);
        tokio::pin!(watch);
        tokio::select! {
            ending = &mut watch => Some(ending),
            Some(died) = services.join_next() => Some(Err(died.context("the coordinator panicked").and_then(|done| done).err()
                .unwrap_or_else(|| anyhow::anyhow!("the coordinator left before the run was done")))),
            Some(died) = crew.join_next() => Some(Err(died.context("a worker panicked").and_then(|done| done).err()
                .unwrap_or_else(|| anyhow::anyhow!("a worker left before the run was done")))),
            () = signals.next() => None,
        }
    };
    progress.finish();
    if ended.is_none() {
        say::note("");
        say::note("draining: attempts in flight may finish; Ctrl-C again stops now");
    }
    drain.cancel();
    let leave = async {
        while crew.join_next().await.is_some() {}
        stop_coordinator.cancel();
        while services.join_next().await.is_some() {}
        for sandboxes in &all_sandboxes {
            sandboxes.shutdown().await;
        }
    };
    tokio::select! {
        () = leave => {}
        () = signals.next() => say::warn("stopped with attempts in flight; what they spent is lost, what is decided is not"),
    }
    match ended {
        Some(ending) => ending,
        None => undecided(folder, spec).await,
    }
}

/// What the folder says after an interruption.
async fn undecided(folder: &RunFolder, spec: &RunSpec) -> Result<Ending> {
    if folder.sealed().await?.is_some() {
        return Ok(Ending::Sealed);
    }
    let total = domain::matrix::trials(&spec.suites, &spec.presets, spec.trials).count();
    let decided = folder.decided().await?.len();
    Ok(Ending::Interrupted { undecided: u32::try_from(total.saturating_sub(decided)).unwrap_or(u32::MAX) })
}

/// The endpoints of this process: keys come from the environment.
pub(crate) fn endpoints() -> Arc<Endpoints> {
    Arc::new(Endpoints::new(Arc::new(env_vars::key), Arc::new(wall::now_utc)))
}

/// A worker's configuration with this process's directories.
pub(crate) fn worker_config(
    name: WorkerName,
    incarnation: Incarnation,
    coordinator: String,
    slots: u32,
) -> worker::Config {
    let cache = env_vars::read(env_vars::OCH_CACHE_DIR)
        .map_or_else(|| std::env::temp_dir().join(format!("och-cache-{}", nix_uid())), PathBuf::from);
    worker::Config::new(name, incarnation, coordinator, slots, cache)
}

/// The user's number, so that two users of one machine do not share a cache directory.
fn nix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").map_or(0, |own| own.uid())
}
