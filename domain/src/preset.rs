//! Presets: named ways to call a model. Owns the built-in table; reads no environment and no file.

use crate::id::PresetName;
use crate::usage::Price;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The day on which the models of [`builtin`] were last checked against their vendors' pages.
pub const MODELS_CHECKED: &str = "2026-11-20";

/// Which API a preset speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Chat completions, as OpenAI and many others serve them.
    OpenaiCompatible,
    /// Anthropic messages.
    Anthropic,
    /// The fixed rules of the original's mock model; no network.
    Mock,
    /// Turns from a script file; no network.
    Scripted,
}

impl ProviderKind {
    /// The word in configuration and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenaiCompatible => "openai-compatible",
            Self::Anthropic => "anthropic",
            Self::Mock => "mock",
            Self::Scripted => "scripted",
        }
    }

    /// Whether calls go over the network.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::OpenaiCompatible | Self::Anthropic)
    }
}

/// A named way to call a model. Carries the name of the key's variable, never the key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    /// Its name.
    pub name: PresetName,
    /// The API.
    pub provider: ProviderKind,
    /// Where, with or without `/v1`; required for HTTP providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The model asked for.
    pub model: String,
    /// The environment variable that holds the key; `None` = no key is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Whether the preset may run without a key (local servers).
    #[serde(default)]
    pub api_key_optional: bool,
    /// Sampling temperature; `None` = not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Output tokens of one reply.
    pub max_tokens: u32,
    /// Whether to ask for server-sent events.
    #[serde(default)]
    pub stream: bool,
    /// Seconds to connect.
    pub connect_timeout_seconds: f64,
    /// Seconds without a byte before a reply counts as dead.
    pub idle_timeout_seconds: f64,
    /// Seconds for one whole try.
    pub request_timeout_seconds: f64,
    /// Tries of one call, the first included.
    pub max_tries: u32,
    /// Requests a minute over the whole endpoint; `None` = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute over the whole endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Calls in flight over the whole endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Prices per million tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Names a reply may carry beside `model` (exact, or ending in `*`). A reply's name that begins with `model` followed by a
    /// dash and a date or version is accepted anyway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_models: Vec<String>,
    /// More fields for the request body.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra_body: Map<String, Value>,
    /// mock: milliseconds before each reply.
    #[serde(default)]
    pub latency_ms: u64,
    /// mock: share of calls that fail as unavailable, 0 to 1.
    #[serde(default)]
    pub error_rate: f64,
    /// mock: seed of the errors.
    #[serde(default)]
    pub seed: u64,
    /// scripted: the script file, key of `RunSpec::scripts`; `None` = `<suite stem>.script.json` beside each suite, whose key in
    /// `RunSpec::scripts` is the suite's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

impl Preset {
    /// A preset with the defaults of everything but its identity.
    #[must_use]
    pub fn new(name: PresetName, provider: ProviderKind, model: impl Into<String>) -> Self {
        Self {
            name,
            provider,
            base_url: None,
            model: model.into(),
            api_key_env: None,
            api_key_optional: !provider.is_http(),
            temperature: Some(0.2),
            max_tokens: 2048,
            stream: false,
            connect_timeout_seconds: 10.0,
            idle_timeout_seconds: 120.0,
            request_timeout_seconds: 600.0,
            max_tries: 5,
            requests_per_minute: None,
            tokens_per_minute: None,
            max_in_flight: None,
            price: None,
            accept_models: Vec::new(),
            extra_body: Map::new(),
            latency_ms: 0,
            error_rate: 0.0,
            seed: 0,
            script: None,
        }
    }
}

/// (name, provider, base URL, key variable, key optional, model)
type Row = (&'static str, ProviderKind, Option<&'static str>, Option<&'static str>, bool, &'static str);

/// The built-in presets: the original's nine with its URLs and key variables, and `scripted`. Models as of [`MODELS_CHECKED`].
const BUILTIN: [Row; 10] = {
    use ProviderKind::{Anthropic, Mock, OpenaiCompatible as Openai, Scripted};
    [
        ("mock", Mock, None, None, true, "mock-coder"),
        ("scripted", Scripted, None, None, true, "scripted"),
        (
            "deepseek",
            Openai,
            Some("https://api.deepseek.com"),
            Some("DEEPSEEK_API_KEY"),
            false,
            "deepseek-chat",
        ),
        (
            "qwen",
            Openai,
            Some("https://dashscope.aliyuncs.com/compatible-mode"),
            Some("DASHSCOPE_API_KEY"),
            false,
            "qwen-plus",
        ),
        ("openai", Openai, Some("https://api.openai.com"), Some("OPENAI_API_KEY"), false, "gpt-4.1"),
        (
            "claude",
            Anthropic,
            Some("https://api.anthropic.com"),
            Some("ANTHROPIC_API_KEY"),
            false,
            "claude-sonnet-4-5",
        ),
        (
            "local-openai",
            Openai,
            Some("http://localhost:8000"),
            Some("LOCAL_MODEL_API_KEY"),
            true,
            "local-coder",
        ),
        ("vllm", Openai, Some("http://localhost:8000"), Some("VLLM_API_KEY"), true, "local-coder"),
        ("sglang", Openai, Some("http://localhost:30000"), Some("SGLANG_API_KEY"), true, "local-coder"),
        ("ollama", Openai, Some("http://localhost:11434"), Some("OLLAMA_API_KEY"), true, "qwen2.5-coder:7b"),
    ]
};

/// The built-in presets, in the order in which `och presets` lists them.
#[must_use]
pub fn builtin() -> Vec<Preset> {
    BUILTIN
        .iter()
        .map(|(name, provider, base_url, api_key_env, api_key_optional, model)| {
            let mut preset = Preset::new(PresetName::folded(name), *provider, *model);
            preset.base_url = base_url.map(str::to_owned);
            preset.api_key_env = api_key_env.map(str::to_owned);
            preset.api_key_optional = *api_key_optional;
            preset.stream = provider.is_http();
            preset
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_presets_are_distinct_and_whole() {
        let presets = builtin();
        let mut names: Vec<_> = presets.iter().map(|preset| preset.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), presets.len());
        for preset in presets {
            assert_eq!(preset.base_url.is_some(), preset.provider.is_http(), "{}", preset.name);
        }
    }
}
