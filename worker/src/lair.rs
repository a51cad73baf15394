//! A directory of this life of a worker beneath a shared one: locked while the process lives, removed at its end, and what dead
//! processes left is removed by whoever comes next.

use domain::id::Incarnation;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The file that says, by its lock, that the owner lives.
const LOCK: &str = "alive";

/// A private directory.
#[derive(Debug)]
pub(crate) struct Lair {
    path: PathBuf,
    _alive: File,
}

impl Lair {
    /// Makes the directory of this life and removes those of dead ones. Blocking.
    pub(crate) fn open(shared: &Path, incarnation: &Incarnation) -> io::Result<Self> {
        std::fs::create_dir_all(shared)?;
        sweep(shared)?;
        let path = shared.join(format!("of-{incarnation}"));
        let mut tries = 0;
        loop {
            // Between making and locking, another worker's sweep may take the directory for debris.
            match claim(&path) {
                Ok(alive) => return Ok(Self { path, _alive: alive }),
                Err(error) if tries == 4 => return Err(error),
                Err(_) => tries += 1,
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lair {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "could not remove a directory of this worker");
        }
    }
}

fn claim(path: &Path) -> io::Result<File> {
    std::fs::create_dir_all(path)?;
    let alive = File::create(path.join(LOCK))?;
    alive.try_lock().map_err(|_| io::Error::other("the incarnation is in use"))?;
    if path.join(LOCK).exists() { Ok(alive) } else { Err(io::Error::other("swept away while it was made")) }
}

/// Removes the directories of owners that are dead. One that is being made has no lock yet: it is left alone until it is old enough
/// to be debris, which the next worker then finds.
fn sweep(shared: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(shared)? {
        let path = entry?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("of-"));
        let Some(lock) = ours.then(|| File::open(path.join(LOCK)).ok()).flatten() else { continue };
        if lock.try_lock().is_ok()
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::debug!(path = %path.display(), %error, "could not remove what a dead worker left");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lair_goes_with_its_owner_and_the_dead_are_swept() {
        let shared = tempfile::tempdir().unwrap();
        let dead = shared.path().join("of-dead");
        std::fs::create_dir_all(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let first = Lair::open(shared.path(), &"a".parse().unwrap()).unwrap();
        assert!(!dead.exists());
        let second = Lair::open(shared.path(), &"b".parse().unwrap()).unwrap();
        assert!(first.path().exists(), "the living are left alone");
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
