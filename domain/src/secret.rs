//! Values that must not be seen, and the cleaning of text that might carry them. Knows nothing of where secrets come from.

use std::fmt;

/// A value that prints as `****` and cannot be serialized.
#[derive(Clone)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Call this only where it goes onto the wire.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// Shortest secret that is searched for in text: shorter ones would blank ordinary words.
pub const SHORTEST_SECRET: usize = 6;

/// Replaces known secrets by `****` in everything that is about to be stored (invariant K1).
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Vec<Vec<u8>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.needles.len())
    }
}

impl Redactor {
    /// Knows these secrets, as they are and as they look inside JSON. Texts below [`SHORTEST_SECRET`] bytes (for instance the
    /// `dummy` of a local server) are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let secret = secret.trim();
            if secret.len() < SHORTEST_SECRET {
                continue;
            }
            needles.push(secret.as_bytes().to_vec());
            let quoted = serde_json::Value::from(secret).to_string();
            let inner = quoted.as_bytes()[1..quoted.len() - 1].to_vec();
            needles.push(inner);
        }
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// Cleans bytes; `None` when there was nothing to clean (the common case costs no copy).
    #[must_use]
    pub fn clean_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut cleaned: Option<Vec<u8>> = None;
        for needle in &self.needles {
            let hay = cleaned.as_deref().unwrap_or(bytes);
            if let Some(replaced) = replace(hay, needle) {
                cleaned = Some(replaced);
            }
        }
        cleaned
    }

    /// Cleans a text in place.
    pub fn clean(&self, text: &mut String) {
        if let Some(cleaned) = self.clean_bytes(text.as_bytes()) {
            *text = String::from_utf8_lossy(&cleaned).into_owned();
        }
    }

    /// Cleans every string inside a JSON value, keys included.
    pub fn clean_value(&self, value: &mut serde_json::Value) {
        if self.needles.is_empty() {
            return;
        }
        match value {
            serde_json::Value::String(text) => self.clean(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.clean_value(item)),
            serde_json::Value::Object(map) => {
                let dirty: Vec<String> =
                    map.keys().filter(|key| self.clean_bytes(key.as_bytes()).is_some()).cloned().collect();
                for key in dirty {
                    if let Some(inner) = map.shift_remove(&key) {
                        let mut clean = key;
                        self.clean(&mut clean);
                        map.insert(clean, inner);
                    }
                }
                map.values_mut().for_each(|inner| self.clean_value(inner));
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }
}

fn replace(hay: &[u8], needle: &[u8]) -> Option<Vec<u8>> {
    let first = find(hay, needle)?;
    let mut out = hay[..first].to_vec();
    let mut rest = &hay[first..];
    while let Some(at) = find(rest, needle) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"****");
        rest = &rest[at + needle.len()..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(hay, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("sk-canary-123456".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "**** ****");
    }

    #[test]
    fn known_secrets_are_cleaned_in_every_form() {
        let redactor = Redactor::new(["sk-\"quoted\"-key", "sk-canary-123456", "dummy"]);
        let mut text =
            "a sk-canary-123456 b sk-canary-123456 sk-\\\"quoted\\\"-key sk-\"quoted\"-key dummy".to_owned();
        redactor.clean(&mut text);
        assert_eq!(text, "a **** b **** **** **** dummy");
        let mut value = serde_json::json!({"k sk-canary-123456": ["x", {"y": "sk-canary-123456"}]});
        redactor.clean_value(&mut value);
        assert_eq!(value, serde_json::json!({"k ****": ["x", {"y": "****"}]}));
        assert!(redactor.clean_bytes(b"nothing here").is_none());
    }
}
