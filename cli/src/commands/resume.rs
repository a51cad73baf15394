//! `och resume`: the start-up path again, over a folder that is there already.

use super::evaluate::Done;
use crate::args::ResumeArgs;
use crate::drive::{self, Ending, Route};
use crate::exit::Code;
use crate::{say, stores};
use anyhow::Result;

/// Goes on with a run.
pub(crate) async fn run(args: ResumeArgs) -> Result<Code> {
    let store = stores::open_existing(args.store.as_deref(), &args.output_dir)?;
    stores::prove(&store).await?;
    let folder = stores::run(&store, &args.run).await?;
    let spec = folder.spec().await?;
    let route = Route::new(args.coordinator.as_deref(), &args.connect, args.workers, args.concurrency)?;
    let ending = if folder.sealed().await?.is_some() {
        say::note(&format!("run `{}` is sealed already; writing its reports again", folder.id()));
        Ending::Sealed
    } else {
        Box::pin(drive::drive(&store, &folder, &spec, route)).await?
    };
    let resume_hint = format!("och resume {} --store {}", folder.id(), store.url());
    let done = Done { folder, ending, resume_hint };
    let written = done.report(args.comparison_output.as_deref()).await?;
    if args.json {
        say::data(&written.manifest);
    } else {
        say::data(written.table.trim_end());
    }
    done.finish(&written);
    Ok(match done.ending {
        Ending::Sealed if written.errored == 0 => Code::Ok,
        _ => Code::Incomplete,
    })
}
