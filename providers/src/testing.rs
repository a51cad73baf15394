//! Scripted model servers for tests and benchmarks: OpenAI chat completions and Anthropic messages on loopback, plain and streamed,
//! driven by script files, with faults. They refuse what the real APIs refuse, and keep a log of what they would have charged for.
//!
//! The case is found by its marker (`match` in the script), the turn by the number of assistant messages. Errors are counted by
//! request body: of two equal requests, whoever comes first gets the first error.

mod answer;
mod log;
mod protocol;
mod server;

pub use log::{Logged, Sent};
pub use server::{ModelServer, Options, StartError};

#[cfg(test)]
mod tests;
