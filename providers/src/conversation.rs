//! A conversation in the order in which every API takes it. Agents may put texts between tool results, leave calls unanswered or
//! meet the same call id twice; APIs refuse all of that. What is made of a message depends only on what came before it and on the
//! answers that follow it, so a longer conversation begins with the same bytes (caches and transcripts live on that).

use domain::chat::{Arguments, Message};
use std::borrow::Cow;
use std::collections::HashSet;

/// One turn.
#[derive(Debug, PartialEq)]
pub(crate) enum Turn<'a> {
    /// Instructions; never blank.
    System(&'a str),
    /// Texts of the user's side, none of them blank; never two such turns in a row.
    User(Vec<Cow<'a, str>>),
    /// A reply: text, calls or both.
    Assistant { text: &'a str, reasoning: Option<&'a str>, calls: Vec<Call<'a>> },
    /// The answers to all calls of the reply just before, in its order.
    Answers(Vec<Answer<'a>>),
}

/// A call with an id that no other call of the conversation has.
#[derive(Debug, PartialEq)]
pub(crate) struct Call<'a> {
    pub id: String,
    pub name: &'a str,
    pub arguments: &'a Arguments,
}

/// The answer to a call.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer<'a> {
    pub id: String,
    pub ok: bool,
    pub content: &'a str,
}

/// What an API is told about a call that nothing was done about.
pub(crate) const UNANSWERED: &str = "not executed";

fn blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Brings messages in order. `clean_id` makes an id legal for the API.
pub(crate) fn turns<'a>(messages: &'a [Message], clean_id: fn(&str) -> String) -> Vec<Turn<'a>> {
    let mut turns = Vec::new();
    let mut ids = HashSet::new();
    let mut rest = messages;
    while let Some((message, after)) = rest.split_first() {
        rest = after;
        match message {
            Message::System { text } if blank(text) => {}
            Message::System { text } => turns.push(Turn::System(text)),
            Message::User { text } => say(&mut turns, Cow::Borrowed(text)),
            Message::Tool { name, ok, content, .. } => say(&mut turns, stray(name, *ok, content)),
            Message::Assistant { text, calls, .. } if calls.is_empty() && blank(text) => {}
            Message::Assistant { text, reasoning, calls } => {
                let named: Vec<Call<'a>> = calls
                    .iter()
                    .map(|call| Call {
                        id: unique(&mut ids, clean_id(&call.id)),
                        name: &call.name,
                        arguments: &call.arguments,
                    })
                    .collect();
                // The answers may stand anywhere before the next reply.
                let until = after
                    .iter()
                    .position(|message| matches!(message, Message::Assistant { .. }))
                    .unwrap_or(after.len());
                let mut window: Vec<Option<&'a Message>> = after[..until].iter().map(Some).collect();
                let answers = named
                    .iter()
                    .zip(calls)
                    .map(|(named, call)| answer(&mut window, &named.id, &call.id))
                    .collect::<Vec<_>>();
                turns.push(Turn::Assistant { text, reasoning: reasoning.as_deref(), calls: named });
                if !answers.is_empty() {
                    turns.push(Turn::Answers(answers));
                }
                for message in window.into_iter().flatten() {
                    match message {
                        Message::System { text } if !blank(text) => turns.push(Turn::System(text)),
                        Message::User { text } => say(&mut turns, Cow::Borrowed(text)),
                        Message::Tool { name, ok, content, .. } => say(&mut turns, stray(name, *ok, content)),
                        Message::System { .. } | Message::Assistant { .. } => {}
                    }
                }
                rest = &after[until..];
            }
        }
    }
    turns
}

/// Adds a text of the user's side.
fn say<'a>(turns: &mut Vec<Turn<'a>>, text: Cow<'a, str>) {
    if blank(&text) {
        return;
    }
    if let Some(Turn::User(texts)) = turns.last_mut() {
        texts.push(text);
    } else {
        turns.push(Turn::User(vec![text]));
    }
}

/// A tool result that answers no call of the reply before it: told as a text.
fn stray(name: &str, ok: bool, content: &str) -> Cow<'static, str> {
    let how = if ok { "ok" } else { "failed" };
    Cow::Owned(format!("Observation from {name} ({how}):\n{content}"))
}

/// Takes the first answer to the call out of the window.
fn answer<'a>(window: &mut [Option<&'a Message>], id: &str, asked: &str) -> Answer<'a> {
    for slot in window {
        if let Some(Message::Tool { call_id, ok, content, .. }) = *slot
            && call_id == asked
        {
            *slot = None;
            return Answer { id: id.to_owned(), ok: *ok, content };
        }
    }
    Answer { id: id.to_owned(), ok: false, content: UNANSWERED }
}

