//! Workspaces on a machine without containers: a tool server of our own as a child process, confined by whatever the kernel grants.
//! Nothing is copied or started before a workspace's first operation.

mod folder;
mod server;
mod toolchains;

use crate::archive::{self, Archive, PutError};
use crate::contract::{Lost, OpenError, OpenSpec, Reaped, Sandboxes, Workspace};
use crate::helper::Program;
use crate::wire::{Answer, Confined, Landlock, Request};
use domain::id::Incarnation;
use domain::ops::{Op, Reply};
use domain::suite::Network;
use futures::future::{BoxFuture, FutureExt};
use server::Server;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How much confinement to try for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Namespaces where the kernel grants them, else what is left.
    #[default]
    Auto,
    /// No namespaces: Landlock and limits only.
    Plain,
}

/// What local sandboxes need to know of their worker.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// The life of the worker process; names its folders.
    pub incarnation: Incarnation,
    /// `PATH` of commands: the worker's own. Interpreters found on it are readable in a sandbox.
    pub path: OsString,
    /// Where folders of sandboxes without namespaces go; the machine's temporary folder without one.
    pub temp: Option<PathBuf>,
    /// How much confinement to try for.
    pub isolation: Isolation,
}

/// Local sandboxes of one worker process.
#[derive(Debug)]
pub struct LocalSandboxes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: Program,
    isolated: bool,
    confined: Confined,
    toolchains: toolchains::Toolchains,
    folders: folder::Folders,
}

impl LocalSandboxes {
    /// Finds out what this machine grants, by starting one sandbox and ending it.
    ///
    /// # Errors
    /// When not even an unconfined child process can be started.
    pub async fn start(config: LocalConfig) -> Result<Self, OpenError> {
        let toolchains = toolchains::find(&config.path);
        let folders = folder::Folders::new(config.temp.clone(), &config.incarnation);
        let mut refused = Vec::new();
        for isolated in [true, false] {
            if isolated && config.isolation == Isolation::Plain {
                continue;
            }
            for program in [Program::in_memory(), Program::in_folder()] {
                let program = match program {
                    Ok(program) => program,
                    Err(error) => {
                        refused.push(error.to_string());
                        continue;
                    }
                };
                match server::probe(&program, isolated, &config, &toolchains, &folders).await {
                    Ok(mut confined) => {
                        confined.troubles.splice(0..0, refused);
                        let shared = Shared { program, isolated, confined, toolchains, folders };
                        return Ok(Self { shared: Arc::new(shared) });
                    }
                    Err(why) => refused.push(why),
                }
            }
        }
        Err(OpenError::Engine { doing: "start a local sandbox", why: refused.join("; ") })
    }
}

impl Sandboxes for LocalSandboxes {
    fn open(&self, spec: OpenSpec) -> BoxFuture<'_, Result<Box<dyn Workspace>, OpenError>> {
        let shared = Arc::clone(&self.shared);
        let opened = Instant::now();
        let workspace = LocalWorkspace { shared, spec, opened, state: Mutex::new(State::Unused) };
        std::future::ready(Ok(Box::new(workspace) as Box<dyn Workspace>)).boxed()
    }

    fn reap<'a>(&'a self, _alive: &'a HashSet<Incarnation>) -> BoxFuture<'a, Result<Reaped, OpenError>> {
        // Whether a worker lives is known better than by names: it holds a lock on its folder.
        let folders = self.shared.folders.clone();
        async move {
            let reaped = tokio::task::spawn_blocking(move || folders.reap()).await;
            reaped.map_err(|error| OpenError::Engine { doing: "reap folders", why: error.to_string() })
        }
        .boxed()
    }

    fn describe(&self) -> Vec<String> {
        describe(&self.shared.confined)
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        let folders = self.shared.folders.clone();
        async move {
            // What cannot be removed now is left to the next worker's reaper.
            let _left = tokio::task::spawn_blocking(move || folders.remove_own()).await;
        }
        .boxed()
    }
}

