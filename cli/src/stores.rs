//! Opening the store that a command names, and the run in it.

use crate::env_vars;
use crate::exit::Expected;
use anyhow::Result;
use domain::id::RunId;
use run_folder::{RunFolder, Store};
use std::path::Path;

/// Opens the store for writing: `--store`, else `OCH_STORE`, else the directory of `--output-dir`.
///
/// # Errors
/// An unusable-store error with a way out.
pub(crate) fn open(store: Option<&str>, output_dir: &Path) -> Result<Store> {
    open_by(store, output_dir, Store::open)
}

/// Opens a store that must be there already.
///
/// # Errors
/// As [`open`], and when its directory does not exist.
pub(crate) fn open_existing(store: Option<&str>, output_dir: &Path) -> Result<Store> {
    open_by(store, output_dir, Store::open_existing)
}

fn open_by(
    store: Option<&str>,
    output_dir: &Path,
    opener: fn(&str) -> Result<Store, run_folder::store::Error>,
) -> Result<Store> {
    let url = store
        .map(str::to_owned)
        .or_else(|| env_vars::read(env_vars::OCH_STORE))
        .unwrap_or_else(|| output_dir.to_string_lossy().into_owned());
    opener(&url).map_err(|error| {
        let hint = error.hint();
        anyhow::Error::new(error)
            .context(Expected::unusable(format!("cannot open the store `{url}`")).hint(hint))
    })
}

/// Proves that the store keeps its promises before anything is spent on it.
///
/// # Errors
/// An unusable-store error.
pub(crate) async fn prove(store: &Store) -> Result<()> {
    store.probe().await.map_err(|error| {
        anyhow::Error::new(error).context(
            Expected::unusable(format!("the store `{}` cannot be used", store.url()))
                .hint("runs need a store that honours conditional creates"),
        )
    })
}

/// The folder of a run that must exist.
///
/// # Errors
/// A usage error when there is no such run.
pub(crate) async fn run(store: &Store, name: &str) -> Result<RunFolder> {
    // A path to the folder is accepted where a person has one at hand.
    let name = name.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    let id = RunId::new(name).map_err(|error| Expected::usage(format!("`{name}` is not a run: {error}")))?;
    let folder = store.run(&id);
    match folder.spec().await {
        Ok(_) => Ok(folder),
        Err(run_folder::Error::NoSuchRun { .. }) => {
            Err(Expected::usage(format!("there is no run `{id}` in `{}`", store.url()))
                .hint("`och status` lists the runs of a store; name another one with --store")
                .into())
        }
        Err(error) => {
            Err(anyhow::Error::new(error).context(Expected::unusable(format!("cannot open the run `{id}`"))))
        }
    }
}