fn unique(ids: &mut HashSet<String>, wanted: String) -> String {
    let wanted = if wanted.is_empty() { "call".to_owned() } else { wanted };
    let mut id = wanted.clone();
    let mut number = 2_u32;
    while !ids.insert(id.clone()) {
        id = format!("{wanted}_{number}");
        number += 1;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::arguments_from_text;
    use domain::chat::ToolCall;
    use proptest::prelude::*;

    /// A conversation in one line: `s u:text a:text c1,2 t1 -`, where `c` is a reply with calls, `t` a tool result, `a:` a reply.
    fn conversation(line: &str) -> Vec<Message> {
        line.split_whitespace()
            .map(|word| match word.split_at(1) {
                ("s", _) => Message::System { text: "sys".into() },
                ("u", text) => Message::User { text: text[1..].into() },
                ("a", text) => {
                    Message::Assistant { text: text[1..].into(), reasoning: None, calls: Vec::new() }
                }
                ("c", ids) => Message::Assistant {
                    text: String::new(),
                    reasoning: None,
                    calls: ids
                        .split(',')
                        .map(|id| ToolCall {
                            id: id.into(),
                            name: "ls".into(),
                            arguments: arguments_from_text(""),
                        })
                        .collect(),
                },
                ("t", id) => Message::Tool {
                    call_id: id.into(),
                    name: "ls".into(),
                    ok: true,
                    content: format!("out{id}"),
                },
                _ => panic!("{word}"),
            })
            .collect()
    }

    fn show(turns: &[Turn<'_>]) -> String {
        let words: Vec<String> = turns
            .iter()
            .map(|turn| match turn {
                Turn::System(_) => "s".to_owned(),
                Turn::User(texts) => format!("u:{}", texts.join("+").replace(['\n', ' '], "_")),
                Turn::Assistant { text, calls, .. } => {
                    let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
                    format!("a:{text}[{}]", ids.join(","))
                }
                Turn::Answers(answers) => {
                    let answers: Vec<String> =
                        answers.iter().map(|answer| format!("{}={}", answer.id, answer.content)).collect();
                    format!("t:{}", answers.join(",")).replace(' ', "_")
                }
            })
            .collect();
        words.join(" ")
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        assert_eq!(show(&turns(&conversation(line), str::to_owned)), expected);
    }

    #[test]
    fn answers_follow_their_calls_whatever_stands_between() {
        check("s u:hi c1 t1 u:go", "s u:hi a:[1] t:1=out1 u:go");
        check("u:hi c1,2 t1 u:remind t2", "u:hi a:[1,2] t:1=out1,2=out2 u:remind");
        check("u:hi c1,2 t2 t1", "u:hi a:[1,2] t:1=out1,2=out2");
        check("u:hi c1 u:verify_failed", "u:hi a:[1] t:1=not_executed u:verify_failed");
        check("u:hi c1 t9", "u:hi a:[1] t:1=not_executed u:Observation_from_ls_(ok):_out9");
        check("u:hi t1", "u:hi+Observation_from_ls_(ok):_out1");
        check("u:hi c1,1 t1 t1", "u:hi a:[1,1_2] t:1=out1,1_2=out1");
        check("u:hi c1 t1 c1 t1", "u:hi a:[1] t:1=out1 a:[1_2] t:1_2=out1");
        check("u:a u:b u: a: u:c a:done", "u:a+b+c a:done[]");
    }

    proptest! {
        #[test]
        fn longer_conversations_begin_like_shorter_ones(words in prop::collection::vec(
            prop_oneof![Just("u:x"), Just("a:y"), Just("a:"), Just("c1"), Just("c1,2"), Just("t1"), Just("t2"), Just("t3")], 0..30,
        )) {
            let whole = conversation(&words.join(" "));
            let long = show(&turns(&whole, str::to_owned));
            for at in 0..whole.len() {
                // A reply closes what stands before it.
                if matches!(&whole[at], Message::Assistant { text, calls, .. } if !text.is_empty() || !calls.is_empty()) {
                    let short = show(&turns(&whole[..at], str::to_owned));
                    prop_assert!(long.starts_with(&short), "{} / {}", short, long);
                }
            }
        }

        #[test]
        fn every_call_is_answered_at_once_and_no_two_user_turns_meet(words in prop::collection::vec(
            prop_oneof![Just("u:x"), Just("u: "), Just("a:y"), Just("a:"), Just("c1"), Just("c1,2,2"), Just("t1"), Just("t2")], 0..30,
        )) {
            let messages = conversation(&words.join(" "));
            let turns = turns(&messages, str::to_owned);
            let mut ids = HashSet::new();
            for (number, turn) in turns.iter().enumerate() {
                match turn {
                    Turn::Assistant { calls, text, .. } => {
                        prop_assert!(!calls.is_empty() || !text.is_empty());
                        for call in calls { prop_assert!(ids.insert(call.id.clone())); }
                        if !calls.is_empty() {
                            let Some(Turn::Answers(answers)) = turns.get(number + 1) else { panic!("unanswered") };
                            let asked: Vec<_> = calls.iter().map(|call| &call.id).collect();
                            let told: Vec<_> = answers.iter().map(|answer| &answer.id).collect();
                            prop_assert_eq!(asked, told);
                        }
                    }
                    Turn::User(_) => prop_assert!(!matches!(turns.get(number + 1), Some(Turn::User(_)))),
                    Turn::Answers(_) => {
                        let after_calls = number > 0
                            && matches!(&turns[number - 1], Turn::Assistant { calls, .. } if !calls.is_empty());
                        prop_assert!(after_calls);
                    }
                    Turn::System(_) => {}
                }
            }
        }
    }
}
