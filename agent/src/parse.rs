//! Replies without native tool calls, read as text: tool calls in JSON, a final answer in prose, or something that may be either
//! and is asked again. Owns the shapes that count as a call; knows no tool but by the name check it is given.

use domain::chat::{Arguments, ToolCall};
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// What a text means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    /// Nothing at all, or reasoning only.
    Empty,
    /// Tool calls, in order.
    Calls(Vec<ToolCall>),
    /// A final answer: this text.
    Final(String),
    /// Neither for certain; the reason is for the model.
    Ambiguous(String),
}

/// How many places of a text are tried as the beginning of JSON.
const MAX_TRIES: usize = 4096;
/// How much prose may follow the last call before the text counts as an explanation.
const MAX_AFTER: usize = 400;
/// What broken calls look like.
const CALL_SIGNS: [&str; 9] = [
    "<tool_call>",
    "<function_call>",
    "<function=",
    "<|tool_call",
    "[TOOL_CALLS]",
    "<invoke name=",
    "<|python_tag|>",
    "\"tool_calls\":",
    "<tool_use>",
];

/// Reads a text. `marker` is the text a final answer must hold, `is_known` tells the names of tools.
pub(crate) fn read(text: &str, marker: Option<&str>, is_known: fn(&str) -> bool) -> Meaning {
    let text = without_thoughts(text).trim();
    if text.is_empty() {
        return Meaning::Empty;
    }
    let found = find(text, is_known);
    if let Some(why) = found.broken {
        return Meaning::Ambiguous(why);
    }
    let (Some(first), Some(last)) = (found.places.first(), found.places.last()) else {
        return match signs_of_a_call(text, is_known) {
            Some(why) => Meaning::Ambiguous(why),
            None => Meaning::Final(text.to_owned()),
        };
    };
    let (start, end) = (first.0, last.1);
    let outside = outside(text, &found.places);
    if outside.trim().is_empty() {
        return Meaning::Calls(found.calls);
    }
    if marker.is_some_and(|marker| !marker.is_empty() && outside.contains(marker)) {
        return Meaning::Ambiguous(
            "it holds the text of a final answer and a JSON tool call at the same time".to_owned(),
        );
    }
    if found.places.iter().any(|(_, end)| mid_sentence(text, *end)) {
        return Meaning::Ambiguous("it mentions a JSON tool call in the middle of a sentence".to_owned());
    }
    if plain(&text[end..]).chars().count() > MAX_AFTER {
        return Meaning::Ambiguous("a long text follows its JSON tool call".to_owned());
    }
    if found.places.iter().any(|(start, _)| is_quoted(text, *start))
        || plain(&text[..start]).ends_with("example:")
    {
        return Meaning::Ambiguous("its JSON tool call reads like an example".to_owned());
    }
    Meaning::Calls(found.calls)
}

/// The text after a leading block of reasoning. An unclosed block is all reasoning.
fn without_thoughts(text: &str) -> &str {
    let trimmed = text.trim_start();
    for (open, close) in [("<think>", "</think>"), ("<thinking>", "</thinking>")] {
        if let Some(rest) = trimmed.strip_prefix(open) {
            return rest.split_once(close).map_or("", |(_, after)| after);
        }
        // Some servers swallow the opening tag.
        if let Some((before, after)) = trimmed.split_once(close)
            && !before.contains(open)
        {
            return after;
        }
    }
    text
}

#[derive(Debug, Default)]
struct Found {
    calls: Vec<ToolCall>,
    /// Byte ranges of the JSON that the calls came from.
    places: Vec<(usize, usize)>,
    broken: Option<String>,
}

fn find(text: &str, is_known: fn(&str) -> bool) -> Found {
    let mut found = Found::default();
    let (mut at, mut tries) = (0, 0);
    while let Some(step) = text[at..].find(['{', '[']) {
        let start = at + step;
        tries += 1;
        if tries > MAX_TRIES {
            found.broken = Some("it holds too many braces to be read".to_owned());
            break;
        }
        let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        let Some(Ok(value)) = stream.next() else {
            at = start + 1;
            continue;
        };
        let end = start + stream.byte_offset();
        match calls_in(&value, is_known, whole(text, start, end)) {
            Shape::Calls(calls) => {
                found.calls.extend(calls);
                found.places.push((start, end));
            }
            Shape::Broken(why) => {
                found.broken = Some(why);
                break;
            }
            Shape::Other => {}
        }
        at = end.max(start + 1);
    }
    for (index, call) in found.calls.iter_mut().enumerate() {
        call.id = format!("text_{}", index + 1);
    }
    found
}

/// Whether there is nothing but fences and tags around this place.
fn whole(text: &str, start: usize, end: usize) -> bool {
    plain(&text[..start]).trim().is_empty() && plain(&text[end..]).trim().is_empty()
}

enum Shape {
    Calls(Vec<ToolCall>),
    Broken(String),
    Other,
}

