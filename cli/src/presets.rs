//! From names and configuration to whole presets: built-in table, `[presets.*]`, `[model]`, flags, keys.

use crate::args::ModelArgs;
use crate::config::{Config, PresetPatch};
use crate::env_vars;
use crate::exit::Expected;
use anyhow::Result;
use domain::id::PresetName;
use domain::preset::{self, Preset, ProviderKind};
use domain::run::SkippedPreset;
use domain::text::nearest;

/// All presets there are: the built-in ones with the configuration laid over them, then the configuration's own.
pub(crate) fn all(config: &Config) -> Result<Vec<Preset>> {
    let mut presets: Vec<Preset> = preset::builtin()
        .into_iter()
        .map(|mut preset| {
            preset.temperature = Some(config.model.temperature);
            preset.max_tokens = config.model.max_tokens;
            preset
        })
        .collect();
    for (name, patch) in &config.presets {
        let patch = in_config_folder(config, patch.clone());
        match presets.iter_mut().find(|preset| preset.name.as_str() == name) {
            Some(preset) => *preset = patch.apply(preset.clone()),
            None => {
                let (Some(provider), Some(model)) = (patch.provider, patch.model.clone()) else {
                    return Err(Expected::usage(format!(
                        "[presets.{name}]: a new preset needs `provider` and `model`"
                    ))
                    .into());
                };
                let mut fresh = Preset::new(PresetName::new(name)?, provider, model);
                fresh.temperature = Some(config.model.temperature);
                fresh.max_tokens = config.model.max_tokens;
                presets.push(patch.apply(fresh));
            }
        }
    }
    for preset in &presets {
        check(preset)?;
    }
    Ok(presets)
}

/// A script is named relative to the configuration that names it.
fn in_config_folder(config: &Config, mut patch: PresetPatch) -> PresetPatch {
    if let (Some(script), Some(folder)) = (&patch.script, config.file.as_ref().and_then(|file| file.parent()))
        && !std::path::Path::new(script).is_absolute()
    {
        patch.script = Some(folder.join(script).to_string_lossy().into_owned());
    }
    patch
}

fn check(preset: &Preset) -> Result<()> {
    if preset.provider.is_http() && preset.base_url.is_none() {
        return Err(Expected::usage(format!("preset `{}`: `base_url` is missing", preset.name))
            .hint(format!("add base_url to [presets.{}] in och.config.toml, or pass --base-url", preset.name))
            .into());
    }
    Ok(())
}

/// The presets with these names, in this order.
///
/// # Errors
/// A usage error for an unknown or repeated name.
pub(crate) fn named(config: &Config, names: &[String]) -> Result<Vec<Preset>> {
    let all = all(config)?;
    let mut chosen: Vec<Preset> = Vec::new();
    for name in names {
        let Some(preset) = all.iter().find(|preset| preset.name.as_str() == name) else {
            let known: Vec<&str> = all.iter().map(|preset| preset.name.as_str()).collect();
            let hint = nearest(name, known.iter().copied()).map_or_else(
                || format!("known presets are {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Expected::usage(format!("preset `{name}` is not known")).hint(hint).into());
        };
        if chosen.iter().any(|other| other.name == preset.name) {
            return Err(Expected::usage(format!("preset `{name}` is named twice"))
                .hint("for several samples of one preset use --trials")
                .into());
        }
        chosen.push(preset.clone());
    }
    Ok(chosen)
}

/// The one preset of `och eval`: `--preset`, else `[model]`; model flags are laid over either.
///
/// # Errors
/// A usage error.
pub(crate) fn single(config: &Config, args: &ModelArgs) -> Result<Preset> {
    let mut preset = match &args.preset {
        Some(name) => named(config, std::slice::from_ref(name))?.remove(0),
        None => {
            let model = &config.model;
            let mut preset =
                Preset::new(PresetName::folded(model.provider.as_str()), model.provider, model.model.clone());
            preset.base_url.clone_from(&model.base_url);
            preset.temperature = Some(model.temperature);
            preset.max_tokens = model.max_tokens;
            if model.provider.is_http() {
                preset.api_key_env.clone_from(&model.api_key_env);
                preset.stream = true;
            }
            preset
        }
    };
    if let Some(provider) = args.provider {
        let kind = match provider {
            crate::args::ProviderChoice::Mock => ProviderKind::Mock,
            crate::args::ProviderChoice::OpenaiCompatible => ProviderKind::OpenaiCompatible,
            crate::args::ProviderChoice::Anthropic => ProviderKind::Anthropic,
            crate::args::ProviderChoice::Scripted => ProviderKind::Scripted,
        };
        if kind != preset.provider {
            let fresh = Preset::new(PresetName::folded(kind.as_str()), kind, preset.model.clone());
            preset = Preset {
                base_url: preset.base_url,
                temperature: preset.temperature,
                max_tokens: preset.max_tokens,
                api_key_env: if kind.is_http() { config.model.api_key_env.clone() } else { None },
                stream: kind.is_http(),
                ..fresh
            };
        }
    }
    if let Some(url) = &args.base_url {
        crate::config::check_url(url).map_err(Expected::usage)?;
        preset.base_url = Some(url.clone());
    }
    if let Some(model) = &args.model {
        preset.model.clone_from(model);
    }
    if let Some(variable) = &args.api_key_env {
        preset.api_key_env = Some(variable.clone());
    }
    check(&preset)?;
    Ok(preset)
}

/// Sorts out presets whose key is missing.
pub(crate) fn with_keys(presets: Vec<Preset>, include_missing: bool) -> (Vec<Preset>, Vec<SkippedPreset>) {
    let mut chosen = Vec::new();
    let mut skipped = Vec::new();
    for preset in presets {
        match missing_key(&preset) {
            Some(variable) if !include_missing => skipped.push(SkippedPreset {
                preset: preset.name.to_string(),
                reason: format!("missing {variable}"),
            }),
            _ => chosen.push(preset),
        }
    }
    (chosen, skipped)
}

/// The variable whose key a preset needs and does not have.
pub(crate) fn missing_key(preset: &Preset) -> Option<&str> {
    let variable = preset.api_key_env.as_deref()?;
    (!preset.api_key_optional && env_vars::key(variable).is_none()).then_some(variable)
}
