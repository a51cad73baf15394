//! Workspaces in memory, for tests of what uses them: files behave as in the real ones (one suite checks all kinds), commands do what the
//! test says, and trouble comes when it is asked for.

mod tree;

pub use tree::FakeFiles;

use crate::archive::{Archive, ItemKind};
use crate::contract::{Lost, OpenError, OpenSpec, Reaped, Sandboxes, Workspace};
use domain::id::Incarnation;
use domain::ops::{ExecEnd, ExecOutput, ExecSpec, Op, Reply};
use futures::future::{BoxFuture, FutureExt};
use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a command does to a fake workspace.
pub type FakeCommand = dyn Fn(&ExecSpec, &mut FakeFiles) -> ExecOutput + Send + Sync;

/// Makes workspaces in memory.
#[derive(Clone)]
pub struct FakeSandboxes {
    command: Arc<FakeCommand>,
    lose_after: Option<(u64, Lost)>,
    fail_opens: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
    closed: Arc<AtomicU64>,
}

impl fmt::Debug for FakeSandboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSandboxes").field("open", &self.still_open()).finish_non_exhaustive()
    }
}

impl Default for FakeSandboxes {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeSandboxes {
    /// Every command succeeds and prints nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            command: Arc::new(|_, _| ended(0, "")),
            lose_after: None,
            fail_opens: Arc::default(),
            open: Arc::default(),
            closed: Arc::default(),
        }
    }

    /// Commands do this instead.
    #[must_use]
    pub fn commands(
        mut self,
        command: impl Fn(&ExecSpec, &mut FakeFiles) -> ExecOutput + Send + Sync + 'static,
    ) -> Self {
        self.command = Arc::new(command);
        self
    }

    /// Every workspace is lost after so many operations.
    #[must_use]
    pub fn lose_after(mut self, operations: u64, lost: Lost) -> Self {
        self.lose_after = Some((operations, lost));
        self
    }

    /// The next so many opens fail as an engine would.
    pub fn fail_opens(&self, count: u64) {
        self.fail_opens.store(count, Ordering::SeqCst);
    }

    /// How many workspaces are open now: what a test of cleaning up wants to be zero.
    #[must_use]
    pub fn still_open(&self) -> u64 {
        self.open.load(Ordering::SeqCst) - self.closed.load(Ordering::SeqCst)
    }
}

/// A command that ended with a code and printed this.
#[must_use]
pub fn ended(code: i32, stdout: &str) -> ExecOutput {
    ExecOutput {
        end: ExecEnd::Exited(code),
        stdout: stdout.as_bytes().to_vec(),
        stderr: Vec::new(),
        stdout_dropped: 0,
        stderr_dropped: 0,
        millis: 0,
    }
}

impl Sandboxes for FakeSandboxes {
    fn open(&self, spec: OpenSpec) -> BoxFuture<'_, Result<Box<dyn Workspace>, OpenError>> {
        async move {
            let failing =
                self.fail_opens.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if failing.is_ok() {
                return Err(OpenError::Engine { doing: "create a container", why: "as asked".to_owned() });
            }
            let files = read(&spec)?;
            self.open.fetch_add(1, Ordering::SeqCst);
            let fake = FakeWorkspace {
                files: Mutex::new(files),
                operations: AtomicU64::new(0),
                sandboxes: self.clone(),
            };
            Ok(Box::new(fake) as Box<dyn Workspace>)
        }
        .boxed()
    }

    fn reap<'a>(&'a self, _alive: &'a HashSet<Incarnation>) -> BoxFuture<'a, Result<Reaped, OpenError>> {
        std::future::ready(Ok(Reaped::default())).boxed()
    }

    fn describe(&self) -> Vec<String> {
        vec!["fake workspaces: files in memory, no processes".to_owned()]
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

fn read(spec: &OpenSpec) -> Result<FakeFiles, OpenError> {
    let mut files = FakeFiles::default();
    let outcome = Archive::from(spec.input.clone()).each(|item, content| {
        let path = String::from_utf8_lossy(&item.path).into_owned();
        match item.kind {
            ItemKind::Dir { mode } => files.put_dir(&path, mode),
            ItemKind::Link { target } => files.put_link(&path, &String::from_utf8_lossy(&target)),
            ItemKind::File { mode, .. } => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                files.put_file(&path, bytes, mode);
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    outcome.map_err(|error| OpenError::Input {
        path: spec.input.clone().unwrap_or_default(),
        why: error.to_string(),
        infra: false,
    })?;
    Ok(files)
}

#[derive(Debug)]
struct FakeWorkspace {
    files: Mutex<FakeFiles>,
    operations: AtomicU64,
    sandboxes: FakeSandboxes,
}

impl FakeWorkspace {
    fn files(&self) -> MutexGuard<'_, FakeFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, op: Op) -> Result<Reply, Lost> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst);
        if let Some((after, lost)) = &self.sandboxes.lose_after
            && number >= *after
        {
            return Err(lost.clone());
        }
        let mut files = self.files();
        let reply = match op {
            Op::Exec(spec) => match files.is_dir(&spec.cwd) {
                Ok(()) => Reply::Exec((self.sandboxes.command)(&spec, &mut files)),
                Err(error) => Reply::Refused(error),
            },
            Op::KillAll => Reply::Killed(0),
            op => files.run(op).unwrap_or_else(Reply::Refused),
        };
        Ok(reply)
    }
}

impl Workspace for FakeWorkspace {
    fn run(&self, op: Op) -> BoxFuture<'_, Result<Reply, Lost>> {
        std::future::ready(Self::run(self, op)).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

impl Drop for FakeWorkspace {
    fn drop(&mut self) {
        self.sandboxes.closed.fetch_add(1, Ordering::SeqCst);
    }
}
