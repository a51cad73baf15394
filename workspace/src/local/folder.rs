//! Folders of sandboxes that have no file system of their own. Each worker process has one folder with a lock it holds while it lives,
//! so that whoever finds the lock free may remove the rest.

use crate::contract::Reaped;
use domain::id::Incarnation;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getuid;
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The lock in a worker's folder.
const LOCK: &str = "lock";

/// The folders of one worker process.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Of all workers of this user.
    base: PathBuf,
    /// Of this one.
    own: PathBuf,
    lock: Mutex<Option<Flock<File>>>,
    count: AtomicU64,
}

/// The folder of one sandbox; removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folders {
    pub(super) fn new(temp: Option<PathBuf>, incarnation: &Incarnation) -> Self {
        let base = temp.unwrap_or_else(std::env::temp_dir).join(format!("och-local-{}", getuid()));
        let own = base.join(format!("{incarnation}-{}", std::process::id()));
        let inner = Inner { base, own, lock: Mutex::new(None), count: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// Makes one more.
    pub(super) fn make(&self) -> io::Result<Folder> {
        self.hold()?;
        let number = self.inner.count.fetch_add(1, Ordering::Relaxed);
        let folder = Folder { path: self.inner.own.join(number.to_string()) };
        for path in [folder.path.clone(), folder.workspace(), folder.tmp()] {
            DirBuilder::new().mode(0o711).create(path)?;
        }
        Ok(folder)
    }

    /// Makes the worker's folder and takes its lock, once.
    fn hold(&self) -> io::Result<()> {
        let mut lock = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_some() {
            return Ok(());
        }
        let base = &self.inner.base;
        DirBuilder::new().recursive(true).mode(0o711).create(base)?;
        let meta = base.symlink_metadata()?;
        if !meta.is_dir() || meta.uid() != getuid().as_raw() {
            return Err(io::Error::other(format!("`{}` belongs to somebody else", base.display())));
        }
        DirBuilder::new().mode(0o711).create(&self.inner.own)?;
        let file = File::create(self.inner.own.join(LOCK))?;
        *lock = Some(Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?);
        Ok(())
    }

    /// Removes this worker's folder with all that is in it.
    pub(super) fn remove_own(&self) {
        let lock = self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if lock.is_some() {
            // What resists is found by the next reaper.
            let _left = remove(&self.inner.own);
            // Refused while other workers have folders in it.
            let _used = std::fs::remove_dir(&self.inner.base);
        }
    }

    /// Removes the folders of workers that are gone.
    pub(super) fn reap(&self) -> Reaped {
        let mut reaped = Reaped::default();
        let Ok(entries) = std::fs::read_dir(&self.inner.base) else { return reaped };
        for entry in entries.flatten() {
            let path = entry.path();
            if path == self.inner.own {
                continue;
            }
            let lock = File::open(path.join(LOCK))
                .ok()
                .map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock));
            // Without a lock it was never begun with; a lock that is held has a living owner.
            if let Some(Err(_)) = lock {
                continue;
            }
            let name = path.display().to_string();
            match remove(&path) {
                Ok(()) => reaped.removed.push(name),
                Err(error) => reaped.failed.push((name, error.to_string())),
            }
        }
        reaped
    }
}

impl Folder {
    pub(super) fn workspace(&self) -> PathBuf {
        self.path.join("workspace")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What resists is found by the reaper.
        let _left = remove(&self.path);
    }
}

/// Removes a tree, also where directories were closed to their owner.
fn remove(path: &Path) -> io::Result<()> {
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    open_up(path);
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_up(path: &Path) {
    let mut next = vec![path.to_owned()];
    while let Some(path) = next.pop() {
        // Every failure here shows itself in the removal.
        let _kept = std::fs::set_permissions(&path, Permissions::from_mode(0o700));
        let inner = std::fs::read_dir(&path).into_iter().flatten().flatten();
        next.extend(
            inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
}
