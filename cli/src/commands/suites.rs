//! `och suites check`: says whether suite files are sound; spends and writes nothing.

use crate::args::SuitesCommand;
use crate::exit::{Code, Expected};
use crate::{say, suites};
use anyhow::Result;

/// Checks every suite file below the paths.
pub(crate) fn run(command: SuitesCommand) -> Result<Code> {
    let SuitesCommand::Check { paths, root } = command;
    let mut good = 0_usize;
    let mut problems: Vec<String> = Vec::new();
    for path in &paths {
        let files = suites::find(path);
        if files.is_empty() {
            problems.push(format!("{}: holds no suite file", path.display()));
        }
        for file in files {
            match suites::load_one(&file, root.as_deref()) {
                Ok(loaded) => {
                    good += 1;
                    let cases = loaded.suite.cases.len();
                    say::data(&format!(
                        "ok  {}  {cases} case{}",
                        file.display(),
                        if cases == 1 { "" } else { "s" }
                    ));
                }
                Err(found) => problems.extend(found.iter().map(ToString::to_string)),
            }
        }
    }
    if problems.is_empty() {
        return Ok(Code::Ok);
    }
    let count = problems.len();
    Err(Expected::usage(format!(
        "{}\n{count} problem{} found, {good} suite{} sound",
        problems.join("\n"),
        if count == 1 { "" } else { "s" },
        if good == 1 { "" } else { "s" }
    ))
    .hint("suites/README.md describes every key of a suite file")
    .into())
}
