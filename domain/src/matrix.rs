//! Cases × presets × trials, in one stable order.

use crate::id::{TrialIndex, TrialKey};
use crate::preset::Preset;
use crate::suite::{Case, Suite};

/// All trials of a run: preset by preset (shards hold one preset), then suite, case, index.
pub fn trials<'a>(
    suites: &'a [Suite],
    presets: &'a [Preset],
    trials: u32,
) -> impl Iterator<Item = TrialKey> + 'a {
    presets.iter().flat_map(move |preset| {
        suites.iter().flat_map(move |suite| {
            suite.cases.iter().flat_map(move |case| {
                (0..case_trials(case, trials)).map(move |index| TrialKey {
                    suite: suite.id.clone(),
                    case: case.id.clone(),
                    preset: preset.name.clone(),
                    index: TrialIndex(index),
                })
            })
        })
    })
}

/// How many trials a case gets: its own number, else the run's.
#[must_use]
pub fn case_trials(case: &Case, trials: u32) -> u32 {
    case.trials.unwrap_or(trials)
}

/// The suite and case of a trial.
#[must_use]
pub fn find<'a>(suites: &'a [Suite], trial: &TrialKey) -> Option<(&'a Suite, &'a Case)> {
    let suite = suites.iter().find(|suite| suite.id == trial.suite)?;
    let case = suite.cases.iter().find(|case| case.id == trial.case)?;
    Some((suite, case))
}
