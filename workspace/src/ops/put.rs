//! Putting the nodes of an input archive in place, in order. Unlike a change this is not atomic: a workspace whose input failed is not
//! used.

use super::apply::{make_parents, write_new};
use super::beneath::{Found, Last, Rights, Root, kind};
use super::{refused, refused_io};
use crate::wire::{Node, NodeKind};
use domain::ops::OpError;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

pub(super) fn put(root: &Root, nodes: Vec<Node>) -> Result<(), OpError> {
    nodes.into_iter().try_for_each(|node| one(root, &node))
}

fn one(root: &Root, node: &Node) -> Result<(), OpError> {
    let shown = String::from_utf8_lossy(&node.path).into_owned();
    let found = root.find_bytes(&node.path, Last::Keep, Rights::Force)?;
    match (&node.kind, found) {
        (NodeKind::Dir { mode }, Found::Dir(fd)) => {
            fchmod(&fd, Mode::from_bits_truncate(mode & 0o777)).map_err(|errno| refused(&shown, errno))
        }
        (NodeKind::Dir { mode }, Found::Missing { parent, mut names }) => {
            // Every name is a directory to make: a last one that is not is added for `make_parents` to leave alone.
            names.push(OsString::from("."));
            let (fd, _) = make_parents(parent, names, &shown, |_, _| {})?;
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let mode = Mode::from_bits_truncate(mode & 0o777);
            fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
                .map_err(|errno| refused(&shown, errno))
        }
        (NodeKind::Dir { .. }, Found::Leaf { .. }) => Err(OpError::NotADirectory(shown)),
        (_, Found::Dir(_)) => Err(OpError::NotAFile(shown)),
        (NodeKind::File { mode, bytes, append: true }, Found::Leaf { parent, name, stat })
            if kind(&stat) == SFlag::S_IFREG =>
        {
            append(&parent, &name, bytes, *mode).map_err(|error| refused_io(&shown, &error))
        }
        (NodeKind::File { append: true, .. }, _) => Err(OpError::NotAFile(shown)),
        (NodeKind::File { mode, bytes, append: false }, found) => {
            let (parent, name) = clear(found, &shown)?;
            write_new(&parent, &name, bytes, mode & 0o777).map_err(|error| refused_io(&shown, &error))
        }
        (NodeKind::Link { target }, found) => {
            let (parent, name) = clear(found, &shown)?;
            let target = std::ffi::OsStr::from_bytes(target);
            symlinkat(target, &parent, name.as_os_str()).map_err(|errno| refused(&shown, errno))
        }
    }
}

/// Makes room for a new node.
fn clear(found: Found, shown: &str) -> Result<(OwnedFd, OsString), OpError> {
    match found {
        Found::Dir(_) => Err(OpError::NotAFile(shown.to_owned())),
        Found::Missing { parent, names } => make_parents(parent, names, shown, |_, _| {}),
        Found::Leaf { parent, name, .. } => {
            unlinkat(&parent, name.as_os_str(), UnlinkatFlags::NoRemoveDir)
                .map_err(|errno| refused(shown, errno))?;
            Ok((parent, name))
        }
    }
}

fn append(parent: &OwnedFd, name: &OsString, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let handle = openat(
        parent,
        name.as_os_str(),
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // A read-only file gets its right to be written for as long as pieces come.
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fchmodat(AT_FDCWD, path.as_str(), Mode::S_IRUSR | Mode::S_IWUSR, FchmodatFlags::FollowSymlink)?;
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(parent, name.as_os_str(), flags, Mode::empty())?);
    file.write_all(bytes)?;
    fchmod(&file, Mode::from_bits_truncate(mode & 0o777))?;
    Ok(())
}
