//! Changing several files, all or none: everything is staged beside its place and checked first, then renamed in; what was there is
//! kept under a name of ours until the last change is in, and put back if one fails.

use super::beneath::{Found, Last, Rights, Root, give_back, kind, permissions, stat_at};
use super::{refused, refused_io, tree};
use domain::ops::{Change, OpError};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

/// Permission bits of a new file when none are asked for.
const NEW_FILE: u32 = 0o644;

pub(super) fn apply(root: &Root, changes: Vec<Change>) -> Result<(), OpError> {
    let mut seen = BTreeSet::new();
    for change in &changes {
        let path = path_of(change);
        let names: Vec<_> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if !seen.insert(names.join("/")) {
            return Err(OpError::Io { path: path.to_owned(), why: "named by two changes".to_owned() });
        }
    }
    let mut staged = Staged::default();
    let result = staged.stage_all(root, changes).and_then(|()| staged.commit());
    match result {
        Ok(()) => staged.forget_backups(),
        Err(_) => staged.undo(),
    }
    result
}

fn path_of(change: &Change) -> &str {
    match change {
        Change::Write { path, .. }
        | Change::Delete { path }
        | Change::Link { path, .. }
        | Change::RemoveAll { path } => path,
    }
}

/// Makes missing parent directories; answers the directory of the last name, and that name.
pub(super) fn make_parents(
    mut parent: OwnedFd,
    mut names: Vec<OsString>,
    shown: &str,
    mut made: impl FnMut(&OwnedFd, &OsString),
) -> Result<(OwnedFd, OsString), OpError> {
    let Some(last) = names.pop() else {
        return Err(OpError::NotAFile(shown.to_owned()));
    };
    for name in names {
        let make = || mkdirat(&parent, name.as_os_str(), Mode::from_bits_truncate(0o755));
        let outcome = match make() {
            Err(Errno::EACCES) => {
                give_back(&parent);
                make()
            }
            other => other,
        };
        match outcome {
            Ok(()) => made(&parent, &name),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(refused(shown, errno)),
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        parent =
            openat(&parent, name.as_os_str(), flags, Mode::empty()).map_err(|errno| refused(shown, errno))?;
    }
    Ok((parent, last))
}

#[derive(Debug, Default)]
struct Staged {
    steps: Vec<Step>,
    made: Vec<(OwnedFd, OsString)>,
    names: u64,
}

#[derive(Debug)]
struct Step {
    shown: String,
    parent: OwnedFd,
    name: OsString,
    /// The new file or link, under a name of ours; `None` for a removal.
    staged: Option<OsString>,
    /// Where the old one is kept once the step is done.
    backup: OsString,
    kept: bool,
    done: bool,
}

impl Staged {
    fn stage_all(&mut self, root: &Root, changes: Vec<Change>) -> Result<(), OpError> {
        changes.into_iter().try_for_each(|change| self.stage(root, change))
    }

    fn stage(&mut self, root: &Root, change: Change) -> Result<(), OpError> {
        match change {
            Change::Write { path, bytes, mode } => {
                let (parent, name, old) = self.place(root, &path, Last::Follow)?;
                let mode = mode.or(old).unwrap_or(NEW_FILE) & 0o777;
                let staged = self.fresh("stage");
                write_new(&parent, &staged, &bytes, mode).map_err(|error| {
                    // Half a file of ours must not stay behind.
                    let _absent = unlinkat(&parent, staged.as_os_str(), UnlinkatFlags::NoRemoveDir);
                    refused_io(&path, &error)
                })?;
                self.push(path, parent, name, Some(staged));
            }
            Change::Link { path, target } => {
                let (parent, name, _) = self.place(root, &path, Last::Keep)?;
                let staged = self.fresh("stage");
                let make = || symlinkat(target.as_str(), &parent, staged.as_os_str());
                let made = make().or_else(|errno| {
                    if errno == Errno::EACCES {
                        give_back(&parent);
                        make()
                    } else {
                        Err(errno)
                    }
                });
                made.map_err(|errno| refused(&path, errno))?;
                self.push(path, parent, name, Some(staged));
            }
            Change::Delete { path } => {
                let (parent, name) = entry(root, &path)?;
                let stat = stat_at(&parent, &name).map_err(|errno| refused(&path, errno))?;
                if kind(&stat) == SFlag::S_IFDIR {
                    return Err(OpError::NotAFile(path));
                }
                self.push(path, parent, name, None);
            }
            Change::RemoveAll { path } => {
                let (parent, name) = match entry(root, &path) {
                    Err(OpError::NotFound(_) | OpError::NotADirectory(_)) => return Ok(()),
                    other => other?,
                };
                if stat_at(&parent, &name).is_ok() {
                    self.push(path, parent, name, None);
                }
            }
        }
        Ok(())
    }

    /// Where a new file or link goes, and the permission bits of the regular file that is there.
    fn place(
        &mut self,
        root: &Root,
        path: &str,
        last: Last,
    ) -> Result<(OwnedFd, OsString, Option<u32>), OpError> {
        match root.find(path, last, Rights::Force)? {
            Found::Dir(_) => Err(OpError::NotAFile(path.to_owned())),
            Found::Leaf { parent, name, stat } => match kind(&stat) {
                SFlag::S_IFREG => Ok((parent, name, Some(permissions(&stat)))),
                SFlag::S_IFLNK => Ok((parent, name, None)),
                _ => Err(OpError::NotAFile(path.to_owned())),
            },
            Found::Missing { parent, names } => {
                if path.ends_with('/') {
                    return Err(OpError::NotAFile(path.to_owned()));
                }
                let made = &mut self.made;
                let (parent, name) = make_parents(parent, names, path, |parent, name| {
                    // Without the descriptor the directory stays behind when the change is undone; nothing worse.
                    if let Ok(parent) = parent.try_clone() {
                        made.push((parent, name.clone()));
                    }
                })?;
                Ok((parent, name, None))
            }
        }
    }

    fn fresh(&mut self, what: &str) -> OsString {
        self.names += 1;
        format!(".och-{what}-{}-{}", std::process::id(), self.names).into()
    }

    fn push(&mut self, shown: String, parent: OwnedFd, name: OsString, staged: Option<OsString>) {
        let backup = self.fresh("old");
        self.steps.push(Step { shown, parent, name, staged, backup, kept: false, done: false });
    }

    fn commit(&mut self) -> Result<(), OpError> {
        self.steps.iter_mut().try_for_each(Step::commit)
    }

    fn undo(&mut self) {
        for step in self.steps.iter().rev() {
            step.undo();
        }
        for (parent, name) in self.made.iter().rev() {
            // Not empty means that somebody else uses it by now.
            let _used = unlinkat(parent, name.as_os_str(), UnlinkatFlags::RemoveDir);
        }
    }

    fn forget_backups(&self) {
        for step in self.steps.iter().filter(|step| step.kept) {
            // The change is made; what cannot be removed stays under a name of ours.
            let _left = tree::remove(&step.parent, &step.backup);
        }
    }
}

impl Step {
    fn commit(&mut self) -> Result<(), OpError> {
        self.try_commit().map_err(|errno| refused(&self.shown, errno))
    }

    fn try_commit(&mut self) -> nix::Result<()> {
        let (name, backup) = (self.name.as_os_str(), self.backup.as_os_str());
        let Some(staged) = &self.staged else {
            let away = || renameat(&self.parent, name, &self.parent, backup);
            match away() {
                Err(Errno::EACCES) => {
                    give_back(&self.parent);
                    away()?;
                }
                other => other?,
            }
            self.kept = true;
            self.done = true;
            return Ok(());
        };
        match stat_at(&self.parent, &self.name) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
            Ok(stat) if kind(&stat) == SFlag::S_IFDIR => return Err(Errno::EISDIR),
            Ok(_) => {
                // A second name for the old file, so that its own never stands empty; where links are refused, it is moved.
                linkat(&self.parent, name, &self.parent, backup, AtFlags::empty())
                    .or_else(|_| renameat(&self.parent, name, &self.parent, backup))?;
                self.kept = true;
            }
        }
        renameat(&self.parent, staged.as_os_str(), &self.parent, name)?;
        self.done = true;
        Ok(())
    }

    fn undo(&self) {
        // Every failure below leaves a file under a name of ours and no other harm.
        if self.kept {
            let _left = renameat(&self.parent, self.backup.as_os_str(), &self.parent, self.name.as_os_str());
        } else if self.done {
            let _left = unlinkat(&self.parent, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        // Renaming one name of a file over another does nothing: the second name is still there.
        let _absent = unlinkat(&self.parent, self.backup.as_os_str(), UnlinkatFlags::NoRemoveDir);
        if let Some(staged) = &self.staged {
            let _absent = unlinkat(&self.parent, staged.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The directory and name of a path's last part, which is not followed and may be missing.
fn entry(root: &Root, path: &str) -> Result<(OwnedFd, OsString), OpError> {
    let trimmed = path.trim_end_matches('/');
    let (above, name) = trimmed
        .rsplit_once('/')
        .map_or(("", trimmed), |(above, name)| if above.is_empty() { ("/", name) } else { (above, name) });
    if matches!(name, "" | "." | "..") {
        return Err(OpError::NotAFile(path.to_owned()));
    }
    if name.contains('\0') {
        return Err(OpError::Io { path: path.to_owned(), why: "a name cannot hold a zero byte".to_owned() });
    }
    match root.find(above, Last::Follow, Rights::Force)? {
        Found::Dir(parent) => Ok((parent, name.into())),
        Found::Leaf { .. } => Err(OpError::NotADirectory(above.to_owned())),
        Found::Missing { .. } => Err(OpError::NotFound(path.to_owned())),
    }
}

/// Creates a file that is not there yet.
pub(super) fn write_new(parent: &OwnedFd, name: &OsString, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let create = || openat(parent, name.as_os_str(), flags, Mode::from_bits_truncate(0o600));
    let fd = match create() {
        Err(Errno::EACCES) => {
            give_back(parent);
            create()?
        }
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    fchmod(&file, Mode::from_bits_truncate(mode))?;
    Ok(())
}
