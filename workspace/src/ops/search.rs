//! Literal search, line by line, in bounded memory whatever the files hold.

use super::beneath::{Found, Last, Rights, Root, kind, open_regular};
use super::walk::each_file;
use crate::wire::MAX_CONTENT;
use domain::ops::{LineMatch, OpError, Reply};
use memchr::memmem::Finder;
use nix::sys::stat::SFlag;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

/// A file with a zero byte among its first so many bytes is taken as binary.
const SNIFF: usize = 8 << 10;

/// A line longer than this is searched in pieces.
const MAX_LINE: usize = 1 << 20;

/// What is searched for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) pattern: &'a str,
    pub(super) skip_dirs: &'a [String],
    pub(super) max_matches: u64,
    pub(super) max_line_bytes: u64,
}

pub(super) fn search(root: &Root, path: &str, wanted: &Wanted<'_>) -> Result<Reply, OpError> {
    let mut found = Matches::new(wanted);
    match root.find(path, Last::Follow, Rights::Keep)? {
        Found::Missing { .. } => return Err(OpError::NotFound(path.to_owned())),
        Found::Leaf { parent, name, .. } => {
            let (fd, _) = open_regular(&parent, &name, path)?;
            found.file(fd, path);
        }
        Found::Dir(_) => {
            each_file(root, path, wanted.skip_dirs, |dir, name, stat, path| {
                if kind(stat) == SFlag::S_IFREG {
                    found.entry(dir, name, &path);
                }
                !found.truncated
            })?;
        }
    }
    Ok(Reply::Matches { matches: found.matches, truncated: found.truncated })
}

struct Matches<'a> {
    finder: Finder<'a>,
    wanted: &'a Wanted<'a>,
    matches: Vec<LineMatch>,
    bytes: u64,
    truncated: bool,
}

impl<'a> Matches<'a> {
    fn new(wanted: &'a Wanted<'a>) -> Self {
        let finder = Finder::new(wanted.pattern);
        Self { finder, wanted, matches: Vec::new(), bytes: 0, truncated: false }
    }

    fn entry(&mut self, dir: &impl AsFd, name: &OsString, path: &str) {
        // One that cannot be read, or is no longer a regular file, has no lines.
        if let Ok((fd, _)) = open_regular(dir, name, path) {
            self.file(fd, path);
        }
    }

    fn file(&mut self, fd: OwnedFd, path: &str) {
        let mut file = File::from(fd);
        let mut held: Vec<u8> = Vec::new();
        let mut chunk = vec![0; 256 << 10];
        let mut line = 1;
        let mut first = true;
        // Whether the line at the head of `held` was cut before, and has matched already.
        let mut matched = false;
        loop {
            let read = match file.read(&mut chunk) {
                Ok(read) => read,
                Err(_) => return,
            };
            if first && memchr::memchr(0, &chunk[..read.min(SNIFF)]).is_some() {
                return;
            }
            first = false;
            held.extend_from_slice(&chunk[..read]);
            let mut start = 0;
            while let Some(length) = memchr::memchr(b'\n', &held[start..]) {
                if !matched {
                    self.line(&held[start..start + length], path, line);
                }
                matched = false;
                start += length + 1;
                line += 1;
                if self.truncated {
                    return;
                }
            }
            held.drain(..start);
            if read == 0 {
                if !held.is_empty() && !matched {
                    self.line(&held, path, line);
                }
                return;
            }
            if held.len() > MAX_LINE {
                matched = matched || self.line(&held, path, line);
                // What a match across the cut needs stays.
                let keep = self.wanted.pattern.len().saturating_sub(1).min(held.len());
                held.drain(..held.len() - keep);
            }
        }
    }

    fn line(&mut self, line: &[u8], path: &str, number: u64) -> bool {
        if self.truncated || self.finder.find(line).is_none() {
            return false;
        }
        if self.matches.len() as u64 >= self.wanted.max_matches || self.bytes > MAX_CONTENT / 2 {
            self.truncated = true;
            return true;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let cut = line.len().min(usize::try_from(self.wanted.max_line_bytes).unwrap_or(usize::MAX));
        let text = String::from_utf8_lossy(cut_at_character(line, cut)).into_owned();
        self.bytes += (text.len() + path.len()) as u64;
        self.matches.push(LineMatch { path: path.to_owned(), line: number, text });
        true
    }
}

/// At most so many bytes, not ending inside a character.
fn cut_at_character(line: &[u8], mut cut: usize) -> &[u8] {
    if cut < line.len() {
        while cut > 0 && line[cut] & 0xc0 == 0x80 {
            cut -= 1;
        }
    }
    &line[..cut]
}
