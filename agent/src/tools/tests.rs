//! Tools played against a workspace of files in memory: a call goes in, the result and the files come out.

use super::*;
use domain::ops::{Change, Entry, EntryKind, ExecEnd, ExecOutput, FileContent, LineMatch};
use serde_json::json;
use std::collections::BTreeMap;

const WRITING: Permissions = Permissions { allow_write: true, allow_shell: true };

#[derive(Default)]
struct Bench {
    files: BTreeMap<String, Vec<u8>>,
    todos: Vec<Todo>,
    exec: Option<ExecOutput>,
    ops: usize,
}

impl Bench {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        Self { files, ..Self::default() }
    }

    fn call(&mut self, name: &str, arguments: serde_json::Value) -> ToolResult {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let mut desk =
            Desk { permissions: &WRITING, tool_timeout: Duration::from_millis(1500), todos: &mut self.todos };
        let mut progress = start(name, &arguments, &mut desk);
        loop {
            progress = match progress {
                Progress::Done(result) => return result,
                Progress::Finish(summary) => return ToolResult::ok(summary),
                Progress::Ask(op, running) => {
                    self.ops += 1;
                    let reply = self.answer(op);
                    resume(running, reply)
                }
            };
        }
    }

    /// Calls a tool that is to succeed and answers with what it says.
    #[track_caller]
    fn ok(&mut self, name: &str, arguments: serde_json::Value) -> String {
        let result = self.call(name, arguments);
        assert!(result.ok, "{}", result.content);
        result.content
    }

    #[track_caller]
    fn fails(&mut self, name: &str, arguments: serde_json::Value) -> String {
        let result = self.call(name, arguments);
        assert!(!result.ok, "{}", result.content);
        result.content
    }

    fn read(&self, path: &str, offset: u64, max: u64) -> Result<FileContent, OpError> {
        let bytes = self.files.get(path).ok_or_else(|| OpError::NotFound(path.to_owned()))?;
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let part = &bytes[from..bytes.len().min(from + usize::try_from(max).unwrap())];
        Ok(FileContent { bytes: part.to_vec(), total_bytes: bytes.len() as u64, mode: 0o755 })
    }

    fn answer(&mut self, op: Op) -> Reply {
        match op {
            Op::Read { path, offset, max_bytes } => match self.read(&path, offset, max_bytes) {
                Ok(content) => Reply::File(content),
                Err(error) => Reply::Refused(error),
            },
            Op::ReadMany { paths, max_bytes_each } => {
                Reply::Files(paths.iter().map(|path| self.read(path, 0, max_bytes_each)).collect())
            }
            Op::Apply { changes } => {
                for change in changes {
                    match change {
                        Change::Write { path, bytes, mode } => {
                            assert!(mode.is_none(), "existing modes are kept");
                            self.files.insert(path, bytes);
                        }
                        Change::Delete { path } => {
                            self.files.remove(&path);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                Reply::Applied
            }
            Op::Exec(_) => Reply::Exec(self.exec.clone().unwrap()),
            Op::List { .. } | Op::Walk { .. } => {
                let entry = |(path, bytes): (&String, &Vec<u8>)| Entry {
                    path: path.clone(),
                    kind: if path.ends_with("dir") { EntryKind::Dir } else { EntryKind::File },
                    bytes: bytes.len() as u64,
                    mode: 0o644,
                    sha256: None,
                    target: None,
                };
                Reply::Entries { entries: self.files.iter().map(entry).collect(), truncated: false }
            }
            Op::Search { pattern, .. } => {
                let hits = self.files.iter().flat_map(|(path, bytes)| {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                    let path = path.clone();
                    lines.into_iter().enumerate().map(move |(index, text)| LineMatch {
                        path: path.clone(),
                        line: index as u64 + 1,
                        text,
                    })
                });
                let matches: Vec<LineMatch> = hits.filter(|hit| hit.text.contains(&pattern)).collect();
                Reply::Matches { truncated: matches.len() >= 100, matches }
            }
            Op::KillAll => Reply::Killed(0),
        }
    }
}

fn output(end: ExecEnd, stdout: &str, stderr: &str, dropped: u64) -> Option<ExecOutput> {
    Some(ExecOutput {
        end,
        stdout: stdout.as_bytes().to_vec(),
        stderr: stderr.as_bytes().to_vec(),
        stdout_dropped: dropped,
        stderr_dropped: 0,
        millis: 1,
    })
}

#[test]
fn the_thirteen_tools_have_strict_schemas() {
    let specs = specs();
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "list_files",
            "read_file",
            "search_text",
            "write_file",
            "replace_text",
            "apply_patch",
            "todo_set",
            "todo_list",
            "repo_map",
            "context_pack",
            "shell",
            "git_diff",
            "finish"
        ]
    );
    for spec in specs.iter() {
        assert_eq!(spec.parameters["type"], "object", "{}", spec.name);
        assert_eq!(spec.parameters["additionalProperties"], false, "{}", spec.name);
        for required in spec.parameters["required"].as_array().unwrap() {
            assert!(spec.parameters["properties"][required.as_str().unwrap()].is_object(), "{}", spec.name);
        }
    }
    assert!(std::sync::Arc::ptr_eq(&specs, &super::specs()), "built once and shared");
}

