//! Making images where there is no registry: the default one from Debian packages, a tiny one for tests. Owns what they hold; knows nothing
//! of the tool server, which is put into any image when it is first run.

use crate::contract::{DEFAULT_IMAGE, OpenError};
use crate::docker::{ConnectError, Importer};
use domain::{Fault, Retry};
use nix::unistd::geteuid;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Image of workspace tests: busybox and nothing else.
pub const TEST_IMAGE: &str = "och/test-busybox";

/// Debian packages of the default image, beyond the smallest system. `deploy/base.Dockerfile` names the same.
pub const PACKAGES: [&str; 10] = [
    "bc",
    "ca-certificates",
    "git",
    "jq",
    "make",
    "patch",
    "procps",
    "python-is-python3",
    "python3",
    "python3-pytest",
];

/// The Debian release of the default image.
pub const RELEASE: &str = "bookworm";

/// Told to whoever waits: what is being done.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What of a built system nobody needs in a workspace.
const LITTER: [&str; 8] = [
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/debconf",
];

const SETTINGS: [&str; 4] = [
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LABEL och.base=1",
    "WORKDIR /workspace",
    "CMD [\"/bin/sh\"]",
];

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program it needs is missing.
    #[error("`{program}` is not installed")]
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// Only root may build a system's files.
    #[error("an image is built as root, with device files and other users' files in it")]
    NotRoot,
    /// A step failed.
    #[error("failed to {doing}: {why}")]
    Step {
        /// The step.
        doing: &'static str,
        /// The last words of what did it.
        why: String,
    },
    /// No engine answers.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The engine did not take it.
    #[error(transparent)]
    Engine(#[from] OpenError),
}

impl Error {
    /// Whether trying again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Missing { .. } | Self::NotRoot => Retry::No,
            Self::Step { .. } => Retry::Backoff,
            Self::Connect(error) => error.retry(),
            Self::Engine(error) => error.retry(),
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing { .. } | Self::NotRoot => Fault::User,
            _ => Fault::Infra,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { package, .. } => vec![format!("as root: `apt-get install --no-install-recommends {package}`")],
            Self::NotRoot => vec![
                "run it as root, or with a registry at hand: `docker build -t och/base:1 -f deploy/base.Dockerfile deploy`".to_owned(),
            ],
            Self::Step { .. } => Vec::new(),
            Self::Connect(error) => error.hints(),
            Self::Engine(error) => error.hints(),
        }
    }
}

/// How the default image is built.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// Where Debian packages come from; debootstrap's own choice without one.
    pub mirror: Option<String>,
    /// Where the system is put together; needs about 600 MB. The machine's temporary folder without one.
    pub scratch: Option<PathBuf>,
}

/// Builds [`DEFAULT_IMAGE`] from Debian packages and gives it to the engine at `host`.
///
/// # Errors
/// When a program or the engine is missing, this is not root, or a step fails.
pub async fn build_default_image(host: &str, build: &Build, progress: Progress<'_>) -> Result<(), Error> {
    let debootstrap = program("debootstrap", "debootstrap")?;
    let tar = program("tar", "tar")?;
    if !geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    // Asked before minutes are spent.
    let importer = Importer::connect(host).await?;
    let scratch = build.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("och-base-").tempdir_in(scratch);
    let folder = folder.map_err(|error| step("make a folder", &error))?;
    let root = folder.path().join("root");
    let mut command = Command::new(debootstrap);
    command.arg("--variant=minbase").arg(format!("--include={}", PACKAGES.join(","))).arg(RELEASE).arg(&root);
    command.args(build.mirror.as_ref());
    progress(&format!("debootstrap: Debian {RELEASE} with {}", PACKAGES.join(", ")));
    run(command, "build a Debian system", progress).await?;
    progress("tidying");
    let tidy = root.clone();
    let tidied = tokio::task::spawn_blocking(move || make_tidy(&tidy)).await;
    tidied
        .map_err(|error| step("tidy the system", &error))?
        .map_err(|error| step("tidy the system", &error))?;
    progress(&format!("importing as {DEFAULT_IMAGE}"));
    let mut command = Command::new(tar);
    command
        .arg("--create")
        .arg("--numeric-owner")
        .arg("--sort=name")
        .arg("--exclude=./dev/*")
        .arg("--exclude=./proc/*");
    command.arg("--exclude=./sys/*").arg("-C").arg(&root).arg(".").stdout(Stdio::piped()).kill_on_drop(true);
    let mut tar = command.spawn().map_err(|error| step("pack the system", &error))?;
    let Some(stream) = tar.stdout.take() else {
        return Err(Error::Step { doing: "pack the system", why: "no output".to_owned() });
    };
    importer.import_stream(DEFAULT_IMAGE, &SETTINGS.join("\n"), stream).await?;
    let status = tar.wait().await.map_err(|error| step("pack the system", &error))?;
    if !status.success() {
        return Err(Error::Step { doing: "pack the system", why: status.to_string() });
    }
    // The system holds files of many owners and modes: removed here and now, not when dropped, so that trouble is told.
    folder.close().map_err(|error| step("remove the scratch folder", &error))
}

