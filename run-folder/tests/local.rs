//! Runs in a directory: hostile surroundings, several processes, killed writers, many verdicts, little to write.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use bytes::Bytes;
use domain::id::AttemptNo;
use domain::outcome::ErrorReason;
use run_folder::testing::{claim, conformance, result, spec, trials};
use run_folder::{ChunkKind, Claim, Created, Durability, Place, Store, TrialState};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

fn open(directory: &Path) -> Store {
    Store::open_with(directory.to_str().unwrap(), Durability::Nothing).unwrap()
}

#[tokio::test]
async fn directories_with_strange_names_hold_runs() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "with space",
        "per%20cent%2F",
        "hash#1",
        "query?x=1",
        "ümläut 修复",
        "dot.",
        "-dash",
        "~tilde",
        "a\\b",
        "q'\"uote",
        "new\nline",
    ] {
        let path = directory.path().join(name).join("evals");
        let store = open(&path);
        assert_eq!(Path::new(store.url()), path.canonicalize().unwrap());
        conformance(&store, "strange").await;
    }
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path().join("with space"), &link).unwrap();
    let runs = open(&link.join("evals")).list_runs().await.unwrap();
    assert!(!runs.is_empty(), "the same store through a link");
}

#[test]
fn what_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(Store::open(file.to_str().unwrap()).is_err());
    assert!(Store::open(file.join("below").to_str().unwrap()).is_err());
    let missing = directory.path().join("missing");
    assert!(Store::open_existing(missing.to_str().unwrap()).is_err());
    assert!(!missing.exists(), "reading makes nothing");
    let url = format!("file://{}", directory.path().join("with%20space").display());
    assert_eq!(
        Path::new(Store::open(&url).unwrap().url()),
        directory.path().join("with space").canonicalize().unwrap()
    );
}

#[tokio::test]
async fn what_others_left_in_the_folder_is_not_seen() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let folder = store.run(&"20261120-1745-strangers".parse().unwrap());
    let spec = spec(folder.id(), 2, 1);
    folder.plan(&spec).await.unwrap();
    let trial = &trials(&spec)[0];
    folder.decide_errored(trial, ErrorReason::Cancelled, "cancelled").await.unwrap();

    let run = folder.local_path().unwrap();
    let verdicts = run.join("verdicts");
    std::fs::write(verdicts.join(".DS_Store"), "mac").unwrap();
    std::fs::write(verdicts.join("smoke.case-1.mock.0.json~"), "editor").unwrap();
    // A writer that was killed between staging and linking.
    std::fs::write(verdicts.join("smoke.case-1.mock.0.json#1"), "{\"format\":1,\"tri").unwrap();
    std::fs::write(verdicts.join("SMOKE.case-1.mock.0.json"), "{}").unwrap();
    std::fs::write(verdicts.join("smoke.case-1.mock.00.json"), "{}").unwrap();
    std::fs::write(verdicts.join(std::ffi::OsStr::from_bytes(b"\xff\xfe.json")), "{}").unwrap();
    std::fs::write(verdicts.join("new\nline.json"), "{}").unwrap();
    std::fs::create_dir(verdicts.join("folder.json")).unwrap();
    std::os::unix::fs::symlink("nowhere", verdicts.join("dangling.json")).unwrap();
    std::os::unix::fs::symlink("..", verdicts.join("circle")).unwrap();
    std::fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(directory.path().join("20261121-0000-empty")).unwrap();
    std::fs::create_dir(directory.path().join("Not A Run")).unwrap();

    assert_eq!(folder.decided().await.unwrap().into_iter().collect::<Vec<_>>(), std::slice::from_ref(trial));
    assert_eq!(folder.verdicts().await.unwrap().len(), 1);
    assert_eq!(store.list_runs().await.unwrap(), [folder.id().clone()]);
    let other = &trials(&spec)[1];
    assert_eq!(folder.verdict(other).await.unwrap(), None);
    let verdict = folder.decide_errored(other, ErrorReason::Cancelled, "cancelled").await.unwrap();
    assert_eq!(folder.verdict(other).await.unwrap(), Some(verdict), "the staged leftover is not in the way");
    assert_eq!(folder.seal().await.unwrap().totals.trials, 2);
}

