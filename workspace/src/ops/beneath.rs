//! Finding a path beneath a root that hostile processes may be changing meanwhile. Owns the one way to turn a name into a descriptor:
//! component by component, each opened relative to the descriptor of the one before and never through a link, links read and walked
//! by ourselves, `..` answered from our own stack. So no rename, link or race can lead outside.

use super::refused;
use domain::ops::OpError;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstat};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// As many links as the kernel itself follows.
const MAX_LINKS: u32 = 40;

/// The directory beneath which everything happens.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

/// What a path names.
#[derive(Debug)]
pub(super) enum Found {
    /// A directory.
    Dir(OwnedFd),
    /// Anything else, with its directory and name there.
    Leaf { parent: OwnedFd, name: OsString, stat: FileStat },
    /// Nothing: the last directory that exists, and the names missing in it.
    Missing { parent: OwnedFd, names: Vec<OsString> },
}

/// Whether directories that refuse their owner are opened up on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// As they are.
    Keep,
    /// Given back to their owner: putting files in place must not fail because a trial took its own rights away.
    Force,
}

/// Whether a link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// Followed.
    Follow,
    /// Found as itself.
    Keep,
}

impl Root {
    /// Opens the directory.
    pub(crate) fn open(path: &Path) -> nix::Result<Self> {
        let fd = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Finds what a path names.
    pub(super) fn find(&self, path: &str, last: Last, rights: Rights) -> Result<Found, OpError> {
        self.find_bytes(path.as_bytes(), last, rights)
    }

    /// Finds what a path of any bytes names.
    pub(super) fn find_bytes(&self, path: &[u8], last: Last, rights: Rights) -> Result<Found, OpError> {
        Finder { root: self, shown: String::from_utf8_lossy(path).into_owned(), rights }.find(path, last)
    }

    /// Opens a directory for reading its entries.
    pub(super) fn open_dir(&self, path: &str) -> Result<OwnedFd, OpError> {
        match self.find(path, Last::Follow, Rights::Keep)? {
            Found::Dir(fd) => Ok(fd),
            Found::Leaf { .. } => Err(OpError::NotADirectory(path.to_owned())),
            Found::Missing { .. } => Err(OpError::NotFound(path.to_owned())),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&self, path: &str) -> Result<(OwnedFd, FileStat), OpError> {
        match self.find(path, Last::Follow, Rights::Keep)? {
            Found::Dir(_) => Err(OpError::NotAFile(path.to_owned())),
            Found::Missing { .. } => Err(OpError::NotFound(path.to_owned())),
            Found::Leaf { parent, name, .. } => open_regular(&parent, &name, path),
        }
    }
}

/// Opens a regular file by its name in a directory; a pipe or device put there in the meantime neither blocks nor is read.
pub(super) fn open_regular(
    parent: &impl AsFd,
    name: &OsString,
    shown: &str,
) -> Result<(OwnedFd, FileStat), OpError> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = openat(parent, name.as_os_str(), flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENXIO | Errno::ELOOP => OpError::NotAFile(shown.to_owned()),
        other => refused(shown, other),
    })?;
    let stat = fstat(&fd).map_err(|errno| refused(shown, errno))?;
    if kind(&stat) == SFlag::S_IFREG { Ok((fd, stat)) } else { Err(OpError::NotAFile(shown.to_owned())) }
}

/// The kind bits of a mode.
pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Permission bits without the kind.
pub(super) fn permissions(stat: &FileStat) -> u32 {
    stat.st_mode & 0o7777
}

struct Finder<'a> {
    root: &'a Root,
    shown: String,
    rights: Rights,
}

impl Finder<'_> {
    fn find(&self, path: &[u8], last: Last) -> Result<Found, OpError> {
        let mut left = self.components(path)?;
        let mut stack: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name.as_bytes() == b".." {
                if stack.pop().is_none() {
                    return Err(OpError::Escapes(self.shown.clone()));
                }
                continue;
            }
            let here = stack.last().unwrap_or(&self.root.fd);
            let fd = match self.step(here, &name) {
                Ok(fd) => fd,
                Err(Errno::ENOENT) => {
                    let parent = self.own(here)?;
                    let names: Vec<_> = std::iter::once(name).chain(left).collect();
                    if names.iter().any(|name| name.as_bytes() == b"..") {
                        return Err(OpError::NotFound(self.shown.clone()));
                    }
                    return Ok(Found::Missing { parent, names });
                }
                Err(errno) => return Err(refused(&self.shown, errno)),
            };
            let stat = fstat(&fd).map_err(|errno| refused(&self.shown, errno))?;
            match kind(&stat) {
                SFlag::S_IFDIR => stack.push(fd),
                SFlag::S_IFLNK if !(left.is_empty() && last == Last::Keep) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(refused(&self.shown, Errno::ELOOP));
                    }
                    let target = readlinkat(&fd, "").map_err(|errno| refused(&self.shown, errno))?;
                    for component in self.components(target.as_bytes())?.into_iter().rev() {
                        left.push_front(component);
                    }
                }
                _ if left.is_empty() => return Ok(Found::Leaf { parent: self.own(here)?, name, stat }),
                _ => return Err(OpError::NotADirectory(self.shown.clone())),
            }
        }
        let here = stack.last().unwrap_or(&self.root.fd);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let open = || openat(here, ".", flags, Mode::empty());
        let fd = match open() {
            Err(Errno::EACCES) if self.rights == Rights::Force => {
                self.give_back(here);
                open()
            }
            other => other,
        };
        Ok(Found::Dir(fd.map_err(|errno| refused(&self.shown, errno))?))
    }

    fn step(&self, here: &OwnedFd, name: &OsString) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(here, name.as_os_str(), flags, Mode::empty()) {
            Err(Errno::EACCES) if self.rights == Rights::Force => {
                self.give_back(here);
                openat(here, name.as_os_str(), flags, Mode::empty())
            }
            other => other,
        }
    }

    fn give_back(&self, dir: &OwnedFd) {
        give_back(dir);
    }

    /// A descriptor of our own for a directory on the way, good for reading and changing its entries.
    fn own(&self, here: &OwnedFd) -> Result<OwnedFd, OpError> {
        here.try_clone().map_err(|error| super::refused_io(&self.shown, &error))
    }

    fn components(&self, path: &[u8]) -> Result<VecDeque<OsString>, OpError> {
        if path.first() == Some(&b'/') {
            return Err(OpError::Escapes(self.shown.clone()));
        }
        if path.contains(&0) {
            return Err(OpError::Io {
                path: self.shown.clone(),
                why: "a name cannot hold a zero byte".to_owned(),
            });
        }
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
    }
}

/// Gives a directory back to its owner, through its descriptor so that no name is looked up again.
pub(super) fn give_back(dir: &OwnedFd) {
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    // A failure shows itself in the operation that needed the right.
    let _refused = fchmodat(nix::fcntl::AT_FDCWD, path.as_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink);
}

/// What a name in a directory is, links not followed.
pub(super) fn stat_at(dir: &impl AsFd, name: &OsString) -> nix::Result<FileStat> {
    nix::sys::stat::fstatat(dir, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
}
