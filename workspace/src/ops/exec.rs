//! Running commands: own process group, output capped while it is read, whole tree killed at the time limit. Owns the reaping of every
//! process that ends in the workspace.

mod processes;

pub(crate) use processes::{Processes, Tree};

use super::beneath::Root;
use super::capped::Capped;
use crate::clock::now;
use domain::ops::{Command as Wanted, ExecEnd, ExecOutput, ExecSpec, OpError};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Largest cap on a stream.
const MAX_CAP: u64 = 8 << 20;

/// How long a command's streams are read after it ended while something it left behind holds them open.
const GRACE: Duration = Duration::from_millis(200);

/// A pause in the streams that ends the grace early.
const QUIET: Duration = Duration::from_millis(20);

/// How long a killed command may take to be gone.
const DYING: Duration = Duration::from_secs(5);

pub(super) fn exec(
    root: &Root,
    processes: &Processes,
    env: &BTreeMap<String, String>,
    spec: &ExecSpec,
) -> Result<ExecOutput, OpError> {
    let cwd = root.open_dir(&spec.cwd)?;
    let began = now();
    let mut command = match &spec.command {
        Wanted::Shell(line) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(line);
            command
        }
        Wanted::Argv(argv) => {
            let Some((program, arguments)) = argv.split_first() else {
                return Ok(not_started("no program was named", began));
            };
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
    };
    command
        .env_clear()
        .envs(env)
        .envs(&spec.env)
        // Entered through the descriptor: nobody can swap the directory between the check and the start.
        .current_dir(format!("/proc/self/fd/{}", cwd.as_raw_fd()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = match processes.spawn(&mut command) {
        Ok(child) => child,
        Err(error) => return Ok(not_started(&error.to_string(), began)),
    };
    let pid = child.id();
    // When memory runs out the command goes before the tool server. Best effort: the kernel prefers the larger one anyway.
    let _preferred = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500");

    let cap = usize::try_from(spec.output_cap.min(MAX_CAP)).unwrap_or(usize::MAX);
    let mut stdout = Stream::new(child.stdout.take(), cap);
    let mut stderr = Stream::new(child.stderr.take(), cap);
    let limit = began.checked_add(Duration::from_millis(spec.timeout_millis));
    let mut buffer = vec![0; 64 << 10];
    let mut pump = Pump { processes, pid, stdout: &mut stdout, stderr: &mut stderr, buffer: &mut buffer };
    let end = match pump.until_ended(limit) {
        Some(end) => {
            pump.until_quiet();
            end
        }
        None => {
            processes.kill_all();
            pump.until_ended(now().checked_add(DYING));
            pump.until_quiet();
            ExecEnd::TimedOut
        }
    };
    let (stdout, stdout_dropped) = stdout.kept.finish();
    let (stderr, stderr_dropped) = stderr.kept.finish();
    Ok(ExecOutput { end, stdout, stderr, stdout_dropped, stderr_dropped, millis: millis_since(began) })
}

fn not_started(why: &str, began: Instant) -> ExecOutput {
    ExecOutput {
        end: ExecEnd::NotStarted(why.to_owned()),
        stdout: Vec::new(),
        stderr: Vec::new(),
        stdout_dropped: 0,
        stderr_dropped: 0,
        millis: millis_since(began),
    }
}

fn millis_since(began: Instant) -> u64 {
    u64::try_from(now().saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX)
}

/// One stream of a command while it is read.
struct Stream<R> {
    source: Option<R>,
    kept: Capped,
}

impl<R: Read + AsFd> Stream<R> {
    fn new(source: Option<R>, cap: usize) -> Self {
        if let Some(source) = &source {
            // Reads follow a poll; should one block all the same, the time limit still ends the writer.
            let _blocking = fcntl(source, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        }
        Self { source, kept: Capped::new(cap) }
    }

    /// Takes what is there now.
    fn take(&mut self, buffer: &mut [u8]) {
        let Some(source) = &mut self.source else { return };
        match source.read(buffer) {
            Ok(0) => self.source = None,
            Ok(read) => self.kept.push(&buffer[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                ) => {}
            Err(_) => self.source = None,
        }
    }
}

struct Pump<'a, O, E> {
    processes: &'a Processes,
    pid: u32,
    stdout: &'a mut Stream<O>,
    stderr: &'a mut Stream<E>,
    buffer: &'a mut [u8],
}

impl<O: Read + AsFd, E: Read + AsFd> Pump<'_, O, E> {
    /// Reads until the command has ended; `None` when the limit comes first.
    fn until_ended(&mut self, limit: Option<Instant>) -> Option<ExecEnd> {
        loop {
            if let Some(end) = self.processes.ended(self.pid) {
                return Some(end);
            }
            let left = limit.map(|limit| limit.saturating_duration_since(now()));
            if left == Some(Duration::ZERO) {
                return None;
            }
            self.step(left);
        }
    }

    /// Reads what is left in the streams: to their end, or for a short while when others hold them open.
    fn until_quiet(&mut self) {
        let began = now();
        while self.stdout.source.is_some() || self.stderr.source.is_some() {
            if now().saturating_duration_since(began) > GRACE || !self.step(Some(QUIET)) {
                return;
            }
        }
    }

    /// Waits for one thing to happen, at most so long. Answers whether a stream had something.
    fn step(&mut self, wait: Option<Duration>) -> bool {
        let timeout = wait.map_or(PollTimeout::NONE, |wait| {
            // Rounded up, so that the last moment is not spent spinning.
            let millis = wait.as_millis().saturating_add(1).min(60_000);
            PollTimeout::try_from(i32::try_from(millis).unwrap_or(60_000)).unwrap_or(PollTimeout::MAX)
        });
        let (out, err) = {
            let mut fds = vec![PollFd::new(self.processes.wake(), PollFlags::POLLIN)];
            fds.extend(
                self.stdout.source.iter().map(|source| PollFd::new(source.as_fd(), PollFlags::POLLIN)),
            );
            let out_at = self.stdout.source.is_some().then_some(1);
            let err_at = self.stderr.source.is_some().then_some(fds.len());
            fds.extend(
                self.stderr.source.iter().map(|source| PollFd::new(source.as_fd(), PollFlags::POLLIN)),
            );
            if poll(&mut fds, timeout).is_err() {
                return false;
            }
            let ready = |at: Option<usize>| {
                at.and_then(|at| fds.get(at))
                    .and_then(PollFd::revents)
                    .is_some_and(|events| !events.is_empty())
            };
            if ready(Some(0)) {
                self.processes.awake();
            }
            (ready(out_at), ready(err_at))
        };
        if out {
            self.stdout.take(self.buffer);
        }
        if err {
            self.stderr.take(self.buffer);
        }
        out || err
    }
}