fn calls_in(value: &Value, is_known: fn(&str) -> bool, whole: bool) -> Shape {
    match value {
        Value::Array(items) if !items.is_empty() => {
            let mut calls = Vec::new();
            let mut others = 0;
            for item in items {
                match calls_in(item, is_known, whole) {
                    Shape::Calls(inner) => calls.extend(inner),
                    Shape::Broken(why) => return Shape::Broken(why),
                    Shape::Other => others += 1,
                }
            }
            match (calls.is_empty(), others) {
                (true, _) => Shape::Other,
                (false, 0) => Shape::Calls(calls),
                (false, _) => Shape::Broken("its JSON array holds tool calls and other things".to_owned()),
            }
        }
        Value::Object(fields) => call_in(fields, is_known, whole),
        _ => Shape::Other,
    }
}

fn call_in(fields: &Map<String, Value>, is_known: fn(&str) -> bool, whole: bool) -> Shape {
    if let Some(calls @ Value::Array(_)) = fields.get("tool_calls") {
        return calls_in(calls, is_known, whole);
    }
    if let Some(Value::Object(function)) = fields.get("function") {
        return call_in(function, is_known, whole);
    }
    let (name_key, name) = match (fields.get("tool"), fields.get("name")) {
        (Some(name), _) => ("tool", name),
        (None, Some(name)) => ("name", name),
        (None, None) => return Shape::Other,
    };
    let arguments_key =
        ["args", "arguments", "parameters", "input"].into_iter().find(|key| fields.contains_key(*key));
    let Some(name) = name.as_str() else {
        return if name_key == "tool" && arguments_key.is_some() {
            Shape::Broken("the `tool` of its JSON object is not a string".to_owned())
        } else {
            Shape::Other
        };
    };
    // An object with a name is data unless it also has arguments; a name that no tool has counts only where the whole reply is
    // the call.
    let meant = match name_key {
        "tool" => is_known(name) || whole || arguments_key.is_some(),
        _ => arguments_key.is_some() && (is_known(name) || whole),
    };
    if !meant {
        return Shape::Other;
    }
    let arguments = match arguments_key {
        Some(key) => arguments_from(fields.get(key)),
        None => {
            let rest = fields
                .iter()
                .filter(|(key, _)| key.as_str() != "tool" && key.as_str() != "id" && key.as_str() != "type");
            Arguments::Object { value: rest.map(|(key, value)| (key.clone(), value.clone())).collect() }
        }
    };
    Shape::Calls(vec![ToolCall { id: String::new(), name: name.to_owned(), arguments }])
}

fn arguments_from(value: Option<&Value>) -> Arguments {
    match value {
        None | Some(Value::Null) => Arguments::Object { value: Map::new() },
        Some(Value::Object(fields)) => Arguments::Object { value: fields.clone() },
        Some(Value::String(text)) if text.trim().is_empty() => Arguments::Object { value: Map::new() },
        Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(value)) => Arguments::Object { value },
            Ok(_) => Arguments::Malformed { raw: text.clone(), why: "a JSON object is needed".to_owned() },
            Err(error) => Arguments::Malformed { raw: text.clone(), why: error.to_string() },
        },
        Some(other) => {
            Arguments::Malformed { raw: other.to_string(), why: "a JSON object is needed".to_owned() }
        }
    }
}

/// The text outside of the given places, without fences and tags.
fn outside(text: &str, places: &[(usize, usize)]) -> String {
    let mut rest = String::new();
    let mut at = 0;
    for (start, end) in places {
        rest.push_str(&text[at..*start]);
        rest.push(' ');
        at = *end;
    }
    rest.push_str(&text[at..]);
    plain(&rest)
}

/// A text without code fences and tool call tags, which say nothing.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for noise in [
        "```json",
        "```JSON",
        "```tool_call",
        "```tool",
        "```jsonc",
        "```",
        "<tool_call>",
        "</tool_call>",
        "<tools>",
        "</tools>",
        "<function_call>",
        "</function_call>",
        "[TOOL_CALLS]",
        "<|python_tag|>",
        "<tool_use>",
        "</tool_use>",
    ] {
        if plain.contains(noise) {
            plain = plain.replace(noise, " ");
        }
    }
    plain.trim().to_owned()
}

/// Whether words go on in the same line after a place.
fn mid_sentence(text: &str, end: usize) -> bool {
    let rest = text[end..].lines().next().unwrap_or_default();
    plain(rest).chars().any(char::is_alphanumeric) && !rest.trim_start().starts_with(['{', '['])
}

/// Whether a place stands in a quotation or in inline code.
fn is_quoted(text: &str, start: usize) -> bool {
    let line = text[..start].rsplit('\n').next().unwrap_or_default();
    let line = line.trim_end();
    line.starts_with('>') || (line.ends_with('`') && !line.ends_with("```"))
}

/// Why a text without a readable call looks like an attempt at one.
fn signs_of_a_call(text: &str, is_known: fn(&str) -> bool) -> Option<String> {
    if let Some(sign) = CALL_SIGNS.iter().find(|sign| text.contains(**sign)) {
        return Some(format!("it holds `{sign}` but no tool call that can be read"));
    }
    let broken = "it looks like a JSON tool call, but it is not valid JSON".to_owned();
    ["\"tool\"", "'tool'", "\"name\""].into_iter().find_map(|key| {
        let (_, after) = text.split_once(key)?;
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        let quote = after.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        let name = after[1..].split(quote).next()?;
        let looks_so =
            is_known(name) && text.contains('{') && (key != "\"name\"" || text.contains("\"arguments\""));
        looks_so.then(|| broken.clone())
    })
}
