//! The todo list: `todo_set`, `todo_list`. It lives in the session, not in the workspace.

use super::args::Args;
use super::{Progress, ToolResult};
use crate::session::Todo;
use domain::text;
use serde_json::Value;

const MAX_ITEMS: usize = 200;
const MAX_TITLE: usize = 500;

/// Replaces the list.
pub(super) fn set(args: &Args<'_>, todos: &mut Vec<Todo>) -> Progress {
    let items = args.items("items");
    if items.len() > MAX_ITEMS {
        return Progress::Done(ToolResult::error(format!("a todo list has at most {MAX_ITEMS} entries")));
    }
    *todos = items.iter().filter_map(entry).collect();
    list(todos)
}

fn entry(item: &Value) -> Option<Todo> {
    let (title, status) = match item {
        Value::Object(fields) => {
            (fields.get("title").and_then(Value::as_str)?, fields.get("status").and_then(Value::as_str))
        }
        other => (other.as_str()?, None),
    };
    let title = title.trim();
    let status = status.map(str::trim).filter(|status| !status.is_empty()).unwrap_or("pending");
    (!title.is_empty()).then(|| Todo { title: text::cut(title, MAX_TITLE), status: text::cut(status, 40) })
}

/// Shows the list.
pub(super) fn list(todos: &[Todo]) -> Progress {
    if todos.is_empty() {
        return Progress::Done(ToolResult::ok("(no todos)"));
    }
    let lines: Vec<String> = todos.iter().map(|todo| format!("- [{}] {}", todo.status, todo.title)).collect();
    Progress::Done(ToolResult::ok(lines.join("\n")))
}
