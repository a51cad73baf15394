//! `och clean`: containers that dead workers left behind, and whole runs that are named.

use crate::args::CleanArgs;
use crate::exit::{Code, Expected};
use crate::{sandbox, say, stores};
use anyhow::Result;
use domain::run::Sandbox;
use std::collections::HashSet;

/// Cleans.
pub(crate) async fn run(args: CleanArgs) -> Result<Code> {
    if !args.runs.is_empty() {
        let store = stores::open_existing(args.store.as_deref(), &args.output_dir)?;
        let mut folders = Vec::new();
        for run in &args.runs {
            let folder = stores::run(&store, run).await?;
            if !args.force && folder.sealed().await?.is_none() {
                return Err(Expected::usage(format!(
                    "run `{}` is not sealed: a worker may still write to it",
                    folder.id()
                ))
                .hint("finish it with `och resume`, or delete it all the same with --force")
                .into());
            }
            folders.push(folder);
        }
        for folder in folders {
            folder.remove(args.force).await?;
            say::note(&format!("deleted run `{}`", folder.id()));
        }
    }
    let none = HashSet::new();
    let own = crate::plan::incarnation();
    for kind in [Sandbox::Local, Sandbox::Docker] {
        if kind == Sandbox::Docker && workspace::docker_available(&sandbox::docker_host()).await.is_err() {
            say::note("no Docker engine answers; containers were not looked for");
            continue;
        }
        let sandboxes = sandbox::make(kind, &own).await?;
        let reaped = sandboxes.reap(&none).await?;
        for name in &reaped.removed {
            say::note(&format!("removed {name}"));
        }
        for (name, why) in &reaped.failed {
            say::warn(&format!("{name} could not be removed: {why}"));
        }
    }
    Ok(Code::Ok)
}
