//! Workspaces in containers, through the engine's API. Owns what a worker holds of an engine: one connection, a watch on its events, a
//! pool of warm containers, and the tasks that remove old ones.

mod breaker;
mod container;
mod engine;
mod events;
mod importer;
mod labels;
mod pool;
mod present;
mod reaper;
mod runnable;
mod workspace;

use crate::archive::{self, Archive, PutError};
use crate::contract::{DEFAULT_IMAGE, OpenError, OpenSpec, Reaped, Sandboxes, Workspace};
use container::Container;
pub(crate) use importer::Importer;
pub use present::missing_images;

use domain::id::Incarnation;
use domain::{Fault, Retry};
use engine::Engine;
use futures::future::{BoxFuture, FutureExt};
use labels::Identity;
use pool::{Pool, Shape};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use workspace::DockerWorkspace;

/// Where an engine listens by default.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// How long removals may take when a worker ends.
const LAST_REMOVALS: Duration = Duration::from_secs(30);

/// How a worker uses an engine.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// Where it listens, as in `DOCKER_HOST`: `unix://…` or `tcp://…`.
    pub host: String,
    /// The life of the worker process; written on its containers.
    pub incarnation: Incarnation,
    /// Containers kept warm for each image and set of limits in use.
    pub warm: usize,
    /// Containers kept warm in all.
    pub warm_total: usize,
    /// Containers made at once.
    pub makes_at_once: usize,
    /// Containers removed at once.
    pub removes_at_once: usize,
    /// The engine's network for cases that ask for one.
    pub network: String,
}

impl DockerConfig {
    /// Usual values for an engine on this machine.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            host: DEFAULT_HOST.to_owned(),
            incarnation,
            warm: 2,
            warm_total: 8,
            makes_at_once: 4,
            removes_at_once: 4,
            network: "bridge".to_owned(),
        }
    }
}

/// No engine could be used.
#[derive(Debug, thiserror::Error)]
#[error("no Docker engine at `{host}`: {why}")]
pub struct ConnectError {
    /// Where it was looked for.
    pub host: String,
    /// What went wrong.
    pub why: String,
}

impl ConnectError {
    /// An engine may be starting.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::Backoff
    }

    /// The machine's.
    #[must_use]
    pub fn fault(&self) -> Fault {
        Fault::Infra
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        vec![
            "start an engine (`dockerd`), or name one with DOCKER_HOST".to_owned(),
            "or work without containers: `--sandbox local`".to_owned(),
        ]
    }
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
    /// The API version spoken with it.
    pub api: String,
}

/// Asks whether an engine answers there.
///
/// # Errors
/// When none does.
pub async fn docker_available(host: &str) -> Result<EngineInfo, ConnectError> {
    let (_, info) = engine::connect(host).await?;
    Ok(info)
}

/// Containers of one worker process.
#[derive(Debug, Clone)]
pub struct DockerSandboxes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    config: DockerConfig,
    identity: Identity,
    events: events::Events,
    images: runnable::Images,
    pool: Pool,
    tasks: TaskTracker,
    described: Vec<String>,
}

impl DockerSandboxes {
    /// Connects to an engine and begins to watch it.
    ///
    /// # Errors
    /// When no engine answers.
    pub async fn connect(config: DockerConfig) -> Result<Self, ConnectError> {
        let (docker, info) = engine::connect(&config.host).await?;
        let engine = Engine::new(docker, config.makes_at_once, config.removes_at_once);
        let described = engine.describe(&info).await;
        let identity = Identity::own(&config.incarnation);
        let events = events::Events::watch(&engine, &config.incarnation);
        let pool = Pool::new(config.warm, config.warm_total);
        let images = runnable::Images::default();
        let tasks = TaskTracker::new();
        let shared = Shared { engine, config, identity, events, images, pool, tasks, described };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens in a task of its own: whoever asked may be cancelled at any moment, and a container half made must not be forgotten.
    async fn open(&self, spec: OpenSpec) -> Result<Box<dyn Workspace>, OpenError> {
        let (answer, opened) = oneshot::channel();
        let this = self.clone();
        self.shared.tasks.spawn(async move {
            if let Err(Ok(unwanted)) = answer.send(this.open_now(spec).await) {
                unwanted.close().await;
            }
        });
        let ended =
            |_| OpenError::Engine { doing: "open a workspace", why: "the opening was cut off".to_owned() };
        opened.await.map_err(ended)?
    }

    async fn open_now(&self, spec: OpenSpec) -> Result<Box<dyn Workspace>, OpenError> {
        let shared = &self.shared;
        let name = spec.image.as_deref().unwrap_or(DEFAULT_IMAGE);
        let image = shared.images.runnable(&shared.engine, &shared.identity, name).await?;
        let shape = Shape::new(image, &spec);
        let lives = container::IDLE.saturating_add(spec.deadline);
        let container = match self.take_warm(&shape, &spec).await {
            Some(warm) => warm,
            None => self.make_cold(name, &shape, &spec, lives).await?,
        };
        self.refill(&shape, lives);
        match archive::put(container.session(), Archive::from(spec.input.clone())).await {
            Ok(()) => Ok(Box::new(DockerWorkspace::new(Arc::clone(shared), container))),
            Err(error) => {
                let error = put_error(shared, &container, &spec, error).await;
                shared.retire(container);
                Err(error)
            }
        }
    }

    /// Removes images that were prepared for other builds of och. Answers their names.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn remove_old_images(&self) -> Result<Vec<String>, OpenError> {
        runnable::remove_old(&self.shared.engine).await
    }

