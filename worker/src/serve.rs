//! A worker from its start to its end. Owns the order in which things begin and end, and nothing in between.

pub use crate::actors::root::Summary;

use crate::actors::link::{self, Link};
use crate::actors::reaper::{self, Reaper};
use crate::actors::root::{self, Drain, Root, Trouble};
use crate::actors::shipper::{self, Shipper};
use crate::clock::Clock;
use crate::config::Config;
use crate::inputs::InputCache;
use crate::lair::Lair;
use crate::living::Living;
use crate::runs::Runs;
use crate::session::{Identity, Session};
use crate::work::Deps;
use domain::{Fault, Retry};
use kameo::actor::{ActorRef, Spawn as _};
use proto::dial::Dial;
use providers::Endpoints;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::oneshot;
use workspace::Sandboxes;

/// How long results that were being written when everything else had stopped are waited for.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// How long each part of the worker may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why a worker could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The coordinator cannot be dialled at all.
    #[error("the coordinator cannot be dialled")]
    Dial(#[from] proto::dial::Error),
    /// The certificate authorities cannot be read.
    #[error("failed to read the certificate authorities `{path}`")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A directory of the worker cannot be made.
    #[error("failed to make a working directory in `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The coordinator turned the worker away.
    #[error("the coordinator turned this worker away")]
    Refused(#[source] proto::status::Failure),
    /// The store that the coordinator names cannot be opened here.
    #[error("the coordinator's store cannot be opened")]
    Store(#[source] run_folder::store::Error),
    /// A part of the worker died and could not be started again.
    #[error("a part of the worker died for good")]
    Died,
}

impl Error {
    /// Whether the same call can succeed later.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::No
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Dial(_)
            | Self::Authority { .. }
            | Self::Directory { .. }
            | Self::Refused(_)
            | Self::Store(_) => Fault::User,
            Self::Died => Fault::Bug,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Dial(error) => Some(error.hint()),
            Self::Authority { .. } => Some("name a readable file with certificates in PEM form"),
            Self::Directory { .. } => Some("name a cache directory that this user may write to"),
            Self::Refused(_) => {
                Some("check the token, and that worker and coordinator are of the same version")
            }
            Self::Store(error) => Some(error.hint()),
            Self::Died => None,
        }
    }
}

/// Everything that must not outlive the worker, even when its future is dropped half way.
struct Crew {
    root: ActorRef<Root>,
    link: ActorRef<Link>,
    shipper: ActorRef<Shipper>,
    reaper: ActorRef<Reaper>,
    _living: Living,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.root.kill();
        self.link.kill();
        self.shipper.kill();
        self.reaper.kill();
    }
}

