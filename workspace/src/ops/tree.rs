//! Reading and removing directory trees by descriptor, links never followed, however deep they are.

use super::beneath::{give_back, kind, stat_at};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Directories open at once while a tree is removed; deeper ones are moved up first.
const MAX_OPEN: usize = 64;

/// The names in a directory, unsorted, without `.` and `..`.
pub(super) fn names(dir: &OwnedFd) -> nix::Result<Vec<OsString>> {
    let mut dir =
        Dir::openat(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    Ok(names)
}

/// Opens a directory by its name in another one; a link there is an error.
pub(super) fn enter(dir: &OwnedFd, name: &OsString) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name.as_os_str(), flags, Mode::empty())
}

/// Removes what a name in a directory stands for, a directory with all it holds.
pub(super) fn remove(dir: &OwnedFd, name: &OsString) -> nix::Result<()> {
    let mut pending = vec![name.clone()];
    let mut moved = 0_u64;
    while let Some(name) = pending.pop() {
        remove_some(dir, &name, &mut pending, &mut moved)?;
    }
    Ok(())
}

/// Removes one tree down to [`MAX_OPEN`] levels; what lies deeper is moved beside `name` in `top` and told in `pending`.
fn remove_some(
    top: &OwnedFd,
    name: &OsString,
    pending: &mut Vec<OsString>,
    moved: &mut u64,
) -> nix::Result<()> {
    let is_dir = match stat_at(top, name) {
        Err(Errno::ENOENT) => return Ok(()),
        other => kind(&other?) == SFlag::S_IFDIR,
    };
    if !is_dir {
        return gone(unlinkat(top, name.as_os_str(), UnlinkatFlags::NoRemoveDir));
    }
    // Each level: the open directory, its name in the one above, the names still to remove in it.
    let mut stack = vec![open_level(top, name)?];
    while let Some(deepest) = stack.len().checked_sub(1) {
        let level = &mut stack[deepest];
        let Some(entry) = level.left.pop() else {
            let done = stack.pop().map(|level| level.name);
            let above = stack.last().map_or(top, |level| &level.fd);
            if let Some(done) = done {
                gone(unlinkat(above, done.as_os_str(), UnlinkatFlags::RemoveDir))?;
            }
            continue;
        };
        match stat_at(&level.fd, &entry) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
            Ok(stat) if kind(&stat) != SFlag::S_IFDIR => {
                gone(unlinkat(&level.fd, entry.as_os_str(), UnlinkatFlags::NoRemoveDir))?;
            }
            Ok(_) if deepest + 1 >= MAX_OPEN => {
                *moved += 1;
                let mut up = OsString::from(".och-removed-");
                up.push(format!("{}-{moved}-", std::process::id()));
                up.push(OsString::from_vec(name.as_bytes().iter().copied().take(32).collect()));
                renameat(&level.fd, entry.as_os_str(), top, up.as_os_str())?;
                pending.push(up);
            }
            Ok(_) => {
                let next = open_level(&level.fd, &entry)?;
                stack.push(next);
            }
        }
    }
    Ok(())
}

struct Level {
    fd: OwnedFd,
    name: OsString,
    left: Vec<OsString>,
}

fn open_level(above: &OwnedFd, name: &OsString) -> nix::Result<Level> {
    let path_only = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    give_back(&openat(above, name.as_os_str(), path_only, Mode::empty())?);
    let fd = enter(above, name)?;
    let left = names(&fd)?;
    Ok(Level { fd, name: name.clone(), left })
}

fn gone(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
