//! What a check stands on: an open workspace of the kind asked for, and short words for its operations.

use domain::id::{AttemptNo, Incarnation, RunId, TrialIndex, TrialKey};
use domain::ops::{
    Change, Command, Entry, ExecEnd, ExecOutput, ExecSpec, FileContent, LineMatch, Op, OpError, Reply,
};
use domain::suite::Network;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use workspace::{
    FakeSandboxes, Isolation, LocalConfig, LocalSandboxes, Lost, OpenSpec, Owner, Sandboxes, Workspace,
    WorkspaceLimits,
};

pub(crate) struct Bed {
    pub(crate) kind: &'static str,
    pub(crate) sandboxes: Arc<dyn Sandboxes>,
    pub(crate) workspace: Box<dyn Workspace>,
    pub(crate) spec: OpenSpec,
    _slot: Option<slot::Slot>,
    temp: tempfile::TempDir,
}

/// Opens a workspace of the kind with the standard input, runs the check on it and closes it.
pub(crate) async fn run<F: AsyncFn(&mut Bed)>(kind: &'static str, check: F) {
    let mut bed = Bed::make(kind).await;
    check(&mut bed).await;
    let Bed { sandboxes, workspace, temp, .. } = bed;
    workspace.close().await;
    sandboxes.shutdown().await;
    let left: Vec<_> = std::fs::read_dir(temp.path().join("folders"))
        .map(|entries| {
            entries.flatten().flat_map(|base| std::fs::read_dir(base.path()).unwrap().flatten()).collect()
        })
        .unwrap_or_default();
    assert!(left.is_empty(), "folders are left: {left:?}");
}

pub(crate) fn incarnation() -> Incarnation {
    let nonce = std::process::id();
    Incarnation::new(format!("test-{nonce}")).unwrap()
}

pub(crate) fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap()
}

impl Bed {
    pub(crate) async fn make(kind: &'static str) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut taken = None;
        let sandboxes: Arc<dyn Sandboxes> = match kind {
            "local" | "plain" => {
                let isolation = if kind == "plain" { Isolation::Plain } else { Isolation::Auto };
                let config = LocalConfig {
                    incarnation: incarnation(),
                    path: path(),
                    temp: Some(temp.path().join("folders")),
                    isolation,
                };
                open_to_all(temp.path());
                Arc::new(LocalSandboxes::start(config).await.unwrap())
            }
            "docker" => {
                taken = Some(slot::take().await);
                docker::sandboxes(0).await
            }
            "fake" => Arc::new(FakeSandboxes::new()),
            other => panic!("no kind `{other}`"),
        };
        let spec = OpenSpec {
            owner: Owner {
                run: RunId::new("run-1").unwrap(),
                trial: TrialKey {
                    suite: "suite".parse().unwrap(),
                    case: "case".parse().unwrap(),
                    preset: "preset".parse().unwrap(),
                    index: TrialIndex(0),
                },
                attempt: AttemptNo::FIRST,
                incarnation: incarnation(),
            },
            input: Some(standard_input(temp.path())),
            image: Some("och/test-busybox".to_owned()),
            network: Network::None,
            env: BTreeMap::from([("CASE".to_owned(), "yes".to_owned())]),
            limits: WorkspaceLimits { memory_mib: 128, pids: 64, disk_mib: 32, cpus: 1.0 },
            deadline: Duration::from_secs(300),
        };
        let workspace = sandboxes.open(spec.clone()).await.unwrap();
        Self { kind, sandboxes, workspace, spec, _slot: taken, temp }
    }

    /// Closes the workspace and opens another one.
    pub(crate) async fn reopen(&mut self, change: impl FnOnce(&mut OpenSpec)) {
        change(&mut self.spec);
        let new = self.sandboxes.open(self.spec.clone()).await.unwrap();
        std::mem::replace(&mut self.workspace, new).close().await;
    }

    pub(crate) async fn op(&self, op: Op) -> Reply {
        self.workspace.run(op).await.unwrap()
    }

    pub(crate) async fn lost(&self, op: Op) -> Lost {
        self.workspace.run(op).await.unwrap_err()
    }

    pub(crate) async fn sh(&self, line: &str) -> ExecOutput {
        self.exec(ExecSpec::shell(line, Duration::from_secs(60))).await
    }

