//! The invariants of a run, checked from its folder alone.

use crate::folder::RunFolder;
use crate::layout::{self, Place};
use crate::{AttemptView, Error};
use domain::matrix;
use domain::outcome::{Outcome, Verdict};

/// Every broken invariant of a run: V2, A1 and S1 as far as the folder shows them. Empty when all is well.
///
/// # Errors
/// When the folder cannot be read.
pub async fn violations(folder: &RunFolder) -> Result<Vec<String>, Error> {
    let mut broken = Vec::new();
    let spec = folder.spec().await?;
    let verdicts = folder.verdicts().await?;
    for trial in matrix::trials(&spec.suites, &spec.presets, spec.trials) {
        let attempts = folder.attempts(&trial).await?;
        if let Some(verdict) = verdicts.get(&trial) {
            broken.extend(unfounded(verdict, &attempts));
        }
        for view in &attempts {
            let name = format!("attempt {} of {trial}", view.attempt);
            match (&view.claim, &view.result) {
                (Some(claim), Some(result)) if claim.incarnation != result.incarnation => {
                    broken.push(format!(
                        "A1: {name} was claimed by {} and finished by {}",
                        claim.incarnation, result.incarnation
                    ));
                }
                (None, _) => broken.push(format!("A1: {name} has objects and no claim")),
                _ => {}
            }
            if view.result.is_some() && view.abandoned.is_some() {
                broken.push(format!("A1: {name} has a result and is abandoned"));
            }
            broken.extend(missing_chunks(folder, view).await?);
        }
    }
    if let Some(seal) = folder.sealed().await? {
        let sealed: std::collections::BTreeSet<_> =
            seal.verdicts.iter().map(|verdict| verdict.trial.clone()).collect();
        let planned = matrix::trials(&spec.suites, &spec.presets, spec.trials).collect();
        if sealed != planned || seal.verdicts.len() != sealed.len() {
            broken.push("S1: the seal does not hold exactly the trials of run.json".to_owned());
        }
    }
    Ok(broken)
}

/// V2: a verdict names an attempt with a matching result, or is `Errored` by the coordinator.
fn unfounded(verdict: &Verdict, attempts: &[AttemptView]) -> Option<String> {
    let founded = match verdict.attempt {
        None => matches!(verdict.outcome, Outcome::Errored { .. }),
        Some(number) => attempts
            .iter()
            .filter(|view| view.attempt == number)
            .filter_map(|view| view.result.as_ref())
            .any(|result| Verdict::from_result(result) == *verdict),
    };
    (!founded).then(|| format!("V2: the verdict of {} rests on nothing", verdict.trial))
}

/// A result lists every chunk of its attempt, and every chunk it lists is there.
async fn missing_chunks(folder: &RunFolder, view: &AttemptView) -> Result<Vec<String>, Error> {
    let Some(result) = &view.result else { return Ok(Vec::new()) };
    let mut broken = Vec::new();
    let inside = layout::attempt_folder(&result.trial, view.attempt);
    let stored = folder.list(inside.trim_end_matches('/')).await?;
    let listed: Vec<Place> =
        result.chunks.iter().filter_map(|chunk| Place::parse(&format!("{inside}{}", chunk.path))).collect();
    for place in &stored {
        if matches!(place, Place::Chunk(..) | Place::Artifact(..)) && !listed.contains(place) {
            broken.push(format!("A1: `{place}` is not in the result"));
        }
    }
    if let Some(place) = listed.iter().find(|place| !stored.contains(place)) {
        broken.push(format!("A1: `{place}` is in the result and not in the folder"));
    }
    Ok(broken)
}
