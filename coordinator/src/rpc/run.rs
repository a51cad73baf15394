//! `RunService`: what a person's command asks.

use super::{ANSWER, no_answer, wire};
use crate::Shared;
use crate::actors::{CancelRun, Fleet, OpenRun, Run, Runs, Subscribe, Subscription, WaitOpen};
use crate::folder::failure;
use domain::id::RunId;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use kameo::actor::ActorRef;
use kameo::error::SendError;
use proto::convert;
use proto::eval::v1;
use proto::eval::v1::run_event::Kind;
use proto::eval::v1::run_service_server::RunService;
use proto::status::{Code, Failure};
use run_folder::{RunFolder, RunState};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// Runs of a list where the client does not say.
const DEFAULT_LIMIT: u32 = 50;
/// Folders read at one time.
const AT_ONCE: usize = 16;

/// See the module.
pub(crate) struct RunRpc {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fleet: ActorRef<Fleet>,
    pub(crate) runs: watch::Receiver<Runs>,
}

impl RunRpc {
    fn folder(&self, run: &RunId) -> RunFolder {
        self.shared.store.run(run)
    }

    fn open_run(&self, run: &RunId) -> Option<ActorRef<Run>> {
        self.runs.borrow().get(run).filter(|run| run.is_alive()).cloned()
    }

    /// Opens a run (or finds it open) and waits until it is.
    async fn start(&self, run: &RunId) -> Result<v1::RunStatus, Status> {
        let open =
            self.fleet.ask(OpenRun(run.clone())).reply_timeout(ANSWER).send().await.map_err(no_answer)?;
        let open = open.ok_or_else(|| Failure::new(Code::Unavailable, "the coordinator is leaving"))?;
        wait_open(&open).await.map(|status| wire::status(&status))
    }

    /// How far a run is that is not open here.
    async fn closed_status(&self, run: &RunId) -> Result<v1::RunStatus, Status> {
        let folder = self.folder(run);
        closed_status(&folder).await.map_err(|error| failure(&error).into())
    }
}

/// Waits until a run is open here.
pub(crate) async fn wait_open(run: &ActorRef<Run>) -> Result<crate::machine::Status, Status> {
    run.ask(WaitOpen).reply_timeout(ANSWER).send().await.map_err(|error| match error {
        SendError::HandlerError(failure) => failure.into(),
        other => no_answer(other),
    })
}

async fn closed_status(folder: &RunFolder) -> Result<v1::RunStatus, run_folder::Error> {
    let mut tally = v1::Tally::default();
    let state = match folder.sealed().await? {
        Some(seal) => {
            let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            tally.total = count(seal.totals.trials);
            tally.decided = tally.total;
            tally.passed = count(seal.totals.passed);
            tally.failed = count(seal.totals.failed);
            tally.errored = count(seal.totals.errored);
            v1::RunState::Sealed
        }
        None => {
            let spec = folder.spec().await?;
            let trials = domain::matrix::trials(&spec.suites, &spec.presets, spec.trials).count();
            tally.total = u32::try_from(trials).unwrap_or(u32::MAX);
            tally.decided = u32::try_from(folder.decided().await?.len()).unwrap_or(u32::MAX);
            tally.earlier = tally.decided;
            if tally.decided >= tally.total { v1::RunState::Settled } else { v1::RunState::Planned }
        }
    };
    let epoch = folder.newest_epoch().await?.map_or(0, |(epoch, _)| epoch.get());
    Ok(v1::RunStatus {
        run: folder.id().to_string(),
        state: state.into(),
        epoch,
        tally: Some(tally),
        presets: Vec::new(),
        workers: 0,
        note: "not open at this coordinator".to_owned(),
    })
}

fn end_event(status: v1::RunStatus) -> v1::RunEvent {
    v1::RunEvent { kind: Some(Kind::End(v1::EndEvent { status: Some(status) })) }
}

fn status_event(status: v1::RunStatus) -> v1::RunEvent {
    v1::RunEvent { kind: Some(Kind::Status(status)) }
}

/// A watcher between two events.
struct Watcher {
    run: ActorRef<Run>,
    subscription: Subscription,
    first: bool,
    over: bool,
}

impl Watcher {
    /// The next event; the last one is the end.
    async fn next(&mut self) -> Result<Option<v1::RunEvent>, Status> {
        if self.over {
            return Ok(None);
        }
        if std::mem::take(&mut self.first) {
            return Ok(Some(status_event(self.subscription.status.clone())));
        }
        loop {
            match self.subscription.events.recv().await {
                Ok(event) => return Ok(Some(v1::RunEvent::clone(&event))),
                Err(RecvError::Lagged(_)) => {
                    // Steps were missed; where things stand now makes up for them. A run that has ended says so next.
                    let again = self.run.ask(Subscribe).reply_timeout(ANSWER).send().await;
                    if let Ok(again) = again {
                        self.subscription = again;
                        return Ok(Some(status_event(self.subscription.status.clone())));
                    }
                }
                Err(RecvError::Closed) => {
                    self.over = true;
                    let end = self.subscription.end.borrow().clone();
                    return match end {
                        Some(status) => Ok(Some(end_event(status))),
                        None => {
                            Err(Failure::new(Code::Unavailable, "the run stopped here; start it again")
                                .into())
                        }
                    };
                }
            }
        }
    }
}

