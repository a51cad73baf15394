//! The static helper inside a workspace. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    workspace::tool_server_main(std::env::args_os())
}
