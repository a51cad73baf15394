//! How containers ended, as the engine tells: it removes them at once, so that asking afterwards comes too late.

use super::engine::Engine;
use super::labels::INCARNATION;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use domain::id::Incarnation;
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A shortage of memory this long before the end is taken for its cause.
const OOM_BEFORE_DEATH_NANOS: i64 = 5_000_000_000;

/// Pause before the engine's events are asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// How one container ended, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Death {
    /// The exit code of its first process.
    pub(super) exit: Option<i64>,
    /// The kernel ended a process of it for want of memory shortly before.
    pub(super) out_of_memory: bool,
    /// Somebody sent it a signal through the engine.
    pub(super) signalled: Option<String>,
}

/// The deaths of one worker's containers.
#[derive(Debug, Clone)]
pub(super) struct Events {
    book: Arc<Book>,
    _task: Arc<AbortOnDropHandle<()>>,
}

#[derive(Debug, Default)]
struct Book {
    entries: Mutex<HashMap<String, Entry>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entry {
    death: Death,
    oom_at: Option<i64>,
    died_at: Option<i64>,
}

impl Events {
    pub(super) fn watch(engine: &Engine, incarnation: &Incarnation) -> Self {
        let book = Arc::new(Book::default());
        let task = tokio::spawn(watch(engine.clone(), incarnation.to_string(), Arc::clone(&book)));
        Self { book, _task: Arc::new(AbortOnDropHandle::new(task)) }
    }

    /// How a container ended; waits a little for the news.
    pub(super) async fn death(&self, id: &str, patience: Duration) -> Option<Death> {
        let until = Instant::now() + patience;
        loop {
            let changed = self.book.changed.notified();
            if let Some(entry) = self.book.entries().get(id)
                && entry.death.exit.is_some()
            {
                return Some(entry.death.clone());
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return self.book.entries().get(id).map(|entry| entry.death.clone());
            }
        }
    }

    /// Drops what is known of a container.
    pub(super) fn forget(&self, id: &str) {
        self.book.entries().remove(id);
    }
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, message: EventMessage) {
        let Some(actor) = message.actor else { return };
        let Some(id) = actor.id else { return };
        let attribute = |key: &str| actor.attributes.as_ref().and_then(|all| all.get(key)).cloned();
        let at = message.time_nano.unwrap_or_default();
        let mut entries = self.entries();
        let entry = entries.entry(id).or_default();
        match message.action.as_deref() {
            Some("oom") => entry.oom_at = Some(at),
            Some("kill") => entry.death.signalled = attribute("signal"),
            Some("die") => {
                entry.died_at = Some(at);
                // A death without a code is a death all the same.
                entry.death.exit =
                    Some(attribute("exitCode").and_then(|code| code.parse().ok()).unwrap_or(-1));
            }
            _ => {}
        }
        // In whichever order the two come.
        if let (Some(oom), Some(died)) = (entry.oom_at, entry.died_at) {
            entry.death.out_of_memory = (died - oom).abs() < OOM_BEFORE_DEATH_NANOS;
        }
        drop(entries);
        self.changed.notify_waiters();
    }
}

async fn watch(engine: Engine, incarnation: String, book: Arc<Book>) {
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("event", ["die", "oom", "kill"].map(str::to_owned).to_vec()),
        ("label", vec![format!("{INCARNATION}={incarnation}")]),
    ]);
    loop {
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let mut events = engine.docker().events(Some(options));
        while let Some(event) = events.next().await {
            match event {
                Ok(message) => book.note(message),
                Err(error) => {
                    tracing::debug!(%error, "the engine's events ended");
                    break;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
