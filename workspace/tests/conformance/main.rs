//! One suite for every kind of workspace: what a worker relies on, checked on containers, on local sandboxes with and without
//! namespaces, and on the fake. A check that needs real processes leaves the fake out.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, reads its own environment, and speaks to the test that started it"
)]

mod bed;
mod changes;
mod engine;
mod escapes;
mod files;
mod hostile;
mod processes;

/// Names the kinds a check runs on; each becomes a test of its own.
#[macro_export]
macro_rules! on {
    ($check:ident: $($kind:ident)*) => {
        mod $check {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $kind() {
                    $crate::bed::run(stringify!($kind), super::check::$check).await;
                }
            )*
        }
    };
}
