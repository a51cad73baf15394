//! Configuration: the embedded defaults, a file over them. Owns keys, types and ranges; flags are laid over it by the commands.

mod presets;

use crate::env_vars;
use crate::exit::Expected;
use anyhow::Result;
use domain::preset::ProviderKind;
use domain::text::nearest;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub(crate) use presets::{PresetPatch, check_url};

/// The embedded defaults, which are also the reference page.
pub(crate) const DEFAULT: &str = include_str!("config/default.toml");

/// The resolved configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) model: Model,
    pub(crate) agent: Agent,
    pub(crate) permissions: Permissions,
    pub(crate) sandbox: SandboxLimits,
    /// `[presets.*]` in the order of the file.
    pub(crate) presets: Vec<(String, PresetPatch)>,
    /// Where the file was, when there was one: scripts are relative to it.
    pub(crate) file: Option<PathBuf>,
    /// Things the person should know.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) provider: ProviderKind,
    pub(crate) model: String,
    pub(crate) base_url: Option<String>,
    pub(crate) api_key_env: Option<String>,
    pub(crate) temperature: f64,
    pub(crate) max_tokens: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agent {
    pub(crate) max_steps: u32,
    pub(crate) context_chars: i64,
    pub(crate) timeout_seconds: u64,
    pub(crate) tool_timeout_seconds: u64,
    pub(crate) verify_timeout_seconds: u64,
    pub(crate) max_attempts: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permissions {
    pub(crate) allow_write: bool,
    pub(crate) allow_shell: bool,
    #[expect(dead_code, reason = "accepted as in the original; a workspace's network is the case's")]
    pub(crate) allow_network: bool,
    pub(crate) approval_mode: ApprovalMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ApprovalMode {
    Never,
    Ask,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SandboxLimits {
    pub(crate) memory_mib: u64,
    pub(crate) pids: u32,
    pub(crate) disk_mib: u64,
}

/// Tables of the original that evals do not use.
const UNUSED_TABLES: [&str; 2] = ["mcp_tools", "mcp_servers"];
const TABLES: [&str; 7] =
    ["model", "agent", "permissions", "sandbox", "presets", UNUSED_TABLES[0], UNUSED_TABLES[1]];

/// Finds and reads the configuration: the named file, else `OCH_CONFIG`, else `och.config.toml` here, else only the defaults.
///
/// # Errors
/// An [`Expected`] usage error that names file, table and key.
pub(crate) fn load(named: Option<&Path>) -> Result<Config> {
    let file = match named {
        Some(path) => Some(path.to_owned()),
        None => env_vars::read(env_vars::OCH_CONFIG)
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from("och.config.toml")).filter(|path| path.is_file())),
    };
    match file {
        None => parse("", None),
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Expected::usage(format!("cannot read the configuration `{}`: {error}", path.display()))
            })?;
            parse(&text, Some(path))
        }
    }
}

/// Lays a file's text over the defaults.
///
/// # Errors
/// As [`load`].
pub(crate) fn parse(text: &str, file: Option<PathBuf>) -> Result<Config> {
    let name = file.as_ref().map_or_else(|| "the defaults".to_owned(), |path| path.display().to_string());
    let bad = |message: String| Expected::usage(format!("{name}: {message}"));
    let over: Table = toml::from_str(text).map_err(|error| bad(error.to_string().trim_end().to_owned()))?;
    let mut base: Table =
        toml::from_str(DEFAULT).map_err(|error| anyhow::anyhow!("default.toml: {error}"))?;
    let mut warnings = Vec::new();
    for (table, value) in over {
        if !TABLES.contains(&table.as_str()) {
            return Err(bad(unknown("table", &table, &TABLES)).into());
        }
        if UNUSED_TABLES.contains(&table.as_str()) {
            warnings.push(format!("{name}: `{table}` has no effect in evals"));
            continue;
        }
        let Value::Table(value) = value else {
            return Err(bad(format!("`{table}` must be a table, not {}", value.type_str())).into());
        };
        if table == "presets" {
            base.insert(table, Value::Table(value));
            continue;
        }
        let Some(Value::Table(known)) = base.get_mut(&table) else {
            return Err(bad(unknown("table", &table, &TABLES)).into());
        };
        for (key, value) in value {
            let optional = table == "model" && key == "base_url";
            if !known.contains_key(&key) && !optional {
                let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
                if table == "model" {
                    names.push("base_url");
                }
                return Err(bad(format!("[{table}]: {}", unknown("key", &key, &names))).into());
            }
            known.insert(key, value);
        }
    }
    let section = |table: &str| base.get(table).cloned().unwrap_or_else(|| Value::Table(Table::new()));
    let typed = |table: &str, error: toml::de::Error| bad(format!("[{table}]: {}", error.message()));
    let presets = match section("presets") {
        Value::Table(presets) => presets
            .into_iter()
            .map(|(preset, value)| {
                presets::patch(&preset, value)
                    .map(|patch| (preset.clone(), patch))
                    .map_err(|message| bad(format!("[presets.{preset}]: {message}")))
            })
            .collect::<Result<Vec<_>, _>>()?,
        _ => Vec::new(),
    };
    let config = Config {
        model: section("model").try_into().map_err(|error| typed("model", error))?,
        agent: section("agent").try_into().map_err(|error| typed("agent", error))?,
        permissions: section("permissions").try_into().map_err(|error| typed("permissions", error))?,
        sandbox: section("sandbox").try_into().map_err(|error| typed("sandbox", error))?,
        presets,
        file,
        warnings,
    };
    check_ranges(&config).map_err(bad)?;
    Ok(config)
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("{what} `{word}` is not known; did you mean `{near}`?"),
        None => format!("{what} `{word}` is not known; known are {}", known.join(", ")),
    }
}

