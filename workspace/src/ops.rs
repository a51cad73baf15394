//! Every operation of a workspace, beneath one root directory. Synchronous; the tool server is its only caller, in containers and in
//! local sandboxes alike. Knows nothing of frames or namespaces.

mod apply;
mod beneath;
mod capped;
mod exec;
mod put;
mod read;
mod search;
mod tree;
mod walk;

pub(crate) use beneath::Root;
pub(crate) use exec::{Processes, Tree};

use crate::wire::Node;
use domain::ops::{Op, OpError, Reply};
use nix::errno::Errno;
use std::collections::BTreeMap;

/// The files and processes of one workspace.
#[derive(Debug)]
pub(crate) struct Ops {
    root: Root,
    processes: Processes,
    env: BTreeMap<String, String>,
}

impl Ops {
    pub(crate) fn new(root: Root, processes: Processes, env: BTreeMap<String, String>) -> Self {
        Self { root, processes, env }
    }

    /// Adds to the environment of every later command.
    pub(crate) fn extend_env(&mut self, env: BTreeMap<String, String>) {
        self.env.extend(env);
    }

    pub(crate) fn put(&self, nodes: Vec<Node>) -> Result<(), OpError> {
        put::put(&self.root, nodes)
    }

    pub(crate) fn run(&self, op: Op) -> Reply {
        let done = match op {
            Op::List { path } => walk::list(&self.root, &path),
            Op::Walk { path, skip_dirs, max_files, hashes } => {
                walk::walk(&self.root, &path, &skip_dirs, max_files, hashes)
            }
            Op::Read { path, offset, max_bytes } => {
                read::read(&self.root, &path, offset, max_bytes).map(Reply::File)
            }
            Op::ReadMany { paths, max_bytes_each } => {
                Ok(Reply::Files(read::read_many(&self.root, &paths, max_bytes_each)))
            }
            Op::Search { pattern, path, skip_dirs, max_matches, max_line_bytes } => {
                let wanted =
                    search::Wanted { pattern: &pattern, skip_dirs: &skip_dirs, max_matches, max_line_bytes };
                search::search(&self.root, &path, &wanted)
            }
            Op::Apply { changes } => apply::apply(&self.root, changes).map(|()| Reply::Applied),
            Op::Exec(spec) => exec::exec(&self.root, &self.processes, &self.env, &spec).map(Reply::Exec),
            Op::KillAll => Ok(Reply::Killed(self.processes.kill_all())),
        };
        done.unwrap_or_else(Reply::Refused)
    }
}

/// The system's refusal, as the model is to see it.
fn refused(path: &str, errno: Errno) -> OpError {
    match errno {
        Errno::ENOENT => OpError::NotFound(path.to_owned()),
        Errno::ENOTDIR => OpError::NotADirectory(path.to_owned()),
        Errno::EISDIR => OpError::NotAFile(path.to_owned()),
        other => OpError::Io { path: path.to_owned(), why: other.desc().to_owned() },
    }
}

/// The same for errors of the standard library.
fn refused_io(path: &str, error: &std::io::Error) -> OpError {
    match error.raw_os_error() {
        Some(code) => refused(path, Errno::from_raw(code)),
        None => OpError::Io { path: path.to_owned(), why: error.to_string() },
    }
}