#[tokio::test]
async fn a_folder_where_an_object_must_be_is_an_error_and_no_loop() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path()).run(&"20261120-1745-blocked".parse().unwrap());
    let spec = spec(folder.id(), 1, 1);
    std::fs::create_dir_all(folder.local_path().unwrap().join("run.json")).unwrap();
    let error = folder.plan(&spec).await.unwrap_err();
    assert!(matches!(error, run_folder::Error::Write { .. }), "{error}");
    // A path that leads through a file cannot get better by waiting.
    let blocked = open(directory.path()).run(&"20261120-1745-through".parse().unwrap());
    std::fs::write(blocked.local_path().unwrap(), "a file").unwrap();
    let error = blocked.plan(&self::spec(blocked.id(), 1, 1)).await.unwrap_err();
    assert_eq!(error.retry(), domain::Retry::No, "{error}");
}

/// One racer: claims every trial's first attempt and prints how many it won.
async fn race(directory: &Path, who: &str) -> usize {
    let folder = open(directory).run(&"20261120-1745-race".parse().unwrap());
    let mut won = 0;
    for trial in trials(&folder.spec().await.unwrap()) {
        if let Claim::Mine(_) = folder.claim(&trial, AttemptNo::FIRST, &claim(who)).await.unwrap() {
            won += 1;
        }
    }
    won
}

/// The same test as child process: races in the directory of its environment. Alone it wins everything.
#[tokio::test]
async fn racer() {
    if let (Some(directory), Some(who)) = (std::env::var_os("RACE_IN"), std::env::var_os("RACE_AS")) {
        println!("won {}", race(directory.as_ref(), who.to_str().unwrap()).await);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path()).run(&"20261120-1745-race".parse().unwrap());
    folder.plan(&spec(folder.id(), 20, 1)).await.unwrap();
    assert_eq!(race(directory.path(), "alone").await, 20);
    assert_eq!(race(directory.path(), "late").await, 0);
}

#[tokio::test]
async fn several_processes_race_and_every_claim_has_one_winner() {
    const TRIALS: u32 = 1000;
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path()).run(&"20261120-1745-race".parse().unwrap());
    let spec = spec(folder.id(), 1, TRIALS);
    folder.plan(&spec).await.unwrap();
    let racers: Vec<_> = (0..4)
        .map(|racer| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "racer", "--nocapture"])
                .env("RACE_IN", directory.path())
                .env("RACE_AS", format!("racer-{racer}"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for (racer, process) in racers.into_iter().enumerate() {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let won = text.lines().find_map(|line| line.split("won ").nth(1)).unwrap().parse().unwrap();
        said.insert(format!("racer-{racer}"), won);
    }
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for trial in trials(&spec) {
        let owner = folder.attempts(&trial).await.unwrap().remove(0).claim.unwrap().incarnation;
        *stored.entry(owner.to_string()).or_default() += 1;
    }
    said.retain(|_, won| *won > 0);
    assert_eq!(said, stored, "whoever was told to have won is in the folder");
    assert_eq!(stored.values().sum::<usize>(), TRIALS as usize);
}

#[tokio::test]
async fn a_short_trial_is_five_small_objects() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path()).run(&"20261120-1745-small".parse().unwrap());
    let spec = spec(folder.id(), 1, 1);
    folder.plan(&spec).await.unwrap();
    let trial = &trials(&spec)[0];
    let Claim::Mine(writer) = folder.claim(trial, AttemptNo::FIRST, &claim("one")).await.unwrap() else {
        panic!("lost to nobody")
    };
    writer.put_chunk(ChunkKind::Trace, Bytes::from_static(b"{}\n")).await.unwrap();
    writer.put_chunk(ChunkKind::Transcript, Bytes::from_static(b"{}\n")).await.unwrap();
    let finished = writer.finish(&result(trial, AttemptNo::FIRST, "one")).await.unwrap();
    finished.decide().await.unwrap();
    let mut sizes = Vec::new();
    for entry in ignore::WalkBuilder::new(folder.local_path().unwrap()).standard_filters(false).build() {
        let entry = entry.unwrap();
        let inside = entry.path().strip_prefix(folder.local_path().unwrap()).unwrap().to_str().unwrap();
        if entry.file_type().unwrap().is_file() && inside != "run.json" {
            assert!(Place::parse(inside).is_some(), "{inside}");
            sizes.push(entry.metadata().unwrap().len());
        }
    }
    assert_eq!(sizes.len(), 5);
    assert!(
        sizes.iter().sum::<u64>() < 1800,
        "what is not trace or transcript stays far below 3 kB: {sizes:?}"
    );
}

