//! The runs this worker has trials of: `run.json` read once, cases found by key, providers made once a preset. Also this worker's
//! share of rate limits. Knows no attempt.

use domain::id::{CaseId, PresetName, RunId, SuiteId, TrialKey};
use domain::preset::Preset;
use domain::run::RunSpec;
use domain::secret::Redactor;
use domain::suite::Case;
use providers::{Endpoints, Provider, Share};
use run_folder::{RunFolder, Store};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::OnceCell;

/// Runs without attempts that are remembered all the same.
const IDLE_RUNS: usize = 8;

/// Why a trial's run cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The coordinator has not said yet where runs are.
    #[error("no store is open")]
    NoStore,
    /// The store does not create once, or does not answer.
    #[error("the store cannot be used")]
    Probe(#[source] run_folder::probe::Error),
    /// `run.json` cannot be read.
    #[error("failed to read the plan of run `{run}`")]
    Plan {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: run_folder::Error,
    },
}

/// A provider once it was wanted, or why there is none.
type Made = OnceLock<Result<Arc<dyn Provider>, String>>;
/// A run once it was read.
type Read = Arc<OnceCell<Arc<Run>>>;

/// One run.
pub(crate) struct Run {
    /// Its folder.
    pub(crate) folder: RunFolder,
    /// What it is to do.
    pub(crate) spec: RunSpec,
    /// Knows every key that any of its presets uses here.
    pub(crate) redactor: Redactor,
    cases: HashMap<(SuiteId, CaseId), (usize, usize)>,
    providers: BTreeMap<PresetName, Made>,
    endpoints: Arc<Endpoints>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("run", self.folder.id()).finish_non_exhaustive()
    }
}

impl Run {
    fn new(folder: RunFolder, spec: RunSpec, endpoints: Arc<Endpoints>) -> Self {
        let mut cases = HashMap::new();
        for (suite_index, suite) in spec.suites.iter().enumerate() {
            for (case_index, case) in suite.cases.iter().enumerate() {
                cases.insert((suite.id.clone(), case.id.clone()), (suite_index, case_index));
            }
        }
        let redactor = endpoints.redactor(&spec.presets);
        let providers = spec.presets.iter().map(|preset| (preset.name.clone(), OnceLock::new())).collect();
        Self { folder, spec, redactor, cases, providers, endpoints }
    }

    /// The case of a trial.
    pub(crate) fn case(&self, trial: &TrialKey) -> Option<&Case> {
        let (suite, case) = self.cases.get(&(trial.suite.clone(), trial.case.clone()))?;
        self.spec.suites.get(*suite)?.cases.get(*case)
    }

    /// The preset of a trial.
    pub(crate) fn preset(&self, trial: &TrialKey) -> Option<&Preset> {
        self.spec.presets.iter().find(|preset| preset.name == trial.preset)
    }

    /// The provider of a preset, made when it is first wanted; or why there is none.
    pub(crate) fn provider(&self, preset: &Preset) -> Result<Arc<dyn Provider>, String> {
        let Some(cell) = self.providers.get(&preset.name) else {
            return Err(format!("the run has no preset `{}`", preset.name));
        };
        cell.get_or_init(|| {
            self.endpoints.provider(preset, &self.spec.scripts).map_err(|error| error.to_string())
        })
        .clone()
    }

    fn use_share(&self, share: f64) {
        for preset in &self.spec.presets {
            self.endpoints.set_share(&preset.name, part(preset, share));
        }
    }
}

/// This part of a preset's limits; never nothing, or a trial would wait for ever.
fn part(preset: &Preset, share: f64) -> Share {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the whole, which fits"
    )]
    let whole = |number: u32| ((f64::from(number) * share).floor() as u32).max(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 1 and the whole, which fits; limits are far below 2^52"
    )]
    let long = |number: u64| ((number as f64 * share).floor() as u64).max(1);
    Share {
        requests_per_minute: preset.requests_per_minute.map(whole),
        tokens_per_minute: preset.tokens_per_minute.map(long),
        max_in_flight: preset.max_in_flight.map(whole),
    }
}