fn describe(confined: &Confined) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |line: &str| lines.push(line.to_owned());
    if confined.own_files {
        say(
            "local sandbox: commands see the system's directories read-only and the workspace, no other files of this machine",
        );
        say("the workspace lies in memory and its size is limited; `/tmp` is 64 MiB");
    } else {
        say(
            "local sandbox without namespaces: the workspace is a folder of this machine, its size is NOT limited, only that of each file",
        );
    }
    match (confined.landlock, confined.own_files) {
        (Landlock::Fully, _) => say("Landlock: enforced"),
        (Landlock::Partly, _) => say("Landlock: enforced in part, this kernel knows an older version"),
        (Landlock::None, true) => say("Landlock: not available"),
        (Landlock::None, false) => {
            say("WARNING: Landlock is not available: commands read and write whatever this user may");
        }
    }
    if confined.own_processes {
        say("commands cannot see or signal other processes, and all of them end with the workspace");
        say(
            "processes are counted by workspace; memory is limited for each process, NOT for all of them together",
        );
    } else {
        say(
            "commands see other processes; those that detach themselves are found and ended, their number is NOT limited",
        );
        say("a command may end its own tool server: the attempt is lost then, and what it started may go on");
    }
    if !confined.own_user {
        if !confined.own_processes && confined.landlock == Landlock::None {
            say(
                "WARNING: commands run as this user and may read the environment of its processes, keys included",
            );
        } else if !confined.own_processes {
            say("commands run as this user");
        }
    }
    match (confined.own_network, confined.tcp_refused) {
        (true, _) => say("network: loopback only, unless a case asks for more"),
        (false, true) => say("network: TCP is refused, loopback included; other protocols are NOT cut off"),
        (false, false) => say("WARNING: network: NOT cut off"),
    }
    say("processor time is NOT limited, only wall time");
    lines.extend(confined.troubles.iter().map(|trouble| format!("not granted: {trouble}")));
    lines
}

#[derive(Debug)]
struct LocalWorkspace {
    shared: Arc<Shared>,
    spec: OpenSpec,
    opened: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Unused,
    Serving(Box<Server>),
    Lost(Lost),
}

impl LocalWorkspace {
    async fn begin(&self) -> Result<Server, Lost> {
        let spec = &self.spec;
        let shared = &self.shared;
        let limits = server::Limits { network: spec.network == Network::Full, workspace: spec.limits };
        let mut server =
            Server::start(&shared.program, shared.isolated, limits, &shared.toolchains, &shared.folders)
                .await
                .map_err(Lost::engine)?;
        let deadline = spec.deadline.saturating_sub(self.opened.elapsed());
        let deadline_millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let begin = Request::Begin { env: spec.env.clone(), deadline_millis };
        if let Err(gone) = server.session().ask(begin, Duration::from_secs(30)).await {
            return Err(server.lost(&gone).await);
        }
        match archive::put(server.session(), Archive::from(spec.input.clone())).await {
            Ok(()) => Ok(server),
            Err(PutError::Gone(gone)) => Err(server.lost(&gone).await),
            Err(PutError::Read { why, .. } | PutError::Refused(why)) => {
                Err(Lost::engine(format!("failed to unpack the input: {why}")))
            }
        }
    }

    async fn run(&self, op: Op) -> Result<Reply, Lost> {
        let mut state = self.state.lock().await;
        if let State::Unused = *state {
            *state = match self.begin().await {
                Ok(server) => State::Serving(Box::new(server)),
                Err(lost) => State::Lost(lost),
            };
        }
        let server = match &mut *state {
            State::Serving(server) => server,
            State::Lost(lost) => return Err(lost.clone()),
            State::Unused => return Err(Lost::engine("the sandbox did not begin")),
        };
        let limit = time_limit(&op);
        let lost = match server.session().ask(Request::Op(op), limit).await {
            Ok(Answer::Reply(reply)) => return Ok(reply),
            Ok(other) => Lost::engine(format!("unexpected answer {other:?}")),
            Err(gone) => server.lost(&gone).await,
        };
        *state = State::Lost(lost.clone());
        Err(lost)
    }
}

/// How long an operation may take before its server is taken for dead.
pub(crate) fn time_limit(op: &Op) -> Duration {
    let slack = Duration::from_secs(60);
    match op {
        Op::Exec(spec) => Duration::from_millis(spec.timeout_millis).saturating_add(slack),
        _ => slack * 5,
    }
}

impl Workspace for LocalWorkspace {
    fn run(&self, op: Op) -> BoxFuture<'_, Result<Reply, Lost>> {
        Self::run(self, op).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            if let State::Serving(server) = self.state.into_inner() {
                server.end().await;
            }
        }
        .boxed()
    }
}
