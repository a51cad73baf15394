//! From checked suites and presets to a planned run: the spec, its inputs packed, both in the store. The last step before money.

use crate::exit::Expected;
use crate::suites::Loaded;
use crate::wall;
use anyhow::{Context as _, Result};
use domain::id::{Incarnation, RunId, fold};
use domain::preset::Preset;
use domain::run::{Limits, Permissions, RunSpec, Sandbox, SkippedPreset};
use domain::suite::{InputDigest, WorkspaceSource};
use run_folder::inputs::{self, Packed};
use run_folder::{Created, RunFolder, Store};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a run is made of.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) run_id: Option<String>,
    pub(crate) loaded: Vec<Loaded>,
    pub(crate) presets: Vec<Preset>,
    pub(crate) skipped: Vec<SkippedPreset>,
    pub(crate) trials: u32,
    pub(crate) limits: Limits,
    pub(crate) permissions: Permissions,
    pub(crate) sandbox: Sandbox,
}

/// Packs the inputs, makes the spec and writes both. Inputs go first: a folder exists from `run.json` on, and then it is whole.
///
/// # Errors
/// Usage errors for what cannot be packed, store errors otherwise.
pub(crate) async fn plan(store: &Store, wish: Wish) -> Result<(RunFolder, RunSpec)> {
    let scripts = crate::suites::scripts(&wish.loaded, &wish.presets)?;
    let run = match &wish.run_id {
        Some(name) => RunId::new(name).map_err(|error| Expected::usage(format!("--run-id: {error}")))?,
        None => fresh_id(&wish.loaded),
    };
    let (suites, packed) =
        tokio::task::spawn_blocking(move || pack(wish.loaded)).await.context("packing stopped")??;
    let spec = RunSpec {
        run: run.clone(),
        created_at: wall::now_utc(),
        tool: format!("och {}", env!("CARGO_PKG_VERSION")),
        suites,
        presets: wish.presets,
        trials: wish.trials,
        limits: wish.limits,
        permissions: wish.permissions,
        sandbox: wish.sandbox,
        skipped: wish.skipped,
        scripts,
        parent: None,
    };
    let folder = store.run(&run);
    if folder.spec().await.is_ok() {
        return Err(taken(&run));
    }
    for input in packed.values() {
        folder.put_input(input).await.context("failed to store a workspace of the run")?;
    }
    match folder.plan(&spec).await.context("failed to write run.json")? {
        Created::Mine => Ok((folder, spec)),
        Created::Theirs(_) => Err(taken(&run)),
    }
}

fn taken(run: &RunId) -> anyhow::Error {
    Expected::usage(format!("the run `{run}` exists already"))
        .hint(format!("go on with it: och resume {run}"))
        .hint("or choose another --run-id; ids are never reused")
        .into()
}

fn fresh_id(loaded: &[Loaded]) -> RunId {
    let suite = loaded.first().map_or("run", |one| one.suite.id.as_str());
    let short: String = suite.chars().take(24).collect();
    RunId::folded(&format!("{}-{}-{}", wall::run_stamp(), fold(short.trim_matches('-')), random_word(6)))
}

/// A new life of a process, or of a worker inside it.
pub(crate) fn incarnation() -> Incarnation {
    Incarnation::folded(&random_word(16))
}

/// A random word of lower-case letters and digits.
fn random_word(length: usize) -> String {
    use rand::RngExt as _;
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

type Inputs = BTreeMap<InputDigest, Packed>;

fn pack(loaded: Vec<Loaded>) -> Result<(Vec<domain::suite::Suite>, Inputs)> {
    let limit = inputs::Limit::default();
    let mut packed = Inputs::new();
    // Many cases share one directory (the labs all use the repository itself): each is packed once.
    let mut by_folder: BTreeMap<(PathBuf, bool), InputDigest> = BTreeMap::new();
    let mut suites = Vec::new();
    for one in loaded {
        let mut suite = one.suite.clone();
        for case in &mut suite.cases {
            let folder = one.workspace(case);
            let template = matches!(case.workspace, WorkspaceSource::Template { .. });
            let at = |error: inputs::Error| {
                let title = case.title.clone();
                let text = format!("{}: case `{title}`: {error}", one.suite.source);
                anyhow::Error::new(error).context(Expected::usage(text))
            };
            let place = (folder.canonicalize().unwrap_or_else(|_| folder.clone()), template);
            let digest = match by_folder.get(&place) {
                Some(digest) => digest.clone(),
                None => {
                    let input = if template {
                        inputs::pack_template(&folder, &limit)
                    } else {
                        inputs::pack_in_place(&folder, &limit)
                    }
                    .map_err(at)?;
                    let digest = input.digest.clone();
                    packed.insert(digest.clone(), input);
                    by_folder.insert(place, digest.clone());
                    digest
                }
            };
            case.input = Some(digest);
            if !case.verify_files.is_empty() {
                let files: BTreeMap<String, PathBuf> = case
                    .verify_files
                    .iter()
                    .map(|(destination, source)| (destination.clone(), one.folder.join(source)))
                    .collect();
                let input = inputs::pack_files(&files, &limit).map_err(at)?;
                case.verify_input = Some(input.digest.clone());
                packed.insert(input.digest.clone(), input);
            }
        }
        suites.push(suite);
    }
    Ok((suites, packed))
}
