//! Every call to the engine goes through here: a bounded number at once, each with its time, none while the engine is given a rest.

use super::breaker::Breaker;
use super::{ConnectError, EngineInfo};
use crate::contract::OpenError;
use bollard::errors::Error;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use domain::env::Moment;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Seconds of an answer to begin, for calls that give no other time.
const CLIENT_SECONDS: u64 = 120;

/// How long a call waits for its turn.
const TURN: Duration = Duration::from_secs(300);

/// Tries of one removal.
const REMOVALS: u32 = 8;

/// What a call is, and so how long it may take and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Reading something.
    Ask,
    /// Making or starting a container.
    Make,
    /// Removing one.
    Remove,
    /// Making an image.
    Image,
}

/// One engine.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    makes: Semaphore,
    removes: Semaphore,
    images: Semaphore,
    breaker: Mutex<Breaker>,
    began: Instant,
}

/// Connects and agrees on a version.
pub(super) async fn connect(host: &str) -> Result<(Docker, EngineInfo), ConnectError> {
    let trouble = |why: String| ConnectError { host: host.to_owned(), why };
    let docker = if host.starts_with("unix://") || host.starts_with('/') {
        Docker::connect_with_unix(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
    } else if host.starts_with("tcp://") || host.starts_with("http://") {
        Docker::connect_with_http(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
    } else {
        return Err(trouble("only `unix://` and `tcp://` are spoken".to_owned()));
    };
    let docker = docker.map_err(|error| trouble(chain(&error)))?;
    let asking = async {
        let docker = docker.negotiate_version().await?;
        let version = docker.version().await?;
        Ok::<_, Error>((docker, version.version.unwrap_or_default()))
    };
    let answered = tokio::time::timeout(Duration::from_secs(15), asking).await;
    let (docker, version) = answered
        .map_err(|_| trouble("it does not answer within 15 s".to_owned()))?
        .map_err(|error| trouble(chain(&error)))?;
    let api = docker.client_version().to_string();
    Ok((docker, EngineInfo { version, api }))
}

impl Engine {
    pub(super) fn new(docker: Docker, makes: usize, removes: usize) -> Self {
        let inner = Inner {
            makes: Semaphore::new(makes.max(1)),
            removes: Semaphore::new(removes.max(1)),
            images: Semaphore::new(1),
            breaker: Mutex::default(),
            began: Instant::now(),
        };
        Self { docker, inner: Arc::new(inner) }
    }

    /// The connection, for streams that outlive a call.
    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Does one call, in its turn and within its time.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        doing: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, OpenError> {
        let failed = |why: String| OpenError::Engine { doing, why };
        let turn = match call {
            Call::Ask => None,
            Call::Make => Some(&self.inner.makes),
            Call::Remove => Some(&self.inner.removes),
            Call::Image => Some(&self.inner.images),
        };
        let _turn = match turn {
            None => None,
            Some(turn) => match tokio::time::timeout(TURN, turn.acquire()).await {
                Ok(Ok(turn)) => Some(turn),
                _ => return Err(failed(format!("no turn within {TURN:?}: the engine is behind"))),
            },
        };
        // Removing is how an engine in trouble gets better.
        if call != Call::Remove {
            let allowed = self.breaker().allow(self.now());
            allowed.map_err(|(after, last)| OpenError::Resting { after, last })?;
        }
        let limit = Duration::from_secs(match call {
            Call::Ask => 20,
            Call::Make | Call::Remove => 60,
            Call::Image => 900,
        });
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(value)) => {
                self.breaker().success();
                Ok(value)
            }
            Ok(Err(error)) => {
                let why = chain(&error);
                if is_trouble(&error) {
                    self.breaker().trouble(self.now(), &why);
                } else {
                    self.breaker().success();
                }
                Err(failed(why))
            }
            Err(_) => {
                let why = format!("no answer within {limit:?}");
                self.breaker().trouble(self.now(), &why);
                Err(failed(why))
            }
        }
    }

    /// Removes a container until the engine says that there is none.
    pub(super) async fn remove(&self, id: &str) -> Result<(), String> {
        let mut last = String::new();
        for round in 0..REMOVALS {
            if round > 0 {
                tokio::time::sleep(Duration::from_millis(50 << round.min(6))).await;
            }
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let removing = async {
                match self.docker.remove_container(id, Some(options)).await {
                    Ok(()) => Ok(true),
                    Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(true),
                    // Somebody else is at it, the engine itself for one: asked again until it is gone.
                    Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            match self.call(Call::Remove, "remove a container", removing).await {
                Ok(true) => return Ok(()),
                Ok(false) => "its removal is under way and does not end".clone_into(&mut last),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    /// Gives a container a name for people.
    pub(super) async fn rename(&self, id: &str, name: &str) {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let renaming = self.docker.rename_container(id, options);
        if let Err(error) = self.call(Call::Ask, "rename a container", renaming).await {
            tracing::debug!(container = %id, %error, "the container keeps its old name");
        }
    }

    /// What this engine enforces, for people.
    pub(super) async fn describe(&self, info: &EngineInfo) -> Vec<String> {
        let mut lines = vec![
            format!("containers: Docker engine {} (API {})", info.version, info.api),
            "each has no network unless its case asks for one, no capabilities, no new privileges, a read-only root, a user of its own".to_owned(),
            "`/workspace` and `/tmp` lie in memory; their size, memory, processes and processors are limited".to_owned(),
        ];
        match self.call(Call::Ask, "ask the engine about itself", self.docker.info()).await {
            Ok(info) => {
                for (granted, what) in [
                    (info.memory_limit, "memory is NOT limited by this engine"),
                    (info.swap_limit, "swap is NOT limited by this engine"),
                    (info.pids_limit, "processes are NOT limited by this engine"),
                    (info.cpu_cfs_quota, "processors are NOT limited by this engine"),
                ] {
                    if granted == Some(false) {
                        lines.push(format!("WARNING: {what}"));
                    }
                }
                let seccomp = info.security_options.iter().flatten().any(|option| option.contains("seccomp"));
                if !seccomp {
                    lines.push("WARNING: this engine filters no system calls".to_owned());
                }
            }
            Err(error) => lines.push(format!("what it enforces is unknown: {error}")),
        }
        lines
    }

    fn now(&self) -> Moment {
        Moment(self.inner.began.elapsed())
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.inner.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error speaks of the engine's state and not of what was asked.
fn is_trouble(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError { status_code, .. } => *status_code >= 500,
        _ => true,
    }
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}
