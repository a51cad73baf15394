//! Reading: one blocking call for many files instead of one for each, and blind to whatever a person or
//! a killed writer left lying there.

use super::Io;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// Deeper than any key of a run folder; ends a walk through a link that points upwards.
const MAX_DEPTH: usize = 12;

/// The keys of all files beneath `folder`, relative to it, sorted. No folder, no keys.
pub(crate) async fn list(io: &Io, folder: PathBuf) -> io::Result<Vec<String>> {
    io.run(move || {
        let mut keys = Vec::new();
        walk(&folder, "", &mut keys, MAX_DEPTH)?;
        keys.sort_unstable();
        Ok(keys)
    })
    .await
}

/// The names of all folders directly in `folder`, sorted.
pub(crate) async fn folders(io: &Io, folder: PathBuf) -> io::Result<Vec<String>> {
    io.run(move || {
        let mut names = Vec::new();
        for_entries(&folder, |name, is_folder| {
            if is_folder {
                names.push(name);
            }
            Ok(())
        })?;
        names.sort_unstable();
        Ok(names)
    })
    .await
}

/// The content of many files; `None` for those that do not exist.
pub(crate) async fn read(io: &Io, paths: Vec<PathBuf>) -> io::Result<Vec<Option<Bytes>>> {
    io.run(move || {
        paths
            .iter()
            .map(|path| match std::fs::read(path) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            })
            .collect()
    })
    .await
}

/// Which of many files exist.
pub(crate) async fn exist(io: &Io, paths: Vec<PathBuf>) -> io::Result<Vec<bool>> {
    io.run(move || Ok(paths.iter().map(|path| path.is_file()).collect())).await
}

fn walk(folder: &Path, prefix: &str, keys: &mut Vec<String>, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    for_entries(folder, |name, is_folder| {
        let key = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if !is_folder {
            keys.push(key);
            return Ok(());
        }
        let name = key.rsplit('/').next().unwrap_or(&key);
        walk(&folder.join(name), &key, keys, depth - 1)
    })
}

/// Calls `each` with the name of every entry that could be ours (text, not staged by a killed writer) and whether it is a folder.
fn for_entries(folder: &Path, mut each: impl FnMut(String, bool) -> io::Result<()>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // `object_store` stages a file as `<name>#<number>` before it links it to its name.
        if name.contains('#') {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        each(name, is_folder)?;
    }
    Ok(())
}
