//! Conversations as data: what the model and the workspace say goes in, what the agent does comes out.

use super::*;
use domain::chat::{Arguments, Message, ToolCall};
use domain::ops::{Change, Entry, EntryKind, ExecEnd, ExecOutput, FileContent, Op, OpError};
use domain::run::Permissions;
use std::collections::VecDeque;
use std::time::Duration;

/// A conversation being played.
struct Play {
    agent: Agent,
    models: VecDeque<Result<ModelReply, ModelError>>,
    workspace: VecDeque<Reply>,
    /// Events and actions, one a line.
    log: Vec<String>,
    requests: Vec<Vec<Message>>,
    end: Option<End>,
}

fn config() -> AgentConfig {
    AgentConfig {
        task: "do it".to_owned(),
        finish_marker: None,
        max_steps: 8,
        context_chars: 0,
        permissions: Permissions { allow_write: true, allow_shell: true },
        tool_timeout: Duration::from_secs(5),
    }
}

fn marked() -> AgentConfig {
    AgentConfig { finish_marker: Some("MARK".to_owned()), ..config() }
}

fn says(text: &str) -> Result<ModelReply, ModelError> {
    Ok(ModelReply {
        text: text.to_owned(),
        reasoning: None,
        calls: Vec::new(),
        stop: StopReason::EndTurn,
        usage: Usage::call(10, 0, 2),
        model: None,
    })
}

fn cut(text: &str) -> Result<ModelReply, ModelError> {
    says(text).map(|reply| ModelReply { stop: StopReason::Length, ..reply })
}

fn call(name: &str, arguments: serde_json::Value) -> ToolCall {
    let arguments = match arguments {
        Value::Object(value) => Arguments::Object { value },
        other => Arguments::Malformed { raw: other.to_string(), why: "no object".to_owned() },
    };
    ToolCall { id: String::new(), name: name.to_owned(), arguments }
}

