//! `och status` and `och cancel`: what the folder says about a run, and the wish to stop one.

use crate::args::StatusArgs;
use crate::exit::{Code, Expected};
use crate::{say, stores};
use anyhow::Result;
use domain::matrix;
use domain::outcome::Outcome;
use run_folder::RunFolder;
use serde_json::json;

/// Says how far runs are.
pub(crate) async fn run(args: StatusArgs) -> Result<Code> {
    let store = stores::open_existing(args.store.as_deref(), &args.output_dir)?;
    let folders: Vec<RunFolder> = match &args.run {
        Some(run) => vec![stores::run(&store, run).await?],
        None => store.list_runs().await?.iter().map(|run| store.run(run)).collect(),
    };
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for folder in &folders {
        match line(folder).await {
            Ok((row, value)) => {
                rows.push(row);
                values.push(value);
            }
            // One broken folder is shown as broken and hides no other.
            Err(error) => {
                rows.push([
                    folder.id().to_string(),
                    "broken".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    format!("{error:#}"),
                ]);
                values.push(json!({"run": folder.id(), "state": "broken", "error": format!("{error:#}")}));
            }
        }
    }
    if args.json {
        say::data(&serde_json::to_string_pretty(&values)?);
    } else if rows.is_empty() {
        say::note(&format!("no runs in `{}`", store.url()));
    } else {
        let head = ["RUN", "STATE", "DECIDED", "PASSED", "PRESETS"].map(str::to_owned);
        say::data(&super::presets::columns(&head, &rows));
    }
    Ok(Code::Ok)
}

async fn line(folder: &RunFolder) -> Result<([String; 5], serde_json::Value)> {
    let spec = folder.spec().await?;
    let total = matrix::trials(&spec.suites, &spec.presets, spec.trials).count();
    let verdicts = folder.verdicts().await?;
    let count =
        |test: fn(&Outcome) -> bool| verdicts.values().filter(|verdict| test(&verdict.outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
    let errored = count(|outcome| matches!(outcome, Outcome::Errored { .. }));
    let state = if folder.sealed().await?.is_some() {
        "sealed"
    } else if folder.cancelled().await?.is_some() {
        "cancelling"
    } else if verdicts.len() >= total {
        "settled"
    } else if folder.newest_epoch().await?.is_some() {
        "open"
    } else {
        "planned"
    };
    let presets: Vec<&str> = spec.presets.iter().map(|preset| preset.name.as_str()).collect();
    let row = [
        folder.id().to_string(),
        state.to_owned(),
        format!("{}/{total}", verdicts.len()),
        passed.to_string(),
        presets.join(" "),
    ];
    let value = json!({
        "run": folder.id(), "state": state, "created_at": spec.created_at, "total": total, "decided": verdicts.len(),
        "passed": passed, "failed": failed, "errored": errored, "presets": presets,
    });
    Ok((row, value))
}

/// Asks a run to stop for good.
pub(crate) async fn cancel(args: StatusArgs) -> Result<Code> {
    let Some(run) = &args.run else {
        return Err(Expected::usage("name the run to cancel").hint("`och status` lists the runs").into());
    };
    let store = stores::open_existing(args.store.as_deref(), &args.output_dir)?;
    let folder = stores::run(&store, run).await?;
    if folder.sealed().await?.is_some() {
        say::note(&format!("run `{}` is sealed; there is nothing to cancel", folder.id()));
        return Ok(Code::Ok);
    }
    folder.cancel("asked for by `och cancel`").await?;
    say::note(&format!(
        "run `{}` is asked to stop; its coordinator stops granting and seals it",
        folder.id()
    ));
    say::note(&format!("hint: with no coordinator running, `och resume {}` seals it", folder.id()));
    Ok(Code::Ok)
}