/// Builds [`TEST_IMAGE`] from the machine's static busybox and gives it to the engine at `host`.
///
/// # Errors
/// When busybox or the engine is missing.
pub async fn build_test_image(host: &str) -> Result<(), Error> {
    let busybox = program("busybox", "busybox-static")?;
    let importer = Importer::connect(host).await?;
    let listed = Command::new(&busybox).arg("--list").output().await;
    let listed = listed.map_err(|error| step("ask busybox for its programs", &error))?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let bytes = tokio::fs::read(&busybox).await.map_err(|error| step("read busybox", &error))?;
    let packed = pack_busybox(&bytes, names.lines()).map_err(|error| step("pack busybox", &error))?;
    importer.import_bytes(TEST_IMAGE, "ENV PATH=/bin", packed).await?;
    Ok(())
}

fn pack_busybox<'a>(busybox: &[u8], names: impl Iterator<Item = &'a str>) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)
    };
    for path in ["bin/", "dev/", "etc/", "proc/", "sys/"] {
        add(path, tar::EntryType::Directory, 0o755, b"")?;
    }
    add("tmp/", tar::EntryType::Directory, 0o1777, b"")?;
    add("bin/busybox", tar::EntryType::Regular, 0o755, busybox)?;
    add("etc/passwd", tar::EntryType::Regular, 0o644, b"root:x:0:0:root:/:/bin/sh\n")?;
    add("etc/group", tar::EntryType::Regular, 0o644, b"root:x:0:\n")?;
    for name in names.filter(|name| !matches!(*name, "" | "busybox")) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox")?;
    }
    tar.into_inner()
}

fn make_tidy(root: &Path) -> std::io::Result<()> {
    for litter in LITTER {
        match std::fs::remove_dir_all(root.join(litter)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(root.join(litter))?,
        }
    }
    std::fs::create_dir_all(root.join("workspace"))
}

/// Runs a command, telling its lines.
async fn run(mut command: Command, doing: &'static str, progress: Progress<'_>) -> Result<(), Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    let mut child = command.spawn().map_err(|error| step(doing, &error))?;
    let mut out = child.stdout.take().map(|out| BufReader::new(out).lines());
    let mut err = child.stderr.take().map(|err| BufReader::new(err).lines());
    let mut last: VecDeque<String> = VecDeque::new();
    while out.is_some() || err.is_some() {
        let line = tokio::select! {
            line = next(&mut out) => line,
            line = next(&mut err) => line,
        };
        let Some(line) = line else { continue };
        progress(line.trim());
        last.push_back(line);
        if last.len() > 5 {
            last.pop_front();
        }
    }
    let status = child.wait().await.map_err(|error| step(doing, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Step { doing, why: format!("{status}: {}", Vec::from(last).join("; ")) })
}

/// The next line of a stream that may have ended; sets it to `None` when it ends.
async fn next<R: tokio::io::AsyncBufRead + Unpin>(
    stream: &mut Option<tokio::io::Lines<R>>,
) -> Option<String> {
    let Some(lines) = stream else { return std::future::pending().await };
    let line = lines.next_line().await.ok().flatten();
    if line.is_none() {
        *stream = None;
    }
    line
}

fn step(doing: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Step { doing, why: error.to_string() }
}

/// Finds a program where systems keep those for administrators, too.
fn program(name: &'static str, package: &'static str) -> Result<PathBuf, Error> {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs.iter().map(|dir| Path::new(dir).join(OsStr::new(name))).find(|path| path.exists());
    found.ok_or(Error::Missing { program: name, package })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_makes_the_same_image() {
        let text = include_str!("../../deploy/base.Dockerfile");
        for package in PACKAGES {
            assert!(
                text.split_whitespace().any(|word| word == package),
                "`{package}` is missing in the Dockerfile"
            );
        }
        assert!(text.contains(&format!("FROM debian:{RELEASE}-slim")));
        for setting in SETTINGS.iter().filter(|setting| !setting.starts_with("ENV")) {
            assert!(text.contains(setting), "`{setting}` is missing in the Dockerfile");
        }
    }
}
