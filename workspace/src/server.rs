//! The tool server: the one process of ours inside a workspace. Owns its life: it serves over stdin and stdout, and ends with stdin, at
//! its deadline, or when told by a signal it cannot refuse. Knows nothing of who speaks to it.

mod confine;
mod loopback;
mod root;

use crate::clock::now;
use crate::ops::{Ops, Processes, Root, Tree};
use crate::wire::{Answer, BUILD, Confined, Hello, MAX_FRAME, Request, frame, read_frame, write_frame};
use domain::ops::{OpError, Reply};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Exit code of a server that reached its deadline.
pub(crate) const EXIT_DEADLINE: u8 = 98;
/// Exit code of a server that could not make of itself what it was told to.
pub(crate) const EXIT_SETUP: u8 = 97;
/// Exit code for arguments it does not know.
const EXIT_USAGE: u8 = 2;

/// Where files are, in a container and in an isolated sandbox.
pub(crate) const WORKSPACE: &str = "/workspace";

/// The whole of `och-toolserver`: `serve SECONDS` in a container, `confine SETUP` in a local sandbox.
pub fn tool_server_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> =
        arguments.into_iter().skip(1).filter_map(|argument| argument.into_string().ok()).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["serve", seconds] => seconds.parse().map_err(std::io::Error::other).and_then(|seconds| {
            let confined =
                Confined { own_processes: true, own_files: true, own_user: true, ..Confined::default() };
            serve(Place::in_container(), confined, Duration::from_secs(seconds))
        }),
        ["confine", setup] => return confine::begin(setup),
        ["confined", setup, kind] => confine::inside(setup, kind),
        ["version"] => {
            // For people and tests; nobody parses it.
            let _closed = writeln!(std::io::stdout(), "{BUILD}");
            return ExitCode::SUCCESS;
        }
        _ => return ExitCode::from(EXIT_USAGE),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The worker shows this as the reason why the workspace is lost.
            let _closed = writeln!(std::io::stderr(), "och-toolserver: {error}");
            ExitCode::from(EXIT_SETUP)
        }
    }
}

/// Where a server works.
#[derive(Debug)]
struct Place {
    root: PathBuf,
    tree: Tree,
    env: BTreeMap<String, String>,
}

impl Place {
    fn in_container() -> Self {
        // The image's own environment stays: it is part of the image, and nothing of the worker's is in it.
        let own = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let mut env: BTreeMap<_, _> = own.filter(|(key, _)| key != "HOSTNAME").collect();
        env.entry("PATH".to_owned())
            .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        env.extend(standard_env(WORKSPACE, "/tmp"));
        Self { root: WORKSPACE.into(), tree: Tree::Namespace, env }
    }
}

/// What every command finds, whatever the workspace's kind.
fn standard_env(home: &str, tmp: &str) -> BTreeMap<String, String> {
    // Without bytecode files a verification never runs a stale one, and a patch shows only what was written.
    [
        ("HOME", home),
        ("TMPDIR", tmp),
        ("LANG", "C.UTF-8"),
        ("TZ", "UTC"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("TERM", "dumb"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn serve(place: Place, confined: Confined, idle: Duration) -> std::io::Result<()> {
    // Commands run as the same user: without this one of them could open our streams by way of /proc, or trace us, and speak for us.
    nix::sys::prctl::set_dumpable(false)?;
    let root = Root::open(&place.root)?;
    let processes = Processes::new(place.tree)?;
    let life = Arc::new(Life {
        tree: place.tree,
        deadline: Mutex::new(now() + idle),
        changed: Condvar::new(),
        speaking: Mutex::default(),
    });
    let mut ops = Ops::new(root, processes, place.env);

    let watch = Arc::clone(&life);
    thread("deadline", move || watch.until_deadline())?;
    let (requests, inbox) = sync_channel(1);
    let reader = Arc::clone(&life);
    thread("reader", move || {
        let mut input = BufReader::new(std::io::stdin().lock());
        while let Ok(Some(request)) = read_frame::<Request>(&mut input) {
            if requests.send(request).is_err() {
                break;
            }
        }
        // Whoever we served is gone, and we with it, whatever is running.
        reader.end(0);
    })?;
    let mut out = std::io::stdout();
    write_frame(&mut out, &Hello { build: BUILD.to_owned(), confined })?;
    answer_all(&mut ops, &life, &inbox, &mut out)
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(body).map(drop)
}

fn answer_all(
    ops: &mut Ops,
    life: &Life,
    inbox: &Receiver<Request>,
    out: &mut impl Write,
) -> std::io::Result<()> {
    while let Ok(request) = inbox.recv() {
        let answer = match request {
            Request::Begin { env, deadline_millis } => {
                life.extend(Duration::from_millis(deadline_millis));
                ops.extend_env(env);
                Answer::Begun
            }
            Request::Put(nodes) => Answer::Put(ops.put(nodes)),
            Request::Op(op) => Answer::Reply(ops.run(op)),
        };
        let bytes = match frame(&answer) {
            Ok(bytes) => bytes,
            Err(_) => {
                let why = format!("the answer is larger than {} MiB; ask for less", MAX_FRAME >> 20);
                frame(&Answer::Reply(Reply::Refused(OpError::Io { path: ".".to_owned(), why })))?
            }
        };
        let _speaking = life.speaking.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&bytes)?;
        out.flush()?;
    }
    Ok(())
}

/// When the server ends, and how.
#[derive(Debug)]
struct Life {
    tree: Tree,
    deadline: Mutex<Instant>,
    changed: Condvar,
    /// Held while an answer is written; for good once the end has begun, so that a command killed by it is not told as one that ended.
    speaking: Mutex<()>,
}

impl Life {
    fn extend(&self, from_now: Duration) {
        // A deadline too far to be counted is as good as a hundred years.
        let from_now = from_now.min(Duration::from_secs(100 * 365 * 24 * 3600));
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = now() + from_now;
        self.changed.notify_all();
    }

    fn until_deadline(&self) {
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                drop(deadline);
                self.end(i32::from(EXIT_DEADLINE));
                return;
            }
            deadline = self.changed.wait_timeout(deadline, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for an answer that is being written, but not for a worker that does not read it.
    fn silence(&self) -> Option<MutexGuard<'_, ()>> {
        for _ in 0..100 {
            match self.speaking.try_lock() {
                Ok(silence) => return Some(silence),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        None
    }

    /// Ends this process. As the first of a namespace it takes all others with it; else they are ended before.
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread that is not the main one has to end the process, whatever main is doing"
    )]
    fn end(&self, code: i32) {
        if self.tree == Tree::Descendants {
            let _silence = self.silence();
            confine::end_descendants();
            std::process::exit(code);
        }
        std::process::exit(code);
    }
}
