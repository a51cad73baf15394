//! Opening buckets from the environment, as a process of its own because environments belong to processes.

use run_folder::Store;
use run_folder::testing::{S3Server, conformance};
use std::process::Command;

/// Does what its environment says; the parent tests below set it. Without an S3 endpoint in it, what needs none is checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(url) = std::env::var_os("OPEN_THIS") else {
        let error = Store::open("s3://").unwrap_err();
        assert_eq!(error.to_string(), "`s3://` is no store: it names no bucket");
        return;
    };
    let store = Store::open(url.to_str().unwrap()).unwrap();
    assert_eq!(store.url(), "s3://och-test/team/evals");
    store.probe().await.unwrap();
    conformance(&store, "environment").await;
}

#[test]
fn s3_from_the_environment() {
    let server = S3Server::moto();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("OPEN_THIS", server.url("team/evals/"))
        .envs(server.environment())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