#[derive(Debug, Default)]
struct Known {
    store: Option<Store>,
    proven: Arc<OnceCell<()>>,
    share: Option<f64>,
    runs: HashMap<RunId, (u64, Read)>,
    uses: u64,
}

/// All runs known here.
#[derive(Debug)]
pub(crate) struct Runs {
    endpoints: Arc<Endpoints>,
    /// A store that was given is proven by whoever gave it, and stays whatever the coordinator names.
    given: bool,
    known: Mutex<Known>,
}

impl Runs {
    /// No run yet.
    pub(crate) fn new(endpoints: Arc<Endpoints>, store: Option<Store>) -> Self {
        let given = store.is_some();
        let proven = Arc::new(if given { OnceCell::new_with(Some(())) } else { OnceCell::new() });
        Self { endpoints, given, known: Mutex::new(Known { store, proven, ..Known::default() }) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the store that the coordinator names.
    pub(crate) fn use_store(&self, url: &str) -> Result<(), run_folder::store::Error> {
        let mut known = self.known();
        let same = known.store.as_ref().is_some_and(|store| store.url() == url);
        if self.given {
            if !same {
                let ours = known.store.as_ref().map_or("", Store::url);
                tracing::warn!(coordinator = %url, worker = %ours, "the coordinator names another store than this worker uses");
            }
            return Ok(());
        }
        if !same {
            known.store = Some(Store::open(url)?);
            known.proven = Arc::default();
            known.runs.clear();
        }
        Ok(())
    }

    /// This part of every preset's limits is ours, from now on.
    pub(crate) fn use_share(&self, share: f64) {
        let mut known = self.known();
        known.share = Some(share);
        for run in known.runs.values().filter_map(|(_, cell)| cell.get()) {
            run.use_share(share);
        }
    }

    /// A run, read when it is first wanted.
    pub(crate) async fn get(&self, run: &RunId) -> Result<Arc<Run>, Error> {
        let (store, proven, cell) = {
            let mut known = self.known();
            let store = known.store.clone().ok_or(Error::NoStore)?;
            known.uses += 1;
            let uses = known.uses;
            let proven = Arc::clone(&known.proven);
            let (used, cell) = known.runs.entry(run.clone()).or_default();
            *used = uses;
            (store, proven, Arc::clone(cell))
        };
        proven.get_or_try_init(|| async { store.probe().await.map_err(Error::Probe) }).await?;
        let loaded = cell
            .get_or_try_init(|| async {
                let folder = store.run(run);
                let plan = folder.spec().await;
                let spec = plan.map_err(|source| Error::Plan { run: run.clone(), source })?;
                let loaded = Arc::new(Run::new(folder, spec, Arc::clone(&self.endpoints)));
                if let Some(share) = self.known().share {
                    loaded.use_share(share);
                }
                Ok(loaded)
            })
            .await?;
        let loaded = Arc::clone(loaded);
        self.forget_idle();
        Ok(loaded)
    }

    fn forget_idle(&self) {
        let mut known = self.known();
        while known.runs.len() > IDLE_RUNS {
            let idle = |cell: &Read| {
                Arc::strong_count(cell) == 1 && cell.get().is_none_or(|run| Arc::strong_count(run) == 1)
            };
            let oldest =
                known.runs.iter().filter(|(_, (_, cell))| idle(cell)).min_by_key(|(_, (used, _))| *used);
            let Some(run) = oldest.map(|(run, _)| run.clone()) else { return };
            known.runs.remove(&run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::preset::ProviderKind;

    #[test]
    fn a_share_is_a_part_of_each_limit_and_never_nothing() {
        let mut preset = Preset::new("p".parse().unwrap(), ProviderKind::Mock, "m");
        preset.requests_per_minute = Some(100);
        preset.max_in_flight = Some(3);
        let share = part(&preset, 0.25);
        assert_eq!(
            (share.requests_per_minute, share.tokens_per_minute, share.max_in_flight),
            (Some(25), None, Some(1))
        );
    }
}
