//! What a local tool server makes of itself before it serves: namespaces and an own root where the kernel grants them, an unprivileged
//! user, Landlock, limits. Owns the order of these steps; each takes away what the next no longer needs.

use super::{EXIT_SETUP, Place, WORKSPACE, loopback, root, serve, standard_env};
use crate::ops::{Processes, Tree};
use crate::wire::{Confine, Confined, Landlock};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chown, getgid, getuid, setgid, setgroups, setsid, setuid};
use std::ffi::OsStr;
use std::io::{Error, Result, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The user commands run as, as they see it.
pub(super) const INNER_ID: u32 = 10001;

/// A server nobody begins to use is gone after so long.
const IDLE: Duration = Duration::from_secs(600);

/// Threads of our own, which count as processes too.
const OWN_THREADS: u64 = 6;

/// Whose rights the second stage has: the machine's root's, or those of a user namespace over one user.
const AS_ROOT: &str = "root";
const AS_USER: &str = "user";

fn decode(text: &str) -> Result<Confine> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).map_err(Error::other)?;
        u8::from_str_radix(pair, 16).map_err(Error::other)
    });
    let bytes = digits.collect::<Result<Vec<_>>>()?;
    postcard::from_bytes(&bytes).map_err(Error::other)
}

/// First stage: takes the namespaces, starts the second stage as the first process in them, and stays as its parent. Without
/// isolation there is one stage.
pub(super) fn begin(text: &str) -> ExitCode {
    // Refused only to a process that leads its group already, which is as good.
    let _leads = setsid();
    let outcome =
        decode(text).and_then(|setup| if setup.isolated { outer(&setup, text) } else { plain(&setup) });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(EXIT_SETUP)
        }
    }
}

fn outer(setup: &Confine, text: &str) -> Result<u8> {
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !setup.network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    let (uid, gid) = (getuid(), getgid());
    let kind = if uid.is_root() && unshare(flags).is_ok() {
        AS_ROOT
    } else {
        unshare(flags | CloneFlags::CLONE_NEWUSER)
            .map_err(|errno| trouble("namespaces are refused", errno))?;
        map_ids(0, uid, 0, gid)?;
        AS_USER
    };
    let mut inner = Command::new("/proc/self/exe").args(["confined", text, kind]).spawn()?;
    let status = inner.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_SETUP))
}

/// Second stage: the first process of its namespace.
pub(super) fn inside(text: &str, kind: &str) -> Result<()> {
    let setup = decode(text)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let as_root = kind == AS_ROOT;
    // A name for people; nothing depends on it.
    let _named = nix::unistd::sethostname("workspace");
    let mut confined =
        Confined { own_processes: true, own_files: true, own_network: !setup.network, ..Confined::default() };
    root::build(&setup, if as_root { INNER_ID } else { 0 })?;
    if !setup.network
        && let Err(error) = loopback::up()
    {
        confined.troubles.push(format!("loopback stays down: {error}"));
    }
    if as_root {
        become_unprivileged()?;
        confined.own_user = true;
    }
    // A user namespace for this workspace alone: processes are counted in it, and the user inside is nobody's outside.
    let (uid, gid) = (getuid(), getgid());
    prctl::set_dumpable(true)?;
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| trouble("a user namespace is refused", errno))?;
    map_ids(INNER_ID, uid, INNER_ID, gid)?;
    // No user namespaces below this one: they would open doors of the kernel that an unprivileged process finds shut.
    if let Err(error) = std::fs::write("/proc/sys/user/max_user_namespaces", "0") {
        confined.troubles.push(format!("user namespaces inside stay possible: {error}"));
    }
    let writable = [WORKSPACE, "/tmp", "/dev"].map(PathBuf::from);
    confined.landlock = restrict(&["/".into()], &writable, false, &mut confined.troubles)?;
    limit(&setup, true)?;
    let mut env = standard_env(WORKSPACE, "/tmp");
    env.insert("PATH".to_owned(), path_with(root::SHIMS));
    serve(Place { root: WORKSPACE.into(), tree: Tree::Namespace, env }, confined, IDLE)
}