#[test]
fn a_listing_is_sorted_and_marks_directories() {
    let mut bench = Bench::with(&[("b.txt", b"x"), ("A.txt", b"x"), ("c-dir", b"")]);
    assert_eq!(bench.ok("list_files", json!({})), "A.txt\nb.txt\nc-dir/");
    assert_eq!(Bench::default().ok("list_files", json!({"path": "."})), "(empty)");
    assert_eq!(
        bench.fails("list_files", json!({"path": "/etc"})),
        "`/etc` is outside the workspace: give a path relative to the workspace"
    );
}

#[test]
fn files_are_read_whole_or_by_pages() {
    let lines: String = (1..=5).map(|number| format!("line {number}\n")).collect();
    let mut bench =
        Bench::with(&[("a", lines.as_bytes()), ("empty", b""), ("bin", b"a\0b"), ("bad", b"a\xffb\n")]);
    assert_eq!(bench.ok("read_file", json!({"path": "a"})), lines);
    assert_eq!(
        bench.ok("read_file", json!({"path": "./a", "offset": 2, "limit": 2})),
        "line 2\nline 3\n… (lines 2 to 3 of a file of 35 bytes; read on with offset=4)"
    );
    assert_eq!(bench.ok("read_file", json!({"path": "a", "offset": 4, "limit": null})), "line 4\nline 5\n");
    assert_eq!(
        bench.fails("read_file", json!({"path": "a", "offset": 9})),
        "`a` has 5 lines; there is no line 9"
    );
    assert_eq!(
        bench.fails("read_file", json!({"path": "a", "offset": 0})),
        "argument `offset` of read_file must be a whole number from 1, not 0"
    );
    assert_eq!(bench.ok("read_file", json!({"path": "empty"})), "(empty file)");
    assert_eq!(bench.ok("read_file", json!({"path": "bin"})), "(binary file, 3 bytes, not shown)");
    assert_eq!(bench.ok("read_file", json!({"path": "bad"})), "a\u{fffd}b\n");
    assert_eq!(bench.fails("read_file", json!({"path": "none"})), "`none` does not exist");
}

#[test]
fn every_line_of_a_long_file_is_reached_by_paging() {
    let long: String = (1..=40_000).map(|number| format!("this is line number {number}\n")).collect();
    let wide = format!("{}\nshort\n", "é".repeat(100_000));
    let mut bench = Bench::with(&[("long", long.as_bytes()), ("wide", wide.as_bytes())]);
    let (mut offset, mut joined) = (1_u64, String::new());
    loop {
        let page = bench.ok("read_file", json!({"path": "long", "offset": offset}));
        assert!(page.len() <= MAX_RESULT + 120);
        let Some((text, note)) = page.split_once("… (") else {
            joined.push_str(&page);
            break;
        };
        joined.push_str(text);
        offset = note.rsplit_once('=').unwrap().1.trim_end_matches(')').parse().unwrap();
    }
    assert!(joined == long, "the pages together are the file");
    let first = bench.ok("read_file", json!({"path": "wide"}));
    assert!(
        first.ends_with(
            "(the last line shown is cut; lines 1 to 1 of a file of 200007 bytes; read on with offset=2)"
        ),
        "{}",
        &first[first.len() - 150..]
    );
    assert_eq!(bench.ok("read_file", json!({"path": "wide", "offset": 2})), "short\n");
}

