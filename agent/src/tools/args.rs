//! Arguments of tool calls, checked against the same table that the JSON Schema is made from.

use super::spec::{Kind, Tool};
use domain::text;
use serde_json::{Map, Value};

/// Arguments that satisfy their tool's table.
#[derive(Debug)]
pub(super) struct Args<'a> {
    values: &'a Map<String, Value>,
}

impl<'a> Args<'a> {
    /// A text argument; empty when it is optional and absent.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.values.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A path or other text with a default.
    pub(super) fn text_or(&self, name: &str, default: &'a str) -> &'a str {
        match self.text(name) {
            "" => default,
            text => text,
        }
    }

    /// A whole number from 1.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.values.get(name).and_then(Value::as_u64)
    }

    /// A list.
    pub(super) fn items(&self, name: &str) -> &'a [Value] {
        self.values.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// Checks arguments; the error is for the model.
pub(super) fn check<'a>(tool: &Tool, values: &'a Map<String, Value>) -> Result<Args<'a>, String> {
    for (key, value) in values {
        let Some(arg) = tool.args.iter().find(|arg| arg.name == key) else {
            return Err(unknown(tool, key));
        };
        if value.is_null() && !arg.required {
            continue;
        }
        if let Some(wanted) = mismatch(arg.kind, value) {
            return Err(format!("argument `{key}` of {} must be {wanted}, not {}", tool.name, shape(value)));
        }
    }
    match tool.args.iter().find(|arg| arg.required && !values.contains_key(arg.name)) {
        Some(missing) => {
            Err(format!("{} needs the argument `{}` ({})", tool.name, missing.name, missing.about))
        }
        None => Ok(Args { values }),
    }
}

fn unknown(tool: &Tool, key: &str) -> String {
    let names: Vec<&str> = tool.args.iter().map(|arg| arg.name).collect();
    let known =
        if names.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", names.join(", ")) };
    match text::nearest(key, names) {
        Some(near) => format!("{} has no argument `{key}`; did you mean `{near}`? ({known})", tool.name),
        None => format!("{} has no argument `{key}` ({known})", tool.name),
    }
}

/// What was wanted, when the value is something else.
fn mismatch(kind: Kind, value: &Value) -> Option<&'static str> {
    match kind {
        Kind::Text => (!value.is_string()).then_some("a string"),
        Kind::Number => (value.as_u64().unwrap_or(0) == 0).then_some("a whole number from 1"),
        Kind::Todos => {
            let fits = value.as_array().is_some_and(|items| items.iter().all(is_todo));
            (!fits).then_some("an array of objects with `title` and optionally `status`, or of strings")
        }
    }
}

fn is_todo(item: &Value) -> bool {
    match item {
        Value::String(_) => true,
        Value::Object(fields) => {
            fields.get("title").is_some_and(Value::is_string)
                && fields.get("status").is_none_or(|status| status.is_string() || status.is_null())
                && fields.keys().all(|key| key == "title" || key == "status")
        }
        _ => false,
    }
}

fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
