//! The table of tools: names, arguments, descriptions. The JSON Schema shown to the model and the check of arguments both come
//! from it. Built once and shared by all agents of a process.

use domain::chat::ToolSpec;
use domain::text;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// A tool.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) args: &'static [Arg],
}

/// An argument.
#[derive(Debug)]
pub(super) struct Arg {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

/// What an argument holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    Number,
    Todos,
}

const fn need(name: &'static str, kind: Kind, about: &'static str) -> Arg {
    Arg { name, kind, required: true, about }
}

const fn may(name: &'static str, kind: Kind, about: &'static str) -> Arg {
    Arg { name, kind, required: false, about }
}

static TOOLS: [Tool; 13] = [
    Tool {
        name: "list_files",
        about: "List one directory of the workspace. Directories end with /.",
        args: &[may("path", Kind::Text, "directory, relative to the workspace; default .")],
    },
    Tool {
        name: "read_file",
        about: "Read a text file. Long files come in pages: ask for the next one with offset.",
        args: &[
            need("path", Kind::Text, "file, relative to the workspace"),
            may("offset", Kind::Number, "first line wanted, from 1; default 1"),
            may("limit", Kind::Number, "at most so many lines; default as many as fit"),
        ],
    },
    Tool {
        name: "search_text",
        about: "Find a literal, case-sensitive text in files, at most 100 matching lines. Skips binary files and directories \
                such as .git, node_modules and target unless the path starts inside them.",
        args: &[
            need("pattern", Kind::Text, "the text to find, not a regular expression"),
            may("path", Kind::Text, "file or directory, relative to the workspace; default ."),
        ],
    },
    Tool {
        name: "write_file",
        about: "Create or overwrite a file with the given content; parent directories are made.",
        args: &[
            need("path", Kind::Text, "file, relative to the workspace"),
            need("content", Kind::Text, "the whole new content"),
        ],
    },
    Tool {
        name: "replace_text",
        about: "Replace the first occurrence of a text in a file.",
        args: &[
            need("path", Kind::Text, "file, relative to the workspace"),
            need("old", Kind::Text, "the exact text to replace; enough of it to be unique"),
            need("new", Kind::Text, "the text to put in its place"),
        ],
    },
    Tool {
        name: "apply_patch",
        about: "Apply a unified diff: changes, new files (--- /dev/null), deletions (+++ /dev/null), renames (rename from / \
                rename to), in one or several files. All of it is applied or nothing.",
        args: &[need("patch", Kind::Text, "the unified diff")],
    },
    Tool {
        name: "todo_set",
        about: "Replace your todo list.",
        args: &[need(
            "items",
            Kind::Todos,
            "entries with a title and a status: pending, in_progress, done or blocked",
        )],
    },
    Tool { name: "todo_list", about: "Show your todo list.", args: &[] },
    Tool {
        name: "repo_map",
        about: "Show the files of the workspace with their languages, lines and symbols.",
        args: &[],
    },
    Tool {
        name: "context_pack",
        about: "Show a short map of the workspace and the files that are likely relevant to a query.",
        args: &[may("query", Kind::Text, "what you look for")],
    },
    Tool {
        name: "shell",
        about: "Run one plain sh command line at the workspace's root. Every command in it is judged: reading and running tests \
                is allowed, changing files only where the task allows writing, the network never.",
        args: &[need("command", Kind::Text, "the command line")],
    },
    Tool { name: "git_diff", about: "Show the uncommitted changes of tracked files.", args: &[] },
    Tool {
        name: "finish",
        about: "End the task with your final answer. Call it alone, after everything else is done.",
        args: &[need(
            "summary",
            Kind::Text,
            "the final answer, with the required text in it if one was asked for",
        )],
    },
];

static SHARED: LazyLock<Arc<Vec<ToolSpec>>> =
    LazyLock::new(|| Arc::new(TOOLS.iter().map(describe).collect()));

/// The tools as a model is shown them.
pub(crate) fn shared() -> Arc<Vec<ToolSpec>> {
    Arc::clone(&SHARED)
}

/// Whether a tool of this name exists.
pub(crate) fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// The tool of this name.
pub(super) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// What to say about a name that no tool has.
pub(super) fn unknown(name: &str) -> String {
    let names: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
    let shown = text::cut(name, 80);
    match text::nearest(name, names.iter().copied()) {
        Some(near) => format!("there is no tool `{shown}`; did you mean `{near}`?"),
        None => format!("there is no tool `{shown}`; the tools are {}", names.join(", ")),
    }
}

fn describe(tool: &Tool) -> ToolSpec {
    let properties: serde_json::Map<String, Value> =
        tool.args.iter().map(|arg| (arg.name.to_owned(), schema(arg))).collect();
    let required: Vec<&str> = tool.args.iter().filter(|arg| arg.required).map(|arg| arg.name).collect();
    ToolSpec {
        name: tool.name.to_owned(),
        description: tool.about.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }),
    }
}

fn schema(arg: &Arg) -> Value {
    match arg.kind {
        Kind::Text => json!({"type": "string", "description": arg.about}),
        Kind::Number => json!({"type": "integer", "minimum": 1, "description": arg.about}),
        Kind::Todos => json!({
            "type": "array",
            "description": arg.about,
            "items": {"anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"title": {"type": "string"}, "status": {"type": "string"}},
                    "required": ["title"],
                    "additionalProperties": false,
                },
            ]},
        }),
    }
}