#[tokio::test]
async fn a_run_of_12_500_verdicts_opens() {
    let directory = tempfile::tempdir().unwrap();
    let folder = open(directory.path()).run(&"20261120-1745-many".parse().unwrap());
    let spec = spec(folder.id(), 125, 101);
    folder.plan(&spec).await.unwrap();
    let trials = trials(&spec);
    let verdicts = folder.local_path().unwrap().join("verdicts");
    std::fs::create_dir(&verdicts).unwrap();
    for trial in &trials[..12_500] {
        let verdict = domain::outcome::Verdict::errored(trial.clone(), ErrorReason::Cancelled, "cancelled");
        std::fs::write(verdicts.join(format!("{trial}.json")), run_folder::encode(&verdict).unwrap())
            .unwrap();
    }
    assert_eq!(folder.decided().await.unwrap().len(), 12_500);
    let open = folder.undecided(&spec).await.unwrap();
    assert_eq!(open.len(), 125);
    assert!(
        open.iter().all(|(_, state)| *state == TrialState::Pending { counted: 0, next: AttemptNo::FIRST })
    );
    assert_eq!(folder.verdicts().await.unwrap().len(), 12_500);
    for (trial, _) in open {
        folder.decide_errored(&trial, ErrorReason::Cancelled, "cancelled").await.unwrap();
    }
    assert_eq!(folder.seal().await.unwrap().totals.errored, 12_625);
    assert_eq!(folder.plan(&spec).await.unwrap(), Created::Mine);
}

/// Opening a run by the operations it costs, not by the clock.
#[tokio::test]
async fn opening_a_run_lists_and_looks_at_undecided_trials_only() {
    use run_folder::testing::{FaultyStore, Plan};
    let faulty = FaultyStore::new(std::sync::Arc::new(object_store::memory::InMemory::new()), Plan::Healthy);
    let folder = Store::new(std::sync::Arc::new(faulty.clone()), "", "memory:")
        .run(&"20261120-1745-open".parse().unwrap());
    let spec = spec(folder.id(), 50, 2);
    folder.plan(&spec).await.unwrap();
    let trials = trials(&spec);
    for trial in &trials[..98] {
        folder.decide_errored(trial, ErrorReason::Cancelled, "cancelled").await.unwrap();
    }
    let Claim::Mine(_) = folder.claim(&trials[98], AttemptNo::FIRST, &claim("one")).await.unwrap() else {
        panic!("lost to nobody")
    };
    faulty.clear_log();
    assert_eq!(folder.undecided(&spec).await.unwrap().len(), 2);
    let log = faulty.log();
    assert_eq!(log.iter().filter(|step| step.starts_with("list")).count(), 3, "{log:?}");
    assert!(log.len() <= 12, "two listings, and a look at the one trial that was tried: {log:?}");
}
