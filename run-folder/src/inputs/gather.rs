//! Which files belong into an input: whole templates, working trees as git would see them, single files. Follows no link.

use super::pack::{Found, Kind, pack};
use super::{Error, Limit, Packed, is_plain};
use ignore::{DirEntry, WalkBuilder};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Packs a fixture whole, hidden and ignored files included.
///
/// # Errors
/// When it is too big, holds a link out of it or a special file, or cannot be read.
pub fn pack_template(directory: &Path, limit: &Limit) -> Result<Packed, Error> {
    let mut walk = WalkBuilder::new(directory);
    walk.standard_filters(false);
    gather(directory, Path::new(""), &mut walk, limit).and_then(|found| pack(directory, found, limit))
}

/// Packs a working tree as git would see it: `.gitignore` files (those above the directory included) and `.git/info/exclude` are
/// respected, `.git` stays behind, and so do run folders and what builds and installs leave (`eval-runs`, `node_modules`, a `target`
/// of cargo, virtual environments, `__pycache__`).
///
/// # Errors
/// As [`pack_template`].
pub fn pack_in_place(directory: &Path, limit: &Limit) -> Result<Packed, Error> {
    let mut walk = WalkBuilder::new(directory);
    walk.standard_filters(false)
        .git_ignore(true)
        .git_exclude(true)
        .parents(true)
        .require_git(false)
        .filter_entry(|entry| entry.depth() == 0 || !is_left_behind(entry));
    gather(directory, Path::new(""), &mut walk, limit).and_then(|found| pack(directory, found, limit))
}

/// Packs single files and folders under the names they shall have: destination → source.
///
/// # Errors
/// As [`pack_template`], and when a destination is no plain relative path.
pub fn pack_files(files: &BTreeMap<String, PathBuf>, limit: &Limit) -> Result<Packed, Error> {
    let mut found = BTreeMap::new();
    for (destination, source) in files {
        let destination = Path::new(destination);
        if !is_plain(destination) {
            return Err(Error::Destination { path: destination.to_owned() });
        }
        let mut walk = WalkBuilder::new(source);
        walk.standard_filters(false);
        found.append(&mut gather(source, destination, &mut walk, limit)?);
    }
    let mut parents = BTreeMap::new();
    for path in found.keys() {
        for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            if let Some(clash) = found.get(parent)
                && !matches!(clash.kind, Kind::Folder)
            {
                return Err(Error::Destination { path: path.clone() });
            }
            let folder = Found { source: PathBuf::new(), kind: Kind::Folder, mode: 0o755 };
            parents.insert(parent.to_owned(), folder);
        }
    }
    parents.append(&mut found);
    pack(Path::new(""), parents, limit)
}

/// What no case needs, by what it is rather than by its name alone where a name is common.
fn is_left_behind(entry: &DirEntry) -> bool {
    let path = entry.path();
    let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
    match entry.file_name().to_str() {
        Some(".git") => true,
        Some("node_modules" | "__pycache__" | "eval-runs") => is_folder,
        Some("target") => {
            is_folder && (path.join("CACHEDIR.TAG").exists() || path.with_file_name("Cargo.toml").exists())
        }
        Some(_) => is_folder && path.join("pyvenv.cfg").exists(),
        None => false,
    }
}

/// Everything that a walk over `root` finds, under the name it gets in the archive.
fn gather(
    root: &Path,
    prefix: &Path,
    walk: &mut WalkBuilder,
    limit: &Limit,
) -> Result<BTreeMap<PathBuf, Found>, Error> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    };
    let metadata = std::fs::metadata(root).map_err(io("read", root))?;
    if prefix.as_os_str().is_empty() && !metadata.is_dir() {
        return Err(io("read the folder", root)(std::io::ErrorKind::NotADirectory.into()));
    }
    let mut found = BTreeMap::new();
    for entry in walk.follow_links(false).build() {
        let entry = entry.map_err(|source| Error::Walk { path: root.to_owned(), source })?;
        let path = entry.path();
        let inside = path.strip_prefix(root).unwrap_or(path);
        let name = if inside.as_os_str().is_empty() { prefix.to_owned() } else { prefix.join(inside) };
        if name.as_os_str().is_empty() {
            continue;
        }
        // The root itself may be named through a link; everything beneath is taken as it lies there.
        let metadata =
            if entry.depth() == 0 { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        let metadata = metadata.map_err(io("read", path))?;
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_file() {
            Kind::File { bytes: metadata.len() }
        } else if kind.is_symlink() {
            let target = std::fs::read_link(path).map_err(io("read the link", path))?;
            check_link(root, inside, &target, path)?;
            Kind::Link { target }
        } else {
            let kind = match () {
                () if kind.is_socket() => "socket",
                () if kind.is_fifo() => "named pipe",
                () => "device",
            };
            return Err(Error::Special { path: path.to_owned(), kind });
        };
        found.insert(name, Found { source: path.to_owned(), kind, mode: metadata.mode() & 0o777 });
        if found.len() as u64 > limit.entries {
            return Err(Error::TooMany {
                path: root.to_owned(),
                limit: limit.entries,
                fullest: fullest(&found),
            });
        }
    }
    Ok(found)
}

/// A link may stay when it stays inside, by its names and, where its target exists, by where it really leads.
fn check_link(root: &Path, inside: &Path, target: &Path, path: &Path) -> Result<(), Error> {
    let out = || Error::LinkOut { path: path.to_owned(), target: target.to_owned() };
    if !super::stays_inside(inside, target) {
        return Err(out());
    }
    let (Ok(real), Ok(real_root)) = (std::fs::canonicalize(path), std::fs::canonicalize(root)) else {
        // It leads nowhere yet, or in circles: by its names it stays inside.
        return Ok(());
    };
    if real.starts_with(real_root) { Ok(()) } else { Err(out()) }
}

/// The folders with most entries directly in them.
fn fullest(found: &BTreeMap<PathBuf, Found>) -> Vec<(PathBuf, u64)> {
    let mut counts: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for path in found.keys() {
        *counts.entry(path.parent().map(Path::to_owned).unwrap_or_default()).or_default() += 1;
    }
    let mut counts: Vec<(PathBuf, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(3);
    counts
}