fn calls(list: &[(&str, serde_json::Value)]) -> Result<ModelReply, ModelError> {
    let mut reply = says("")?;
    for (index, (name, arguments)) in list.iter().enumerate() {
        reply.calls.push(ToolCall { id: format!("c{index}"), ..call(name, arguments.clone()) });
    }
    reply.stop = StopReason::ToolUse;
    Ok(reply)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn file(text: &str) -> Reply {
    Reply::File(FileContent { bytes: text.as_bytes().to_vec(), total_bytes: text.len() as u64, mode: 0o644 })
}

fn printed(text: &str, code: i32) -> Reply {
    Reply::Exec(ExecOutput {
        end: ExecEnd::Exited(code),
        stdout: text.as_bytes().to_vec(),
        stderr: Vec::new(),
        stdout_dropped: 0,
        stderr_dropped: 0,
        millis: 1,
    })
}

impl Play {
    fn new(config: AgentConfig) -> Self {
        Self {
            agent: Agent::new(config),
            models: VecDeque::new(),
            workspace: VecDeque::new(),
            log: Vec::new(),
            requests: Vec::new(),
            end: None,
        }
    }

    fn models(mut self, replies: Vec<Result<ModelReply, ModelError>>) -> Self {
        self.models.extend(replies);
        self
    }

    fn workspace(mut self, replies: Vec<Reply>) -> Self {
        self.workspace.extend(replies);
        self
    }

    /// Plays until the round ends.
    fn run(mut self, first: Observation) -> Self {
        self.end = None;
        let mut observation = first;
        loop {
            let step = self.agent.next(observation);
            self.log.extend(step.events.iter().map(line));
            observation = match step.action {
                Action::CallModel(request) => {
                    promises(&request.messages);
                    self.requests.push(request.messages.to_vec());
                    Observation::Model(self.models.pop_front().expect("a model reply is left"))
                }
                Action::Workspace(op) => {
                    self.log.push(format!("op {}", op_name(&op)));
                    Observation::Workspace(self.workspace.pop_front().expect("a workspace reply is left"))
                }
                Action::End(end) => {
                    self.log.push(format!("end {}", end_name(&end.kind)));
                    self.end = Some(end);
                    return self;
                }
            };
        }
    }

    fn begin(self) -> Self {
        self.run(Observation::Begin)
    }

    fn end(&self) -> &End {
        self.end.as_ref().expect("the round has ended")
    }

    #[track_caller]
    fn logged(self, expect: &[&str]) -> Self {
        assert_eq!(self.log, expect);
        self
    }

    /// The last message of the last request.
    fn last_told(&self) -> String {
        told(self.requests.last().unwrap().last().unwrap())
    }
}

/// What every request keeps: no empty assistant message, every call answered right after it, no answer without a call.
#[track_caller]
fn promises(messages: &[Message]) {
    let mut open: Vec<String> = Vec::new();
    for message in messages {
        match message {
            Message::Assistant { text, calls, .. } => {
                assert!(open.is_empty(), "unanswered: {open:?}");
                assert!(!text.trim().is_empty() || !calls.is_empty());
                open = calls.iter().map(|call| call.id.clone()).collect();
            }
            Message::Tool { call_id, .. } => {
                assert!(open.contains(call_id), "{call_id} answers nothing");
                open.retain(|id| id != call_id);
            }
            Message::User { .. } | Message::System { .. } => assert!(open.is_empty(), "unanswered: {open:?}"),
        }
    }
    assert!(open.is_empty(), "unanswered: {open:?}");
}

fn told(message: &Message) -> String {
    match message {
        Message::System { text } | Message::User { text } | Message::Assistant { text, .. } => text.clone(),
        Message::Tool { content, .. } => content.clone(),
    }
}

fn line(event: &TraceEvent) -> String {
    match event {
        TraceEvent::ContextPack { chars, files } => format!("context {files} files, {}", *chars > 0),
        TraceEvent::TaskStart { max_steps, finish_marker, .. } => {
            format!("start {max_steps} {}", finish_marker.as_deref().unwrap_or("-"))
        }
        TraceEvent::ModelResponse { step, tool_calls, transcript, .. } => {
            format!(
                "reply {step} calls={} exchange={}",
                tool_calls.as_ref().map_or(0, Vec::len),
                transcript.unwrap_or(0)
            )
        }
        TraceEvent::ModelNudge { step, reason } => format!("nudge {step} {reason}"),
        TraceEvent::ToolResult { tool, ok, .. } => {
            format!("tool {tool} {}", if *ok { "ok" } else { "error" })
        }
        TraceEvent::Permission { action, .. } => format!("refused {action}"),
        TraceEvent::TaskFinish { summary, mode, .. } => format!("finish {mode} {summary}"),
        TraceEvent::TaskStop { summary } => format!("stop {summary}"),
        TraceEvent::VerifyFeedback { attempt, .. } => format!("feedback {attempt}"),
        TraceEvent::ModelError { step, .. } => format!("model error {step}"),
        TraceEvent::Note { text } => format!("note {text}"),
        TraceEvent::VerifyResult { .. } => "verify".to_owned(),
    }
}

fn op_name(op: &Op) -> String {
    match op {
        Op::List { path } => format!("list {path}"),
        Op::Walk { .. } => "walk".to_owned(),
        Op::Read { path, .. } => format!("read {path}"),
        Op::ReadMany { paths, .. } => format!("read {}", paths.join(" ")),
        Op::Search { pattern, path, .. } => format!("search {pattern} {path}"),
        Op::Apply { changes } => {
            let named: Vec<String> = changes
                .iter()
                .map(|change| match change {
                    Change::Write { path, bytes, .. } => format!("{path}={}", String::from_utf8_lossy(bytes)),
                    Change::Delete { path } => format!("-{path}"),
                    other => format!("{other:?}"),
                })
                .collect();
            format!("apply {}", named.join(" "))
        }
        Op::Exec(spec) => format!("exec {:?} {}", spec.command, spec.timeout_millis),
        Op::KillAll => "kill".to_owned(),
    }
}

fn end_name(kind: &EndKind) -> &'static str {
    match kind {
        EndKind::Finished => "finished",
        EndKind::MaxSteps => "max steps",
        EndKind::Model(_) => "model",
        EndKind::EmptyReplies => "empty replies",
        EndKind::Truncated => "truncated",
    }
}