#[tonic::async_trait]
impl RunService for RunRpc {
    async fn start_run(
        &self,
        request: Request<v1::StartRunRequest>,
    ) -> Result<Response<v1::StartRunResponse>, Status> {
        let run: RunId = convert::name("run", &request.into_inner().run)?;
        let folder = self.folder(&run);
        let sealed = folder.sealed().await.map_err(|error| failure(&error))?.is_some();
        let status = if sealed {
            self.closed_status(&run).await?
        } else {
            if self.open_run(&run).is_none() {
                // Without `run.json` there is no run: said before an epoch is claimed.
                folder.spec().await.map_err(|error| failure(&error))?;
            }
            self.start(&run).await?
        };
        let store = self.shared.store.url().to_owned();
        Ok(Response::new(v1::StartRunResponse { status: Some(status), store }))
    }

    async fn get_run(
        &self,
        request: Request<v1::GetRunRequest>,
    ) -> Result<Response<v1::GetRunResponse>, Status> {
        let run: RunId = convert::name("run", &request.into_inner().run)?;
        let status = match self.open_run(&run) {
            Some(open) => wire::status(&wait_open(&open).await?),
            None => self.closed_status(&run).await?,
        };
        Ok(Response::new(v1::GetRunResponse { status: Some(status) }))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => DEFAULT_LIMIT,
            limit => limit,
        };
        let mut runs = self.shared.store.list_runs().await.map_err(|error| failure(&error))?;
        runs.reverse();
        runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let summaries = futures::stream::iter(runs)
            .map(|run| async move {
                let state = match self.open_run(&run) {
                    Some(open) => wire::status(&wait_open(&open).await?).state(),
                    None => match self.folder(&run).state().await.map_err(|error| failure(&error))? {
                        RunState::Sealed => v1::RunState::Sealed,
                        RunState::Settled => v1::RunState::Settled,
                        RunState::Absent | RunState::Planned | RunState::Open | RunState::Cancelling => {
                            v1::RunState::Planned
                        }
                    },
                };
                Ok::<_, Status>(v1::RunSummary { run: run.to_string(), state: state.into() })
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Response::new(v1::ListRunsResponse { runs: summaries }))
    }

    type WatchRunStream = BoxStream<'static, Result<v1::RunEvent, Status>>;

    async fn watch_run(
        &self,
        request: Request<v1::WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let run: RunId = convert::name("run", &request.into_inner().run)?;
        let open = match self.open_run(&run) {
            Some(open) => {
                wait_open(&open).await?;
                // A run may end between the question and the subscription.
                open.ask(Subscribe)
                    .reply_timeout(ANSWER)
                    .send()
                    .await
                    .ok()
                    .map(|subscription| (open, subscription))
            }
            None => None,
        };
        let Some((run, subscription)) = open else {
            let status = self.closed_status(&run).await?;
            if status.state() != v1::RunState::Sealed {
                let text = format!("run `{run}` is not open at this coordinator; start it first");
                return Err(Failure::new(Code::FailedPrecondition, text).into());
            }
            return Ok(Response::new(futures::stream::once(async { Ok(end_event(status)) }).boxed()));
        };
        let watcher = Watcher { run, subscription, first: true, over: false };
        let stream = futures::stream::try_unfold(watcher, |mut watcher| async move {
            Ok(watcher.next().await?.map(|event| (event, watcher)))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn cancel_run(
        &self,
        request: Request<v1::CancelRunRequest>,
    ) -> Result<Response<v1::CancelRunResponse>, Status> {
        let request = request.into_inner();
        let run: RunId = convert::name("run", &request.run)?;
        let folder = self.folder(&run);
        if folder.sealed().await.map_err(|error| failure(&error))?.is_some() {
            let status = self.closed_status(&run).await?;
            return Ok(Response::new(v1::CancelRunResponse { status: Some(status) }));
        }
        folder.spec().await.map_err(|error| failure(&error))?;
        folder.cancel(&request.reason).await.map_err(|error| failure(&error))?;
        // The first reason stays.
        let reason = folder.cancelled().await.map_err(|error| failure(&error))?.unwrap_or(request.reason);
        // A run that nobody reigns over is opened to be ended: decided as cancelled and sealed.
        self.start(&run).await?;
        if let Some(open) = self.open_run(&run) {
            // A run that has just ended has nothing left to cancel.
            let _ = open.tell(CancelRun { reason }).send().await;
        }
        let status = match self.open_run(&run) {
            Some(open) => wire::status(&wait_open(&open).await?),
            None => self.closed_status(&run).await?,
        };
        Ok(Response::new(v1::CancelRunResponse { status: Some(status) }))
    }
}
