//! Writing the archive: the same files give the same bytes, whoever packs them, where and when.

use super::{Error, Limit, Packed};
use crate::chunks::sha256;
use domain::suite::InputDigest;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Fast enough not to be noticed, small enough to travel.
const LEVEL: i32 = 6;
/// How many of the biggest files an error names.
const NAMED: usize = 5;

/// Something to pack.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) source: PathBuf,
    pub(super) kind: Kind,
    pub(super) mode: u32,
}

#[derive(Debug)]
pub(super) enum Kind {
    Folder,
    File { bytes: u64 },
    Link { target: PathBuf },
}

/// Packs what was found: sorted by name, owner root, time zero, permission bits kept.
pub(super) fn pack(root: &Path, found: BTreeMap<PathBuf, Found>, limit: &Limit) -> Result<Packed, Error> {
    check_size(root, &found, limit)?;
    let damaged = |source| Error::Io { what: "pack", path: root.to_owned(), source };
    let encoder = zstd::Encoder::new(Vec::new(), LEVEL).map_err(damaged)?;
    let mut archive = Builder::new(encoder);
    let mut files = 0;
    let mut packed = 0;
    for (name, entry) in &found {
        match &entry.kind {
            Kind::Folder => append(&mut archive, name, EntryType::Directory, entry.mode, &[]),
            Kind::File { .. } => {
                // Read whole, so that a file that changes now cannot make its header lie.
                let failed = |source| Error::Io { what: "read", path: entry.source.clone(), source };
                let bytes = std::fs::read(&entry.source).map_err(failed)?;
                packed += bytes.len() as u64;
                if packed > limit.bytes {
                    return Err(too_big(root, &found, packed, limit));
                }
                files += 1;
                append(&mut archive, name, EntryType::Regular, entry.mode, &bytes)
            }
            Kind::Link { target } => {
                files += 1;
                let mut header = header(EntryType::Symlink, 0o777, 0);
                archive.append_link(&mut header, name, target)
            }
        }
        .map_err(|source| Error::Io { what: "pack", path: entry.source.clone(), source })?;
    }
    let bytes = archive.into_inner().and_then(zstd::Encoder::finish).map_err(damaged)?;
    Ok(Packed { digest: InputDigest(sha256(&bytes)), bytes: bytes.into(), files })
}

fn append(
    archive: &mut Builder<impl Write>,
    name: &Path,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> std::io::Result<()> {
    archive.append_data(&mut header(kind, mode, bytes.len() as u64), name, bytes)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn check_size(root: &Path, found: &BTreeMap<PathBuf, Found>, limit: &Limit) -> Result<(), Error> {
    let bytes = sizes(found).map(|(_, bytes)| bytes).sum();
    if bytes > limit.bytes { Err(too_big(root, found, bytes, limit)) } else { Ok(()) }
}

fn too_big(root: &Path, found: &BTreeMap<PathBuf, Found>, bytes: u64, limit: &Limit) -> Error {
    let mut biggest: Vec<(PathBuf, u64)> = sizes(found).map(|(path, bytes)| (path.clone(), bytes)).collect();
    biggest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    biggest.truncate(NAMED);
    Error::TooBig { path: root.to_owned(), bytes, limit: limit.bytes, biggest }
}

fn sizes(found: &BTreeMap<PathBuf, Found>) -> impl Iterator<Item = (&PathBuf, u64)> {
    found.iter().filter_map(|(path, entry)| match entry.kind {
        Kind::File { bytes } => Some((path, bytes)),
        _ => None,
    })
}
