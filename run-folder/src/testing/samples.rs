//! Small runs, claims and results to test with.

use crate::records::{AbandonRecord, ClaimRecord, EpochRecord};
use domain::id::{AttemptNo, Incarnation, PresetName, RunId, SuiteId, TrialKey, WorkerName};
use domain::matrix;
use domain::outcome::{AttemptResult, Outcome, Seconds};
use domain::preset::{Preset, ProviderKind};
use domain::run::{Limits, Permissions, RunSpec, Sandbox};
use domain::suite::{Case, Network, Suite, WorkspaceSource};
use domain::usage::Usage;
use std::collections::BTreeMap;

/// A run of one suite with so many cases, one mock preset, and so many trials of each case.
#[must_use]
pub fn spec(run: &RunId, cases: u32, trials: u32) -> RunSpec {
    let case = |number: u32| Case {
        id: domain::id::CaseId::folded(&format!("case-{number}")),
        title: format!("case-{number}"),
        task: "say done".to_owned(),
        workspace: WorkspaceSource::Template { path: "fixture".to_owned() },
        expect_contains: Some("done".to_owned()),
        verify_command: None,
        verify_feedback_attempts: 0,
        tags: Vec::new(),
        trials: None,
        timeout_seconds: None,
        verify_timeout_seconds: None,
        image: None,
        network: Network::None,
        env: BTreeMap::new(),
        verify_files: BTreeMap::new(),
        protected: Vec::new(),
        cluster: None,
        input: None,
        verify_input: None,
    };
    RunSpec {
        run: run.clone(),
        created_at: "2026-11-20T17:45:00Z".to_owned(),
        tool: "och 0.1.0".to_owned(),
        suites: vec![Suite {
            id: SuiteId::folded("smoke"),
            name: "Smoke".to_owned(),
            source: "suites/smoke.json".to_owned(),
            description: None,
            cases: (0..cases).map(case).collect(),
        }],
        presets: vec![Preset::new(PresetName::folded("mock"), ProviderKind::Mock, "mock-coder")],
        trials,
        limits: Limits::default(),
        permissions: Permissions::default(),
        sandbox: Sandbox::Local,
        skipped: Vec::new(),
        scripts: BTreeMap::new(),
        parent: None,
    }
}

/// All trials of a run.
#[must_use]
pub fn trials(spec: &RunSpec) -> Vec<TrialKey> {
    matrix::trials(&spec.suites, &spec.presets, spec.trials).collect()
}

/// A life of a worker.
#[must_use]
pub fn incarnation(name: &str) -> Incarnation {
    Incarnation::folded(name)
}

/// A claim by this life.
#[must_use]
pub fn claim(who: &str) -> ClaimRecord {
    ClaimRecord {
        incarnation: incarnation(who),
        worker: WorkerName::folded("worker"),
        epoch: None,
        nonce: format!("nonce of {who}"),
        image: None,
        claimed_at: "2026-11-20T17:45:01Z".to_owned(),
    }
}

/// A reign of this life.
#[must_use]
pub fn epoch(who: &str) -> EpochRecord {
    EpochRecord {
        incarnation: incarnation(who),
        address: "http://127.0.0.1:7400".to_owned(),
        host: "laptop".to_owned(),
        started_at: "2026-11-20T17:45:00Z".to_owned(),
    }
}

/// A result of this life's attempt.
#[must_use]
pub fn result(trial: &TrialKey, attempt: AttemptNo, who: &str) -> AttemptResult {
    AttemptResult {
        trial: trial.clone(),
        attempt,
        incarnation: incarnation(who),
        outcome: Outcome::Passed,
        finished: true,
        steps: 2,
        tool_calls: 1,
        failed_tool_calls: 0,
        usage: Usage { cost_usd: Some(0.1 + 0.2), ..Usage::call(120, 0, 30) },
        seconds: Seconds { total: 1.0 / 3.0, model: 0.1, tools: 0.2, verify: 0.0 },
        summary: format!("done, says {who}"),
        error: None,
        bound_by: None,
        notes: Vec::new(),
        verify: Vec::new(),
        chunks: Vec::new(),
    }
}

/// An end without a result.
#[must_use]
pub fn abandoned(retryable: bool, counts: bool) -> AbandonRecord {
    AbandonRecord { reason: "the container ran out of memory".to_owned(), retryable, counts }
}
