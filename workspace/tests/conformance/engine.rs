//! What only a real engine, or a real worker that dies, can show. A worker is this test program again, as a process of its own.

use crate::bed::{Bed, docker, incarnation};
use domain::id::Incarnation;
use domain::ops::{Change, Command as Wanted, ExecEnd, ExecSpec, Op, OpError, Reply};
use domain::{Fault, Retry};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use workspace::{DockerSandboxes, OpenError, Sandboxes, docker_available};

/// A condition that must come true, and how long that may take.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < limit, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn engine(host: &str, arguments: &[&str]) -> String {
    let out = Command::new("docker").args(["-H", host]).args(arguments).output().unwrap();
    assert!(out.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn containers_of(host: &str, incarnation: &str) -> Vec<String> {
    let label = format!("label=och.incarnation={incarnation}");
    let list = engine(host, &["ps", "-aq", "--no-trunc", "--filter", &label]);
    list.lines().map(str::to_owned).collect()
}

fn own_containers() -> Vec<String> {
    containers_of(&docker::host(), incarnation().as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_killed_from_outside_does_not_count() {
    crate::bed::run("docker", async |bed: &mut Bed| {
        bed.ok("true").await;
        let containers = own_containers();
        assert_eq!(containers.len(), 1);
        engine(&docker::host(), &["kill", &containers[0]]);
        let lost = bed.lost(Op::KillAll).await;
        assert!(!lost.counts && lost.reason.contains("outside"), "{lost}");
        assert_eq!(bed.lost(Op::KillAll).await, lost);
    })
    .await;
    assert_eq!(own_containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_nothing_and_hides_no_volume() {
    crate::bed::run("docker", async |bed: &mut Bed| {
        let id = own_containers().pop().unwrap();
        let host = docker::host();
        let seen = engine(
            &host,
            &["inspect", "-f", "{{json .HostConfig}} {{json .Config.Env}} {{json .Mounts}}", &id],
        );
        for want in [
            "\"NetworkMode\":\"none\"",
            "\"ReadonlyRootfs\":true",
            "\"AutoRemove\":true",
            "\"CapDrop\":[\"ALL\"]",
            "\"no-new-privileges:true\"",
            "\"PidsLimit\":70",
            "\"Privileged\":false",
            "\"Binds\":null",
            " []",
        ] {
            assert!(seen.contains(want), "{want} in {seen}");
        }
        let label =
            engine(&host, &["inspect", "-f", "{{index .Config.Labels \"och.trial\"}} {{.Name}}", &id]);
        assert!(label.starts_with("suite.case.preset.0 /och-run-1.suite.case.preset.0.01-"), "{label}");
        assert!(!seen.contains("CARGO"));
        bed.ok("sleep 1000 & echo left").await;
    })
    .await;
    assert_eq!(own_containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_containers_are_taken_and_never_leaked() {
    let bed = Bed::make("docker").await;
    let sandboxes = docker::sandboxes(2).await;
    let first = sandboxes.open(bed.spec.clone()).await.unwrap();
    let bed_own = 1;
    until("two warm ones beside the first", || own_containers().len() == bed_own + 3).await;
    let before: HashSet<_> = own_containers().into_iter().collect();
    let second = sandboxes.open(bed.spec.clone()).await.unwrap();
    // What it got was there before, and it has the input and the environment of the case.
    let names = engine(&docker::host(), &["ps", "--format", "{{.Names}}", "--filter", "name=och-warm"]);
    assert!(names.lines().count() >= 1);
    let Reply::Exec(out) = second
        .run(Op::Exec(ExecSpec::shell("cat hello.txt; echo $CASE", Duration::from_secs(9))))
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(out.stdout, b"hello\nyes\n");
    until("the pool is full again", || own_containers().len() == bed_own + 4).await;
    assert_eq!(own_containers().into_iter().filter(|id| !before.contains(id)).count(), 1);
    // One that died in the pool is passed over.
    let warm = format!("name=och-warm-{}", incarnation());
    for id in engine(&docker::host(), &["ps", "-q", "--filter", &warm]).lines() {
        engine(&docker::host(), &["kill", id]);
    }
    let third = sandboxes.open(bed.spec.clone()).await.unwrap();
    assert!(matches!(third.run(Op::KillAll).await, Ok(Reply::Killed(0))));
    for workspace in [first, second, third] {
        workspace.close().await;
    }
    sandboxes.shutdown().await;
    bed.workspace.close().await;
    bed.sandboxes.shutdown().await;
    assert_eq!(own_containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reaper_takes_only_what_nobody_owns() {
    crate::bed::run("docker", async |bed: &mut Bed| {
        let host = docker::host();
        let id = own_containers().pop().unwrap();
        let label = |key: &str| {
            engine(&host, &["inspect", "-f", &format!("{{{{index .Config.Labels \"{key}\"}}}}"), &id])
        };
        let start = |name: &str, incarnation: &str, pid: &str| {
            let labels = [
                ("och.managed", "1".to_owned()),
                ("och.incarnation", incarnation.to_owned()),
                ("och.owner-pid", pid.to_owned()),
                ("och.lives-seconds", "60".to_owned()),
                ("och.machine", label("och.machine")),
                ("och.boot", label("och.boot")),
                ("och.owner-pid-namespace", label("och.owner-pid-namespace")),
                ("och.owner-started", label("och.owner-started")),
            ]
            .map(|(key, value)| format!("--label={key}={value}"));
            let name = format!("och-reap-{name}-{}", std::process::id());
            let mut run = vec!["run", "-d", "--rm", "--network=none", "--name", &name];
            run.extend(labels.iter().map(String::as_str));
            run.extend([workspace::image::TEST_IMAGE, "sleep", "600"]);
            engine(&host, &run);
            name
        };
        let own = std::process::id().to_string();
        let dead = start("dead", "reap-dead", "4194304");
        let vouched = start("vouched", "reap-vouched", "4194304");
        let neighbour = start("neighbour", "reap-neighbour", &own);
        let alive = HashSet::from([Incarnation::new("reap-vouched").unwrap()]);
        let reaped = bed.sandboxes.reap(&alive).await.unwrap();
        assert!(reaped.removed.contains(&dead), "{reaped:?}");
        for kept in [&vouched, &neighbour] {
            assert!(!reaped.removed.contains(kept), "{reaped:?}");
            engine(&host, &["rm", "-f", kept]);
        }
        assert_eq!(bed.ok("echo mine lives").await, "mine lives\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_missing_is_the_suites_trouble() {
    crate::bed::run("docker", async |bed: &mut Bed| {
        let mut spec = bed.spec.clone();
        spec.image = Some("och/no-such-image:1".to_owned());
        let error = bed.sandboxes.open(spec).await.unwrap_err();
        assert!(
            matches!(&error, OpenError::NoSuchImage { image } if image == "och/no-such-image:1"),
            "{error}"
        );
        assert_eq!((error.retry(), error.fault()), (Retry::No, Fault::User));
        assert!(error.hints()[0].contains("docker pull"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_image_with_volumes_serves_files() {
    let host = docker::host();
    let image = format!("och/test-empty-{}", std::process::id());
    crate::bed::run("docker", async |bed: &mut Bed| {
        let mut import = Command::new("docker")
            .args(["-H", &host, "import", "-c", "VOLUME /data", "-", &image])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut import.stdin.take().unwrap(), &[0; 1024]).unwrap();
        assert!(import.wait().unwrap().success());
        let volumes = engine(&host, &["volume", "ls", "-q"]);
        let name = image.clone();
        bed.reopen(|spec| spec.image = Some(name)).await;
        assert_eq!(bed.text("hello.txt").await, "hello\n");
        assert!(matches!(bed.sh("true").await.end, ExecEnd::NotStarted(_)));
        assert!(matches!(bed.argv(&["true"]).await.end, ExecEnd::NotStarted(_)));
        assert_eq!(engine(&host, &["volume", "ls", "-q"]), volumes);
    })
    .await;
    let base = engine(&host, &["image", "inspect", "-f", "{{slice .Id 7 31}}", &image]);
    let made = engine(&host, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "och/run"]);
    for made in made.lines().filter(|made| made.contains(&base)) {
        engine(&host, &["rmi", made]);
    }
    engine(&host, &["rmi", &image]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_may_ask_for_a_network() {
    crate::bed::run("docker", async |bed: &mut Bed| {
        bed.reopen(|spec| spec.network = domain::suite::Network::Full).await;
        assert!(bed.ok("cat /proc/net/dev").await.contains("eth0"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_is_cut_off_leaves_no_container() {
    let bed = Bed::make("docker").await;
    let sandboxes = docker::sandboxes(0).await;
    for millis in [1, 20, 60, 120, 200] {
        let opening = sandboxes.open(bed.spec.clone());
        // Whether it came to an end in time is of no interest.
        let _cut = tokio::time::timeout(Duration::from_millis(millis), opening).await;
    }
    sandboxes.shutdown().await;
    until("only the bed's own is left", || own_containers().len() == 1).await;
    bed.workspace.close().await;
    bed.sandboxes.shutdown().await;
    assert_eq!(own_containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_prepared_images_are_removed() {
    let host = docker::host();
    let name = format!("och/run:test-{}", std::process::id());
    docker::ready().await;
    let mut build = Command::new("docker")
        .args(["-H", &host, "import", "-c", "LABEL och.server=another", "-", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut build.stdin.take().unwrap(), &[0; 1024]).unwrap();
    assert!(build.wait().unwrap().success());
    let sandboxes = docker::sandboxes(0).await;
    let removed = sandboxes.remove_old_images().await.unwrap();
    assert!(removed.contains(&name), "{removed:?}");
    assert_eq!(engine(&host, &["image", "ls", "-q", &name]), "");
    sandboxes.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_input_is_told_and_leaves_no_container() {
    crate::bed::run("docker", async |bed: &mut Bed| {
        let path = bed.spec.input.clone().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let cut = path.with_extension("cut");
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        let mut spec = bed.spec.clone();
        for (input, infra) in [(cut, false), (path.with_extension("missing"), true)] {
            spec.input = Some(input);
            match bed.sandboxes.open(spec.clone()).await {
                Err(OpenError::Input { infra: found, .. }) => assert_eq!(found, infra),
                other => panic!("{other:?}"),
            }
        }
        until("only the bed's own is left", || own_containers().len() == 1).await;
    })
    .await;
}

/// Time is paused: a socket that accepts and never answers must not hold anybody.
#[tokio::test(start_paused = true)]
async fn a_silent_engine_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let host = format!("unix://{}", path.display());
    let error = docker_available(&host).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    let error = docker_available("unix:///nowhere/engine.sock").await.unwrap_err();
    assert_eq!((error.retry(), error.fault()), (Retry::Backoff, Fault::Infra));
    assert!(docker_available("ssh://somewhere").await.is_err());
}

/// An engine of this test's own, which can be stopped without harm to others.
struct OwnEngine {
    folder: tempfile::TempDir,
    process: Child,
}

impl OwnEngine {
    fn host(&self) -> String {
        format!("unix://{}/engine.sock", self.folder.path().display())
    }

    fn spawn(folder: &std::path::Path) -> Child {
        let at = |name: &str| folder.join(name).display().to_string();
        let log = std::fs::File::options().create(true).append(true).open(at("log")).unwrap();
        // In a network of its own: an engine without a bridge would take away the one of the machine's own engine.
        Command::new("unshare")
            .args(["--net", "dockerd"])
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
            .args(["--host", &format!("unix://{}", at("engine.sock")), "--data-root", &at("data")])
            .args(["--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--bridge", "none", "--iptables=false", "--ip-forward=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    async fn answers(&self) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(60);
        while docker_available(&self.host()).await.is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(tokio::time::Instant::now() < limit, "the engine does not come up: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Self::spawn(folder.path());
        let own = Self { folder, process };
        own.answers().await;
        own
    }

    fn signal(&mut self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        self.process.wait().unwrap();
    }

    async fn restart(&mut self) {
        // One that was killed leaves its number behind.
        let _absent = std::fs::remove_file(self.folder.path().join("pid"));
        self.process = Self::spawn(self.folder.path());
        self.answers().await;
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        // Mounts of an engine that was killed stay until somebody takes them away.
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let own = self.folder.path().display().to_string();
        let mut mounts: Vec<_> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|at| at.starts_with(&own))
            .collect();
        mounts.sort_unstable();
        for at in mounts.into_iter().rev() {
            // Shown by the removal of the folder if it matters.
            let _busy = nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_restarted_under_us_does_not_count() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "an engine of its own needs root; run the tests as root, as CI does"
    );
    let bed = Bed::make("docker").await;
    let mut own = OwnEngine::start().await;
    workspace::image::build_test_image(&own.host()).await.unwrap();
    let config = workspace::DockerConfig { host: own.host(), ..docker::config(1) };
    let sandboxes = DockerSandboxes::connect(config).await.unwrap();
    for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGKILL] {
        let workspace = sandboxes.open(bed.spec.clone()).await.unwrap();
        let sleep = ExecSpec::shell("sleep 600", Duration::from_secs(600));
        let (lost, ()) = tokio::join!(workspace.run(Op::Exec(sleep)), async {
            // Under way as soon as the container's processes include it.
            let host = own.host();
            until("the command runs", || {
                containers_of(&host, incarnation().as_str()).iter().any(|id| {
                    let top = Command::new("docker").args(["-H", &host, "top", id]).output().unwrap();
                    String::from_utf8_lossy(&top.stdout).contains("sleep 600")
                })
            })
            .await;
            tokio::task::block_in_place(|| own.signal(signal));
        });
        let lost = lost.unwrap_err();
        assert!(!lost.counts, "{signal}: {lost}");
        let error = sandboxes.open(bed.spec.clone()).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Infra, "{error}");
        own.restart().await;
        workspace.close().await;
        // Whatever rest the engine is given, it ends.
        let limit = tokio::time::Instant::now() + Duration::from_secs(60);
        let again = loop {
            match sandboxes.open(bed.spec.clone()).await {
                Ok(again) => break again,
                Err(error) => assert!(tokio::time::Instant::now() < limit, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(matches!(again.run(Op::KillAll).await, Ok(Reply::Killed(0))));
        again.close().await;
    }
    sandboxes.shutdown().await;
    let host = own.host();
    until("no container is left", || containers_of(&host, incarnation().as_str()).is_empty()).await;
    bed.workspace.close().await;
    bed.sandboxes.shutdown().await;
}

/// Not a test but the worker of the tests below: opens a workspace, leaves processes in it, floods it, and says so.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by other tests as a process of its own"]
async fn worker_process() {
    let kind: &'static str = Box::leak(std::env::var("OCH_TEST_KIND").unwrap().into_boxed_str());
    let bed = Bed::make(kind).await;
    let line = format!("sleep {0} & setsid sleep {0} & echo", marker(std::process::id()));
    bed.ok(&line).await;
    let mut spec = ExecSpec::shell("head -c 1073741824 /dev/zero", Duration::from_secs(120));
    spec.command = Wanted::Argv(["head", "-c", "1073741824", "/dev/zero"].map(str::to_owned).to_vec());
    let flood = bed.exec(spec).await;
    assert_eq!((flood.end, flood.stdout.len() as u64 + flood.stdout_dropped), (ExecEnd::Exited(0), 1 << 30));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let high = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("READY {} {}", bed.spec.owner.incarnation, high.split_whitespace().nth(1).unwrap());
    std::future::pending::<()>().await;
}

/// A number of seconds that no other process sleeps.
fn marker(pid: u32) -> String {
    format!("86{pid:08}")
}

fn sleepers(marker: &str) -> usize {
    let commands = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    commands.filter(|command| command.split(|byte| *byte == 0).any(|word| word == marker.as_bytes())).count()
}

async fn killed_worker_leaves_nothing(kind: &str) {
    if kind == "docker" {
        docker::ready().await;
    }
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "engine::worker_process", "--nocapture"])
        .env("OCH_TEST_KIND", kind)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let ready =
        lines.find_map(|line| line.unwrap().split_once("READY ").map(|(_, rest)| rest.to_owned())).unwrap();
    let (incarnation, high) = ready.split_once(' ').unwrap();
    assert!(high.parse::<u64>().unwrap() < 64 << 10, "the worker's memory rose to {high} kB");
    let marker = marker(worker.id());
    assert_eq!(sleepers(&marker), 2);
    worker.kill().unwrap();
    worker.wait().unwrap();
    until("every process is gone", || sleepers(&marker) == 0).await;
    if kind == "docker" {
        until("every container is gone", || containers_of(&docker::host(), incarnation).is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_no_container() {
    killed_worker_leaves_nothing("docker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_no_local_process() {
    killed_worker_leaves_nothing("local").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_no_process_without_namespaces() {
    killed_worker_leaves_nothing("plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_room_changes_nothing() {
    crate::bed::run("local", async |bed: &mut Bed| {
        let big = Change::Write { path: "hello.txt".to_owned(), bytes: vec![1; 40 << 20], mode: None };
        let refused = bed.apply(vec![crate::bed::write("other", "x"), big]).await;
        assert!(matches!(refused, Err(OpError::Io { .. })), "{refused:?}");
        assert_eq!(bed.text("hello.txt").await, "hello\n");
        assert_eq!(bed.read("other").await, Err(OpError::NotFound("other".to_owned())));
    })
    .await;
}
