//! What a scripted server remembers of its requests.

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A whole reply: what a provider charges for.
    Reply,
    /// A refusal by the rules of the API: no key, a bad conversation, an unknown path or model.
    Refused(u16),
    /// An error of the script.
    Fault(u16),
    /// The connection was dropped, or the reply broken off or stalled.
    Broken,
    /// Status 200 with nonsense.
    Garbage,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The path.
    pub path: String,
    /// The request body; empty when bodies are not kept.
    pub body: Bytes,
    /// What became of it.
    pub sent: Sent,
    /// Whether a key was there; the key is not kept.
    pub keyed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Mutex<Vec<Logged>>,
    requests: AtomicU64,
    replies: AtomicU64,
    in_flight: AtomicU64,
    peak: AtomicU64,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Log>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Log {
    /// A request arrived; it counts as in flight until the guard is dropped.
    pub(super) fn arrive(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(now, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(super) fn push(&self, entry: Logged, keep: bool) {
        if entry.sent == Sent::Reply {
            self.replies.fetch_add(1, Ordering::Relaxed);
        }
        if keep {
            self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
    }

    pub(super) fn entries(&self) -> Vec<Logged> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(super) fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }
}
