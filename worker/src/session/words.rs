//! The words of the session machine: what it is told, and what it asks to be done.

use crate::judge::Notice;
use domain::env::Moment;
use domain::id::{AttemptNo, Epoch, Incarnation, RunId, TrialKey, WorkerName};
use proto::message::{FromCoordinator, FromWorker, TrialDecided};
use std::collections::BTreeMap;

/// One trial of one run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The run.
    pub(crate) run: RunId,
    /// The trial.
    pub(crate) trial: TrialKey,
}

/// What never changes in the life of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Its name for people.
    pub(crate) worker: WorkerName,
    /// This life.
    pub(crate) incarnation: Incarnation,
    /// Attempts at once.
    pub(crate) slots: u32,
    /// Facts for people.
    pub(crate) labels: BTreeMap<String, String>,
}

/// How an attempt ended, as far as the session cares.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ended {
    /// A verdict exists.
    Decided(TrialDecided),
    /// No result.
    Abandoned {
        /// The number, when one was claimed.
        attempt: Option<AttemptNo>,
        /// Why.
        notice: Notice,
    },
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A stream is being dialled; what is sent from now on goes over it.
    Dialling {
        /// Its number; later streams have higher ones.
        stream: u64,
    },
    /// The coordinator said something.
    Received {
        /// On this stream.
        stream: u64,
        /// This.
        message: FromCoordinator,
    },
    /// A stream is gone.
    Disconnected {
        /// This one.
        stream: u64,
    },
    /// An attempt has its number.
    Claimed {
        /// The trial.
        key: Key,
        /// The number.
        attempt: AttemptNo,
    },
    /// An attempt ended; its slot may still be in use.
    Ended {
        /// The trial.
        key: Key,
        /// How.
        ended: Ended,
    },
    /// Nothing is left of an attempt: its slot is free.
    Gone {
        /// The trial.
        key: Key,
    },
    /// Take nothing more; what is under way may go on until then.
    Drain {
        /// The end of patience.
        until: Moment,
    },
    /// Time has passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Say this on the stream.
    Send(FromWorker),
    /// Open the store that the coordinator names, when it is not open yet.
    UseStore(String),
    /// Begin an attempt.
    Start {
        /// The trial.
        key: Key,
        /// The reign that granted it.
        epoch: Epoch,
        /// The number to try first.
        attempt: AttemptNo,
    },
    /// End an attempt, unless its result is being written.
    Stop {
        /// The trial.
        key: Key,
        /// Why.
        notice: Notice,
    },
    /// This part of every endpoint's limits is ours.
    UseShare(f64),
    /// Hang up and dial this address.
    Redial(String),
    /// Drained: nothing is held and nothing runs.
    Finished,
}
