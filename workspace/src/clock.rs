//! The tool server's clock.

use std::time::Instant;

/// Now, never going back.
#[expect(
    clippy::disallowed_methods,
    reason = "the tool server is a shell at the very edge, with no runtime to ask for the time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
