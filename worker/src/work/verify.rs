//! Verification: after the agent is done, what it left running is ended, protected files are put back, verify files are put in, and
//! the command judges. The agent never sees the verify files: before a repair round its own files are put back in their place.

use super::{Body, files, prepare};
use crate::machine::Event;
use bytes::Bytes;
use domain::env::Moment;
use domain::ops::{ExecEnd, ExecOutput, ExecSpec, Op, Reply};
use domain::outcome::VerifyRound;
use domain::text;
use domain::trace::TraceEvent;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workspace::{Lost, Workspace as _};

/// What the model, the trace and the report see of a failed verification, at most; head and tail are kept.
const MOST_SAID: usize = 16 * 1024;
/// What a log keeps, at most.
const MOST_LOGGED: usize = 256 * 1024;

/// Runs the verify command.
pub(crate) async fn verify(body: &mut Body, round: u32, stop: &CancellationToken) -> Event {
    body.progress.set(format!("verification {round}"));
    let verified = stop.run_until_cancelled(verify_now(body, round)).await;
    match verified {
        None => Event::Interrupted,
        Some(Ok((verified, said))) => Event::Verified { round: verified, said },
        Some(Err(lost)) => Event::WorkspaceLost { counts: lost.counts, reason: body.cleaned(lost.reason) },
    }
}

async fn verify_now(body: &mut Body, round: u32) -> Result<(VerifyRound, String), Lost> {
    let command = body.case.verify_command.clone().unwrap_or_default();
    prepare::open_workspace(body).await.map_err(|notice| Lost::engine(notice.text))?;
    end_processes(body).await?;
    if body.touched {
        make_patch(body).await;
    }
    let started = body.now();
    let placed = put_files(body).await?;
    let output = match placed.trouble {
        Some(why) => not_run(why),
        None => run_command(body, &command).await?,
    };
    let ok = output.succeeded();
    if !ok && round <= body.case.verify_feedback_attempts {
        end_processes(body).await?;
        files::put_back(body.open()?, placed.covered).await?;
    }
    let end = ended(&output.end, body.verify_timeout());
    let seconds = seconds(body, started, &output);
    let said =
        if ok { String::new() } else { text::cut_middle(&body.cleaned(said(&output, &end)), MOST_SAID) };
    let log = log(&command, &end, &output);
    if !ok || !output.stdout.is_empty() || !output.stderr.is_empty() {
        body.logs.push((format!("verify-{round}.log"), Bytes::from(text::cut_middle(&log, MOST_LOGGED))));
    }
    body.trace(&TraceEvent::VerifyResult { round, ok, end: end.clone(), seconds });
    Ok((VerifyRound { ok, end, seconds }, said))
}

impl Body {
    fn open(&self) -> Result<&crate::actors::workspace::Handle, Lost> {
        self.workspace().ok_or_else(|| Lost::engine("no workspace is open"))
    }
}

async fn end_processes(body: &mut Body) -> Result<(), Lost> {
    if let Reply::Killed(count @ 1..) = body.open()?.run(Op::KillAll).await? {
        body.trace(&TraceEvent::Note { text: format!("ended {count} processes that were left running") });
    }
    Ok(())
}

/// Makes the patch of everything the agent changed up to now. A workspace that cannot tell leaves the attempt without one.
pub(crate) async fn make_patch(body: &mut Body) {
    let Some(workspace) = body.workspace() else { return };
    match files::patch(workspace, body.input()).await {
        Ok(patch) => {
            body.patch = Some(patch);
            body.touched = false;
        }
        Err(why) => body.trace(&TraceEvent::Note { text: format!("no patch could be made: {why}") }),
    }
}

struct Placed {
    /// What was where verify files are now.
    covered: Vec<files::Covered>,
    /// Why the command cannot be run on what the agent left.
    trouble: Option<String>,
}

/// Puts protected files back and verify files in.
async fn put_files(body: &mut Body) -> Result<Placed, Lost> {
    let mut placed = Placed { covered: Vec::new(), trouble: None };
    if !body.case.protected.is_empty() {
        match files::restore(body.open()?, body.input(), &body.case.protected).await? {
            Ok(restored) if restored.is_empty() => {}
            Ok(restored) => {
                let text = format!("put back protected files: {}", text::cut(&restored.join(", "), 2048));
                body.trace(&TraceEvent::Note { text });
            }
            Err(why) => placed.trouble = Some(format!("protected files could not be put back: {why}")),
        }
    }
    if let Some(digest) = body.case.verify_input.clone() {
        let input = prepare::fetch(body, &digest).await.map_err(|notice| Lost::engine(notice.text))?;
        let covered = files::cover(body.open()?, &input).await?;
        match covered {
            Ok(covered) => placed.covered = covered,
            Err(why) => placed.trouble = Some(format!("verify files could not be put in: {why}")),
        }
    }
    Ok(placed)
}

