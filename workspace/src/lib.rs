//! Workspaces: where a trial's tools act. Owns containers, local sandboxes and the tool server inside them; knows nothing of models,
//! agents, run folders or the wire between coordinator and worker.
//!
//! Everything in a workspace is hostile ground: paths are resolved beneath its root, output is capped while it is read, a command's
//! whole process tree dies with its time limit, names are data.

#[cfg(feature = "engine")]
mod archive;
#[cfg(feature = "engine")]
mod changes;
mod clock;
#[cfg(feature = "engine")]
mod contract;
#[cfg(feature = "engine")]
mod docker;
#[cfg(feature = "engine")]
pub mod fake;
#[cfg(feature = "engine")]
mod helper;
#[cfg(feature = "engine")]
pub mod image;
#[cfg(feature = "engine")]
mod local;
mod ops;
mod server;
#[cfg(feature = "engine")]
mod session;
mod wire;

#[cfg(feature = "engine")]
pub use archive::Archive;
#[cfg(feature = "engine")]
pub use changes::{Error as ChangesError, overlay, restore};
#[cfg(feature = "engine")]
pub use contract::{
    DEFAULT_IMAGE, Lost, OpenError, OpenSpec, Owner, Reaped, Sandboxes, Workspace, WorkspaceLimits,
};
#[cfg(feature = "engine")]
pub use docker::{
    ConnectError, DEFAULT_HOST, DockerConfig, DockerSandboxes, EngineInfo, docker_available, missing_images,
};
#[cfg(feature = "engine")]
pub use fake::FakeSandboxes;
#[cfg(feature = "engine")]
pub use local::{Isolation, LocalConfig, LocalSandboxes};
pub use server::tool_server_main;

/// The patch of a workspace against its input.
#[cfg(feature = "engine")]
pub mod diff {
    pub use crate::changes::{Error, unified};
}
