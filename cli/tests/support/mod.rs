//! What the tests of the real binary share: a scratch directory, the command with a clean environment, and reading of run folders.

#![expect(dead_code, reason = "each test file uses a part")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A scratch directory with the `och` command in it.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `och` with nothing in its environment but a path and a home.
    pub(crate) fn och(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_och"));
        command.current_dir(self.path()).args(arguments).env_clear().stdin(Stdio::null());
        for variable in ["PATH", "LD_LIBRARY_PATH"] {
            #[expect(clippy::disallowed_methods, reason = "the child gets the test's path")]
            if let Ok(value) = std::env::var(variable) {
                command.env(variable, value);
            }
        }
        command.env("HOME", self.path()).env("OCH_CACHE_DIR", self.path().join("cache"));
        command
    }

    /// Runs `och` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        said(self.och(arguments).output().unwrap())
    }

    /// Starts `och` with both streams kept.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let child = self.och(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running { child: Some(child) }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The only run folder below a directory.
    pub(crate) fn run_folder(&self, store: &str) -> PathBuf {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(self.path().join(store))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("run.json").is_file())
            .collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.remove(0)
    }
}

/// A running `och`; killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
}

impl Running {
    pub(crate) fn of(child: Child) -> Self {
        Self { child: Some(child) }
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    pub(crate) fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.as_mut().unwrap().stdout.take().unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end, at most this long.
    pub(crate) fn wait(mut self, limit: Duration) -> Said {
        wait_until("the command to end", limit, || self.has_ended());
        said(self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Polls a condition; fails with its name after the limit. The limit only bounds a hanging test, it measures nothing.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a bound for a hanging test")]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of the repository, as text for an argument.
pub(crate) fn repository_file(path: &str) -> String {
    repository().join(path).to_str().unwrap().to_owned()
}

/// Every verdict of a run folder.
pub(crate) fn verdicts(folder: &Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder.join("verdicts")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files.iter().map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()).collect()
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Attempts of a run folder that reached a result: what was paid for to the end.
pub(crate) fn results(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|file| file.ends_with("result.json")).collect()
}

/// Attempts that were begun.
pub(crate) fn claims(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|file| file.ends_with("claim.json")).collect()
}