/// The one stage without namespaces.
fn plain(setup: &Confine) -> Result<u8> {
    let root = PathBuf::from(OsStr::from_bytes(&setup.root));
    let tmp = PathBuf::from(OsStr::from_bytes(&setup.tmp));
    let mut confined = Confined::default();
    if getuid().is_root() {
        let (uid, gid) = (Some(Uid::from_raw(INNER_ID)), Some(Gid::from_raw(INNER_ID)));
        let given = chown(&root, uid, gid).and_then(|()| chown(&tmp, uid, gid)).map_err(Error::from);
        match given.and_then(|()| become_unprivileged()) {
            Ok(()) => confined.own_user = true,
            Err(error) => confined.troubles.push(format!("commands run as root: {error}")),
        }
    }
    prctl::set_child_subreaper(true)?;
    let path = reachable_path(&tmp)?;
    let mut readable: Vec<PathBuf> = root::SYSTEM_DIRS.iter().map(|name| Path::new("/").join(name)).collect();
    readable
        .extend(root::etc_entries(Path::new("/etc")).into_iter().map(|name| Path::new("/etc").join(name)));
    readable.push("/proc".into());
    readable.extend(setup.readable.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))));
    let mut writable = vec![root.clone(), tmp.clone()];
    writable.extend(["null", "zero", "full", "random", "urandom"].map(|name| Path::new("/dev").join(name)));
    confined.landlock = restrict(&readable, &writable, !setup.network, &mut confined.troubles)?;
    confined.tcp_refused = !setup.network && confined.landlock != Landlock::None && tcp_is_refused();
    limit(setup, false)?;
    let mut env = standard_env(&root.to_string_lossy(), &tmp.to_string_lossy());
    env.insert("PATH".to_owned(), path);
    serve(Place { root, tree: Tree::Descendants, env }, confined, IDLE)?;
    Ok(0)
}

/// Ends everything below this process.
pub(super) fn end_descendants() {
    if let Ok(processes) = Processes::new(Tree::Descendants) {
        processes.kill_all();
    }
}

fn become_unprivileged() -> Result<()> {
    setgroups(&[])?;
    setgid(Gid::from_raw(INNER_ID))?;
    setuid(Uid::from_raw(INNER_ID))?;
    Ok(())
}

/// Maps one user and one group into the namespace just taken.
fn map_ids(inner_uid: u32, uid: Uid, inner_gid: u32, gid: Gid) -> Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{inner_uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{inner_gid} {gid} 1"))
}

fn restrict(
    readable: &[PathBuf],
    writable: &[PathBuf],
    no_tcp: bool,
    troubles: &mut Vec<String>,
) -> Result<Landlock> {
    prctl::set_no_new_privs()?;
    match landlock(readable, writable, no_tcp) {
        Ok(RulesetStatus::FullyEnforced) => Ok(Landlock::Fully),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(Landlock::Partly),
        Ok(RulesetStatus::NotEnforced) => Ok(Landlock::None),
        Err(error) => {
            troubles.push(format!("Landlock: {error}"));
            Ok(Landlock::None)
        }
    }
}

fn landlock(
    readable: &[PathBuf],
    writable: &[PathBuf],
    no_tcp: bool,
) -> std::result::Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V6;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::from_all(abi))?;
    if no_tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    let status = ruleset
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(writable, AccessFs::from_all(abi)))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Whether a connection is refused for want of rights; to a port of our own machine nobody listens on.
fn tcp_is_refused() -> bool {
    let refused = std::net::TcpStream::connect(("127.0.0.1", 1)).err();
    refused.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Limits of each process; children inherit them.
fn limit(setup: &Confine, own_count: bool) -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_DATA, setup.memory_bytes, setup.memory_bytes)?;
    setrlimit(Resource::RLIMIT_FSIZE, setup.disk_bytes, setup.disk_bytes)?;
    if own_count {
        // Counted by user and namespace: without a namespace of our own it would count all of the worker's user's processes.
        let pids = setup.pids.saturating_add(OWN_THREADS);
        setrlimit(Resource::RLIMIT_NPROC, pids, pids)?;
    }
    Ok(())
}

/// The worker's `PATH` with one directory more.
fn path_with(shims: &str) -> String {
    let own = own_path();
    if own.is_empty() { format!("/usr/local/bin:/usr/bin:/bin:{shims}") } else { format!("{own}:{shims}") }
}

fn own_path() -> String {
    let own = std::env::vars_os().find(|(key, _)| key == "PATH");
    own.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The directories of the worker's `PATH` that the user of now can enter, which need not be all; with a `python` where only `python3` is.
fn reachable_path(tmp: &Path) -> Result<String> {
    let shims = tmp.join(".bin");
    std::fs::create_dir(&shims)?;
    let own = own_path();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&own).filter(|dir| dir.is_dir()).collect();
    let program = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists());
    if let (None, Some(python3)) = (program("python"), program("python3")) {
        std::os::unix::fs::symlink(python3, shims.join("python"))?;
    }
    dirs.push(shims);
    Ok(std::env::join_paths(dirs).map_err(Error::other)?.to_string_lossy().into_owned())
}

pub(super) fn trouble(what: &str, errno: nix::errno::Errno) -> Error {
    Error::other(format!("{what}: {}", errno.desc()))
}
