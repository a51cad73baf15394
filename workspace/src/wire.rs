//! What is said between a worker and the tool server in a workspace, and how it is framed: a little-endian `u32` length, then postcard.
//! Owns the words only; both ends are built from the same sources, which the build hash in [`Hello`] proves.

use domain::ops::{Op, OpError, Reply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// Hash of the sources both ends are built from.
pub(crate) const BUILD: &str = env!("OCH_TOOLSERVER_BUILD");

/// Largest frame either side accepts.
pub(crate) const MAX_FRAME: usize = 64 << 20;

/// Largest file content sent in one answer or change; leaves room in a frame for the rest.
pub(crate) const MAX_CONTENT: u64 = 48 << 20;

/// First words of the tool server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// [`BUILD`] of the server.
    pub(crate) build: String,
    /// How its processes are held.
    pub(crate) confined: Confined,
}

/// What a tool server found it could enforce.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confined {
    /// It is the first process of its own process namespace: its end is the end of all.
    pub(crate) own_processes: bool,
    /// It sees only the files it was given.
    pub(crate) own_files: bool,
    /// It has a network of its own, with loopback only.
    pub(crate) own_network: bool,
    /// It is not the worker's user.
    pub(crate) own_user: bool,
    /// Landlock: none, some or all of what was asked.
    pub(crate) landlock: Landlock,
    /// Landlock refuses TCP, also on loopback.
    pub(crate) tcp_refused: bool,
    /// What failed on the way, for people.
    pub(crate) troubles: Vec<String>,
}

/// How much of Landlock the kernel grants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Landlock {
    /// None: no file is guarded by it.
    #[default]
    None,
    /// Some kinds of access are not guarded.
    Partly,
    /// All that was asked.
    Fully,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The attempt begins: environment of all commands, and how long the server may live from now.
    Begin {
        /// Added to the server's own environment for commands.
        env: BTreeMap<String, String>,
        /// After so long the server ends itself.
        deadline_millis: u64,
    },
    /// Puts nodes in place, in order; parents first.
    Put(Vec<Node>),
    /// An operation.
    Op(Op),
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To `Begin`.
    Begun,
    /// To `Put`.
    Put(Result<(), OpError>),
    /// To `Op`.
    Reply(Reply),
}

/// One node of an input archive; names are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Path relative to the workspace.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeKind {
    /// A directory.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file, or its next piece.
    File {
        /// Permission bits.
        mode: u32,
        /// Content, or a piece of it.
        #[serde(with = "domain::ops::raw")]
        bytes: Vec<u8>,
        /// Whether this goes behind what earlier pieces wrote.
        append: bool,
    },
    /// A symbolic link.
    Link {
        /// As stored.
        target: Vec<u8>,
    },
}

/// What a local tool server is told to make of itself before it serves; travels as its one argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confine {
    /// Own root, process and network namespaces; without, only what Landlock and limits give.
    pub(crate) isolated: bool,
    /// Keep the machine's network.
    pub(crate) network: bool,
    /// Without isolation: the workspace's directory. Isolated, it is `/workspace`.
    pub(crate) root: Vec<u8>,
    /// Without isolation: a directory for temporary files.
    pub(crate) tmp: Vec<u8>,
    /// Directories outside the system's that commands may read.
    pub(crate) readable: Vec<Vec<u8>>,
    /// Isolated: links to make in a directory at the end of `PATH`, name and target.
    pub(crate) shims: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of memory of each process.
    pub(crate) memory_bytes: u64,
    /// Processes at once.
    pub(crate) pids: u64,
    /// Bytes of files.
    pub(crate) disk_bytes: u64,
}

#[cfg(feature = "engine")]
impl Confine {
    /// As one argument of a command.
    pub(crate) fn to_argument(&self) -> Result<String, postcard::Error> {
        let bytes = postcard::to_stdvec(self)?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Writes one frame.
pub(crate) fn write_frame<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    out.write_all(&frame(value)?)?;
    out.flush()
}

/// One frame as bytes.
pub(crate) fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(value, vec![0_u8; 4]).map_err(io::Error::other)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "frame too large"));
    }
    let prefix = u32::try_from(length).map_err(io::Error::other)?.to_le_bytes();
    bytes[..4].copy_from_slice(&prefix);
    Ok(bytes)
}

/// Reads one frame; `None` at a clean end.
pub(crate) fn read_frame<T: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<T>> {
    let mut prefix = [0_u8; 4];
    match input.read_exact(&mut prefix) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = length_of(prefix)?;
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    parse(&bytes).map(Some)
}

/// The length a prefix announces, within bounds.
pub(crate) fn length_of(prefix: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame length out of bounds"));
    }
    Ok(length)
}

/// The value a frame's body holds.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ops::{ExecEnd, ExecOutput};

    #[test]
    fn frames_survive_the_trip() {
        let answer = Answer::Reply(Reply::Exec(ExecOutput {
            end: ExecEnd::Signaled(9),
            stdout: vec![0, 255, 10],
            stderr: Vec::new(),
            stdout_dropped: 7,
            stderr_dropped: 0,
            millis: 3,
        }));
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &answer).unwrap();
        write_frame(&mut bytes, &Answer::Begun).unwrap();
        let mut input = bytes.as_slice();
        assert_eq!(read_frame::<Answer>(&mut input).unwrap(), Some(answer));
        assert_eq!(read_frame::<Answer>(&mut input).unwrap(), Some(Answer::Begun));
        assert_eq!(read_frame::<Answer>(&mut input).unwrap(), None);
    }

    #[test]
    fn hostile_lengths_are_refused_before_memory_is_taken() {
        let mut input = [0xff_u8, 0xff, 0xff, 0xff, 0].as_slice();
        assert!(read_frame::<Answer>(&mut input).is_err());
        let mut cut = [8_u8, 0, 0, 0, 1].as_slice();
        assert!(read_frame::<Answer>(&mut cut).is_err());
    }
}
