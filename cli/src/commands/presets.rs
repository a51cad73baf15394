//! `och presets`: the presets there are, and whether their keys are.

use crate::exit::Code;
use crate::{config, presets, say};
use anyhow::Result;
use std::path::Path;

/// Lists the presets.
pub(crate) fn run(file: Option<&Path>, json: bool) -> Result<Code> {
    let config = config::load(file)?;
    let all = presets::all(&config)?;
    if json {
        say::data(&serde_json::to_string_pretty(&all)?);
        return Ok(Code::Ok);
    }
    let rows: Vec<[String; 5]> = all
        .iter()
        .map(|preset| {
            let key = match (&preset.api_key_env, presets::missing_key(preset)) {
                (None, _) => "no key needed".to_owned(),
                (Some(variable), Some(_)) => format!("{variable} is not set"),
                (Some(variable), None) if crate::env_vars::key(variable).is_none() => {
                    format!("{variable} (optional)")
                }
                (Some(variable), None) => format!("{variable} is set"),
            };
            [
                preset.name.to_string(),
                preset.provider.as_str().to_owned(),
                preset.model.clone(),
                preset.base_url.clone().unwrap_or_else(|| "-".to_owned()),
                key,
            ]
        })
        .collect();
    let head = ["PRESET", "PROVIDER", "MODEL", "BASE URL", "KEY"].map(str::to_owned);
    say::data(&columns(&head, &rows));
    say::note(&format!("models of the built-in presets as of {}", domain::preset::MODELS_CHECKED));
    Ok(Code::Ok)
}

/// Lays rows out in aligned columns.
pub(crate) fn columns<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().chain(std::iter::once(head)).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    std::iter::once(head)
        .chain(rows)
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| {
                    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count())))
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect::<Vec<_>>()
        .join("\n")
}
