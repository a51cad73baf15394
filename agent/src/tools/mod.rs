//! The tools: each is a small pure machine that asks the workspace for operations and ends with a result. Owns the table of
//! tools; knows nothing of models or of how operations are carried out.

mod args;
mod edit;
mod files;
mod path;
mod repository;
mod run;
mod spec;
#[cfg(test)]
mod tests;
mod todo;

use crate::session::Todo;
use domain::ops::{Op, OpError, Reply};
use domain::run::Permissions;
use serde_json::{Map, Value};
use std::time::Duration;

pub(crate) use path::resolve as resolve_path;
pub(crate) use spec::{is_known, shared as specs};

/// Longest content of a tool result, in bytes.
pub(crate) const MAX_RESULT: usize = 30_000;

/// Directories that searching does not enter unless the search starts inside them.
pub(crate) const SEARCH_SKIPS: [&str; 8] =
    [".git", ".hg", "node_modules", "target", ".venv", "__pycache__", ".tox", "eval-runs"];

/// What a tool may use besides the workspace.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) permissions: &'a Permissions,
    pub(crate) tool_timeout: Duration,
    pub(crate) todos: &'a mut Vec<Todo>,
}

/// How a tool call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ToolResult {
    /// Whether it succeeded.
    pub(crate) ok: bool,
    /// What the model is told.
    pub(crate) content: String,
    /// The action and the reason, when a permission was refused.
    pub(crate) refused: Option<(String, String)>,
}

impl ToolResult {
    pub(crate) fn ok(content: impl Into<String>) -> Self {
        Self { ok: true, content: content.into(), refused: None }
    }

    pub(crate) fn error(content: impl Into<String>) -> Self {
        Self { ok: false, content: content.into(), refused: None }
    }

    pub(crate) fn refused(action: impl Into<String>, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { ok: false, content: format!("Blocked: {reason}"), refused: Some((action.into(), reason)) }
    }
}

impl From<OpError> for ToolResult {
    fn from(error: OpError) -> Self {
        Self::error(error.to_string())
    }
}

/// Where a tool call stands.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It needs this operation.
    Ask(Op, Running),
    /// It has ended.
    Done(ToolResult),
    /// It has ended, and so has the round: this is the final answer.
    Finish(String),
}

/// A tool call that waits for the workspace.
#[derive(Debug)]
pub(crate) enum Running {
    List(files::List),
    Read(files::Read),
    Search,
    Write(edit::Write),
    Replace(edit::Replace),
    Patch(edit::Patch),
    Repository(repository::Repository),
    Shell(run::Shell),
    Diff,
}

/// Begins a tool call.
pub(crate) fn start(name: &str, arguments: &Map<String, Value>, desk: &mut Desk<'_>) -> Progress {
    let Some(spec) = spec::find(name) else {
        return Progress::Done(ToolResult::error(spec::unknown(name)));
    };
    let args = match args::check(spec, arguments) {
        Ok(args) => args,
        Err(why) => return Progress::Done(ToolResult::error(why)),
    };
    let begun = match spec.name {
        "list_files" => files::list(&args),
        "read_file" => files::read(&args),
        "search_text" => files::search(&args),
        "write_file" => edit::write(&args, desk),
        "replace_text" => edit::replace(&args, desk),
        "apply_patch" => edit::patch(&args, desk),
        "todo_set" => Ok(todo::set(&args, desk.todos)),
        "todo_list" => Ok(todo::list(desk.todos)),
        "repo_map" => Ok(repository::map()),
        "context_pack" => Ok(repository::pack(&args)),
        "shell" => Ok(run::shell(&args, desk)),
        "git_diff" => Ok(run::git_diff(desk)),
        _ => Ok(Progress::Finish(args.text("summary").trim().to_owned())),
    };
    begun.unwrap_or_else(Progress::Done)
}

/// Goes on with a tool call.
pub(crate) fn resume(running: Running, reply: Reply) -> Progress {
    match running {
        Running::List(list) => list.finish(reply),
        Running::Read(read) => read.resume(reply),
        Running::Search => files::found(reply),
        Running::Write(write) => write.finish(&reply),
        Running::Replace(replace) => replace.resume(reply),
        Running::Patch(patch) => patch.resume(reply),
        Running::Repository(repository) => repository.resume(reply),
        Running::Shell(shell) => shell.finish(reply),
        Running::Diff => run::diffed(reply),
    }
}

/// The result for a reply of the wrong shape: a defect on the workspace's side, told rather than hidden.
fn unexpected(reply: &Reply) -> Progress {
    let result = match reply {
        Reply::Refused(error) => ToolResult::from(error.clone()),
        _ => ToolResult::error("the workspace answered with something else than was asked for"),
    };
    Progress::Done(result)
}
