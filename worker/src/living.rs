//! The worker lives inside this process. Several may share one maker of workspaces, and none may take another's for a leftover.

use domain::id::Incarnation;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

static LIVING: Mutex<Vec<Incarnation>> = Mutex::new(Vec::new());

/// Says that a life goes on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Living(Incarnation);

impl Living {
    /// A life begins.
    pub(crate) fn begin(incarnation: Incarnation) -> Self {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).push(incarnation.clone());
        Self(incarnation)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner).retain(|living| *living != self.0);
    }
}

/// All lives of this process.
pub(crate) fn all() -> HashSet<Incarnation> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}
