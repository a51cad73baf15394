//! Repository chores: `cargo xtask tidy` checks what no compiler checks; `cargo xtask bench` measures.

mod bench;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Repository chores.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check import rules, file sizes, first lines and that documents are in step
    Tidy,
    /// Run benchmarks and print the figures that docs/performance.md quotes
    Bench {
        /// Which: trial, makespan, memory, bytes, docker (all by default)
        which: Vec<String>,
    },
}

#[expect(clippy::print_stderr, reason = "a chore talks to the person at the terminal")]
fn main() -> ExitCode {
    let done = match Args::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Bench { which } => bench::run(&which),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
