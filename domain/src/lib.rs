//! The words of the project as types. Pure: no I/O, no async, no clock, no randomness; every other crate may import this one, it imports none of ours.

pub mod chat;
pub mod env;
pub mod id;
pub mod matrix;
pub mod ops;
pub mod outcome;
pub mod preset;
pub mod run;
pub mod secret;
pub mod suite;
pub mod text;
pub mod trace;
pub mod usage;

/// Whether doing the same thing again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: the same call fails the same way.
    No,
    /// After this long, said by the other side.
    After(std::time::Duration),
    /// After a growing pause of the caller's choosing.
    Backoff,
}

/// Whose doing an error is. This and [`Retry`] are all that a machine asks of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The model's own doing: part of the measurement.
    Model,
    /// Machines, networks, stores, engines: never counted against a model.
    Infra,
    /// The person's input or configuration.
    User,
    /// A defect of och.
    Bug,
}
