//! The small binary: refuses what it must refuse, and ends in order when it is asked to.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::io::BufRead as _;
use std::process::{Command, Stdio};

fn binary(arguments: &[&str], directory: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_och-coordinator"));
    command.args(arguments).current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn refused(arguments: &[&str], expect: &str) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("empty"), "\n").unwrap();
    let output = binary(arguments, directory.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(expect), "{text}");
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn what_cannot_be_served_is_refused() {
    refused(&["--listen", "0.0.0.0:0"], "without a token and TLS");
    refused(&["--listen", "127.0.0.1:0", "--token-file", "empty"], "the token file `empty` is empty");
    refused(&["--listen", "127.0.0.1:0", "--token-file", "nowhere"], "cannot read `nowhere`");
    refused(&["--listen", "127.0.0.1:0", "--resume", "nobody"], "run `nobody` cannot be resumed");
}

#[test]
fn a_signal_ends_it_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = binary(&["--listen", "127.0.0.1:0"], directory.path()).spawn().unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut until = |wanted: &str| {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended without saying `{wanted}`");
        }
    };
    until("the coordinator serves");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    until("the coordinator is leaving");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
