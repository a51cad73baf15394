//! What a workspace costs: `cargo run --release -p workspace --example measure [docker|local|plain]`. Prints medians and the 95th
//! percentile; for docs/performance.md, not a test.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for people at a terminal, which may fail by panicking"
)]

use domain::id::{AttemptNo, Incarnation, RunId, TrialIndex, TrialKey};
use domain::ops::{ExecSpec, Op};
use domain::suite::Network;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use workspace::{
    DockerConfig, DockerSandboxes, Isolation, LocalConfig, LocalSandboxes, OpenSpec, Owner, Sandboxes,
    Workspace, WorkspaceLimits,
};

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{what:<44} {:>9.3} ms median {:>9.3} ms p95   n={}", at(0.5), at(0.95), times.len());
}

async fn times<T>(count: usize, mut work: impl AsyncFnMut() -> T) -> Vec<Duration> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        work().await;
        times.push(began.elapsed());
    }
    times
}

fn spec(image: &str) -> OpenSpec {
    OpenSpec {
        owner: Owner {
            run: RunId::new("measure").unwrap(),
            trial: TrialKey {
                suite: "s".parse().unwrap(),
                case: "c".parse().unwrap(),
                preset: "p".parse().unwrap(),
                index: TrialIndex(0),
            },
            attempt: AttemptNo::FIRST,
            incarnation: incarnation(),
        },
        input: None,
        image: Some(image.to_owned()),
        network: Network::None,
        env: BTreeMap::new(),
        limits: WorkspaceLimits::default(),
        deadline: Duration::from_secs(600),
    }
}

fn incarnation() -> Incarnation {
    Incarnation::new(format!("measure-{}", std::process::id())).unwrap()
}

async fn calls(workspace: &dyn Workspace) {
    let list = || workspace.run(Op::List { path: ".".to_owned() });
    let exec = || workspace.run(Op::Exec(ExecSpec::shell("true", Duration::from_secs(9))));
    times(50, async || exec().await.unwrap()).await;
    show("tool call: list a directory", times(2000, async || list().await.unwrap()).await);
    show("tool call: run `sh -c true`", times(500, async || exec().await.unwrap()).await);
}

async fn docker(image: &str) {
    let connect = async |warm: usize| {
        let config = DockerConfig { warm, warm_total: warm, ..DockerConfig::new(incarnation()) };
        DockerSandboxes::connect(config).await.unwrap()
    };
    let cold = connect(0).await;
    let workspace = cold.open(spec(image)).await.unwrap();
    calls(workspace.as_ref()).await;
    workspace.close().await;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let began = Instant::now();
        let workspace = cold.open(spec(image)).await.unwrap();
        workspace.run(Op::KillAll).await.unwrap();
        starts.push(began.elapsed());
        let began = Instant::now();
        workspace.close().await;
        ends.push(began.elapsed());
    }
    show("container: cold open to first answer", starts);
    show("container: close until it is removed", ends);
    cold.shutdown().await;
    let warm = connect(1).await;
    warm.open(spec(image)).await.unwrap().close().await;
    let mut starts = Vec::new();
    for _ in 0..20 {
        // Until the pool is full again.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let began = Instant::now();
        let workspace = warm.open(spec(image)).await.unwrap();
        workspace.run(Op::KillAll).await.unwrap();
        starts.push(began.elapsed());
        workspace.close().await;
    }
    show("container: warm open to first answer", starts);
    warm.shutdown().await;
    let many = connect(0).await;
    let began = Instant::now();
    let lives = (0..40).map(|_| async {
        let workspace = many.open(spec(image)).await.unwrap();
        workspace.run(Op::KillAll).await.unwrap();
        workspace.close().await;
    });
    futures::future::join_all(lives).await;
    println!(
        "containers: {:.1} whole lives a second, 40 asked for at once",
        40.0 / began.elapsed().as_secs_f64()
    );
    many.shutdown().await;
}

async fn local(isolation: Isolation) {
    let path = std::env::var_os("PATH").unwrap();
    let config = LocalConfig { incarnation: incarnation(), path, temp: None, isolation };
    let sandboxes = LocalSandboxes::start(config).await.unwrap();
    for line in sandboxes.describe() {
        println!("  {line}");
    }
    let workspace = sandboxes.open(spec("")).await.unwrap();
    calls(workspace.as_ref()).await;
    workspace.close().await;
    let unused = times(1000, async || sandboxes.open(spec("")).await.unwrap().close().await).await;
    show("sandbox: open and close, never used", unused);
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let began = Instant::now();
        let workspace = sandboxes.open(spec("")).await.unwrap();
        workspace.run(Op::KillAll).await.unwrap();
        starts.push(began.elapsed());
        let began = Instant::now();
        workspace.close().await;
        ends.push(began.elapsed());
    }
    show("sandbox: open to first answer", starts);
    show("sandbox: close", ends);
    sandboxes.shutdown().await;
}

#[tokio::main]
async fn main() {
    let kind = std::env::args().nth(1);
    match kind.as_deref() {
        Some("local") => local(Isolation::Auto).await,
        Some("plain") => local(Isolation::Plain).await,
        Some("docker") | None => {
            workspace::image::build_test_image(workspace::DEFAULT_HOST).await.unwrap();
            docker(workspace::image::TEST_IMAGE).await;
        }
        Some(other) => println!("no kind `{other}`: docker, local or plain"),
    }
}
