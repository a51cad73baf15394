//! A file tree in memory with the manners of the real one.

use domain::ops::{Change, Entry, EntryKind, FileContent, LineMatch, Op, OpError, Reply};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The files of a fake workspace. Paths are relative, with `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeFiles {
    /// Everything but the root, by its names from the root down: directories come right before what is in them.
    nodes: BTreeMap<Vec<String>, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Dir { mode: u32 },
    File { bytes: Vec<u8>, mode: u32 },
    Link { target: String },
}

impl FakeFiles {
    /// A file's content; `None` when there is no such file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        match self.nodes.get(&self.find(path, true).ok()?) {
            Some(Node::File { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }

    /// Creates or replaces a file.
    pub fn put_file(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.put(path, Node::File { bytes, mode });
    }

    pub(super) fn put_dir(&mut self, path: &str, mode: u32) {
        self.put(path, Node::Dir { mode });
    }

    pub(super) fn put_link(&mut self, path: &str, target: &str) {
        self.put(path, Node::Link { target: target.to_owned() });
    }

    fn put(&mut self, path: &str, node: Node) {
        let names: Vec<_> = names(path).map(str::to_owned).collect();
        self.make_parents(&names);
        self.nodes.insert(names, node);
    }

    fn make_parents(&mut self, names: &[String]) {
        for end in 1..names.len() {
            self.nodes.entry(names[..end].to_vec()).or_insert(Node::Dir { mode: 0o755 });
        }
    }

    /// The real place of a path: links followed, the last one only when asked. What is missing at the end is kept as named.
    fn find(&self, path: &str, follow_last: bool) -> Result<Vec<String>, OpError> {
        let escapes = || OpError::Escapes(path.to_owned());
        if path.starts_with('/') {
            return Err(escapes());
        }
        let mut left: VecDeque<String> = names(path).map(str::to_owned).collect();
        let mut here: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop().ok_or_else(escapes)?;
                continue;
            }
            here.push(name);
            match self.nodes.get(&here) {
                Some(Node::Link { target }) if follow_last || !left.is_empty() => {
                    links += 1;
                    if links > 40 {
                        let why = "Too many symbolic links encountered".to_owned();
                        return Err(OpError::Io { path: path.to_owned(), why });
                    }
                    if target.starts_with('/') {
                        return Err(escapes());
                    }
                    here.pop();
                    for name in names(target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(name.to_owned());
                    }
                }
                Some(Node::File { .. }) if !left.is_empty() => {
                    return Err(OpError::NotADirectory(path.to_owned()));
                }
                None if left.iter().any(|name| name == "..") => {
                    return Err(OpError::NotFound(path.to_owned()));
                }
                _ => {}
            }
        }
        Ok(here)
    }

    pub(super) fn is_dir(&self, path: &str) -> Result<(), OpError> {
        self.dir(path).map(drop)
    }

    fn dir(&self, path: &str) -> Result<Vec<String>, OpError> {
        let place = self.find(path, true)?;
        match self.nodes.get(&place) {
            _ if place.is_empty() => Ok(place),
            Some(Node::Dir { .. }) => Ok(place),
            Some(_) => Err(OpError::NotADirectory(path.to_owned())),
            None => Err(OpError::NotFound(path.to_owned())),
        }
    }

    fn file(&self, path: &str) -> Result<(&Vec<u8>, u32), OpError> {
        let place = self.find(path, true)?;
        match self.nodes.get(&place) {
            Some(Node::File { bytes, mode }) => Ok((bytes, *mode)),
            None if !place.is_empty() => Err(OpError::NotFound(path.to_owned())),
            _ => Err(OpError::NotAFile(path.to_owned())),
        }
    }

    pub(super) fn run(&mut self, op: Op) -> Result<Reply, OpError> {
        match op {
            Op::List { path } => self.list(&path),
            Op::Walk { path, skip_dirs, max_files, hashes } => {
                let mut files = self.below(&path, &skip_dirs)?;
                let truncated = files.len() as u64 > max_files;
                files.truncate(usize::try_from(max_files).unwrap_or(usize::MAX));
                let entries = files.into_iter().map(|(path, node)| entry(path, node, hashes)).collect();
                Ok(Reply::Entries { entries, truncated })
            }
            Op::Read { path, offset, max_bytes } => Ok(Reply::File(self.read(&path, offset, max_bytes)?)),
            Op::ReadMany { paths, max_bytes_each } => {
                Ok(Reply::Files(paths.iter().map(|path| self.read(path, 0, max_bytes_each)).collect()))
            }
            Op::Search { pattern, path, skip_dirs, max_matches, max_line_bytes } => {
                self.search(&pattern, &path, &skip_dirs, (max_matches, max_line_bytes))
            }
            Op::Apply { changes } => {
                let mut next = self.clone();
                let mut seen = BTreeSet::new();
                for change in changes {
                    next.apply(change, &mut seen)?;
                }
                *self = next;
                Ok(Reply::Applied)
            }
            Op::Exec(_) | Op::KillAll => Ok(Reply::Killed(0)),
        }
    }

    fn read(&self, path: &str, offset: u64, max_bytes: u64) -> Result<FileContent, OpError> {
        let (bytes, mode) = self.file(path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(usize::try_from(max_bytes).unwrap_or(usize::MAX)).min(bytes.len());
        Ok(FileContent { bytes: bytes[start..end].to_vec(), total_bytes: bytes.len() as u64, mode })
    }

    fn list(&self, path: &str) -> Result<Reply, OpError> {
        let dir = self.dir(path)?;
        let shown: Vec<_> = names(path).collect();
        let inside =
            self.nodes.iter().filter(|(place, _)| place.len() == dir.len() + 1 && place.starts_with(&dir));
        let entries = inside
            .filter_map(|(place, node)| {
                let path = shown
                    .iter()
                    .copied()
                    .chain(place.last().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join("/");
                Some(entry(path, node, false)).filter(|entry| !entry.path.is_empty())
            })
            .collect();
        Ok(Reply::Entries { entries, truncated: false })
    }

    /// Everything below a directory that is not a directory, in path order.
    fn below(&self, path: &str, skip_dirs: &[String]) -> Result<Vec<(String, &Node)>, OpError> {
        let dir = self.dir(path)?;
        let shown: Vec<_> = names(path).map(str::to_owned).collect();
        let mut files: Vec<_> = self
            .nodes
            .iter()
            .filter(|(place, node)| place.starts_with(&dir) && !matches!(node, Node::Dir { .. }))
            .filter(|(place, _)| {
                !place[dir.len()..place.len() - 1].iter().any(|name| skip_dirs.contains(name))
            })
            .map(|(place, node)| ([&shown[..], &place[dir.len()..]].concat().join("/"), node))
            .collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    fn search(
        &self,
        pattern: &str,
        path: &str,
        skip: &[String],
        limits: (u64, u64),
    ) -> Result<Reply, OpError> {
        let files = match self.file(path) {
            Ok((bytes, _)) => vec![(path.to_owned(), bytes)],
            Err(OpError::NotAFile(_)) => {
                let below = self.below(path, skip)?.into_iter();
                let files = below.filter_map(|(path, node)| match node {
                    Node::File { bytes, .. } => Some((path, bytes)),
                    _ => None,
                });
                files.collect()
            }
            Err(error) => return Err(error),
        };
        let mut matches = Vec::new();
        for (path, bytes) in files {
            if bytes.iter().take(8 << 10).any(|byte| *byte == 0) {
                continue;
            }
            let text = String::from_utf8_lossy(bytes);
            for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.contains(pattern)) {
                if matches.len() as u64 >= limits.0 {
                    return Ok(Reply::Matches { matches, truncated: true });
                }
                let cut = line.floor_char_boundary(usize::try_from(limits.1).unwrap_or(usize::MAX));
                matches.push(LineMatch { path: path.clone(), line: number, text: line[..cut].to_owned() });
            }
        }
        Ok(Reply::Matches { matches, truncated: false })
    }

    fn apply(&mut self, change: Change, seen: &mut BTreeSet<Vec<String>>) -> Result<(), OpError> {
        let (Change::Write { path, .. }
        | Change::Delete { path }
        | Change::Link { path, .. }
        | Change::RemoveAll { path }) = &change;
        let path = path.clone();
        if !seen.insert(names(&path).map(str::to_owned).collect()) {
            return Err(OpError::Io { path, why: "named by two changes".to_owned() });
        }
        let place = self.find(&path, matches!(change, Change::Write { .. }))?;
        if place.is_empty() {
            return Err(OpError::NotAFile(path));
        }
        let old = self.nodes.get(&place);
        match change {
            Change::Write { .. } | Change::Link { .. } if matches!(old, Some(Node::Dir { .. })) => {
                Err(OpError::NotAFile(path))
            }
            Change::Write { bytes, mode, .. } => {
                let kept = match old {
                    Some(Node::File { mode, .. }) => Some(*mode),
                    _ => None,
                };
                self.make_parents(&place);
                self.nodes.insert(place, Node::File { bytes, mode: mode.or(kept).unwrap_or(0o644) & 0o777 });
                Ok(())
            }
            Change::Link { target, .. } => {
                self.make_parents(&place);
                self.nodes.insert(place, Node::Link { target });
                Ok(())
            }
            Change::Delete { .. } => match old {
                None => Err(OpError::NotFound(path)),
                Some(Node::Dir { .. }) => Err(OpError::NotAFile(path)),
                Some(_) => {
                    self.nodes.remove(&place);
                    Ok(())
                }
            },
            Change::RemoveAll { .. } => {
                self.nodes.retain(|other, _| !other.starts_with(&place));
                Ok(())
            }
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

fn entry(path: String, node: &Node, hash: bool) -> Entry {
    let (kind, bytes, mode, target) = match node {
        Node::Dir { mode } => (EntryKind::Dir, 0, *mode, None),
        Node::File { bytes, mode } => (EntryKind::File, bytes.len() as u64, *mode, None),
        Node::Link { target } => (EntryKind::Link, 0, 0o777, Some(target.clone())),
    };
    let sha256 = match node {
        Node::File { bytes, .. } if hash => {
            Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
        }
        _ => None,
    };
    Entry { path, kind, bytes, mode, sha256, target }
}
