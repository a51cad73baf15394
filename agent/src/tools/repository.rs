//! Orientation: `repo_map`, `context_pack`.

use super::args::Args;
use super::{MAX_RESULT, Progress, Running, ToolResult};
use crate::context::{Scan, Scanned};
use domain::ops::Reply;
use domain::text;

/// Characters of a `context_pack` result, as in the original system.
const PACK_CHARS: usize = 6000;

/// A scan of the workspace under way.
#[derive(Debug)]
pub(crate) struct Repository {
    scan: Scan,
    /// The query, for a pack; a map otherwise.
    query: Option<String>,
}

/// Begins `repo_map`.
pub(super) fn map() -> Progress {
    ask(None)
}

/// Begins `context_pack`.
pub(super) fn pack(args: &Args<'_>) -> Progress {
    ask(Some(args.text("query").to_owned()))
}

fn ask(query: Option<String>) -> Progress {
    let (scan, op) = Scan::start();
    Progress::Ask(op, Running::Repository(Repository { scan, query }))
}

impl Repository {
    pub(super) fn resume(mut self, reply: Reply) -> Progress {
        match self.scan.resume(reply) {
            Scanned::Ask(op) => Progress::Ask(op, Running::Repository(self)),
            Scanned::Refused(error) => Progress::Done(ToolResult::from(error)),
            Scanned::Done(repository) => {
                let content = match &self.query {
                    Some(query) => repository.pack(query, PACK_CHARS),
                    None => text::cut(&repository.map(), MAX_RESULT),
                };
                Progress::Done(ToolResult::ok(content))
            }
        }
    }
}