/// Works until `shutdown` resolves and what is in flight then has ended, at the latest at the drain deadline. Dropping the future
/// stops everything at once; attempts in flight then count as sudden deaths.
///
/// Each worker wants endpoints of its own: the coordinator's shares of rate limits are given to workers, not to processes.
///
/// # Errors
/// When the worker cannot start, or the coordinator turns it away for a reason that does not pass. An unreachable coordinator is no
/// error: it is dialled until it answers.
pub async fn serve(
    config: Config,
    endpoints: Arc<Endpoints>,
    sandboxes: Arc<dyn Sandboxes>,
    now_utc: impl Fn() -> String + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let dial = dial(&config).await?;
    let cache = lair(&config.cache_dir, &config).await?;
    let spool = lair(&config.spool_dir, &config).await?;
    let living = Living::begin(config.incarnation.clone());
    reaper::reap(&*sandboxes).await;
    let clock = Clock::start();
    let prepared = Root::prepare();
    let root = prepared.actor_ref().clone();
    let shipper_args = shipper::Args { clock, limits: config.shipping, spool: spool.path().to_owned() };
    let shipper = Shipper::supervise(&root, shipper_args).spawn().await;
    let reaper_args = reaper::Args { sandboxes: Arc::clone(&sandboxes), every: config.reap_every };
    let reaper = Reaper::supervise(&root, reaper_args).spawn().await;
    let link_args = link::Args { dial, root: root.clone(), streams: Arc::default() };
    let link = Link::supervise(&root, link_args).spawn().await;
    let deps = Deps {
        incarnation: config.incarnation.clone(),
        worker: config.name.clone(),
        clock,
        now_utc: Arc::new(now_utc),
        runs: Arc::new(Runs::new(endpoints, config.store)),
        inputs: InputCache::new(cache, config.cache_bytes),
        sandboxes,
        sandbox: config.sandbox,
        shipper: shipper.clone(),
        chunks: config.chunks,
        store_patience: config.store_patience,
        lanes: AtomicU64::new(0),
    };
    let identity = Identity {
        worker: config.name,
        incarnation: config.incarnation,
        slots: config.slots.max(1),
        labels: config.labels,
    };
    let (end, ended) = oneshot::channel();
    let (deps, session) = (Arc::new(deps), Session::new(identity));
    prepared.spawn(root::Args { deps, session, link: link.clone(), end });
    let crew = Crew { root, link, shipper, reaper, _living: living };
    let outcome = work(&crew, ended, clock, config.drain_deadline, shutdown).await;
    leave(&crew).await;
    drop(crew);
    outcome
}

async fn dial(config: &Config) -> Result<Dial, Error> {
    let ca = match &config.tls_ca {
        None => None,
        Some(path) => {
            let read = tokio::fs::read_to_string(path).await;
            Some(read.map_err(|source| Error::Authority { path: path.clone(), source })?)
        }
    };
    let dial = Dial { url: config.coordinator.clone(), token: config.token.clone(), ca };
    dial.channel()?;
    Ok(dial)
}

async fn lair(shared: &std::path::Path, config: &Config) -> Result<Lair, Error> {
    let (path, incarnation) = (shared.to_owned(), config.incarnation.clone());
    let opened = tokio::task::spawn_blocking(move || Lair::open(&path, &incarnation)).await;
    let opened = opened.map_err(|_| Error::Died)?;
    opened.map_err(|source| Error::Directory { path: shared.to_owned(), source })
}

async fn work(
    crew: &Crew,
    ended: oneshot::Receiver<Result<Summary, Trouble>>,
    clock: Clock,
    drain_deadline: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let told = |end: Result<Result<Summary, Trouble>, oneshot::error::RecvError>| match end {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(Trouble::Refused(failure))) => Err(Error::Refused(failure)),
        Ok(Err(Trouble::Store(error))) => Err(Error::Store(error)),
        Err(_) => Err(Error::Died),
    };
    tokio::pin!(ended);
    tokio::select! {
        end = &mut ended => return told(end),
        () = shutdown => {}
    }
    tracing::info!(?drain_deadline, "draining");
    // Fails only when the root is gone, and then its end says so too.
    let _ = crew.root.tell(Drain(clock.now() + drain_deadline)).await;
    match tokio::time::timeout(drain_deadline + LAST_WORDS, &mut ended).await {
        Ok(end) => told(end),
        Err(_) => {
            tracing::warn!("leaving although results are still being written");
            Ok(crew.root.ask(root::Sum).reply_timeout(STOP_PATIENCE).await.unwrap_or_default())
        }
    }
}

/// Hangs up, then stops the parts, each for a bounded time.
async fn leave(crew: &Crew) {
    // A part that does not answer is killed below.
    let _ = crew.link.ask(link::Close).reply_timeout(STOP_PATIENCE).await;
    crew.root.kill();
    let stopped = async {
        // The root takes its supervised parts with it.
        let _ = crew.root.wait_for_shutdown_result().await;
    };
    if tokio::time::timeout(STOP_PATIENCE, stopped).await.is_err() {
        tracing::warn!("a part of the worker does not stop");
    }
}
