//! The actors of a worker: each owns a resource or puts decisions in order, and holds no rules of its own.

pub(crate) mod attempt;
pub(crate) mod link;
pub(crate) mod reaper;
pub(crate) mod root;
pub(crate) mod shipper;
pub(crate) mod workspace;
