//! Reading regular files, whole or in part.

use super::beneath::{Root, permissions};
use super::refused_io;
use crate::wire::MAX_CONTENT;
use domain::ops::{FileContent, OpError};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

pub(super) fn read(root: &Root, path: &str, offset: u64, max_bytes: u64) -> Result<FileContent, OpError> {
    let (fd, stat) = root.open_file(path)?;
    let file = File::from(fd);
    let mut bytes = Vec::new();
    (At { file: &file, offset })
        .take(max_bytes.min(MAX_CONTENT))
        .read_to_end(&mut bytes)
        .map_err(|error| refused_io(path, &error))?;
    let total_bytes = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(FileContent { bytes, total_bytes, mode: permissions(&stat) })
}

pub(super) fn read_many(root: &Root, paths: &[String], max_each: u64) -> Vec<Result<FileContent, OpError>> {
    let mut room = MAX_CONTENT;
    let mut one = |path: &String| {
        let content = read(root, path, 0, max_each.min(room))?;
        if (content.bytes.len() as u64) < content.total_bytes.min(max_each) {
            let why = "the files asked for are too large for one answer".to_owned();
            return Err(OpError::Io { path: path.clone(), why });
        }
        room -= content.bytes.len() as u64;
        Ok(content)
    };
    paths.iter().map(&mut one).collect()
}

/// A file read from an offset without moving its cursor.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
