//! `och report`: a run's reports again, from its folder alone.

use crate::args::ReportArgs;
use crate::exit::Code;
use crate::{reports, say, stores};
use anyhow::Result;

/// Writes the reports.
pub(crate) async fn run(args: ReportArgs) -> Result<Code> {
    let store = stores::open_existing(args.store.as_deref(), &args.output_dir)?;
    let folder = stores::run(&store, &args.run).await?;
    let written = reports::write(&folder, args.comparison_output.as_deref()).await?;
    if args.json {
        say::data(&written.manifest);
    } else {
        say::data(written.table.trim_end());
    }
    if let Some(page) = &written.page {
        say::note(&format!("report   {page}"));
    }
    for copy in &written.copies {
        say::note(&format!("copy     {}", copy.display()));
    }
    Ok(if written.undecided > 0 || written.errored > 0 { Code::Incomplete } else { Code::Ok })
}
