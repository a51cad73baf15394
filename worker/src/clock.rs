//! Time since the start of this worker. The one place that turns tokio's clock, which tests pause, into moments.

use domain::env::Moment;
use tokio::time::Instant;

/// Counts from when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// Waits until a moment.
    pub(crate) async fn until(self, moment: Moment) {
        tokio::time::sleep_until(self.start + moment.0).await;
    }
}