fn check_ranges(config: &Config) -> Result<(), String> {
    in_range("[model] temperature", config.model.temperature, 0.0, 2.0)?;
    in_range("[model] max_tokens", f64::from(config.model.max_tokens), 1.0, 1_000_000.0)?;
    in_range("[agent] max_steps", f64::from(config.agent.max_steps), 1.0, 10_000.0)?;
    in_range("[agent] max_attempts", f64::from(config.agent.max_attempts), 1.0, 100.0)?;
    for (name, seconds) in [
        ("timeout_seconds", config.agent.timeout_seconds),
        ("tool_timeout_seconds", config.agent.tool_timeout_seconds),
        ("verify_timeout_seconds", config.agent.verify_timeout_seconds),
    ] {
        if !(1..=604_800).contains(&seconds) {
            return Err(format!("[agent] {name} must be from 1 to 604800, not {seconds}"));
        }
    }
    for (name, number, least) in [
        ("memory_mib", config.sandbox.memory_mib, 16),
        ("pids", u64::from(config.sandbox.pids), 8),
        ("disk_mib", config.sandbox.disk_mib, 1),
    ] {
        if !(least..=1 << 20).contains(&number) {
            return Err(format!("[sandbox] {name} must be from {least} to {}, not {number}", 1 << 20));
        }
    }
    Ok(())
}

/// Checks a number of the configuration.
pub(super) fn in_range(name: &str, number: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&number) {
        Ok(())
    } else {
        Err(format!("{name} must be from {least} to {most}, not {number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str) -> String {
        parse(text, Some(PathBuf::from("och.config.toml"))).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_the_original_s() {
        let config = parse("", None).unwrap();
        assert_eq!((config.agent.max_steps, config.agent.context_chars), (8, 6000));
        assert!(!config.permissions.allow_write && config.permissions.allow_shell);
        assert_eq!(config.permissions.approval_mode, ApprovalMode::Never);
    }

    #[test]
    fn values_are_checked() {
        assert!(refused("[permissions]\nallow_write = \"no\"").contains("[permissions]"));
        assert!(refused("[permissions]\napproval_mode = \"sometimes\"").contains("sometimes"));
        assert!(
            refused("[agent]\nmax_stepps = 3")
                .ends_with("key `max_stepps` is not known; did you mean `max_steps`?")
        );
        assert!(refused("[agnt]\n").ends_with("table `agnt` is not known; did you mean `agent`?"));
        assert!(refused("[model]\ntemperature = 9").contains("must be from 0 to 2"));
        assert!(refused("[presets.x]\nbase_ulr = 'http://h'").contains("did you mean `base_url`?"));
        assert!(
            refused("[presets.x]\nrequests_per_minute = 0").contains("requests_per_minute must be from 1")
        );
        assert!(refused("[presets.x]\nbase_url = 'http://user:pw@h'").contains("must not carry a password"));
    }

    #[test]
    fn presets_are_read() {
        let config =
            parse("[presets.x]\nprovider = 'mock'\nlatency_ms = 5\n[agent]\ncontext_chars = -1\n", None)
                .unwrap();
        assert_eq!(config.presets[0].1.latency_ms, Some(5));
    }
}
