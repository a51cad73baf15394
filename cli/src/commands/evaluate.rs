//! `och lab-compare` and `och eval`: the main job. Checks everything that can be checked before money, then runs and reports.

use crate::args::{AgentArgs, ApprovalMode, EvalArgs, LabCompareArgs, RunArgs};
use crate::config::{self, Config};
use crate::drive::{self, Ending, Route};
use crate::exit::{Code, Expected};
use crate::reports::{self, Written};
use crate::sandbox;
use crate::{plan, presets, say, stores, suites};
use anyhow::Result;
use domain::preset::Preset;
use domain::run::{Limits, Permissions, SkippedPreset};
use run_folder::{RunFolder, Store};
use std::path::PathBuf;

/// Several presets side by side.
pub(crate) async fn lab_compare(args: LabCompareArgs) -> Result<Code> {
    let config = configure(&args.agent)?;
    let chosen = presets::named(&config, &args.presets)?;
    let (chosen, skipped) = presets::with_keys(chosen, args.include_missing_keys);
    for preset in &skipped {
        say::note(&format!("preset `{}` is skipped: {}", preset.preset, preset.reason));
    }
    if chosen.is_empty() {
        let mut error = Expected::usage("no preset is left to run");
        for preset in &skipped {
            error = error.hint(format!("{}: {}", preset.preset, preset.reason));
        }
        return Err(error
            .hint("set the keys, or try without any: --presets mock; --include-missing-keys runs them all the same")
            .into());
    }
    let done = evaluate(&config, &args.suites, chosen, skipped, &args.agent, &args.run).await?;
    let written = done.report(args.comparison_output.as_deref()).await?;
    if args.run.json {
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

/// One preset.
pub(crate) async fn eval(args: EvalArgs) -> Result<Code> {
    for (given, flag) in [
        (args.session.is_some(), "--session"),
        (args.resume, "--resume"),
        (args.workspace.is_some(), "--workspace"),
    ] {
        if given {
            say::warn(&format!("{flag} has no effect in evals"));
        }
    }
    let config = configure(&args.agent)?;
    let preset = presets::single(&config, &args.model)?;
    if let Some(variable) = presets::missing_key(&preset) {
        return Err(Expected::usage(format!(
            "preset `{}` needs a key and {variable} is not set",
            preset.name
        ))
        .hint(format!("export {variable}=…, or choose another preset: `och presets` lists them"))
        .into());
    }
    let done = evaluate(&config, &[args.suite], vec![preset], Vec::new(), &args.agent, &args.run).await?;
    let written = done.report(None).await?;
    if args.run.json {
        say::data(written.preset_reports.first().map_or("", |(_, json)| json.trim_end()));
    } else {
        say::data(written.table.trim_end());
    }
    done.finish(&written);
    Ok(match done.ending {
        Ending::Sealed if written.errored > 0 => Code::Incomplete,
        Ending::Sealed if written.failed > 0 => Code::Failed,
        Ending::Sealed => Code::Ok,
        _ => Code::Incomplete,
    })
}

fn configure(args: &AgentArgs) -> Result<Config> {
    let config = config::load(args.config.as_deref())?;
    for warning in &config.warnings {
        say::warn(warning);
    }
    let asks = args.approval_mode == Some(ApprovalMode::Ask)
        || (args.approval_mode.is_none() && config.permissions.approval_mode == config::ApprovalMode::Ask);
    if asks {
        say::warn("evals are unattended: approval mode `ask` behaves like `never`");
    }
    Ok(config)
}

/// A run that has come to its end, one way or another.
pub(crate) struct Done {
    pub(crate) folder: RunFolder,
    pub(crate) ending: Ending,
    pub(crate) resume_hint: String,
}

impl Done {
    /// Writes the reports from the folder alone.
    pub(crate) async fn report(&self, copy_to: Option<&std::path::Path>) -> Result<Written> {
        reports::write(&self.folder, copy_to).await
    }

    /// Says where everything is and what to do next.
    pub(crate) fn finish(&self, written: &Written) {
        say::note("");
        say::note(&format!("run      {}", self.folder.id()));
        say::note(&format!("folder   {}", reports::shown_folder(&self.folder)));
        if let Some(page) = &written.page {
            say::note(&format!("report   {page}"));
        }
        for copy in &written.copies {
            say::note(&format!("copy     {}", copy.display()));
        }
        match &self.ending {
            Ending::Sealed if written.errored > 0 => {
                say::warn(&format!(
                    "{} of {} trials could not be measured; they count for no model",
                    written.errored, written.total
                ));
            }
            Ending::Sealed => {}
            Ending::Interrupted { undecided } => {
                say::warn(&format!("interrupted with {undecided} trials undecided; nothing decided is lost"));
                say::note(&format!("hint: go on with `{}`", self.resume_hint));
            }
        }
    }
}

async fn evaluate(
    config: &Config,
    files: &[PathBuf],
    presets: Vec<Preset>,
    skipped: Vec<SkippedPreset>,
    agent: &AgentArgs,
    run: &RunArgs,
) -> Result<Done> {
    let mut loaded = suites::load(files, run.root.as_deref())?;
    suites::select(&mut loaded, &run.cases)?;
    let limits = limits(config, agent);
    let permissions = Permissions {
        allow_write: agent.allow_write || config.permissions.allow_write,
        allow_shell: config.permissions.allow_shell,
    };
    let remote =
        run.coordinator.is_some() || crate::env_vars::read(crate::env_vars::OCH_COORDINATOR).is_some();
    let choice =
        if remote { sandbox::wished(run.sandbox) } else { sandbox::choose(run.sandbox, &loaded).await? };
    let store = stores::open(run.store.as_deref(), &run.output_dir)?;
    stores::prove(&store).await?;
    let wish = plan::Wish {
        run_id: run.run_id.clone(),
        loaded,
        presets,
        skipped,
        trials: run.trials,
        limits,
        permissions,
        sandbox: choice,
    };
    let route = Route::new(run.coordinator.as_deref(), &run.connect, run.workers, run.concurrency)?;
    if let Route::Remote(dial) = &route {
        crate::client::reach(dial).await?;
    }
    let (folder, spec) = plan::plan(&store, wish).await?;
    let ending = Box::pin(drive::drive(&store, &folder, &spec, route)).await?;
    let resume_hint = resume_hint(&folder, &store, run);
    Ok(Done { folder, ending, resume_hint })
}

fn resume_hint(folder: &RunFolder, store: &Store, run: &RunArgs) -> String {
    let mut line = format!("och resume {}", folder.id());
    if run.store.is_some() || crate::env_vars::read(crate::env_vars::OCH_STORE).is_some() {
        line.push_str(&format!(" --store {}", store.url()));
    } else if run.output_dir.as_os_str() != "eval-runs" {
        line.push_str(&format!(" --output-dir {}", run.output_dir.display()));
    }
    line
}

fn limits(config: &Config, args: &AgentArgs) -> Limits {
    let from_config = u32::try_from(config.agent.context_chars.max(0)).unwrap_or(u32::MAX);
    Limits {
        max_steps: args.max_steps.unwrap_or(config.agent.max_steps),
        context_chars: args.context_chars.unwrap_or(from_config),
        max_attempts: config.agent.max_attempts,
        timeout_seconds: config.agent.timeout_seconds,
        verify_timeout_seconds: config.agent.verify_timeout_seconds,
        tool_timeout_seconds: config.agent.tool_timeout_seconds,
        memory_mib: config.sandbox.memory_mib,
        pids: config.sandbox.pids,
        disk_mib: config.sandbox.disk_mib,
    }
}
