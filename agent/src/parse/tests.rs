//! Texts and what they mean.

use super::*;
use crate::tools::is_known;
use proptest::prelude::*;

/// What a text means, in short: `empty`, `final`, `ambiguous`, or the calls.
#[track_caller]
fn check(text: &str, expect: &str) {
    let got = match read(text, Some("MARK"), is_known) {
        Meaning::Empty => "empty".to_owned(),
        Meaning::Final(_) => "final".to_owned(),
        Meaning::Ambiguous(_) => "ambiguous".to_owned(),
        Meaning::Calls(calls) => {
            let shown: Vec<String> = calls
                .iter()
                .map(|call| match &call.arguments {
                    Arguments::Object { value } => format!("{}{}", call.name, Value::Object(value.clone())),
                    Arguments::Malformed { raw, .. } => format!("{}!{raw}", call.name),
                })
                .collect();
            shown.join(" ")
        }
    };
    assert_eq!(got, expect, "{text}");
}

const READ: &str = r#"{"tool": "read_file", "args": {"path": "a"}}"#;
const READ_CALL: &str = r#"read_file{"path":"a"}"#;

#[test]
fn calls_are_found_in_every_wrapping() {
    check(READ, READ_CALL);
    check(&format!("```json\n{READ}\n```"), READ_CALL);
    check(&format!("```\n{READ}\n```"), READ_CALL);
    check(&format!("I will read the file first.\n\n```json\n{READ}\n```\nThen I go on."), READ_CALL);
    check(&format!("Let me look: {READ}"), READ_CALL);
    check(&format!("<tool_call>\n{READ}\n</tool_call>"), READ_CALL);
    check(r#"<tool_call>{"name": "read_file", "arguments": {"path": "a"}}</tool_call>"#, READ_CALL);
    check(r#"{"name": "read_file", "arguments": "{\"path\": \"a\"}"}"#, READ_CALL);
    check(r#"{"type":"function","function":{"name":"read_file","arguments":{"path":"a"}}}"#, READ_CALL);
    check(
        r#"{"tool_calls":[{"id":"1","function":{"name":"read_file","arguments":"{\"path\":\"a\"}"}}]}"#,
        READ_CALL,
    );
    check(r#"{"name": "read_file", "input": {"path": "a"}}"#, READ_CALL);
    check(r#"{"tool": "read_file", "path": "a"}"#, READ_CALL);
    check(&format!("<think>I should use {READ} or not</think>\n{READ}"), READ_CALL);
    check(&format!("thinking aloud</think>{READ}"), READ_CALL);
}

#[test]
fn several_calls_are_taken_in_order() {
    check(&format!("[{READ}, {{\"tool\": \"todo_list\"}}]"), &format!("{READ_CALL} todo_list{{}}"));
    check(
        &format!("{READ}\n{{\"tool\": \"todo_list\", \"args\": {{}}}}"),
        &format!("{READ_CALL} todo_list{{}}"),
    );
    check(
        &format!("First:\n```json\n{READ}\n```\nand:\n```json\n{READ}\n```"),
        &format!("{READ_CALL} {READ_CALL}"),
    );
}

#[test]
fn arguments_that_are_no_object_are_kept_as_such() {
    check(r#"{"tool": "read_file", "args": "a"}"#, "read_file!a");
    check(r#"{"tool": "read_file", "args": [1]}"#, "read_file![1]");
    check(r#"{"tool": "todo_list", "args": null}"#, "todo_list{}");
    check(r#"{"tool": "unknown", "args": {}}"#, "unknown{}");
}

#[test]
fn prose_and_data_are_final_answers() {
    check("All done. MARK", "final");
    check("The map is {a: 1} and [x].", "final");
    check(r#"{"summary": "MARK", "files": ["a"]}"#, "final");
    check(r#"[{"name": "Ann", "age": 3}]"#, "final");
    check(r#"The config is {"name": "demo", "parameters": {"x": 1}}. MARK"#, "final");
    check("Call it with the \"tool\" key and a name.", "final");
    check("fn main() { let x = [1, 2]; } MARK", "final");
}

#[test]
fn what_may_be_either_is_asked_again() {
    check(&format!("MARK: the format is\n```json\n{READ}\n```"), "ambiguous");
    check(&format!("You write {READ} to read a file."), "ambiguous");
    check(&format!("> {READ}\nis what the log shows"), "ambiguous");
    check(&format!("{READ}\n{}", "word ".repeat(200)), "ambiguous");
    check(&format!("[{READ}, 5]"), "ambiguous");
    check(r#"{"tool": "read_file", "args": {"path": "a"}"#, "ambiguous");
    check(r#"{'tool': 'read_file', 'args': {'path': 'a'}}"#, "ambiguous");
    check(r#"<tool_call>{"name": "read_fi"#, "ambiguous");
    check("<function=read_file><parameter=path>a</parameter></function>", "ambiguous");
    check(r#"{"tool": 5, "args": {}}"#, "ambiguous");
    check(&"{".repeat(5000), "ambiguous");
}

#[test]
fn nothing_is_empty() {
    check("", "empty");
    check(" \n\t", "empty");
    check("<think>only thoughts</think> ", "empty");
    check("<think>never closed", "empty");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _meaning = read(&text, Some("M"), is_known);
    }

    #[test]
    fn no_json_like_text_panics(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", "\"tool\"", ":", ",", "\"args\"", "\"read_file\"", "`", "```json\n", "<think>", "</think>", "é", " ", "\n", "\"", "1",
    ]), 0..40)) {
        let _meaning = read(&pieces.concat(), None, is_known);
    }

    #[test]
    fn a_whole_call_is_always_found(path in "[a-z/ \"\\\\{}]{0,20}", fenced in any::<bool>()) {
        let call = serde_json::json!({"tool": "read_file", "args": {"path": path}}).to_string();
        let text = if fenced { format!("```json\n{call}\n```") } else { call };
        match read(&text, None, is_known) {
            Meaning::Calls(calls) => prop_assert_eq!(calls.len(), 1),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
