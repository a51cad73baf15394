//! Running commands: `shell`, `git_diff`.

use super::args::Args;
use super::{Desk, MAX_RESULT, Progress, Running, ToolResult, unexpected};
use crate::permission;
use domain::ops::{Command, ExecEnd, ExecOutput, ExecSpec, Op, Reply};
use domain::text;

/// A command line under way.
#[derive(Debug)]
pub(crate) struct Shell {
    timeout_millis: u64,
}

/// Begins `shell`, when the policy lets it.
pub(super) fn shell(args: &Args<'_>, desk: &Desk<'_>) -> Progress {
    let line = args.text("command");
    if let Err(refusal) = permission::judge(line, desk.permissions) {
        return Progress::Done(ToolResult::refused(
            format!("shell: {}", text::cut(line, 500)),
            refusal.to_string(),
        ));
    }
    let spec = ExecSpec::shell(line, desk.tool_timeout);
    let timeout_millis = spec.timeout_millis;
    Progress::Ask(Op::Exec(spec), Running::Shell(Shell { timeout_millis }))
}

impl Shell {
    pub(super) fn finish(self, reply: Reply) -> Progress {
        let Reply::Exec(output) = reply else {
            return unexpected(&reply);
        };
        let mut content = streams(&output);
        let ending = match &output.end {
            ExecEnd::Exited(0) => None,
            ExecEnd::Exited(code) => Some(format!("[exit code {code}]")),
            ExecEnd::Signaled(signal) => Some(format!("[ended by signal {signal}]")),
            ExecEnd::TimedOut => Some(format!(
                "[timed out after {} s; the command and everything it started were killed]",
                self.timeout_millis as f64 / 1000.0
            )),
            ExecEnd::NotStarted(why) => Some(format!("[could not be started: {why}]")),
        };
        if let Some(ending) = ending {
            if !content.is_empty() {
                content.push('\n');
            }
            content.push_str(&ending);
        }
        if content.is_empty() {
            content.push_str("(no output)");
        }
        Progress::Done(ToolResult { ok: output.succeeded(), content, refused: None })
    }
}

/// Both streams as text, the second one marked, each cut in the middle with a note where it is too long.
fn streams(output: &ExecOutput) -> String {
    let stdout = stream(&output.stdout, output.stdout_dropped, MAX_RESULT * 2 / 3);
    let room = MAX_RESULT.saturating_sub(stdout.len()).max(MAX_RESULT / 3);
    let stderr = stream(&output.stderr, output.stderr_dropped, room);
    match (stdout.is_empty(), stderr.is_empty()) {
        (_, true) => stdout,
        (true, false) => format!("[stderr]\n{stderr}"),
        (false, false) => format!("{stdout}\n[stderr]\n{stderr}"),
    }
}

fn stream(bytes: &[u8], dropped: u64, max: usize) -> String {
    let whole = String::from_utf8_lossy(bytes);
    let mut shown = text::cut_middle(whole.trim_matches(|c: char| c == '\n' || c == '\r').trim_end(), max);
    if dropped > 0 {
        shown.push_str(&format!("\n… ({dropped} more bytes were printed in between and not kept)"));
    }
    shown
}

/// Begins `git_diff`: one fixed command without a shell, so it works where the shell tool is switched off.
pub(super) fn git_diff(desk: &Desk<'_>) -> Progress {
    let argv = [
        "git",
        "-c",
        "safe.directory=*",
        "-c",
        "core.fsmonitor=false",
        "--no-pager",
        "diff",
        "--no-color",
        "--no-ext-diff",
        "--",
        ".",
    ];
    let mut spec = ExecSpec::shell("", desk.tool_timeout);
    spec.command = Command::Argv(argv.iter().map(|word| (*word).to_owned()).collect());
    Progress::Ask(Op::Exec(spec), Running::Diff)
}

/// Ends `git_diff`.
pub(super) fn diffed(reply: Reply) -> Progress {
    let Reply::Exec(output) = reply else {
        return unexpected(&reply);
    };
    let content = streams(&output);
    let result = match &output.end {
        ExecEnd::Exited(0) if content.is_empty() => ToolResult::ok("(no changes to tracked files)"),
        ExecEnd::Exited(0) => ToolResult::ok(content),
        ExecEnd::NotStarted(why) => ToolResult::error(format!("git could not be started: {why}")),
        ExecEnd::Exited(128 | 129) => ToolResult::error(
            format!("git_diff works only in a git repository\n{content}").trim_end().to_owned(),
        ),
        ExecEnd::Exited(code) => {
            ToolResult::error(format!("{content}\n[exit code {code}]").trim_start().to_owned())
        }
        ExecEnd::Signaled(_) | ExecEnd::TimedOut => ToolResult::error("git was killed before it was done"),
    };
    Progress::Done(result)
}
