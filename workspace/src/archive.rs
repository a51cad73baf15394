//! Input archives: a plain tar compressed with zstd. Owns their reading, here and into a workspace; their making is the run folder's.

use crate::session::{Gone, Session};
use crate::wire::{Answer, Node, NodeKind, Request};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;
use tar::EntryType;
use tokio::sync::mpsc;

/// Content sent in one request.
const PIECE: usize = 1 << 20;

/// Nodes sent in one request.
const NODES: usize = 512;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A `.tar.zst`.
#[derive(Debug, Clone)]
pub enum Archive {
    /// No files at all.
    Empty,
    /// In a file.
    File(PathBuf),
    /// In memory.
    Bytes(Bytes),
}

impl From<Option<PathBuf>> for Archive {
    fn from(path: Option<PathBuf>) -> Self {
        path.map_or(Self::Empty, Self::File)
    }
}

/// Why an archive could not be put in place.
#[derive(Debug)]
pub(crate) enum PutError {
    /// It cannot be read; whether that is the machine's doing and not the archive's.
    Read { why: String, infra: bool },
    /// The workspace refused a node.
    Refused(String),
    /// The server is gone.
    Gone(Gone),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: ItemKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Dir { mode: u32 },
    File { mode: u32, bytes: u64 },
    Link { target: Vec<u8> },
}

impl Archive {
    /// Visits all entries in order, files with a reader of their content, until told to stop.
    pub(crate) fn each(
        &self,
        mut visit: impl FnMut(Item, &mut dyn Read) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        let source: Box<dyn Read + '_> = match self {
            Self::Empty => return Ok(()),
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(bytes) => Box::new(bytes.as_ref()),
        };
        let mut archive = tar::Archive::new(zstd::Decoder::new(source)?);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path_bytes().into_owned();
            let mode = entry.header().mode()? & 0o777;
            let kind = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => ItemKind::File { mode, bytes: entry.size() },
                EntryType::Directory => ItemKind::Dir { mode },
                EntryType::Symlink => {
                    let target =
                        entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
                    ItemKind::Link { target }
                }
                EntryType::XGlobalHeader => continue,
                other => {
                    let shown = String::from_utf8_lossy(&path).into_owned();
                    let why = format!("`{shown}` is of kind {other:?}, which a workspace cannot hold");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            };
            if visit(Item { path, kind }, &mut entry)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Puts every node in place through a tool server.
pub(crate) async fn put(session: &Session, archive: Archive) -> Result<(), PutError> {
    if matches!(archive, Archive::Empty) {
        return Ok(());
    }
    let (batches, mut inbox) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || send_batches(&archive, &batches));
    while let Some(nodes) = inbox.recv().await {
        match session.ask(Request::Put(nodes), LIMIT).await.map_err(PutError::Gone)? {
            Answer::Put(Ok(())) => {}
            Answer::Put(Err(error)) => return Err(PutError::Refused(error.to_string())),
            other => return Err(PutError::Refused(format!("unexpected answer {other:?}"))),
        }
    }
    match reading.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let broken = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof, io::ErrorKind::Other];
            Err(PutError::Read { why: error.to_string(), infra: !broken.contains(&error.kind()) })
        }
        Err(error) => Err(PutError::Read { why: error.to_string(), infra: true }),
    }
}

fn send_batches(archive: &Archive, batches: &mpsc::Sender<Vec<Node>>) -> io::Result<()> {
    let mut batch = Batch { nodes: Vec::new(), bytes: 0, batches };
    // Directories that close themselves to their owner get their mode when everything is in them.
    let mut closed = Vec::new();
    archive.each(|item, content| {
        let flow = match item.kind {
            ItemKind::Dir { mode } => {
                if mode & 0o700 != 0o700 {
                    closed.push(Node { path: item.path.clone(), kind: NodeKind::Dir { mode } });
                }
                batch.push(Node { path: item.path, kind: NodeKind::Dir { mode: mode | 0o700 } })
            }
            ItemKind::Link { target } => {
                batch.push(Node { path: item.path, kind: NodeKind::Link { target } })
            }
            ItemKind::File { mode, .. } => {
                let mut append = false;
                loop {
                    let mut bytes = Vec::new();
                    content.take(PIECE as u64).read_to_end(&mut bytes)?;
                    if append && bytes.is_empty() {
                        break ControlFlow::Continue(());
                    }
                    let last = bytes.len() < PIECE;
                    let node = Node { path: item.path.clone(), kind: NodeKind::File { mode, bytes, append } };
                    let flow = batch.push(node);
                    if last || flow.is_break() {
                        break flow;
                    }
                    append = true;
                }
            }
        };
        Ok(flow)
    })?;
    for node in closed.into_iter().rev() {
        if batch.push(node).is_break() {
            return Ok(());
        }
    }
    // Nobody listening any more is the listener's trouble to tell.
    let _heard = batch.flush();
    Ok(())
}

struct Batch<'a> {
    nodes: Vec<Node>,
    bytes: usize,
    batches: &'a mpsc::Sender<Vec<Node>>,
}

impl Batch<'_> {
    /// Breaks when nobody takes batches any more.
    fn push(&mut self, node: Node) -> ControlFlow<()> {
        if let NodeKind::File { bytes, .. } = &node.kind {
            self.bytes += bytes.len();
        }
        self.nodes.push(node);
        if self.bytes >= PIECE || self.nodes.len() >= NODES {
            self.flush()
        } else {
            ControlFlow::Continue(())
        }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        match self.batches.blocking_send(std::mem::take(&mut self.nodes)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
