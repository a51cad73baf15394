//! One tool server as a child process: its start, its words when it fails, its end.

use super::LocalConfig;
use super::folder::{Folder, Folders};
use super::toolchains::Toolchains;
use crate::contract::{Lost, WorkspaceLimits};
use crate::helper::Program;
use crate::server::EXIT_DEADLINE;
use crate::session::{Gone, Session};
use crate::wire::{Confine, Confined};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};

/// How long a server may take to greet.
const GREETING: Duration = Duration::from_secs(30);

/// How long it may take to end when its input is closed.
const ENDING: Duration = Duration::from_secs(8);

/// How much of its complaints is kept.
const COMPLAINTS: u64 = 4096;

/// What one sandbox is limited to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) network: bool,
    pub(super) workspace: WorkspaceLimits,
}

/// A tool server and what belongs to it.
#[derive(Debug)]
pub(super) struct Server {
    session: Session,
    confined: Confined,
    process: Process,
    /// Dropped last: what it holds is used by the processes above.
    folder: Option<Folder>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    stderr: Option<ChildStderr>,
}

/// Starts a server, learns what it could enforce, and ends it.
pub(super) async fn probe(
    program: &Program,
    isolated: bool,
    config: &LocalConfig,
    toolchains: &Toolchains,
    folders: &Folders,
) -> Result<Confined, String> {
    tracing::debug!(isolated, incarnation = %config.incarnation, "probing local sandboxes");
    let limits = Limits { network: false, workspace: WorkspaceLimits::default() };
    let server = Server::start(program, isolated, limits, toolchains, folders).await?;
    let confined = server.confined.clone();
    server.end().await;
    Ok(confined)
}

impl Server {
    pub(super) async fn start(
        program: &Program,
        isolated: bool,
        limits: Limits,
        toolchains: &Toolchains,
        folders: &Folders,
    ) -> Result<Self, String> {
        let folder = if isolated { None } else { Some(folders.make().map_err(|error| error.to_string())?) };
        let mib = |mib: u64| mib.saturating_mul(1 << 20);
        let bytes = |path: &std::path::Path| path.as_os_str().as_bytes().to_vec();
        let setup = Confine {
            isolated,
            network: limits.network,
            root: folder.as_ref().map(|folder| bytes(&folder.workspace())).unwrap_or_default(),
            tmp: folder.as_ref().map(|folder| bytes(&folder.tmp())).unwrap_or_default(),
            readable: toolchains.readable.iter().map(|path| bytes(path)).collect(),
            shims: toolchains
                .shims
                .iter()
                .map(|(name, target)| (name.clone().into_bytes(), bytes(target)))
                .collect(),
            memory_bytes: mib(limits.workspace.memory_mib),
            pids: u64::from(limits.workspace.pids),
            disk_bytes: mib(limits.workspace.disk_mib),
        };
        let setup = setup.to_argument().map_err(|error| error.to_string())?;
        let mut child = Command::new(program.path())
            .arg("confine")
            .arg(setup)
            .env_clear()
            .env("PATH", &toolchains.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on the worker's terminal is for the worker.
            .process_group(0)
            // An isolated server dies with its parent stage; another one must get the time to end what it started.
            .kill_on_drop(isolated)
            .spawn()
            .map_err(|error| format!("the tool server cannot be started: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the tool server has no streams".to_owned());
        };
        let stderr = child.stderr.take();
        let mut process = Process { child, stderr };
        match Session::open(Box::new(stdout), Box::new(stdin), GREETING).await {
            Ok((session, hello)) => Ok(Self { session, confined: hello.confined, process, folder }),
            Err(gone) => Err(process.lost(&gone).await.reason),
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Why the conversation ended, as far as the process and its complaints tell.
    pub(super) async fn lost(&mut self, gone: &Gone) -> Lost {
        self.process.lost(gone).await
    }

    /// Ends it: closes its input, waits, then by force.
    pub(super) async fn end(self) {
        let Self { session, mut process, folder, .. } = self;
        drop(session);
        if tokio::time::timeout(ENDING, process.child.wait()).await.is_err() {
            process.kill().await;
        }
        if let Some(folder) = folder {
            // Removal blocks on the disk.
            let _left = tokio::task::spawn_blocking(move || drop(folder)).await;
        }
    }
}

impl Process {
    async fn lost(&mut self, gone: &Gone) -> Lost {
        let status = tokio::time::timeout(ENDING, self.child.wait()).await;
        if status.is_err() {
            self.kill().await;
        }
        let mut complaint = Vec::new();
        if let Some(stderr) = &mut self.stderr {
            let mut stderr = stderr.take(COMPLAINTS);
            // Read as far as it came.
            let _cut =
                tokio::time::timeout(Duration::from_millis(200), stderr.read_to_end(&mut complaint)).await;
        }
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        match status {
            Ok(Ok(status)) if status.code() == Some(i32::from(EXIT_DEADLINE)) => {
                Lost::own_doing("the sandbox reached its own deadline")
            }
            _ if !complaint.is_empty() => Lost::engine(complaint),
            Ok(Ok(status)) => Lost::engine(format!("{}: {status}", gone.0)),
            _ => Lost::engine(gone.0.clone()),
        }
    }

    async fn kill(&mut self) {
        // Beyond what a signal can do, the kernel is asked a last time; what then remains belongs to it.
        let _dead = self.child.start_kill();
        let _late = tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await;
    }
}
