//! The work of an attempt, step by step: each function does one effect of the attempt machine and ends in one event. Owns the things
//! that an attempt needs; decides nothing.

pub(crate) mod claim;
mod files;
pub(crate) mod finish;
pub(crate) mod prepare;
pub(crate) mod round;
pub(crate) mod verify;

use crate::actors::shipper::{Flush, Forget, Ship, Shipper};
use crate::actors::workspace::Handle;
use crate::clock::Clock;
use crate::inputs::{Input, InputCache};
use crate::judge::{Plan, Tally};
use crate::record::{ChunkLimits, Recorder};
use crate::runs::{Run, Runs};
use crate::session::Key;
use agent::{Agent, AgentConfig};
use bytes::Bytes;
use domain::env::Moment;
use domain::id::{AttemptNo, Epoch, Incarnation, WorkerName};
use domain::preset::Preset;
use domain::run::Sandbox;
use domain::suite::Case;
use domain::trace::TraceEvent;
use kameo::actor::ActorRef;
use providers::{Provider, TranscriptWriter};
use run_folder::{AttemptWriter, ChunkKind, Finished, Open};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use workspace::{Sandboxes, Workspace as _};

/// What all attempts of a worker share.
pub(crate) struct Deps {
    /// The worker's life.
    pub(crate) incarnation: Incarnation,
    /// Its name.
    pub(crate) worker: WorkerName,
    /// Its time.
    pub(crate) clock: Clock,
    /// The time for people.
    pub(crate) now_utc: Arc<dyn Fn() -> String + Send + Sync>,
    /// Its runs.
    pub(crate) runs: Arc<Runs>,
    /// Its inputs.
    pub(crate) inputs: InputCache,
    /// Where workspaces come from.
    pub(crate) sandboxes: Arc<dyn Sandboxes>,
    /// Of which kind they are, when that is known.
    pub(crate) sandbox: Option<Sandbox>,
    /// Brings chunks to the store.
    pub(crate) shipper: ActorRef<Shipper>,
    /// When chunks are closed.
    pub(crate) chunks: ChunkLimits,
    /// How long the end of an attempt waits for a store that is away.
    pub(crate) store_patience: Duration,
    /// Numbers of lanes, two an attempt.
    pub(crate) lanes: AtomicU64,
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deps").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// One line about an attempt, for heartbeats; written by the attempt, read by the worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Mutex<String>>);

impl Progress {
    /// Says where the attempt is.
    pub(crate) fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// Where it is.
    pub(crate) fn read(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The pen of an attempt.
#[derive(Debug, Default)]
pub(crate) enum Pen {
    /// Not claimed, or used up.
    #[default]
    None,
    /// Chunks may be written; chunks under way hold it too.
    Open(Arc<AttemptWriter<Open>>),
    /// Only the verdict is missing.
    Finished(Box<AttemptWriter<Finished>>),
}

/// Everything an attempt owns. Travels from one piece of work to the next.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) deps: Arc<Deps>,
    pub(crate) run: Arc<Run>,
    pub(crate) case: Case,
    pub(crate) preset: Preset,
    pub(crate) key: Key,
    pub(crate) epoch: Epoch,
    pub(crate) progress: Progress,
    pub(crate) pen: Pen,
    pub(crate) number: AttemptNo,
    pub(crate) agent: Agent,
    pub(crate) recorder: Recorder,
    transcript: TranscriptWriter,
    pub(crate) provider: Option<Arc<dyn Provider>>,
    workspace: Option<Box<Handle>>,
    input: Option<Input>,
    /// Whether the agent may have changed files since the patch was made.
    pub(crate) touched: bool,
    pub(crate) patch: Option<String>,
    pub(crate) logs: Vec<(String, Bytes)>,
    pub(crate) tally: Tally,
    calls: u32,
    lanes: u64,
    shipped: bool,
}

impl Body {
    /// An attempt at a trial of this run; `None` when the run has no such trial.
    pub(crate) fn new(
        deps: Arc<Deps>,
        run: Arc<Run>,
        key: Key,
        epoch: Epoch,
        number: AttemptNo,
        progress: Progress,
    ) -> Option<Self> {
        let case = run.case(&key.trial)?.clone();
        let preset = run.preset(&key.trial)?.clone();
        let limits = &run.spec.limits;
        let agent = Agent::new(AgentConfig {
            task: case.task.clone(),
            finish_marker: case.expect_contains.clone(),
            max_steps: limits.max_steps,
            context_chars: limits.context_chars,
            permissions: run.spec.permissions.clone(),
            tool_timeout: Duration::from_secs(limits.tool_timeout_seconds),
        });
        let recorder = Recorder::new(run.redactor.clone(), deps.chunks);
        let transcript = TranscriptWriter::new(run.redactor.clone());
        let lanes = deps.lanes.fetch_add(2, Ordering::Relaxed);
        Some(Self {
            deps,
            run,
            case,
            preset,
            key,
            epoch,
            progress,
            pen: Pen::None,
            number,
            agent,
            recorder,
            transcript,
            provider: None,
            workspace: None,
            input: None,
            touched: false,
            patch: None,
            logs: Vec::new(),
            tally: Tally::default(),
            calls: 0,
            lanes,
            shipped: false,
        })
    }