    /// A container made ahead that still answers.
    async fn take_warm(&self, shape: &Shape, spec: &OpenSpec) -> Option<Container> {
        let shared = &self.shared;
        loop {
            let warm = shared.pool.take(shape)?;
            if warm.ask(container::begin(spec)).await.is_ok() {
                let (engine, id) = (shared.engine.clone(), warm.id().to_owned());
                let name = shared.identity.name(Some(&spec.owner));
                shared.tasks.spawn(async move { engine.rename(&id, &name).await });
                return Some(warm);
            }
            // One that died while it waited is no trouble: there are others.
            shared.retire(warm);
        }
    }

    async fn make_cold(
        &self,
        name: &str,
        shape: &Shape,
        spec: &OpenSpec,
        lives: Duration,
    ) -> Result<Container, OpenError> {
        let shared = &self.shared;
        let (network, owner) = (&shared.config.network, Some(&spec.owner));
        let made = Container::make(&shared.engine, &shared.identity, shape, network, owner, lives).await;
        let cold = made.inspect_err(|_| shared.images.forget(name))?;
        match cold.ask(container::begin(spec)).await {
            Ok(_) => Ok(cold),
            Err(gone) => {
                let why = workspace::why(shared, &cold, &gone).await.reason;
                shared.retire(cold);
                Err(OpenError::Engine { doing: "start a container", why })
            }
        }
    }

    /// Makes containers of this shape ahead, in the background.
    fn refill(&self, shape: &Shape, lives: Duration) {
        while let Some((place, evicted)) = self.shared.pool.room(shape) {
            if let Some(evicted) = evicted {
                self.shared.retire(evicted);
            }
            let (shared, shape) = (Arc::clone(&self.shared), shape.clone());
            self.shared.tasks.spawn(async move {
                let network = &shared.config.network;
                match Container::make(&shared.engine, &shared.identity, &shape, network, None, lives).await {
                    Ok(container) => {
                        if let Some(refused) = shared.pool.put(place, container) {
                            shared.retire(refused);
                        }
                    }
                    // The next open makes its own and tells its own trouble.
                    Err(error) => tracing::debug!(%error, "no warm container"),
                }
            });
        }
    }
}

async fn put_error(shared: &Shared, container: &Container, spec: &OpenSpec, error: PutError) -> OpenError {
    let path = spec.input.clone().unwrap_or_default();
    match error {
        PutError::Read { why, infra } => OpenError::Input { path, why, infra },
        PutError::Refused(why) => OpenError::Input { path, why, infra: false },
        PutError::Gone(gone) => {
            let why = workspace::why(shared, container, &gone).await.reason;
            OpenError::Engine { doing: "unpack the input", why }
        }
    }
}

impl Shared {
    /// Removes a container in the background; the task is awaited at shutdown.
    fn retire(&self, container: Container) -> tokio::task::JoinHandle<()> {
        let (engine, id) = (self.engine.clone(), container.id().to_owned());
        let events = self.events.clone();
        // The end of its stream ends it, whatever becomes of the removal.
        drop(container);
        self.tasks.spawn(async move {
            if let Err(why) = engine.remove(&id).await {
                tracing::warn!(container = %id, %why, "container left to the reaper");
            }
            events.forget(&id);
        })
    }
}

impl Sandboxes for DockerSandboxes {
    fn open(&self, spec: OpenSpec) -> BoxFuture<'_, Result<Box<dyn Workspace>, OpenError>> {
        Self::open(self, spec).boxed()
    }

    fn reap<'a>(&'a self, alive: &'a HashSet<Incarnation>) -> BoxFuture<'a, Result<Reaped, OpenError>> {
        reaper::reap(&self.shared.engine, &self.shared.identity, alive).boxed()
    }

    fn describe(&self) -> Vec<String> {
        self.shared.described.clone()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async move {
            for container in self.shared.pool.close() {
                self.shared.retire(container);
            }
            self.shared.tasks.close();
            if tokio::time::timeout(LAST_REMOVALS, self.shared.tasks.wait()).await.is_err() {
                tracing::warn!(left = self.shared.tasks.len(), "containers left to end by themselves");
            }
        }
        .boxed()
    }
}
