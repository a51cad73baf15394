//! `och compare`: reports side by side, ours and the original system's.

use crate::args::CompareArgs;
use crate::exit::{Code, Expected};
use crate::say;
use anyhow::{Context as _, Result};
use report::{Links, Loaded};
use std::path::{Path, PathBuf};

/// Compares report files.
pub(crate) fn run(args: &CompareArgs) -> Result<Code> {
    let mut loaded = Vec::new();
    for path in &args.reports {
        for file in report_files(path)? {
            let label = file.display().to_string();
            loaded.push(match std::fs::read_to_string(&file) {
                Ok(text) => Loaded::read(&label, &text),
                Err(error) => Loaded::unreadable(&label, &error.to_string()),
            });
        }
    }
    let comparison = report::compare_reports(&loaded, &Links::none());
    if args.json {
        say::data(comparison.to_json().trim_end());
    } else if let Some(output) = &args.output {
        if let Some(parent) = output.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("failed to create `{}`", parent.display()))?;
        }
        std::fs::write(output, comparison.to_markdown())
            .map_err(|error| Expected::unusable(format!("cannot write `{}`: {error}", output.display())))?;
        say::note(&format!("Wrote {}", output.display()));
    } else {
        say::data(comparison.to_markdown().trim_end());
    }
    Ok(Code::Ok)
}

/// A file itself; `report.json` of a folder, or of its `report/<preset>/` folders.
fn report_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let direct = path.join("report.json");
    if direct.is_file() {
        return Ok(vec![direct]);
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in [path.join("report"), path.to_owned()] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        found.extend(
            entries
                .filter_map(Result::ok)
                .map(|entry| entry.path().join("report.json"))
                .filter(|file| file.is_file()),
        );
        if !found.is_empty() {
            break;
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Expected::usage(format!("`{}` holds no report.json", path.display()))
            .hint("name a report.json, or a run folder whose reports were written (`och report RUN`)")
            .into());
    }
    Ok(found)
}
