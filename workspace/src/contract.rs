//! What a worker sees of a workspace, whatever kind it is. Owns no implementation.

use domain::id::{AttemptNo, Incarnation, RunId, TrialKey};
use domain::ops::{Op, Reply};
use domain::suite::Network;
use domain::{Fault, Retry};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

/// The image of cases that name none; made by `och images build`.
pub const DEFAULT_IMAGE: &str = "och/base:1";

/// One open workspace: files and processes of one attempt.
///
/// Operations run one after another, in the order they were asked. Dropping a workspace without [`Workspace::close`] is safe: its
/// processes end all the same, only nobody waits for it.
pub trait Workspace: Send + Sync + Debug {
    /// Does one operation. A refusal is a [`Reply::Refused`]; [`Lost`] means that the workspace is gone and every later call fails too.
    fn run(&self, op: Op) -> BoxFuture<'_, Result<Reply, Lost>>;

    /// Ends every process and removes every file. Bounded in time; what could not be removed now is left to the reaper.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The workspace is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the workspace is lost: {reason}")]
pub struct Lost {
    /// What happened, for people.
    pub reason: String,
    /// Whether the attempt counts: true when what ran inside brought it down (memory, its own deadline), false when the engine did.
    pub counts: bool,
}

impl Lost {
    /// Lost through no doing of what ran inside.
    #[must_use]
    pub fn engine(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), counts: false }
    }

    /// Brought down by what ran inside.
    #[must_use]
    pub fn own_doing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), counts: true }
    }
}

/// Whose a workspace is: written on the container, so that a reaper knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The run.
    pub run: RunId,
    /// The trial.
    pub trial: TrialKey,
    /// The attempt.
    pub attempt: AttemptNo,
    /// The life of the worker process.
    pub incarnation: Incarnation,
}

/// What a workspace may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkspaceLimits {
    /// Memory of its processes, in MiB.
    pub memory_mib: u64,
    /// Processes and threads at once.
    pub pids: u32,
    /// Bytes of its files, in MiB.
    pub disk_mib: u64,
    /// Processors.
    pub cpus: f64,
}

impl Default for WorkspaceLimits {
    fn default() -> Self {
        Self { memory_mib: 1024, pids: 256, disk_mib: 1024, cpus: 1.0 }
    }
}

/// What to open.
#[derive(Debug, Clone)]
pub struct OpenSpec {
    /// Whose it is.
    pub owner: Owner,
    /// A `.tar.zst` of the files to begin with; an empty workspace without one. It must stay in place until [`Workspace::close`].
    pub input: Option<PathBuf>,
    /// The image; [`DEFAULT_IMAGE`] without one. A local sandbox has no images and ignores it.
    pub image: Option<String>,
    /// Network of its processes.
    pub network: Network,
    /// Environment of every command.
    pub env: BTreeMap<String, String>,
    /// What it may use.
    pub limits: WorkspaceLimits,
    /// After so long it ends itself, whether or not the worker lives.
    pub deadline: Duration,
}

/// A maker of workspaces of one kind.
pub trait Sandboxes: Send + Sync + Debug {
    /// Opens a workspace.
    fn open(&self, spec: OpenSpec) -> BoxFuture<'_, Result<Box<dyn Workspace>, OpenError>>;

    /// Removes what dead workers of this machine left behind; whatever belongs to an incarnation in `alive` stays.
    fn reap<'a>(&'a self, alive: &'a HashSet<Incarnation>) -> BoxFuture<'a, Result<Reaped, OpenError>>;

    /// What is and what is not enforced on this machine, in sentences for people.
    fn describe(&self) -> Vec<String>;

    /// Gives back everything held ahead (warm containers) and waits, for a bounded time, until closed workspaces are gone.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// What a reaper removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Names of the containers or directories that are gone now.
    pub removed: Vec<String>,
    /// Names of those that should be gone and could not be removed, with the reason.
    pub failed: Vec<(String, String)>,
}

/// Why a workspace could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine has no such image.
    #[error("image `{image}` is not on this machine")]
    NoSuchImage {
        /// The image as the case names it.
        image: String,
    },
    /// The input cannot be read or unpacked.
    #[error("failed to unpack input `{path}`: {why}")]
    Input {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Whether reading it again, elsewhere or later, can help: the disk failed, not the archive.
        infra: bool,
    },
    /// The engine, or the machine below a local sandbox, failed or did not answer in time.
    #[error("failed to {doing}: {why}")]
    Engine {
        /// What was being done: `create a container`.
        doing: &'static str,
        /// The engine's words.
        why: String,
    },
    /// The engine failed so often that it is left alone for a while.
    #[error("the engine is given a rest after repeated trouble: {last}")]
    Resting {
        /// How long.
        after: Duration,
        /// The last trouble.
        last: String,
    },
    /// The limits or the environment asked for cannot be given.
    #[error("the workspace cannot be made as asked: {why}")]
    Spec {
        /// What is wrong.
        why: String,
    },
}

impl OpenError {
    /// Whether opening again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::NoSuchImage { .. } | Self::Spec { .. } | Self::Input { infra: false, .. } => Retry::No,
            Self::Input { .. } | Self::Engine { .. } => Retry::Backoff,
            Self::Resting { after, .. } => Retry::After(*after),
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoSuchImage { .. } | Self::Spec { .. } => Fault::User,
            Self::Input { .. } | Self::Engine { .. } | Self::Resting { .. } => Fault::Infra,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSuchImage { image } if image == DEFAULT_IMAGE => {
                vec!["build it with `och images build`".to_owned()]
            }
            Self::NoSuchImage { image } => {
                vec![format!("pull or build it on the worker's machine: `docker pull {image}`")]
            }
            _ => Vec::new(),
        }
    }
}
