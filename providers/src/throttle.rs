//! The limiter shared by all calls to one endpoint: whoever comes first goes first, and only the first in line waits for the clock.

use crate::Share;
use crate::limiter::{Admission, Grant, Limiter};
use domain::env::Moment;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Throttle {
    limiter: Mutex<Limiter>,
    /// Held by the first in line; a fair queue.
    turn: Semaphore,
    /// A call ended or the share changed.
    changed: Notify,
    started: Instant,
}

/// The endpoint asked for a pause that is longer than the caller's patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paused(pub Duration);

impl Throttle {
    pub(crate) fn new(share: Share) -> Self {
        Self {
            limiter: Mutex::new(Limiter::new(share, Moment::default())),
            turn: Semaphore::new(1),
            changed: Notify::new(),
            started: Instant::now(),
        }
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    /// The machine has no state between its calls that a panic could break.
    fn limiter(&self) -> MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_share(&self, share: Share) {
        self.limiter().set_share(self.now(), share);
        self.changed.notify_one();
    }

    #[cfg(test)]
    pub(crate) fn share(&self) -> Share {
        self.limiter().share()
    }

    /// Waits for one's turn. `patience` bounds only pauses that the endpoint asked for, not the waiting for one's share.
    pub(crate) async fn enter(self: &Arc<Self>, tokens: u64, patience: Duration) -> Result<Ticket, Paused> {
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        loop {
            let admission = self.limiter().admit(self.now(), tokens);
            match admission {
                Admission::Granted(grant) => {
                    return Ok(Ticket { throttle: Arc::clone(self), grant: Some(grant) });
                }
                Admission::Paused(rest) if rest > patience => return Err(Paused(rest)),
                Admission::Paused(rest) | Admission::Later(Some(rest)) => {
                    // A timeout is the expected end of this wait.
                    let _ = tokio::time::timeout(rest, self.changed.notified()).await;
                }
                Admission::Later(None) => self.changed.notified().await,
            }
        }
    }
}

/// The right to make one call. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Ticket {
    throttle: Arc<Throttle>,
    grant: Option<Grant>,
}

impl Ticket {
    /// The call ended. `pause` is set when the endpoint said "too many".
    pub(crate) fn leave(mut self, used: Option<u64>, pause: Option<Duration>) {
        self.give_back(used, pause);
    }

    fn give_back(&mut self, used: Option<u64>, pause: Option<Duration>) {
        if let Some(grant) = self.grant.take() {
            self.throttle.limiter().done(self.throttle.now(), &grant, used, pause);
            self.throttle.changed.notify_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_back(None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn throttle(requests: Option<u32>, in_flight: Option<u32>) -> Arc<Throttle> {
        Arc::new(Throttle::new(Share {
            requests_per_minute: requests,
            tokens_per_minute: None,
            max_in_flight: in_flight,
        }))
    }

    const PATIENCE: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn callers_go_in_the_order_in_which_they_came() {
        let throttle = throttle(Some(60), None);
        let order = Arc::new(Mutex::new(Vec::new()));
        let calls = (0..12).map(|number| {
            let (throttle, order) = (Arc::clone(&throttle), Arc::clone(&order));
            async move {
                throttle.enter(1, PATIENCE).await.unwrap().leave(None, None);
                order.lock().unwrap().push((number, throttle.started.elapsed().as_millis()));
            }
        });
        futures::future::join_all(calls).await;
        let order = order.lock().unwrap().clone();
        let expected: Vec<(u32, u128)> =
            (0..12_u32).map(|number| (number, u128::from(number.saturating_sub(5)) * 1000)).collect();
        assert_eq!(order, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_and_a_dropped_waiter_give_their_places_back() {
        let throttle = throttle(None, Some(1));
        let ticket = throttle.enter(1, PATIENCE).await.unwrap();
        let mut waiting = Box::pin(throttle.enter(1, PATIENCE));
        let mut second = Box::pin(throttle.enter(1, PATIENCE));
        assert!((&mut waiting).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        drop(waiting);
        drop(ticket);
        assert!(second.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_fails_those_who_wait_and_a_short_one_does_not() {
        let throttle = throttle(None, None);
        throttle.enter(1, PATIENCE).await.unwrap().leave(None, Some(Duration::from_secs(5)));
        throttle.enter(1, PATIENCE).await.unwrap().leave(None, Some(Duration::from_secs(3600)));
        assert_eq!(throttle.started.elapsed(), Duration::from_secs(5));
        let error = throttle.enter(1, PATIENCE).await.unwrap_err();
        assert_eq!(error, Paused(Duration::from_secs(3600)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_share_wakes_who_waits() {
        let throttle = throttle(Some(0), None);
        let mut waiting = Box::pin(throttle.enter(1, PATIENCE));
        assert!((&mut waiting).now_or_never().is_none());
        throttle.set_share(Share::default());
        assert!(waiting.await.is_ok());
        assert_eq!(throttle.started.elapsed(), Duration::ZERO);
    }
}
