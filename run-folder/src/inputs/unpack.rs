//! Reading an archive that may be hostile: whatever it holds, nothing is written outside of the target directory.

use super::{Error, is_plain, stays_inside};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType};

/// More than this is no input: the packing limit is far below, and a bomb must not fill the disk.
const MAX_BYTES: u64 = 8 << 30;

/// One thing in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
    },
    /// A file.
    File {
        /// Permission bits.
        mode: u32,
        /// Content.
        bytes: Vec<u8>,
    },
    /// A link that stays inside.
    Link {
        /// Where it points.
        target: PathBuf,
    },
}

/// Unpacks an archive into a directory, which is made when it is missing. Permission bits are kept.
///
/// # Errors
/// When the archive is damaged or holds anything that could reach out of the directory; what was unpacked until then stays.
pub fn unpack(bytes: &[u8], into: &Path) -> Result<(), Error> {
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    };
    std::fs::create_dir_all(into).map_err(io("make the folder", into))?;
    let mut folders: Vec<(PathBuf, u32)> = Vec::new();
    visit(bytes, |path, entry| {
        let target = into.join(path);
        check_parents(into, path)?;
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(io("make the folder", parent))?;
        }
        match entry {
            Entry::Folder { mode } => {
                match DirBuilder::new().mode(0o700).create(&target) {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && is_folder(&target) => {
                    }
                    made => made.map_err(io("make the folder", &target))?,
                }
                folders.push((target, mode));
            }
            Entry::File { mode, bytes } => {
                // `create_new` follows no link and overwrites nothing.
                let mut file = File::create_new(&target).map_err(io("make", &target))?;
                std::io::Write::write_all(&mut file, &bytes).map_err(io("write", &target))?;
                file.set_permissions(Permissions::from_mode(mode)).map_err(io("set the mode of", &target))?;
            }
            Entry::Link { target: to } => {
                std::os::unix::fs::symlink(to, &target).map_err(io("make the link", &target))?;
            }
        }
        Ok(())
    })?;
    // Last and deepest first, so that a folder that may not be written to can still be filled.
    for (folder, mode) in folders.iter().rev() {
        std::fs::set_permissions(folder, Permissions::from_mode(*mode))
            .map_err(io("set the mode of", folder))?;
    }
    Ok(())
}

/// What an archive holds, without touching a disk.
///
/// # Errors
/// As [`unpack`].
pub fn entries(bytes: &[u8]) -> Result<BTreeMap<PathBuf, Entry>, Error> {
    let mut found = BTreeMap::new();
    visit(bytes, |path, entry| {
        let parents = path.ancestors().skip(1);
        if parents.into_iter().any(|parent| !matches!(found.get(parent), None | Some(Entry::Folder { .. }))) {
            return Err(hostile(path, "which lies beneath something that is no folder"));
        }
        match found.insert(path.to_owned(), entry) {
            None => Ok(()),
            Some(_) => Err(hostile(path, "twice")),
        }
    })?;
    Ok(found)
}

/// Calls `each` with every entry, its path and kind checked.
fn visit(bytes: &[u8], mut each: impl FnMut(&Path, Entry) -> Result<(), Error>) -> Result<(), Error> {
    let decoder = zstd::Decoder::new(bytes).map_err(Error::Damaged)?;
    let mut archive = Archive::new(decoder.take(MAX_BYTES));
    for entry in archive.entries().map_err(Error::Damaged)? {
        let mut entry = entry.map_err(Error::Damaged)?;
        let path = entry.path().map_err(Error::Damaged)?.into_owned();
        if !is_plain(&path) {
            return Err(hostile(&path, "which is no place inside a workspace"));
        }
        let mode = entry.header().mode().map_err(Error::Damaged)? & 0o777;
        let entry = match entry.header().entry_type() {
            EntryType::Directory => Entry::Folder { mode },
            EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(Error::Damaged)?;
                Entry::File { mode, bytes }
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(Error::Damaged)?.unwrap_or_default().into_owned();
                if !stays_inside(&path, &target) {
                    return Err(hostile(&path, "a link out of the workspace"));
                }
                Entry::Link { target }
            }
            _ => return Err(hostile(&path, "which is neither file, folder nor link")),
        };
        each(&path, entry)?;
    }
    Ok(())
}

/// Nothing is unpacked through a link, wherever it points: every folder on the way must be a folder.
fn check_parents(into: &Path, path: &Path) -> Result<(), Error> {
    let mut folder = into.to_owned();
    let mut parts: Vec<Component<'_>> = path.components().collect();
    parts.pop();
    for part in parts {
        folder.push(part);
        match std::fs::symlink_metadata(&folder) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(hostile(path, "which lies beneath something that is no folder"));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn hostile(path: &Path, why: &'static str) -> Error {
    Error::Hostile { path: path.to_owned(), why }
}
