//! The processes of a workspace: starting, reaping and ending them. One thread waits for any child to end, so orphans that come to us
//! never stay as zombies; it reaps only while nobody is starting a process, because a failed start is waited for by its starter.

use crate::clock::now;
use domain::ops::ExecEnd;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long ending all processes may take.
const ENDING: Duration = Duration::from_secs(5);

/// Which processes are the workspace's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// All but this one: it is the first process of a namespace of its own.
    Namespace,
    /// The descendants of this one, which adopts orphans among them.
    Descendants,
}

/// The processes of a workspace.
#[derive(Debug)]
pub(crate) struct Processes {
    tree: Tree,
    shared: Arc<Shared>,
    wake: PipeReader,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Held while a process is started or reaped.
    starting: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    ended: HashMap<i32, ExecEnd>,
    /// A process was reaped whose end has no name here (a real-time signal), and its number was lost with it.
    nameless: bool,
}

impl Processes {
    /// Begins reaping.
    pub(crate) fn new(tree: Tree) -> std::io::Result<Self> {
        let (wake, waker) = std::io::pipe()?;
        // A full pipe wakes as well as one byte does.
        fcntl(&waker, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), starting: Mutex::default() });
        let reaper = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("reaper".to_owned())
            .stack_size(64 << 10)
            .spawn(move || reap(&reaper, waker))?;
        Ok(Self { tree, shared, wake })
    }

    /// Starts a command; its end is found by [`Self::ended`].
    pub(super) fn spawn(&self, command: &mut Command) -> std::io::Result<Child> {
        let starting = lock(&self.shared.starting);
        // What earlier commands left is of no interest any more.
        {
            let mut state = lock(&self.shared.state);
            state.ended.clear();
            state.nameless = false;
        }
        let child = command.spawn()?;
        drop(starting);
        lock(&self.shared.state).started += 1;
        self.shared.changed.notify_all();
        Ok(child)
    }

    /// How a process ended, once it has.
    pub(super) fn ended(&self, pid: u32) -> Option<ExecEnd> {
        let pid = i32::try_from(pid).ok()?;
        let mut state = lock(&self.shared.state);
        let gone = || kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
        match state.ended.remove(&pid) {
            None if state.nameless && gone() => Some(ExecEnd::Signaled(0)),
            end => end,
        }
    }

    /// Readable when a process has ended since [`Self::awake`].
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes note that something ended.
    pub(super) fn awake(&self) {
        // Only called when readable; what was written is of no interest.
        let _read = (&self.wake).read(&mut [0; 256]);
    }

    /// Ends every process and waits, bounded, until they are gone. Answers how many there were.
    pub(crate) fn kill_all(&self) -> u64 {
        let found = self.alive().len() as u64;
        let began = now();
        loop {
            match self.tree {
                Tree::Namespace => {
                    if kill(Pid::from_raw(-1), Signal::SIGKILL) == Err(Errno::ESRCH) {
                        return found;
                    }
                }
                Tree::Descendants => {
                    let alive = self.alive();
                    if alive.is_empty() {
                        return found;
                    }
                    for pid in alive {
                        // One that is gone already needs no signal.
                        let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    }
                }
            }
            if now().saturating_duration_since(began) > ENDING {
                return found;
            }
            let state = lock(&self.shared.state);
            drop(self.shared.changed.wait_timeout(state, Duration::from_millis(1)));
        }
    }

    /// Processes that are the workspace's and have not ended.
    fn alive(&self) -> Vec<i32> {
        let own = Pid::this().as_raw();
        let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
        let mut all = Vec::new();
        for (pid, parent, running) in table() {
            if pid != own && running {
                all.push(pid);
            }
            children.entry(parent).or_default().push((pid, running));
        }
        if self.tree == Tree::Namespace {
            return all;
        }
        let mut seen = HashSet::from([own]);
        let mut next = vec![own];
        let mut found = Vec::new();
        while let Some(pid) = next.pop() {
            for (child, running) in children.get(&pid).into_iter().flatten() {
                if seen.insert(*child) {
                    next.push(*child);
                    if *running {
                        found.push(*child);
                    }
                }
            }
        }
        found
    }
}

/// Every process that can be seen: its number, its parent's, and whether it still runs.
fn table() -> Vec<(i32, i32, bool)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            // The name may hold anything, brackets and blanks too: what counts comes after its last bracket.
            let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
            let mut fields = std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            Some((pid, parent, !matches!(state, "Z" | "X")))
        })
        .collect()
}

fn reap(shared: &Shared, mut waker: PipeWriter) {
    loop {
        let started = lock(&shared.state).started;
        // Waits without reaping.
        if waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::ECHILD) {
            // No children: none can come but by a start.
            let mut state = lock(&shared.state);
            while state.started == started {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            continue;
        }
        let starting = lock(&shared.starting);
        let mut state = lock(&shared.state);
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => state.ended.insert(pid.as_raw(), ExecEnd::Exited(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    state.ended.insert(pid.as_raw(), ExecEnd::Signaled(signal as i32))
                }
                Err(Errno::EINVAL) => {
                    state.nameless = true;
                    continue;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => continue,
            };
        }
        drop(state);
        drop(starting);
        shared.changed.notify_all();
        match waker.write(&[0]) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// A lock whose holder panicked guards plain data that is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
