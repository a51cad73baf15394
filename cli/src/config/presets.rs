//! `[presets.NAME]`: keys, types and ranges of one preset's table, and how it changes a preset.

use super::{in_range, unknown};
use domain::preset::{Preset, ProviderKind};
use domain::usage::Price;
use serde::Deserialize;
use serde_json::Map;

/// What a `[presets.NAME]` table says; absent keys leave the preset as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresetPatch {
    pub(crate) provider: Option<ProviderKind>,
    base_url: Option<String>,
    pub(crate) model: Option<String>,
    api_key_env: Option<String>,
    api_key_optional: Option<bool>,
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    stream: Option<bool>,
    connect_timeout_seconds: Option<f64>,
    idle_timeout_seconds: Option<f64>,
    request_timeout_seconds: Option<f64>,
    max_tries: Option<u32>,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u64>,
    max_in_flight: Option<u32>,
    price: Option<Price>,
    accept_models: Option<Vec<String>>,
    extra_body: Option<Map<String, serde_json::Value>>,
    pub(super) latency_ms: Option<u64>,
    error_rate: Option<f64>,
    seed: Option<u64>,
    pub(crate) script: Option<String>,
}

const KEYS: [&str; 22] = [
    "provider",
    "base_url",
    "model",
    "api_key_env",
    "api_key_optional",
    "temperature",
    "max_tokens",
    "stream",
    "connect_timeout_seconds",
    "idle_timeout_seconds",
    "request_timeout_seconds",
    "max_tries",
    "requests_per_minute",
    "tokens_per_minute",
    "max_in_flight",
    "price",
    "accept_models",
    "extra_body",
    "latency_ms",
    "error_rate",
    "seed",
    "script",
];

/// Reads and checks one table.
pub(super) fn patch(name: &str, value: toml::Value) -> Result<PresetPatch, String> {
    domain::id::PresetName::new(name).map_err(|error| error.to_string())?;
    let toml::Value::Table(table) = &value else {
        return Err(format!("must be a table, not {}", value.type_str()));
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(unknown("key", key, &KEYS));
    }
    let patch: PresetPatch = value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    patch.check()?;
    Ok(patch)
}

impl PresetPatch {
    fn check(&self) -> Result<(), String> {
        let ranges = [
            ("temperature", self.temperature, 0.0, 2.0),
            ("max_tokens", self.max_tokens.map(f64::from), 1.0, 1e6),
            ("connect_timeout_seconds", self.connect_timeout_seconds, 0.01, 3600.0),
            ("idle_timeout_seconds", self.idle_timeout_seconds, 0.01, 86_400.0),
            ("request_timeout_seconds", self.request_timeout_seconds, 0.01, 86_400.0),
            ("max_tries", self.max_tries.map(f64::from), 1.0, 100.0),
            ("requests_per_minute", self.requests_per_minute.map(f64::from), 1.0, 1e9),
            ("max_in_flight", self.max_in_flight.map(f64::from), 1.0, 1e6),
            ("error_rate", self.error_rate, 0.0, 1.0),
        ];
        for (key, number, least, most) in ranges {
            if let Some(number) = number {
                in_range(key, number, least, most)?;
            }
        }
        if self.tokens_per_minute == Some(0) {
            return Err("tokens_per_minute must be from 1".to_owned());
        }
        if self.model.as_deref().is_some_and(|model| model.trim().is_empty()) {
            return Err("model must not be empty".to_owned());
        }
        if let Some(price) = &self.price {
            for (key, number) in [
                ("price.input", Some(price.input)),
                ("price.cached_input", price.cached_input),
                ("price.output", Some(price.output)),
            ] {
                if let Some(number) = number {
                    in_range(key, number, 0.0, 1e6)?;
                }
            }
        }
        self.base_url.as_deref().map_or(Ok(()), check_url)
    }

    /// The preset with this laid over it.
    pub(crate) fn apply(self, mut preset: Preset) -> Preset {
        if let Some(provider) = self.provider
            && provider != preset.provider
        {
            let fresh = Preset::new(preset.name.clone(), provider, preset.model.clone());
            preset = Preset { temperature: preset.temperature, max_tokens: preset.max_tokens, ..fresh };
        }
        macro_rules! lay {
            ($($field:ident),*) => { $(if let Some(value) = self.$field { preset.$field = value; })* };
        }
        macro_rules! lay_optional {
            ($($field:ident),*) => { $(if self.$field.is_some() { preset.$field = self.$field; })* };
        }
        lay!(model, api_key_optional, max_tokens, stream, connect_timeout_seconds, idle_timeout_seconds);
        lay!(request_timeout_seconds, max_tries, accept_models, extra_body, latency_ms, error_rate, seed);
        lay_optional!(base_url, api_key_env, temperature, requests_per_minute, tokens_per_minute);
        lay_optional!(max_in_flight, price, script);
        preset
    }
}

/// Checks an endpoint's address.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(|| format!("base_url `{url}` must begin with http:// or https://"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        return Err(format!("base_url `{url}` names no host"));
    }
    if host.contains('@') {
        return Err("base_url must not carry a password; name a variable in api_key_env".to_owned());
    }
    Ok(())
}
