//! Listing: one directory, or all files below one in path order.

use super::beneath::{Root, give_back, kind, open_regular, permissions, stat_at};
use super::tree::{enter, names};
use super::{refused, refused_io};
use domain::ops::{Entry, EntryKind, OpError, Reply};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Levels below which a tree is not entered; the answer then says that it is cut.
const MAX_DEPTH: usize = 512;

/// Entries of one listing.
const MAX_LIST: usize = 100_000;

pub(super) fn list(root: &Root, path: &str) -> Result<Reply, OpError> {
    let dir = root.open_dir(path)?;
    let mut found = names(&dir).map_err(|errno| refused(path, errno))?;
    found.sort_unstable();
    let truncated = found.len() > MAX_LIST;
    found.truncate(MAX_LIST);
    let prefix = prefix_of(path);
    let mut entries = Vec::with_capacity(found.len());
    for name in found {
        // Gone since it was named: not there.
        if let Ok(stat) = stat_at(&dir, &name) {
            entries.push(entry(&dir, &name, &stat, join(&prefix, &name)));
        }
    }
    Ok(Reply::Entries { entries, truncated })
}

pub(super) fn walk(
    root: &Root,
    path: &str,
    skip_dirs: &[String],
    max_files: u64,
    hashes: bool,
) -> Result<Reply, OpError> {
    let mut entries = Vec::new();
    let mut cut = false;
    let complete = each_file(root, path, skip_dirs, |dir, name, stat, path| {
        if entries.len() as u64 >= max_files {
            cut = true;
            return false;
        }
        let mut entry = entry(dir, name, stat, path);
        if hashes && entry.kind == EntryKind::File {
            entry.sha256 = hash(dir, name, &entry.path);
        }
        entries.push(entry);
        true
    })?;
    Ok(Reply::Entries { entries, truncated: cut || !complete })
}

/// Visits everything below a directory that is not a directory, in path order, until the visitor answers `false`. Answers whether the
/// whole tree was seen.
pub(super) fn each_file(
    root: &Root,
    path: &str,
    skip_dirs: &[String],
    mut visit: impl FnMut(&OwnedFd, &OsString, &FileStat, String) -> bool,
) -> Result<bool, OpError> {
    let top = root.open_dir(path)?;
    let mut complete = true;
    let left = sorted(&top).map_err(|errno| refused(path, errno))?;
    let mut stack = vec![Level { fd: top, prefix: prefix_of(path), left, reclose: None }];
    while let Some(deepest) = stack.len().checked_sub(1) {
        let level = &mut stack[deepest];
        let Some((name, stat)) = level.left.pop() else {
            stack.pop();
            continue;
        };
        let path = join(&level.prefix, &name);
        if kind(&stat) != SFlag::S_IFDIR {
            if !visit(&level.fd, &name, &stat, path) {
                return Ok(complete);
            }
            continue;
        }
        if skip_dirs.iter().any(|skip| skip.as_bytes() == name.as_bytes()) {
            continue;
        }
        // What vanished in the meantime hides nothing; all else that cannot be entered does, and the caller learns of it.
        if deepest + 1 >= MAX_DEPTH {
            complete = false;
            continue;
        }
        match open_level(&level.fd, &name, path + "/") {
            Ok(inner) => stack.push(inner),
            Err(Errno::ENOENT) => {}
            Err(_) => complete = false,
        }
    }
    Ok(complete)
}

/// Opens a directory; one that is closed to its owner is opened up for as long as it is looked through, so that it hides nothing.
fn open_level(above: &OwnedFd, name: &OsString, prefix: String) -> nix::Result<Level> {
    let list = || {
        let fd = enter(above, name)?;
        sorted(&fd).map(|left| (fd, left))
    };
    let stat = stat_at(above, name)?;
    let mode = permissions(&stat);
    if mode & 0o500 == 0o500 {
        let (fd, left) = list()?;
        return Ok(Level { fd, prefix, left, reclose: None });
    }
    let path_only = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    give_back(&openat(above, name.as_os_str(), path_only, Mode::empty())?);
    let (fd, left) = list()?;
    Ok(Level { fd, prefix, left, reclose: Some(mode) })
}

struct Level {
    fd: OwnedFd,
    prefix: String,
    left: Vec<(OsString, FileStat)>,
    /// The mode it had.
    reclose: Option<u32>,
}

impl Drop for Level {
    fn drop(&mut self) {
        if let Some(mode) = self.reclose {
            // It stays open to its owner: nothing is lost.
            let _open = fchmod(&self.fd, Mode::from_bits_truncate(mode));
        }
    }
}

/// The entries of a directory in reverse path order: a directory sorts as if its name ended in `/`.
fn sorted(dir: &OwnedFd) -> nix::Result<Vec<(OsString, FileStat)>> {
    let mut found: Vec<_> = names(dir)?
        .into_iter()
        .filter_map(|name| stat_at(dir, &name).ok().map(|stat| (name, stat)))
        .collect();
    let key = |(name, stat): &(OsString, FileStat)| {
        let mut key = name.as_bytes().to_vec();
        if kind(stat) == SFlag::S_IFDIR {
            key.push(b'/');
        }
        key
    };
    found.sort_by_cached_key(|entry| std::cmp::Reverse(key(entry)));
    Ok(found)
}

fn entry(dir: &OwnedFd, name: &OsString, stat: &FileStat, path: String) -> Entry {
    let kind = match kind(stat) {
        SFlag::S_IFREG => EntryKind::File,
        SFlag::S_IFDIR => EntryKind::Dir,
        SFlag::S_IFLNK => EntryKind::Link,
        _ => EntryKind::Other,
    };
    let target = (kind == EntryKind::Link)
        .then(|| readlinkat(dir, name.as_os_str()).ok())
        .flatten()
        .map(|target| target.to_string_lossy().into_owned());
    let bytes = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
    Entry { path, kind, bytes, mode: permissions(stat), sha256: None, target }
}

/// The hash of a regular file; `None` when it cannot be read.
fn hash(dir: &OwnedFd, name: &OsString, shown: &str) -> Option<String> {
    let (fd, _) = open_regular(dir, name, shown).ok()?;
    let mut file = File::from(fd);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).map_err(|error| refused_io(shown, &error)) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(_) => return None,
        }
    }
    Some(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What goes before the names in a directory that was asked for by this path.
pub(super) fn prefix_of(path: &str) -> String {
    let names: Vec<_> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if names.is_empty() { String::new() } else { names.join("/") + "/" }
}

fn join(prefix: &str, name: &OsString) -> String {
    format!("{prefix}{}", name.to_string_lossy())
}
