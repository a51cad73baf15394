//! Every fixed text that the harness says to a model. Knows no state: the machine decides when to say what.

use domain::run::Permissions;

/// The system prompt.
pub(crate) fn system(permissions: &Permissions) -> String {
    let writing = if permissions.allow_write {
        "You may change files with write_file, replace_text and apply_patch, and run programs of the project with shell."
    } else {
        "This task is read-only: write_file, replace_text, apply_patch and shell commands that change files are refused."
    };
    let shell = if permissions.allow_shell {
        "The shell tool takes one plain sh command line and judges every command in it: inspecting files and running the \
         project's tests is always fine, the network never is."
    } else {
        "The shell tool is switched off for this task."
    };
    format!(
        "You are the coding agent of OpenCode Harness. You work inside one workspace, a directory with a project, and you act \
         on it only through tools.\n\
         \n\
         Call tools through the API's own tool calls. If you cannot, ask for a tool by replying with exactly one JSON object \
         and nothing else, for example:\n\
         {TEXT_EXAMPLES}\n\
         \n\
         Rules:\n\
         - Every path is relative to the workspace. Absolute paths and paths that lead outside are refused.\n\
         - Look before you change: read the file you are about to edit.\n\
         - {writing}\n\
         - {shell}\n\
         - A refused or failed tool tells you why. Read it and try another way.\n\
         - Never say that you changed a file unless a write tool said that it did.\n\
         - When the task is done, call finish with your final answer as the summary."
    )
}

const TEXT_EXAMPLES: &str = r#"{"tool": "list_files", "args": {"path": "."}}
{"tool": "read_file", "args": {"path": "README.md"}}
{"tool": "search_text", "args": {"pattern": "main", "path": "."}}
{"tool": "write_file", "args": {"path": "notes.txt", "content": "text\n"}}
{"tool": "replace_text", "args": {"path": "a.py", "old": "x = 1", "new": "x = 2"}}
{"tool": "apply_patch", "args": {"patch": "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"}}
{"tool": "todo_set", "args": {"items": [{"title": "read the code", "status": "in_progress"}]}}
{"tool": "todo_list", "args": {}}
{"tool": "repo_map", "args": {}}
{"tool": "context_pack", "args": {"query": "parser errors"}}
{"tool": "shell", "args": {"command": "git status"}}
{"tool": "git_diff", "args": {}}
{"tool": "finish", "args": {"summary": "what was done"}}"#;

/// How packed context is introduced.
pub(crate) fn context(pack: &str) -> String {
    format!("Initial repository context:\n{pack}")
}

/// The marker instruction of a round.
pub(crate) fn marker(marker: &str) -> String {
    format!(
        "Your final summary must contain this exact text: {marker}\nAs soon as you have what you need, call finish with a \
         summary that contains it."
    )
}

/// The marker in one line, after each observation.
pub(crate) fn marker_reminder(marker: &str) -> String {
    format!("Reminder: the final summary must contain the exact text {marker}")
}

/// Said when at most one model call remains.
pub(crate) const FINAL_STEP: &str = "This is your last step. Do not inspect or change anything more: finish now with your \
                                     final answer, by the finish tool.";

/// Said after an empty reply.
pub(crate) const EMPTY: &str =
    "Your last reply was empty. Call a tool, or call finish with your final answer.";

/// Said after a reply that the output limit cut off.
pub(crate) const TRUNCATED: &str = "Your last reply was cut off by the output limit, so nothing incomplete in it was acted \
                                    on. Go on in smaller pieces: one tool call at a time, or a shorter final answer.";

/// Said after text that may or may not be a tool call.
pub(crate) fn ambiguous(why: &str) -> String {
    format!(
        "Your last reply was not acted on: {why}. To call a tool, use the API's tool calls or reply with one JSON object \
         like {{\"tool\": \"read_file\", \"args\": {{\"path\": \"README.md\"}}}} and nothing else. To give your final answer, \
         call finish."
    )
}

/// Said when verification failed.
pub(crate) fn feedback(attempt: u32, command: &str, error: &str) -> String {
    format!(
        "Verification failed (repair round {attempt}). The command was:\n{command}\n\nIt said:\n{error}\n\nFind the cause, \
         fix it in the workspace, check the fix, and finish again."
    )
}

/// A tool result as a user message, for calls that came as text.
pub(crate) fn observation(tool: &str, ok: bool, content: &str) -> String {
    format!("Observation from {tool} ({}):\n{content}", if ok { "ok" } else { "error" })
}