#[test]
fn searching_is_literal_and_says_when_it_stopped() {
    let many = "needle.*\n".repeat(150);
    let mut bench = Bench::with(&[("a.txt", b"x\nneedle.* here\n")]);
    assert_eq!(bench.ok("search_text", json!({"pattern": "needle.*"})), "a.txt:2: needle.* here");
    assert_eq!(bench.ok("search_text", json!({"pattern": "none"})), "(no matches)");
    assert!(bench.fails("search_text", json!({"pattern": ""})).contains("not empty"));
    let mut bench = Bench::with(&[("a.txt", many.as_bytes())]);
    assert!(
        bench
            .ok("search_text", json!({"pattern": "needle"}))
            .ends_with("matches; search for something narrower)")
    );
}

#[test]
fn writing_counts_bytes_and_keeps_to_files() {
    let mut bench = Bench::default();
    assert_eq!(
        bench.ok("write_file", json!({"path": "d/é.txt", "content": "ü\n"})),
        "Wrote d/é.txt (3 bytes)"
    );
    assert_eq!(bench.files["d/é.txt"], "ü\n".as_bytes());
    assert_eq!(
        bench.fails("write_file", json!({"path": ".", "content": ""})),
        "`.` is a directory, not a file"
    );
    assert_eq!(
        bench.fails("write_file", json!({"path": "a"})),
        "write_file needs the argument `content` (the whole new content)"
    );
    assert_eq!(
        bench.fails("write_file", json!({"path": "a/../../b", "content": ""})),
        "`a/../../b` leads outside the workspace"
    );
}

#[test]
fn replacing_takes_the_first_occurrence_and_says_if_there_are_more() {
    let mut bench = Bench::with(&[("a", b"x = 1\nx = 1\n"), ("crlf", b"a\r\nb\r\n")]);
    assert_eq!(
        bench.ok("replace_text", json!({"path": "a", "old": "x = 1", "new": "x = 2"})),
        "Replaced the first of 2 occurrences in a"
    );
    assert_eq!(bench.files["a"], b"x = 2\nx = 1\n");
    assert_eq!(
        bench.ok("replace_text", json!({"path": "a", "old": "x = 2", "new": ""})),
        "Replaced text in a"
    );
    assert_eq!(
        bench.ok("replace_text", json!({"path": "crlf", "old": "a\nb\n", "new": "c\nd\n"})),
        "Replaced text in crlf"
    );
    assert_eq!(bench.files["crlf"], b"c\r\nd\r\n");
    assert!(
        bench.fails("replace_text", json!({"path": "a", "old": "", "new": "y"})).contains("`old` is empty")
    );
    assert!(
        bench
            .fails("replace_text", json!({"path": "a", "old": "zzz", "new": "y"}))
            .contains("was not found in `a`")
    );
}

#[test]
fn a_patch_goes_into_the_workspace() {
    let mut bench = Bench::with(&[("a", b"1\n"), ("b", b"2\n")]);
    let patch = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+one\n--- a/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-2\n";
    assert_eq!(bench.ok("apply_patch", json!({"patch": patch})), "Patched files:\n- a\n- b (deleted)");
    assert_eq!(bench.files, BTreeMap::from([("a".to_owned(), b"one\n".to_vec())]));
    assert!(bench.fails("apply_patch", json!({"patch": patch})).starts_with("nothing was applied"));
    assert!(
        bench
            .fails("apply_patch", json!({"patch": "--- a/c\n+++ b/c\n@@ -1,2 +1,2 @@\n x\n"}))
            .contains("`c` does not exist")
    );
}

