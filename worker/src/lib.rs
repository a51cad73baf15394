//! A worker: runs attempts that a coordinator grants, in workspaces of its machine, and writes what is true about them into the run
//! folder. Owns the attempt machine, the session with the coordinator and the actors around both; must not know how runs are planned,
//! sharded or reported.

mod actors;
pub mod args;
mod clock;
mod config;
mod deadline;
mod inputs;
mod judge;
mod lair;
mod living;
mod machine;
mod record;
mod runs;
pub mod serve;
mod session;
mod shipping;
#[cfg(test)]
mod tests;
mod work;

pub use config::Config;
pub use serve::{Summary, serve};

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What the end of a store's patience means to an attempt: the store itself is in trouble (full, forbidden, away), or something in
/// the folder cannot be used by anybody.
fn store_notice(error: &run_folder::Error) -> judge::Notice {
    use proto::message::Cause;
    use run_folder::Error;
    let cause = match error {
        Error::Read { .. } | Error::Write { .. } | Error::List { .. } | Error::Delete { .. } => {
            Cause::StoreUnavailable
        }
        _ => Cause::Unusable,
    };
    judge::Notice::of(cause, chain(error))
}