    /// Runs a line that must succeed; its stdout.
    #[track_caller]
    pub(crate) fn ok<'a>(&'a self, line: &'a str) -> impl Future<Output = String> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let out = self.sh(line).await;
            let (stdout, stderr) =
                (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            assert_eq!(out.end, ExecEnd::Exited(0), "{caller}: {line}\n{stdout}\n{stderr}");
            stdout.into_owned()
        }
    }

    pub(crate) async fn exec(&self, spec: ExecSpec) -> ExecOutput {
        match self.op(Op::Exec(spec)).await {
            Reply::Exec(output) => output,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn argv(&self, argv: &[&str]) -> ExecOutput {
        let mut spec = ExecSpec::shell("", Duration::from_secs(60));
        spec.command = Command::Argv(argv.iter().map(|word| (*word).to_owned()).collect());
        self.exec(spec).await
    }

    pub(crate) async fn read(&self, path: &str) -> Result<FileContent, OpError> {
        match self.op(Op::Read { path: path.to_owned(), offset: 0, max_bytes: 1 << 20 }).await {
            Reply::File(content) => Ok(content),
            Reply::Refused(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        String::from_utf8(self.read(path).await.unwrap().bytes).unwrap()
    }

    pub(crate) async fn apply(&self, changes: Vec<Change>) -> Result<(), OpError> {
        match self.op(Op::Apply { changes }).await {
            Reply::Applied => Ok(()),
            Reply::Refused(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn write(&self, path: &str, text: &str) -> Result<(), OpError> {
        self.apply(vec![write(path, text)]).await
    }

    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Entry>, OpError> {
        match self.op(Op::List { path: path.to_owned() }).await {
            Reply::Entries { entries, .. } => Ok(entries),
            Reply::Refused(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn walk(&self, path: &str, skip: &[&str], max_files: u64) -> (Vec<Entry>, bool) {
        let skip_dirs = skip.iter().map(|name| (*name).to_owned()).collect();
        match self.op(Op::Walk { path: path.to_owned(), skip_dirs, max_files, hashes: true }).await {
            Reply::Entries { entries, truncated } => (entries, truncated),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn search(&self, pattern: &str, path: &str) -> Result<Vec<LineMatch>, OpError> {
        let op = Op::Search {
            pattern: pattern.to_owned(),
            path: path.to_owned(),
            skip_dirs: vec!["skipped".to_owned()],
            max_matches: 50,
            max_line_bytes: 60,
        };
        match self.op(op).await {
            Reply::Matches { matches, .. } => Ok(matches),
            Reply::Refused(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn write(path: &str, text: &str) -> Change {
    Change::Write { path: path.to_owned(), bytes: text.as_bytes().to_vec(), mode: None }
}

/// A sandbox that drops its user must be able to walk to its folders.
fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// `hello.txt`, an executable, a read-only file, a nested one, two links, an empty directory, and a closed one.
fn standard_input(temp: &std::path::Path) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    file("hello.txt", 0o644, b"hello\n");
    file("run.sh", 0o755, b"#!/bin/sh\necho ran\n");
    file("locked.txt", 0o444, b"locked\n");
    file("sub/deep/file.txt", 0o640, b"one needle\ntwo\nthree needle\n");
    file("big.bin", 0o600, &vec![7; 3 << 20]);
    for (path, kind, target, mode) in [
        ("inward", tar::EntryType::Symlink, "sub/deep/file.txt", 0o777),
        ("outward", tar::EntryType::Symlink, "/etc/passwd", 0o777),
        ("empty/", tar::EntryType::Directory, "", 0o755),
        ("closed/", tar::EntryType::Directory, "", 0o555),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(mode);
        if kind == tar::EntryType::Symlink {
            tar.append_link(&mut header, path, target).unwrap();
        } else {
            tar.append_data(&mut header, path, std::io::empty()).unwrap();
        }
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    tar.append_data(&mut header, "closed/in.txt", &b"in"[..]).unwrap();
    let path = temp.join("input.tar.zst");
    std::fs::write(&path, zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()).unwrap();
    path
}

/// At most so many tests use the engine at once, over all test processes.
pub(crate) mod slot {
    use nix::fcntl::{Flock, FlockArg};
    use std::fs::File;

    const SLOTS: u32 = 3;

    pub(crate) type Slot = Flock<File>;

    pub(crate) async fn take() -> Slot {
        lock(&format!("och-docker-slot-{}", std::process::id() % SLOTS)).await
    }

    pub(crate) async fn lock(name: &str) -> Slot {
        let path = std::env::temp_dir().join(name);
        tokio::task::spawn_blocking(|| {
            let file = File::options().create(true).append(true).open(path).unwrap();
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap()
        })
        .await
        .unwrap()
    }
}

/// A real engine: the one this machine runs, or the one the script starts. Missing is a failure, never a reason to skip.
pub(crate) mod docker {
    use std::process::Command;
    use std::sync::Arc;
    use workspace::{DEFAULT_HOST, DockerConfig, DockerSandboxes, docker_available};

    /// Where the tests' engine listens.
    pub(crate) fn host() -> String {
        std::env::var_os("DOCKER_HOST")
            .map_or_else(|| DEFAULT_HOST.to_owned(), |host| host.into_string().unwrap())
    }

    pub(crate) fn config(warm: usize) -> DockerConfig {
        DockerConfig { host: host(), warm, warm_total: warm, ..DockerConfig::new(super::incarnation()) }
    }

    /// Connects; starts an engine and makes the test image first when they are missing.
    pub(crate) async fn sandboxes(warm: usize) -> Arc<DockerSandboxes> {
        ready().await;
        Arc::new(DockerSandboxes::connect(config(warm)).await.unwrap())
    }

    pub(crate) async fn ready() {
        let image = |host: &str| {
            let out = Command::new("docker")
                .args(["-H", host, "image", "inspect", workspace::image::TEST_IMAGE])
                .output();
            out.is_ok_and(|out| out.status.success())
        };
        let _one_at_a_time = super::slot::lock("och-docker-ready").await;
        if docker_available(&host()).await.is_err() || !image(&host()) {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/docker-up.sh");
            let status = Command::new(script).status().unwrap();
            assert!(status.success(), "no engine could be started: {status}");
            workspace::image::build_test_image(&host()).await.unwrap();
        }
    }
}