#[test]
fn prose_is_a_final_answer_even_without_the_marker() {
    let play = Play::new(marked()).models(vec![says("All fine.")]).begin();
    let play =
        play.logged(&["start 8 MARK", "reply 1 calls=0 exchange=1", "finish text All fine.", "end finished"]);
    assert_eq!((play.end().steps, play.end().usage.calls), (1, 1));
}

#[test]
fn all_calls_of_a_reply_run_in_order_and_are_answered_by_the_protocol() {
    let reply = calls(&[
        ("list_files", json("{}")),
        ("read_file", json(r#"{"path":"a"}"#)),
        ("finish", json(r#"{"summary":"MARK"}"#)),
    ]);
    let listing = Reply::Entries {
        entries: vec![Entry {
            path: "a".into(),
            kind: EntryKind::File,
            bytes: 1,
            mode: 0o644,
            sha256: None,
            target: None,
        }],
        truncated: false,
    };
    let play = Play::new(marked()).models(vec![reply]).workspace(vec![listing, file("x")]).begin();
    let play = play.logged(&[
        "start 8 MARK",
        "reply 1 calls=3 exchange=1",
        "op list .",
        "tool list_files ok",
        "op read a",
        "tool read_file ok",
        "tool finish ok",
        "finish tool MARK",
        "end finished",
    ]);
    assert_eq!((play.end().tool_calls, play.end().failed_tool_calls), (3, 0));
    assert!(!play.end().last_tools_failed);
}

#[test]
fn calls_after_a_finish_are_answered_and_not_executed() {
    let reply = calls(&[
        ("finish", json(r#"{"summary":"s"}"#)),
        ("write_file", json(r#"{"path":"a","content":"x"}"#)),
    ]);
    let play = Play::new(config()).models(vec![reply, says("again")]).begin();
    assert_eq!(
        play.log[2..],
        ["tool finish ok", "note not executed, after finish: write_file", "finish tool s", "end finished"]
    );
    let play = play.run(Observation::VerifyFailed { attempt: 1, command: "t".into(), error: "e".into() });
    assert_eq!(play.end().tool_calls, 1);
}

#[test]
fn mistakes_in_calls_go_back_to_the_model() {
    let reply = calls(&[
        ("read_file", json("{}")),
        ("read_file", json(r#"{"path":"../x"}"#)),
        ("read_file", json(r#"{"path":"a","line":3}"#)),
        ("read_fil", json(r#"{"path":"a"}"#)),
        ("list_files", json("[1]")),
        ("read_file", json(r#"{"path":7}"#)),
        ("list_files", json(r#"{"path":"file"}"#)),
    ]);
    let refused = Reply::Refused(OpError::NotADirectory("file".into()));
    let play = Play::new(config()).models(vec![reply, says("done")]).workspace(vec![refused]).begin();
    let answers: Vec<String> =
        play.requests[1].iter().filter(|m| matches!(m, Message::Tool { .. })).map(told).collect();
    assert_eq!(
        answers,
        [
            "read_file needs the argument `path` (file, relative to the workspace)",
            "`../x` leads outside the workspace",
            "read_file has no argument `line` (it takes path, offset, limit)",
            "there is no tool `read_fil`; did you mean `read_file`?",
            "the arguments of list_files are not a JSON object (no object); nothing was executed",
            "argument `path` of read_file must be a string, not 7",
            "`file` is not a directory",
        ]
    );
    assert_eq!(
        (play.end().tool_calls, play.end().failed_tool_calls, play.end().last_tools_failed),
        (7, 7, true)
    );
}

#[test]
fn calls_in_text_are_answered_as_observations() {
    let play = Play::new(marked())
        .models(vec![
            says(r#"{"tool":"read_file","args":{"path":"a"}}"#),
            says(r#"{"tool":"finish","args":{"summary":"MARK"}}"#),
        ])
        .workspace(vec![file("hello")])
        .begin();
    assert_eq!(
        play.last_told(),
        "Observation from read_file (ok):\nhello\n\nReminder: the final summary must contain the exact text MARK"
    );
    let play = play.logged(&[
        "start 8 MARK",
        "reply 1 calls=0 exchange=1",
        "op read a",
        "tool read_file ok",
        "reply 2 calls=0 exchange=2",
        "tool finish ok",
        "finish tool MARK",
        "end finished",
    ]);
    let session = play.agent.session();
    assert_eq!(
        session.messages.last().map(|message| message.content.as_str()),
        Some(r#"{"tool":"finish","args":{"summary":"MARK"}}"#)
    );
    assert_eq!((session.steps, session.status), (2, SessionStatus::Finished));
}

#[test]
fn the_last_step_is_announced() {
    let look = || calls(&[("todo_list", json("{}"))]);
    let play =
        Play::new(AgentConfig { max_steps: 3, ..config() }).models(vec![look(), look(), look()]).begin();
    let announced: Vec<bool> = play
        .requests
        .iter()
        .map(|messages| messages.iter().any(|message| told(message) == prompt::FINAL_STEP))
        .collect();
    assert_eq!(announced, [false, false, true]);
    assert_eq!(play.log[play.log.len() - 2..], ["stop Stopped after reaching max_steps=3.", "end max steps"]);
    let one = Play::new(AgentConfig { max_steps: 1, ..config() }).models(vec![says("x")]).begin();
    assert_eq!(one.last_told(), prompt::FINAL_STEP);
    let none = Play::new(AgentConfig { max_steps: 0, ..config() }).begin();
    assert_eq!(none.end().kind, EndKind::MaxSteps);
}

#[test]
fn empty_replies_are_asked_again_and_then_given_up() {
    let play = Play::new(config()).models(vec![says(""), says(" \n"), says("<think>hm</think>")]).begin();
    let play = play.logged(&[
        "start 8 -",
        "reply 1 calls=0 exchange=1",
        "nudge 1 the reply was empty",
        "reply 2 calls=0 exchange=2",
        "nudge 2 the reply was empty",
        "reply 3 calls=0 exchange=3",
        "stop Stopped after 3 empty replies in a row.",
        "end empty replies",
    ]);
    assert_eq!(play.last_told(), prompt::EMPTY);
    let recovered = Play::new(config()).models(vec![says(""), says(""), says("ok")]).begin();
    assert_eq!(recovered.end().kind, EndKind::Finished);
    let short = Play::new(AgentConfig { max_steps: 2, ..config() }).models(vec![says(""), says("")]).begin();
    assert_eq!(short.end().kind, EndKind::EmptyReplies);
}

#[test]
fn a_reply_that_was_cut_off_is_never_final() {
    let play = Play::new(config()).models(vec![cut("The answer is"), says("The answer is 4.")]).begin();
    assert_eq!(play.log[2], "nudge 1 the reply was cut off by the output limit");
    assert!(play.end().truncated);
    assert_eq!(play.end().summary, "The answer is 4.");
    let empty = Play::new(AgentConfig { max_steps: 1, ..config() }).models(vec![cut("")]).begin();
    assert_eq!(empty.end().kind, EndKind::Truncated);
    let call = Play::new(AgentConfig { max_steps: 1, ..config() })
        .models(vec![cut("<tool_call>{\"name\": \"read_fi")])
        .begin();
    assert_eq!(call.end().kind, EndKind::Truncated);
    let mut finish = calls(&[("finish", json(r#"{"summary":"half"}"#))]).unwrap();
    finish.stop = StopReason::Length;
    let finish = Play::new(config()).models(vec![Ok(finish), says("whole")]).begin();
    assert_eq!((finish.end().summary.as_str(), finish.end().failed_tool_calls), ("whole", 1));
    assert_eq!(finish.last_told(), prompt::TRUNCATED);
}

#[test]
fn stop_reasons_do_not_decide_about_calls() {
    let mut reply = calls(&[("finish", json(r#"{"summary":"s"}"#))]).unwrap();
    reply.stop = StopReason::EndTurn;
    assert_eq!(Play::new(config()).models(vec![Ok(reply)]).begin().end().kind, EndKind::Finished);
}

#[test]
fn ambiguous_text_is_asked_again() {
    let text = "To read I would say {\"tool\": \"read_file\", \"args\": {\"path\": \"a\"}} and then MARK";
    let play = Play::new(marked()).models(vec![says(text), says("MARK")]).begin();
    assert!(play.log[2].starts_with("nudge 1 it holds the text of a final answer"), "{:?}", play.log);
    assert!(play.last_told().contains("was not acted on"), "{}", play.last_told());
}

#[test]
fn refusals_and_failed_calls_end_the_round_with_whose_doing_it_is() {
    let mut refusal = says("I cannot help with that.").unwrap();
    refusal.stop = StopReason::Refusal;
    let play = Play::new(config()).models(vec![Ok(refusal)]).begin();
    assert!(matches!(&play.end().kind, EndKind::Model(error) if error.fault == ModelFault::Refused));
    let mut error = ModelError::new(ModelFault::Unavailable, "503");
    error.usage = Usage::call(5, 0, 0);
    let play = Play::new(config()).models(vec![calls(&[("todo_list", json("{}"))]), Err(error)]).begin();
    assert!(matches!(&play.end().kind, EndKind::Model(error) if error.fault == ModelFault::Unavailable));
    assert_eq!((play.end().usage.input_tokens, play.end().steps), (15, 1));
    assert_eq!(play.log.last().map(String::as_str), Some("end model"));
}

#[test]
fn writing_and_shell_are_gated_and_the_refusal_is_traced() {
    let read_only =
        AgentConfig { permissions: Permissions { allow_write: false, allow_shell: true }, ..config() };
    let reply = calls(&[
        ("write_file", json(r#"{"path":"a","content":"x"}"#)),
        ("replace_text", json(r#"{"path":"a","old":"x","new":"y"}"#)),
        ("apply_patch", json(r#"{"patch":"--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n+y\n"}"#)),
        ("shell", json(r#"{"command":"touch a"}"#)),
        ("shell", json(r#"{"command":"ls"}"#)),
    ]);
    let play =
        Play::new(read_only).models(vec![reply, says("ok")]).workspace(vec![printed("a\n", 0)]).begin();
    let refused: Vec<&String> = play.log.iter().filter(|line| line.starts_with("refused")).collect();
    assert_eq!(
        refused,
        ["refused write: a", "refused write: a", "refused write: a", "refused shell: touch a"]
    );
    assert!(play.log.contains(&"op exec Shell(\"ls\") 5000".to_owned()));
}

#[test]
fn git_diff_works_without_the_shell_tool_and_shell_says_why_not() {
    let off = AgentConfig { permissions: Permissions { allow_write: false, allow_shell: false }, ..config() };
    let reply = calls(&[("git_diff", json("{}")), ("shell", json(r#"{"command":"ls"}"#))]);
    let play = Play::new(off).models(vec![reply, says("ok")]).workspace(vec![printed("", 129)]).begin();
    let answers: Vec<String> =
        play.requests[1].iter().filter(|m| matches!(m, Message::Tool { .. })).map(told).collect();
    assert_eq!(answers[0], "git_diff works only in a git repository");
    assert_eq!(answers[1], "Blocked: the shell tool is switched off for this task; use the file tools");
}

#[test]
fn feedback_is_the_last_instruction_and_gives_a_fresh_budget() {
    let look = || calls(&[("todo_list", json("{}"))]);
    let config = AgentConfig { max_steps: 2, ..marked() };
    let play = Play::new(config)
        .models(vec![look(), calls(&[("finish", json(r#"{"summary":"MARK 1"}"#))]), look(), says("MARK 2")])
        .begin();
    assert_eq!(play.end().summary, "MARK 1");
    let play = play.run(Observation::VerifyFailed {
        attempt: 1,
        command: "pytest".into(),
        error: "1 failed".into(),
    });
    let feedback = &play.requests[2];
    let last = told(feedback.last().unwrap());
    assert!(
        last.starts_with(
            "Verification failed (repair round 1). The command was:\npytest\n\nIt said:\n1 failed"
        ),
        "{last}"
    );
    assert!(last.ends_with("must contain the exact text MARK"), "{last}");
    assert_eq!(play.end().summary, "MARK 2");
    assert_eq!((play.end().steps, play.end().usage.calls), (4, 4));
    let starts = play
        .log
        .iter()
        .filter(|line| line.starts_with("start") || line.starts_with("feedback"))
        .collect::<Vec<_>>();
    assert_eq!(starts, ["start 2 MARK", "feedback 1", "start 2 MARK"]);
    assert!(play.log.contains(&"reply 1 calls=1 exchange=3".to_owned()), "{:?}", play.log);
}

#[test]
fn context_comes_before_the_task_and_never_names_the_host() {
    let entries = vec![
        Entry {
            path: "src/main.py".into(),
            kind: EntryKind::File,
            bytes: 20,
            mode: 0o644,
            sha256: None,
            target: None,
        },
        Entry {
            path: "eval-runs/x/trace.jsonl".into(),
            kind: EntryKind::File,
            bytes: 20,
            mode: 0o644,
            sha256: None,
            target: None,
        },
    ];
    let content = FileContent { bytes: b"def main():\n    pass\n".to_vec(), total_bytes: 21, mode: 0o644 };
    let play = Play::new(AgentConfig { context_chars: 2000, ..marked() })
        .models(vec![says("MARK")])
        .workspace(vec![Reply::Entries { entries, truncated: false }, Reply::Files(vec![Ok(content)])])
        .begin();
    let texts: Vec<String> = play.requests[0].iter().map(told).collect();
    assert_eq!(
        texts[1],
        "Initial repository context:\nRepository map\nFiles: 1\n- src/main.py (python, 2 lines): main\n\nLikely relevant files:\n- src/main.py: main"
    );
    assert_eq!(texts[2], "do it");
    assert!(texts[3].contains("must contain this exact text: MARK"));
    play.logged(&[
        "op walk",
        "op read src/main.py",
        "context 1 files, true",
        "start 8 MARK",
        "reply 1 calls=0 exchange=1",
        "finish text MARK",
        "end finished",
    ]);
}

#[test]
fn a_workspace_that_cannot_be_walked_costs_the_context_only() {
    let refused = Reply::Refused(OpError::Io { path: ".".into(), why: "denied".into() });
    let play = Play::new(AgentConfig { context_chars: 100, ..config() })
        .models(vec![says("x")])
        .workspace(vec![refused])
        .begin();
    assert_eq!(play.log[1], "note no context was packed: `.`: denied");
    assert_eq!(play.end().kind, EndKind::Finished);
}

#[test]
fn an_observation_out_of_turn_ends_the_round() {
    let mut agent = Agent::new(config());
    let step = agent.next(Observation::Workspace(Reply::Applied));
    assert!(matches!(step.action, Action::End(End { kind: EndKind::Model(_), .. })));
}

#[test]
fn the_session_renders_native_calls_as_the_original_did() {
    let play = Play::new(config())
        .models(vec![
            calls(&[("todo_set", json(r#"{"items":["a",{"title":"b","status":"done"}]}"#))]),
            says("ok"),
        ])
        .begin();
    let session = play.agent.session();
    let roles: Vec<&str> = session.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(
        session.messages[2].content,
        r#"{"tool":"todo_set","args":{"items":["a",{"title":"b","status":"done"}]}}"#
    );
    assert_eq!(session.messages[3].content, "Observation from todo_set (ok):\n- [pending] a\n- [done] b");
    let stored = serde_json::to_string(&session).unwrap();
    assert_eq!(serde_json::from_str::<Session>(&stored).unwrap(), session);
    let old: Session = serde_json::from_str(r#"{"todos":[{"title":"t"}]}"#).unwrap();
    assert_eq!((old.status, old.todos[0].status.as_str()), (SessionStatus::Running, "pending"));
}

mod any_conversation {
    use super::*;
    use proptest::prelude::*;

    fn reply() -> impl Strategy<Value = Result<ModelReply, ModelError>> {
        let arguments = prop::sample::select(vec![
            "{}",
            r#"{"path":"a"}"#,
            r#"{"summary":"s"}"#,
            r#"{"command":"ls"}"#,
            "[]",
            r#"{"items":[1]}"#,
        ]);
        let name = prop::sample::select(vec![
            "list_files",
            "read_file",
            "shell",
            "finish",
            "todo_set",
            "nothing",
            "git_diff",
            "repo_map",
            "apply_patch",
        ]);
        let stop = prop::sample::select(vec![
            StopReason::EndTurn,
            StopReason::ToolUse,
            StopReason::Length,
            StopReason::Refusal,
            StopReason::Unknown,
        ]);
        let text = prop_oneof![
            Just(String::new()),
            Just(r#"{"tool":"read_file","args":{"path":"a"}}"#.to_owned()),
            Just("```json\n[{\"tool\":\"todo_list\"}]\n```".to_owned()),
            "\\PC{0,20}"
        ];
        (text, prop::collection::vec((name, arguments), 0..4), stop).prop_map(|(text, list, stop)| {
            let list: Vec<(&str, serde_json::Value)> =
                list.into_iter().map(|(name, arguments)| (name, json(arguments))).collect();
            calls(&list).map(|reply| ModelReply { text, stop, ..reply })
        })
    }

    fn answer() -> impl Strategy<Value = Reply> {
        prop::sample::select(vec![
            Reply::Refused(OpError::NotFound("a".into())),
            file("text\n"),
            printed("out", 1),
            Reply::Entries { entries: Vec::new(), truncated: true },
            Reply::Files(Vec::new()),
            Reply::Applied,
        ])
    }

    proptest! {
        /// Whatever is said, the conversation keeps its promises, steps stay within the budget, and the round ends.
        #[test]
        fn keeps_its_promises(
            models in prop::collection::vec(reply(), 30),
            answers in prop::collection::vec(answer(), 300),
            max_steps in 0_u32..6,
            marker in prop::option::of(Just("MARK".to_owned())),
            context_chars in prop::sample::select(vec![0_u32, 50, 6000]),
        ) {
            let config = AgentConfig { max_steps, finish_marker: marker, context_chars, ..config() };
            let mut play = Play::new(config).models(models).workspace(answers).begin();
            for attempt in 1..3 {
                prop_assert!(play.end().steps <= max_steps * attempt);
                prop_assert!(play.end().failed_tool_calls <= play.end().tool_calls);
                if play.end().kind == EndKind::Finished {
                    play = play.run(Observation::VerifyFailed { attempt, command: "t".into(), error: "e".into() });
                }
            }
        }
    }
}