    /// What the rules must know of the trial.
    pub(crate) fn plan(&self) -> Plan {
        let limits = &self.run.spec.limits;
        Plan {
            max_steps: limits.max_steps,
            max_tokens: self.preset.max_tokens,
            marker: self.case.expect_contains.clone(),
            verify: self.case.verify_command.clone(),
            repair_rounds: self.case.verify_feedback_attempts,
            timeout: Duration::from_secs(self.case.timeout_seconds.unwrap_or(limits.timeout_seconds)),
        }
    }

    /// The time limit of one verification.
    pub(crate) fn verify_timeout(&self) -> Duration {
        let limit = self.run.spec.limits.verify_timeout_seconds;
        Duration::from_secs(self.case.verify_timeout_seconds.unwrap_or(limit))
    }

    /// Now.
    pub(crate) fn now(&self) -> Moment {
        self.deps.clock.now()
    }

    /// A text without keys.
    pub(crate) fn cleaned(&self, mut text: String) -> String {
        self.recorder.redactor().clean(&mut text);
        text
    }

    /// Bytes without keys.
    pub(crate) fn cleaned_bytes(&self, bytes: Bytes) -> Bytes {
        self.recorder.redactor().clean_bytes(&bytes).map_or(bytes, Bytes::from)
    }

    /// Adds an event to the trace.
    pub(crate) fn trace(&mut self, event: &TraceEvent) {
        let time = (self.deps.now_utc)();
        self.recorder.event(self.deps.clock.now(), &time, event);
    }

    /// Hands closed chunks to the shipper, and waits while it has no room.
    pub(crate) async fn ship_ripe(&mut self) -> Result<(), String> {
        while let Some((kind, bytes)) = self.recorder.ripe(self.now()) {
            self.ship(kind, bytes).await?;
        }
        Ok(())
    }

    fn lane(&self, kind: ChunkKind) -> u64 {
        self.lanes + u64::from(kind == ChunkKind::Transcript)
    }

    async fn ship(&mut self, kind: ChunkKind, bytes: Bytes) -> Result<(), String> {
        let Pen::Open(writer) = &self.pen else { return Err("nothing is claimed".to_owned()) };
        let ship = Ship { lane: self.lane(kind), writer: Arc::clone(writer), kind, bytes };
        self.shipped = true;
        self.deps.shipper.ask(ship).await.map_err(|error| error.to_string())
    }

    /// Brings everything recorded to the store and waits until it is safe.
    pub(crate) async fn flush(&mut self) -> Result<(), String> {
        for (kind, bytes) in self.recorder.rest() {
            self.ship(kind, bytes).await?;
        }
        if !self.shipped {
            return Ok(());
        }
        let shipper = &self.deps.shipper;
        let [trace, transcript] = ChunkKind::ALL.map(|kind| Flush(self.lane(kind)));
        let (trace, transcript) =
            tokio::join!(async { shipper.ask(trace).await }, async { shipper.ask(transcript).await });
        trace.map_err(|error| error.to_string())?;
        transcript.map_err(|error| error.to_string())?;
        self.shipped = false;
        Ok(())
    }

    /// Tells the shipper that what it still holds of this attempt does not matter.
    pub(crate) async fn forget_chunks(&mut self) {
        if std::mem::take(&mut self.shipped) {
            for kind in ChunkKind::ALL {
                // Fails only when the shipper is gone, and all lanes with it.
                let _ = self.deps.shipper.tell(Forget(self.lane(kind))).await;
            }
        }
    }

    /// The workspace, when it is open.
    pub(crate) fn workspace(&self) -> Option<&Handle> {
        self.workspace.as_deref()
    }

    /// The workspace's original files.
    pub(crate) const fn input(&self) -> Option<&Input> {
        self.input.as_ref()
    }

    /// Ends the workspace, whatever it is doing.
    pub(crate) async fn close_workspace(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            workspace.close().await;
        }
        self.input = None;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(workspace) = &self.workspace {
            workspace.abort();
        }
        if self.shipped {
            for kind in ChunkKind::ALL {
                // A full mailbox or a dead shipper: the lane holds at most what it held, and goes with the process.
                let _ = self.deps.shipper.tell(Forget(self.lane(kind))).try_send();
            }
        }
    }
}
