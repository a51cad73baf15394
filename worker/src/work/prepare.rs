//! Readying what an attempt needs: provider, inputs, workspace.

use super::Body;
use crate::actors::workspace::Handle;
use crate::inputs;
use crate::judge::Notice;
use crate::machine::Event;
use domain::Retry;
use domain::suite::InputDigest;
use futures::FutureExt as _;
use proto::message::Cause;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workspace::{OpenError, OpenSpec, Owner, WorkspaceLimits};

/// What a container lives beyond everything that may happen in it.
const DEADLINE_MARGIN: Duration = Duration::from_secs(300);

/// The pause before a store that is away is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Makes everything ready for the agent. A workspace is opened ahead only where it is sure to be used.
pub(crate) async fn prepare(body: &mut Body, stop: &CancellationToken) -> Event {
    body.progress.set("preparing");
    let event = stop.run_until_cancelled(prepare_all(body)).await;
    event.unwrap_or(Event::Interrupted)
}

async fn prepare_all(body: &mut Body) -> Event {
    if let Some(ours) = body.deps.sandbox.filter(|ours| *ours != body.run.spec.sandbox) {
        let text =
            format!("the run wants {:?} workspaces and this worker has {ours:?} ones", body.run.spec.sandbox);
        return Event::Unready(Notice::of(Cause::Unusable, text));
    }
    match body.run.provider(&body.preset) {
        Ok(provider) => body.provider = Some(provider),
        Err(why) => return Event::Unready(Notice::of(Cause::Unusable, why)),
    }
    let sure = body.case.verify_command.is_some() || body.run.spec.limits.context_chars > 0;
    if sure && let Err(notice) = open_workspace(body).await {
        return Event::Unready(notice);
    }
    Event::Prepared
}

/// Opens the workspace, unless it is open.
pub(crate) async fn open_workspace(body: &mut Body) -> Result<(), Notice> {
    if body.workspace.is_some() {
        return Ok(());
    }
    let input = match &body.case.input {
        Some(digest) => Some(fetch(body, digest).await?),
        None => None,
    };
    let limits = &body.run.spec.limits;
    let plan = body.plan();
    let verifications = u32::from(plan.verify.is_some()) * (plan.repair_rounds + 1);
    let spec = OpenSpec {
        owner: Owner {
            run: body.key.run.clone(),
            trial: body.key.trial.clone(),
            attempt: body.number,
            incarnation: body.deps.incarnation.clone(),
        },
        input: input.as_ref().map(inputs::Input::path),
        image: body.case.image.clone(),
        network: body.case.network,
        env: body.case.env.clone(),
        limits: WorkspaceLimits {
            memory_mib: limits.memory_mib,
            pids: limits.pids,
            disk_mib: limits.disk_mib,
            ..WorkspaceLimits::default()
        },
        deadline: plan.timeout + body.verify_timeout() * verifications + DEADLINE_MARGIN,
    };
    let opened = body.deps.sandboxes.open(spec).await;
    let workspace = opened.map_err(|error| unready(&error))?;
    body.workspace = Some(Box::new(Handle::new(workspace)));
    body.input = input;
    Ok(())
}

/// A packed input on this machine's disk. A store that is away is waited for.
pub(crate) async fn fetch(body: &Body, digest: &InputDigest) -> Result<inputs::Input, Notice> {
    let got = loop {
        let (folder, wanted) = (body.run.folder.clone(), digest.clone());
        let fetch = move || async move { folder.input(&wanted).await }.boxed();
        match body.deps.inputs.get(digest, fetch).await {
            Err(inputs::Error::Fetch { source, .. }) if source.retry() != Retry::No => {
                tracing::warn!(error = %crate::chain(&source), "the store is away");
                tokio::time::sleep(PAUSE).await;
            }
            got => break got,
        }
    };
    got.map_err(|error| match &error {
        inputs::Error::Fetch { source, .. } => crate::store_notice(source),
        inputs::Error::Disk { .. } => Notice::unready(true, crate::chain(&error)),
    })
}

fn unready(error: &OpenError) -> Notice {
    let mut text = crate::chain(error);
    for hint in error.hints() {
        text.push_str("; hint: ");
        text.push_str(&hint);
    }
    match error {
        OpenError::Input { infra: false, .. } => Notice::of(Cause::Unusable, text),
        _ => Notice::unready(error.retry() != Retry::No, text),
    }
}