#[test]
fn todos_take_objects_and_strings() {
    let mut bench = Bench::default();
    assert_eq!(bench.ok("todo_list", json!({})), "(no todos)");
    let items = json!({"items": ["read", {"title": " fix ", "status": "in_progress"}, {"title": "  "}, ""]});
    assert_eq!(bench.ok("todo_set", items), "- [pending] read\n- [in_progress] fix");
    assert_eq!(bench.ok("todo_list", json!({})), "- [pending] read\n- [in_progress] fix");
    assert!(
        bench
            .fails("todo_set", json!({"items": [{"status": "done"}]}))
            .contains("must be an array of objects with `title`")
    );
}

#[test]
fn commands_tell_output_errors_and_how_they_ended() {
    let mut bench = Bench { exec: output(ExecEnd::Exited(0), "\nout\n", "warn\n", 0), ..Bench::default() };
    assert_eq!(bench.ok("shell", json!({"command": "ls"})), "out\n[stderr]\nwarn");
    bench.exec = output(ExecEnd::Exited(0), "", "", 0);
    assert_eq!(bench.ok("shell", json!({"command": "ls"})), "(no output)");
    bench.exec = output(ExecEnd::Exited(3), "out", "", 0);
    assert_eq!(bench.fails("shell", json!({"command": "ls"})), "out\n[exit code 3]");
    bench.exec = output(ExecEnd::TimedOut, "", "slow", 0);
    assert_eq!(
        bench.fails("shell", json!({"command": "ls"})),
        "[stderr]\nslow\n[timed out after 1.5 s; the command and everything it started were killed]"
    );
    bench.exec = output(ExecEnd::Signaled(9), "", "", 0);
    assert_eq!(bench.fails("shell", json!({"command": "ls"})), "[ended by signal 9]");
    bench.exec = output(ExecEnd::NotStarted("no sh".into()), "", "", 0);
    assert_eq!(bench.fails("shell", json!({"command": "ls"})), "[could not be started: no sh]");
    bench.exec = output(ExecEnd::Exited(0), &"x".repeat(200_000), &"y".repeat(200_000), 7);
    let long = bench.ok("shell", json!({"command": "ls"}));
    assert!(long.len() < MAX_RESULT + 300, "{}", long.len());
    assert!(
        long.contains("(7 more bytes were printed in between and not kept)")
            && long.contains("bytes left out")
    );
    let refused = bench.call("shell", json!({"command": "curl x"}));
    assert_eq!(refused.content, "Blocked: `curl` uses the network, which is never allowed");
    assert_eq!(refused.refused.map(|(action, _)| action), Some("shell: curl x".to_owned()));
}

#[test]
fn the_diff_of_git_is_shown_as_it_is() {
    let mut bench =
        Bench { exec: output(ExecEnd::Exited(0), "diff --git a/x b/x\n", "", 0), ..Bench::default() };
    assert_eq!(bench.ok("git_diff", json!({})), "diff --git a/x b/x");
    bench.exec = output(ExecEnd::Exited(0), "", "", 0);
    assert_eq!(bench.ok("git_diff", json!({})), "(no changes to tracked files)");
    bench.exec = output(ExecEnd::NotStarted("not found".into()), "", "", 0);
    assert_eq!(bench.fails("git_diff", json!({})), "git could not be started: not found");
}

#[test]
fn maps_and_packs_come_from_the_workspace() {
    let mut bench = Bench::with(&[("src/a.py", b"def alpha():\n    pass\n")]);
    assert_eq!(
        bench.ok("repo_map", json!({})),
        "Repository map\nFiles: 1\n- src/a.py (python, 2 lines): alpha"
    );
    assert!(
        bench
            .ok("context_pack", json!({"query": "alpha"}))
            .ends_with("Likely relevant files:\n- src/a.py: alpha")
    );
    assert!(bench.fails("repo_map", json!({"query": "x"})).contains("it takes none"));
}

#[test]
fn paths_are_normalised_and_kept_inside() {
    for (given, want) in [("", "."), ("./a//b/", "a/b"), ("a/../b", "b"), (".", "."), ("~a", "~a")] {
        assert_eq!(resolve_path(given).as_deref(), Ok(want));
    }
    for given in ["/a", "..", "a/../..", "~/x", "~", "a\0b"] {
        assert!(resolve_path(given).is_err(), "{given}");
    }
}