async fn run_command(body: &Body, command: &str) -> Result<ExecOutput, Lost> {
    let mut spec = ExecSpec::shell(with_python(command), body.verify_timeout());
    // Byte code of an earlier state of a file must not be run for the present one, and none is left behind.
    spec.env.insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    spec.env.insert("PYTHONPYCACHEPREFIX".to_owned(), "/nonexistent".to_owned());
    match body.open()?.run(Op::Exec(spec)).await? {
        Reply::Exec(output) => Ok(output),
        Reply::Refused(error) => Ok(not_run(error.to_string())),
        _ => Err(Lost::engine("an answer of another kind than was asked for")),
    }
}

/// `python -m …` means the Python that is there, as it did for the original, which ran suites with its own interpreter.
fn with_python(command: &str) -> String {
    match command.strip_prefix("python -m ") {
        Some(rest) => format!("\"$(command -v python3 || command -v python || echo python3)\" -m {rest}"),
        None => command.to_owned(),
    }
}

fn not_run(why: String) -> ExecOutput {
    ExecOutput {
        end: ExecEnd::NotStarted(why),
        stdout: Vec::new(),
        stderr: Vec::new(),
        stdout_dropped: 0,
        stderr_dropped: 0,
        millis: 0,
    }
}

fn ended(end: &ExecEnd, limit: Duration) -> String {
    match end {
        ExecEnd::Exited(code) => format!("exit code {code}"),
        ExecEnd::Signaled(signal) => format!("killed by signal {signal}"),
        ExecEnd::TimedOut => format!("timed out after {} s", limit.as_secs()),
        ExecEnd::NotStarted(why) => format!("not started: {why}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a command are far below 2^52")]
fn seconds(body: &Body, started: Moment, output: &ExecOutput) -> f64 {
    if output.millis > 0 { output.millis as f64 / 1000.0 } else { body.now().since(started).as_secs_f64() }
}

/// The failure as the model is told it, in the original's words.
fn said(output: &ExecOutput, end: &str) -> String {
    let stdout = shown(&output.stdout, output.stdout_dropped);
    let stderr = shown(&output.stderr, output.stderr_dropped);
    let mut said = String::from("verify_command failed: ");
    said.push_str(stdout.trim_end());
    if !stderr.trim().is_empty() {
        if !stdout.trim().is_empty() {
            said.push('\n');
        }
        said.push_str("[stderr]\n");
        said.push_str(stderr.trim_end());
    }
    let silent = stdout.trim().is_empty() && stderr.trim().is_empty();
    if silent {
        said.push_str(end);
    } else if !matches!(output.end, ExecEnd::Exited(_)) {
        said.push('\n');
        said.push_str(end);
    }
    said
}

fn log(command: &str, end: &str, output: &ExecOutput) -> String {
    let stdout = shown(&output.stdout, output.stdout_dropped);
    let stderr = shown(&output.stderr, output.stderr_dropped);
    format!("$ {command}\n{end}\n\n[stdout]\n{stdout}\n[stderr]\n{stderr}\n")
}

fn shown(bytes: &[u8], dropped: u64) -> String {
    let text = String::from_utf8_lossy(bytes);
    if dropped == 0 { text.into_owned() } else { format!("{text}\n({dropped} bytes in the middle left out)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(end: ExecEnd, stdout: &str, stderr: &str) -> ExecOutput {
        ExecOutput { end, stdout: stdout.into(), stderr: stderr.into(), ..not_run(String::new()) }
    }

    #[track_caller]
    fn check(end: ExecEnd, stdout: &str, stderr: &str, expect: &str) {
        let output = output(end, stdout, stderr);
        assert_eq!(said(&output, &ended(&output.end, Duration::from_secs(5))), expect);
    }

    #[test]
    fn a_failure_is_told_in_the_original_words() {
        check(ExecEnd::Exited(1), "1 != 2\n", "", "verify_command failed: 1 != 2");
        check(ExecEnd::Exited(1), "", "no\n", "verify_command failed: [stderr]\nno");
        check(ExecEnd::Exited(1), "a\n", "b\n", "verify_command failed: a\n[stderr]\nb");
        check(ExecEnd::Exited(3), "", " \n", "verify_command failed: exit code 3");
        check(ExecEnd::TimedOut, "working", "", "verify_command failed: working\ntimed out after 5 s");
        check(ExecEnd::NotStarted("no sh".into()), "", "", "verify_command failed: not started: no sh");
    }

    #[test]
    fn the_python_of_old_suites_is_the_one_that_is_there() {
        assert!(with_python("python -m unittest -q").ends_with("-m unittest -q"));
        assert_eq!(with_python("make test"), "make test");
        assert_eq!(with_python("python tests.py"), "python tests.py");
    }
}
