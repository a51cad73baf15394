//! A round of the agent: its machine between the model and the workspace, recorded, until it ends or its time does.

use super::{Body, prepare};
use crate::judge::How;
use crate::machine::{Event, Repair};
use agent::{Action, End, EndKind, Observation};
use domain::chat::{CallContext, ModelError, ModelFault, ModelReply, ModelRequest, StopReason};
use domain::env::Moment;
use domain::ops::{Op, Reply};
use domain::trace::TraceEvent;
use run_folder::ChunkKind;
use tokio_util::sync::CancellationToken;
use workspace::Workspace as _;

/// Runs a round, at most until this moment.
pub(crate) async fn run(
    body: &mut Body,
    repair: Option<Repair>,
    until: Moment,
    stop: &CancellationToken,
) -> Event {
    let first = match repair {
        None => Observation::Begin,
        Some(Repair { attempt, command, said }) => {
            Observation::VerifyFailed { attempt, command, error: said }
        }
    };
    let ended = stop.run_until_cancelled(run_until(body, first, until)).await;
    ended.unwrap_or(Event::Interrupted)
}

async fn run_until(body: &mut Body, mut observation: Observation, until: Moment) -> Event {
    loop {
        let step = body.agent.next(observation);
        for event in &step.events {
            body.count(event);
            body.trace(event);
        }
        if let Err(event) = body.ship_until(until).await {
            return event;
        }
        let action = match step.action {
            Action::End(end) => return body.round_ended(end),
            action => action,
        };
        if body.now() >= until {
            return body.time_is_up(false);
        }
        observation = match action {
            Action::CallModel(request) => match body.call(&request, until).await {
                Some(answer) => Observation::Model(answer),
                None => return body.time_is_up(false),
            },
            Action::Workspace(op) => match body.operate(op, until).await {
                Ok(reply) => Observation::Workspace(reply),
                Err(event) => return event,
            },
            Action::End(end) => return body.round_ended(end),
        };
    }
}

impl Body {
    /// Calls the model; `None` when the time is up first.
    async fn call(
        &mut self,
        request: &ModelRequest,
        until: Moment,
    ) -> Option<Result<ModelReply, ModelError>> {
        self.calls += 1;
        self.progress.set(format!("model call {}", self.calls));
        let context = CallContext {
            trial: self.key.trial.clone(),
            case_title: self.case.title.clone(),
            attempt: self.number,
            call: self.calls,
        };
        let Some(provider) = self.provider.clone() else {
            return Some(Err(ModelError::new(ModelFault::Unavailable, "no provider was made")));
        };
        let mut exchanges = Vec::new();
        let clock = self.deps.clock;
        let started = clock.now();
        let answer = {
            let mut call = provider.call(request, &context, &mut exchanges);
            loop {
                let ripe_at = self.recorder.ripe_at();
                let ripe = async {
                    match ripe_at {
                        Some(at) => clock.until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    answer = &mut call => break Some(answer),
                    () = clock.until(until) => break None,
                    // A refusal shows at the end of the attempt, which cannot be stored either.
                    () = ripe => drop(self.ship_ripe().await),
                }
            }
        };
        self.tally.model_seconds += clock.now().since(started).as_secs_f64();
        for exchange in &exchanges {
            let line = self.transcript.push(self.calls, exchange);
            self.recorder.line(clock.now(), ChunkKind::Transcript, &line);
        }
        answer
    }

    /// Asks the workspace, which is opened when this is the first time.
    async fn operate(&mut self, mut op: Op, until: Moment) -> Result<Reply, Event> {
        prepare::open_workspace(self).await.map_err(Event::Unready)?;
        let started = self.now();
        if let Op::Exec(spec) = &mut op {
            // No command outlives the attempt's time; its end is then met by the agent like any other time limit.
            let left = u64::try_from(until.since(started).as_millis()).unwrap_or(u64::MAX);
            spec.timeout_millis = spec.timeout_millis.min(left.max(1));
        }
        self.touched |= matches!(op, Op::Exec(_) | Op::Apply { .. });
        let Some(workspace) = self.workspace() else {
            return Err(Event::WorkspaceLost { counts: false, reason: "no workspace".to_owned() });
        };
        let answer = workspace.run(op).await;
        self.tally.tool_seconds += self.now().since(started).as_secs_f64();
        answer.map_err(|lost| Event::WorkspaceLost { counts: lost.counts, reason: self.cleaned(lost.reason) })
    }

    /// Ships what is ripe. Waiting for room is time of the attempt, and when that is up it is not the model's doing.
    async fn ship_until(&mut self, until: Moment) -> Result<(), Event> {
        let clock = self.deps.clock;
        let shipped = tokio::select! {
            biased;
            shipped = self.ship_ripe() => Some(shipped),
            () = clock.until(until) => None,
        };
        match shipped {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(Event::StoreFailed(why)),
            None => Err(self.time_is_up(true)),
        }
    }

    /// Keeps count for the case that the agent does not get to say it itself.
    fn count(&mut self, event: &TraceEvent) {
        match event {
            TraceEvent::ModelResponse { usage, stop, .. } => {
                self.tally.steps += 1;
                self.tally.usage.add(usage);
                self.tally.truncated |= *stop == StopReason::Length;
            }
            TraceEvent::ToolResult { ok, .. } => {
                self.tally.tool_calls += 1;
                self.tally.failed_tool_calls += u32::from(!ok);
            }
            _ => {}
        }
    }

    fn round_ended(&mut self, end: End) -> Event {
        self.tally.summary = end.summary;
        self.tally.steps = end.steps;
        self.tally.tool_calls = end.tool_calls;
        self.tally.failed_tool_calls = end.failed_tool_calls;
        self.tally.truncated = end.truncated;
        self.tally.last_tools_failed = end.last_tools_failed;
        self.tally.usage = end.usage;
        let how = match end.kind {
            EndKind::Finished => How::Finished,
            EndKind::MaxSteps => How::MaxSteps,
            EndKind::Truncated => How::Truncated,
            EndKind::EmptyReplies => How::EmptyReplies,
            EndKind::Model(error) => How::Model(error),
        };
        Event::RoundEnded { how, tally: self.tally.clone() }
    }

    fn time_is_up(&mut self, waiting_for_store: bool) -> Event {
        let limit = self.plan().timeout.as_secs();
        self.tally.summary = format!("Stopped after timeout_seconds={limit}.");
        let summary = self.tally.summary.clone();
        self.trace(&TraceEvent::TaskStop { summary });
        Event::RoundEnded { how: How::TimeUp { waiting_for_store }, tally: self.tally.clone() }
    }
}
