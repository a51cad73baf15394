//! The root an isolated local sandbox sees: the system's directories read-only, a memory file system for the workspace, and nothing else
//! of the machine. It exists in a mount namespace of its own, so it is gone with its last process.

use super::WORKSPACE;
use super::confine::trouble;
use crate::wire::Confine;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};
use std::ffi::OsStr;
use std::io::Result;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where links such as `python` are, at the end of `PATH`.
pub(super) const SHIMS: &str = "/.och/bin";

/// Directories of the system that commands may read.
pub(super) const SYSTEM_DIRS: [&str; 9] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix"];

/// What of `/etc` programs need and that tells nothing about the machine's people.
const ETC: [&str; 27] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gitconfig",
    "host.conf",
    "hosts",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

/// Size of `/tmp` and of `/dev/shm`.
const SMALL: &str = "64m";

/// Builds it and moves there. `owner` is the user the workspace belongs to, as seen now.
pub(super) fn build(setup: &Confine, owner: u32) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|errno| trouble("mounts are refused", errno))?;
    let base = ["/tmp", "/mnt", "/dev/shm", "/var"]
        .into_iter()
        .find(|dir| Path::new(dir).is_dir())
        .unwrap_or("/proc");
    tmpfs(base, "mode=0755,size=4m")?;
    chdir(base)?;
    std::fs::create_dir("old")?;
    pivot_root(".", "old").map_err(|errno| trouble("a root of its own is refused", errno))?;
    chdir("/")?;

    for name in SYSTEM_DIRS {
        mirror(Path::new(name))?;
    }
    std::fs::create_dir("/etc")?;
    for name in etc_entries(Path::new("/old/etc")) {
        mirror(&Path::new("etc").join(name))?;
    }
    std::fs::write(
        "/etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nworkspace:x:10001:10001::/workspace:/bin/sh\n",
    )?;
    std::fs::write("/etc/group", "root:x:0:\nworkspace:x:10001:\n")?;
    let mut readable: Vec<_> =
        setup.readable.iter().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect();
    readable.sort();
    for path in readable {
        // Under a directory that is there already: seen.
        if let Ok(relative) = path.strip_prefix("/")
            && !path.exists()
        {
            mirror(relative)?;
        }
    }
    devices()?;
    std::fs::create_dir("/proc")?;
    let hidden = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), hidden, none)
        .map_err(|errno| trouble("/proc is refused", errno))?;
    std::fs::create_dir(WORKSPACE)?;
    let inodes = (setup.disk_bytes >> 12).max(65_536);
    tmpfs(
        WORKSPACE,
        &format!("mode=0755,size={},nr_inodes={inodes},uid={owner},gid={owner}", setup.disk_bytes),
    )?;
    std::fs::create_dir("/tmp")?;
    tmpfs("/tmp", &format!("mode=1777,size={SMALL}"))?;
    std::fs::create_dir("/var")?;
    symlink("/tmp", "/var/tmp")?;
    std::fs::create_dir_all(SHIMS)?;
    for (name, target) in &setup.shims {
        symlink(OsStr::from_bytes(target), Path::new(SHIMS).join(OsStr::from_bytes(name)))?;
    }
    umount2("/old", MntFlags::MNT_DETACH).map_err(|errno| trouble("the old root stays", errno))?;
    std::fs::remove_dir("/old")?;
    seal()
}

/// Names of [`ETC`] that exist.
pub(super) fn etc_entries(etc: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = ETC.iter().map(PathBuf::from).collect();
    if let Ok(entries) = std::fs::read_dir(etc) {
        // Versioned folders of interpreters: python3, python3.11, node …
        let named = entries.flatten().map(|entry| entry.file_name());
        names.extend(named.filter(|name| name.as_bytes().starts_with(b"python")).map(PathBuf::from));
    }
    names.retain(|name| etc.join(name).symlink_metadata().is_ok());
    names
}

/// Shows a path of the old root at the same place of the new one: links as links, all else by a bind mount.
fn mirror(relative: &Path) -> Result<()> {
    let (from, to) = (Path::new("/old").join(relative), Path::new("/").join(relative));
    let Ok(meta) = from.symlink_metadata() else { return Ok(()) };
    if let Some(above) = to.parent() {
        std::fs::create_dir_all(above)?;
    }
    if meta.is_symlink() {
        return symlink(std::fs::read_link(&from)?, &to);
    }
    if meta.is_dir() {
        std::fs::create_dir_all(&to)?
    } else {
        std::fs::write(&to, "")?
    }
    let none = None::<&str>;
    mount(Some(from.as_path()), to.as_path(), none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .map_err(|errno| trouble("a bind mount is refused", errno))
}

fn devices() -> Result<()> {
    std::fs::create_dir("/dev")?;
    for name in ["null", "zero", "full", "random", "urandom"] {
        mirror(&Path::new("dev").join(name))?;
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, Path::new("/dev").join(name))?;
    }
    std::fs::create_dir("/dev/shm")?;
    tmpfs("/dev/shm", &format!("mode=1777,size={SMALL}"))
}

fn tmpfs(at: &str, options: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))
        .map_err(|errno| trouble("a memory file system is refused", errno))
}

/// Makes every mount read-only but those that commands write to, including those that came along below a bind mount.
fn seal() -> Result<()> {
    let writable = [WORKSPACE, "/tmp", "/dev/shm", "/proc"];
    let table = std::fs::read("/proc/self/mountinfo")?;
    for line in table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Some(point) = line.split(|byte| *byte == b' ').nth(4).map(unescape) else { continue };
        let at = Path::new(OsStr::from_bytes(&point));
        if writable.iter().any(|kept| at == Path::new(kept))
            || (at.starts_with("/dev") && at != Path::new("/dev"))
        {
            continue;
        }
        // Flags a mount came with may be locked on it: asking for less is refused.
        let kept = statvfs(at).map(|stat| stat.flags()).unwrap_or(FsFlags::empty());
        let mut flags = MsFlags::MS_REMOUNT
            | MsFlags::MS_BIND
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV;
        flags.set(MsFlags::MS_NOEXEC, kept.contains(FsFlags::ST_NOEXEC));
        mount(None::<&str>, at, None::<&str>, flags, None::<&str>)
            .map_err(|errno| trouble(&format!("`{}` cannot be made read-only", at.display()), errno))?;
    }
    Ok(())
}

/// A mount point as the kernel prints it, with blanks and such as octal.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok())
        });
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(b"/a\\040b\\134"), b"/a b\\");
        assert_eq!(unescape(b"/plain"), b"/plain");
        assert_eq!(unescape(b"/odd\\9"), b"/odd\\9");
    }
}
