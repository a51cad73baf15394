//! Progress and status as the wire has them.

use crate::machine::{self, Phase, Progress, Status, Tally, WorkerChange};
use proto::convert::wire_duration;
use proto::eval::v1;
use proto::eval::v1::run_event::Kind;

const fn tally(tally: &Tally) -> v1::Tally {
    v1::Tally {
        total: tally.total,
        decided: tally.decided,
        passed: tally.passed,
        failed: tally.failed,
        errored: tally.errored,
        earlier: tally.earlier,
        in_flight: tally.in_flight,
        abandoned: tally.abandoned,
    }
}

const fn state(phase: Phase) -> v1::RunState {
    match phase {
        Phase::Opening => v1::RunState::Opening,
        Phase::Reigning => v1::RunState::Reigning,
        Phase::Cancelling => v1::RunState::Cancelling,
        Phase::Settled => v1::RunState::Settled,
        Phase::Sealed => v1::RunState::Sealed,
        Phase::Fenced => v1::RunState::Fenced,
    }
}

pub(crate) fn status(status: &Status) -> v1::RunStatus {
    let presets = status.presets.iter().map(|preset: &machine::PresetStatus| v1::PresetStatus {
        preset: preset.preset.to_string(),
        tally: Some(tally(&preset.tally)),
        paused: preset.paused.clone().unwrap_or_default(),
    });
    v1::RunStatus {
        run: status.run.to_string(),
        state: state(status.phase).into(),
        epoch: status.epoch.get(),
        tally: Some(tally(&status.tally)),
        presets: presets.collect(),
        workers: status.workers,
        note: status.note.clone(),
    }
}

pub(crate) fn event(progress: &Progress, now: impl FnOnce() -> Option<Status>) -> Option<v1::RunEvent> {
    let name = |worker: &Option<domain::id::WorkerName>| {
        worker.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let kind = match progress {
        Progress::Decided { trial, conclusion, worker } => Kind::Decided(v1::DecidedEvent {
            trial: trial.to_string(),
            outcome: Some(conclusion.outcome.into()),
            usage: Some(conclusion.usage.into()),
            seconds: conclusion.seconds,
            steps: conclusion.steps,
            worker: name(worker),
        }),
        Progress::Abandoned { trial, attempt, cause, text, worker, again_after } => {
            Kind::Abandoned(v1::AbandonedEvent {
                trial: trial.to_string(),
                attempt: attempt.map_or(0, domain::id::AttemptNo::get),
                cause: v1::AbandonCause::from(*cause).into(),
                text: text.clone(),
                worker: name(worker),
                again_after: again_after.map(wire_duration),
            })
        }
        Progress::Worker { worker, change } => {
            let change = match change {
                WorkerChange::Joined => v1::WorkerChange::Joined,
                WorkerChange::Suspect => v1::WorkerChange::Suspect,
                WorkerChange::Lost => v1::WorkerChange::Lost,
                WorkerChange::Left => v1::WorkerChange::Left,
            };
            Kind::Worker(v1::WorkerEvent { worker: worker.to_string(), change: change.into() })
        }
        Progress::Preset { preset, paused } => Kind::Preset(v1::PresetEvent {
            preset: preset.to_string(),
            paused: paused.clone().unwrap_or_default(),
        }),
        Progress::Status => Kind::Status(status(&now()?)),
    };
    Some(v1::RunEvent { kind: Some(kind) })
}
