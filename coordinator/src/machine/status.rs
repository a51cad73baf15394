//! How far a run is, for people.

use super::{Phase, RunMachine};
use domain::id::{Epoch, PresetName, RunId};
use domain::outcome::Outcome;

/// Counts of trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All of them.
    pub total: u32,
    /// With a verdict.
    pub decided: u32,
    /// Of them passed.
    pub passed: u32,
    /// Of them failed.
    pub failed: u32,
    /// Of them errored.
    pub errored: u32,
    /// Of them decided before this reign: their outcome was not looked at.
    pub earlier: u32,
    /// In workers' hands.
    pub in_flight: u32,
    /// Attempts that ended without a result in this reign.
    pub abandoned: u32,
}

impl Tally {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        total: 0,
        decided: 0,
        passed: 0,
        failed: 0,
        errored: 0,
        earlier: 0,
        in_flight: 0,
        abandoned: 0,
    };

    pub(super) const fn count(&mut self, outcome: Outcome) {
        self.decided += 1;
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Errored { .. } => self.errored += 1,
        }
    }

    /// A decided trial turned out not to be; which outcome it was counted as is no longer known, so the counts are only kept consistent.
    pub(super) const fn forget_one(&mut self) {
        if self.passed + self.failed + self.errored + self.earlier > self.decided {
            if self.earlier > 0 {
                self.earlier -= 1;
            } else if self.passed > 0 {
                self.passed -= 1;
            } else if self.failed > 0 {
                self.failed -= 1;
            } else {
                self.errored -= 1;
            }
        }
    }

    /// Adds another preset's counts.
    pub const fn add(&mut self, other: Self) {
        self.total += other.total;
        self.decided += other.decided;
        self.passed += other.passed;
        self.failed += other.failed;
        self.errored += other.errored;
        self.earlier += other.earlier;
        self.in_flight += other.in_flight;
        self.abandoned += other.abandoned;
    }
}

/// One preset of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetStatus {
    /// Its name.
    pub preset: PresetName,
    /// Its trials.
    pub tally: Tally,
    /// Why it is paused, when it is.
    pub paused: Option<String>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The run.
    pub run: RunId,
    /// The phase.
    pub phase: Phase,
    /// The reign.
    pub epoch: Epoch,
    /// Over all presets.
    pub tally: Tally,
    /// By preset.
    pub presets: Vec<PresetStatus>,
    /// Connected workers.
    pub workers: u32,
    /// Why it waits or stopped; may be empty.
    pub note: String,
}

impl RunMachine {
    /// How far the run is.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut tally = Tally::EMPTY;
        let presets = self.presets.iter().map(|preset| PresetStatus {
            preset: preset.name.clone(),
            tally: Tally { in_flight: preset.in_flight, ..preset.tally },
            paused: preset.pause.as_ref().map(|pause| pause.text.clone()),
        });
        let presets: Vec<PresetStatus> = presets.collect();
        presets.iter().for_each(|preset| tally.add(preset.tally));
        let workers = self.workers.values().filter(|worker| worker.session.is_some()).count();
        Status {
            run: self.run.clone(),
            phase: self.phase,
            epoch: self.epoch,
            tally,
            presets,
            workers: u32::try_from(workers).unwrap_or(u32::MAX),
            note: self.note.clone(),
        }
    }
}
