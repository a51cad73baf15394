//! Whether the model that a reply names is the one that was asked for.
//!
//! The check is always on: a server that quietly answers with another model spoils the measurement. What servers do legitimately is
//! allowed for: dates and versions behind the name, `-latest`, an organisation in front, a variant behind a colon, letter case. A
//! server of one's own (key optional) that names its model by a file path is believed. Anything else goes into `accept_models`;
//! `accept_models = ["*"]` turns the check off.

use domain::preset::Preset;

/// Whether the preset takes a reply of the model named `got`.
pub(crate) fn accepts(preset: &Preset, got: &str) -> bool {
    let asked = preset.model.to_lowercase();
    let lower = got.trim().to_lowercase();
    lower.is_empty()
        || preset.accept_models.iter().any(|pattern| matches_pattern(&pattern.to_lowercase(), &lower))
        || preset.api_key_optional && is_path(&lower)
        || same_model(&asked, &lower)
}

fn matches_pattern(pattern: &str, got: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == got, |front| got.starts_with(front))
}

fn is_path(name: &str) -> bool {
    name.starts_with(['/', '.', '\\']) || name.ends_with(".gguf") || name.as_bytes().get(1..3) == Some(b":\\")
}

fn same_model(asked: &str, got: &str) -> bool {
    let (asked_owner, asked) = split_owner(asked);
    let (got_owner, got) = split_owner(got);
    if let (Some(asked), Some(got)) = (asked_owner, got_owner)
        && asked != got
    {
        return false;
    }
    let bare = asked.split_once(':').map(|(bare, _)| bare);
    asked == got
        || bare == Some(got)
        || is_version_of(asked, got)
        || asked.strip_suffix("-latest").is_some_and(|family| family == got || is_version_of(family, got))
}

/// `org/model` → (org, model); `models/gemini` names no organisation.
fn split_owner(name: &str) -> (Option<&str>, &str) {
    match name.rsplit_once('/') {
        Some(("models", model)) => (None, model),
        Some((owner, model)) => (Some(owner), model),
        None => (None, name),
    }
}

/// Whether `got` is `asked` followed by a date or a version. A bare small number is none: `claude-sonnet-4` and
/// `claude-sonnet-4-5` are different models.
fn is_version_of(asked: &str, got: &str) -> bool {
    let Some(rest) = got.strip_prefix(asked) else { return false };
    if rest == ":latest" {
        return true;
    }
    let Some(rest) = rest.strip_prefix(['-', '@']) else { return false };
    let mut parts = rest.split('-');
    let first = parts.next().unwrap_or_default();
    if !(first == "latest" || is_release(first)) {
        return false;
    }
    parts.all(|part| is_release(part) || part.len() == 2 && is_number(part))
}

/// A date in one piece, the year of one, a build number of three digits or more, or `v1`, `v1:0`, `v2.1`.
fn is_release(part: &str) -> bool {
    if let Some(version) = part.strip_prefix('v') {
        return version.starts_with(|c: char| c.is_ascii_digit())
            && version.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':'));
    }
    part.len() >= 3 && is_number(part)
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::id::PresetName;
    use domain::preset::ProviderKind;

    fn preset(model: &str, accept: &[&str], key_optional: bool) -> Preset {
        let mut preset = Preset::new(PresetName::folded("p"), ProviderKind::OpenaiCompatible, model);
        preset.accept_models = accept.iter().map(|name| (*name).to_owned()).collect();
        preset.api_key_optional = key_optional;
        preset
    }

    #[test]
    fn the_same_model_under_its_other_names() {
        for (asked, got) in [
            ("gpt-4.1", "gpt-4.1"),
            ("gpt-4.1", "GPT-4.1"),
            ("gpt-4.1", "gpt-4.1-2025-04-14"),
            ("gpt-4", "gpt-4-0613"),
            ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
            ("claude-sonnet-4-5", "claude-sonnet-4-5@20250929"),
            ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929-v1:0"),
            ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
            ("gemini-2.0-flash", "gemini-2.0-flash-001"),
            ("gemini-2.0-flash", "models/gemini-2.0-flash"),
            ("deepseek-chat", "deepseek/deepseek-chat"),
            ("deepseek/deepseek-chat", "deepseek-chat"),
            ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1"),
            ("llama3", "llama3:latest"),
            ("mistral-large-latest", "mistral-large-2411"),
            ("m", ""),
        ] {
            assert!(accepts(&preset(asked, &[], false), got), "{asked} / {got}");
        }
    }

    #[test]
    fn another_model_is_another_model() {
        for (asked, got) in [
            ("gpt-4.1", "gpt-4.1-mini"),
            ("gpt-4.1", "gpt-4.1-mini-2025-04-14"),
            ("gpt-4.1", "gpt-4"),
            ("gpt-4", "gpt-4-32k"),
            ("gpt-4", "gpt-4.1"),
            ("claude-sonnet-4", "claude-sonnet-4-5-20250929"),
            ("claude-sonnet-4", "claude-sonnet-4-5"),
            ("deepseek-chat", "deepseek-reasoner"),
            ("acme/model", "other/model"),
            ("qwen2.5-coder:7b", "qwen2.5-coder:14b"),
            ("local-coder", "/srv/models/other"),
            ("m", "wrong"),
        ] {
            assert!(!accepts(&preset(asked, &[], false), got), "{asked} / {got}");
        }
    }

    #[test]
    fn accepted_names_and_paths_of_local_servers() {
        assert!(accepts(&preset("a", &["b"], false), "B"));
        assert!(accepts(&preset("a", &["b-*"], false), "b-anything"));
        assert!(!accepts(&preset("a", &["b-*"], false), "c"));
        assert!(accepts(&preset("a", &["*"], false), "whatever"));
        for path in ["/srv/models/q.gguf", "./q", "C:\\models\\q", "q.GGUF"] {
            assert!(accepts(&preset("local-coder", &[], true), path), "{path}");
        }
        assert!(!accepts(&preset("local-coder", &[], true), "gpt-3.5-turbo"));
    }
}
