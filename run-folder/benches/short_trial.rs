//! What the folder's part of a short mock trial costs: look, claim, one trace chunk, one transcript chunk, result, verdict.
//!
//! `cargo bench -p run-folder`; a directory to measure in may be given as argument, else the system's temporary one.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures, and stops where it cannot"
)]

use bytes::Bytes;
use domain::id::AttemptNo;
use futures::StreamExt as _;
use run_folder::testing::{claim, result, spec, trials};
use run_folder::{ChunkKind, Claim, Durability, RunFolder, Store, TrialState};
use std::path::PathBuf;
use std::time::Duration;

const TRIALS: u32 = 2000;
const IN_FLIGHT: usize = 64;

/// CPU time of this process, user and system, in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn one(folder: &RunFolder, trial: domain::id::TrialKey, looked: bool) {
    if looked {
        let state = folder.trial_state(&trial, 3).await.unwrap();
        assert!(matches!(state, TrialState::Pending { .. }));
    }
    let Claim::Mine(writer) = folder.claim(&trial, AttemptNo::FIRST, &claim("bench")).await.unwrap() else {
        panic!("lost to nobody")
    };
    writer.put_chunk(ChunkKind::Trace, Bytes::from(vec![b'x'; 700])).await.unwrap();
    writer.put_chunk(ChunkKind::Transcript, Bytes::from(vec![b'x'; 700])).await.unwrap();
    writer.finish(&result(&trial, AttemptNo::FIRST, "bench")).await.unwrap().decide().await.unwrap();
}

async fn measure(name: &str, store: Store, looked: bool) {
    let run = format!("20261120-1745-{}", name.replace([' ', ','], "-")).parse().unwrap();
    let folder = store.run(&run);
    let spec = spec(&run, 1, TRIALS);
    folder.plan(&spec).await.unwrap();
    let (wall, before) = (tokio::time::Instant::now(), cpu());
    futures::stream::iter(trials(&spec))
        .for_each_concurrent(IN_FLIGHT, |trial| one(&folder, trial, looked))
        .await;
    let trial_cpu = (cpu() - before) / TRIALS;
    println!("{name}: {trial_cpu:?} CPU a trial, {:?} for {TRIALS} trials", wall.elapsed());
    let wall = tokio::time::Instant::now();
    assert_eq!(folder.decided().await.unwrap().len(), TRIALS as usize);
    let listed = wall.elapsed();
    folder.seal().await.unwrap();
    println!("  listed in {listed:?}, sealed in {:?}", wall.elapsed() - listed);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let base = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let directory = tempfile::tempdir_in(base.unwrap_or_else(std::env::temp_dir)).unwrap();
    let open = |durability| Store::open_with(directory.path().to_str().unwrap(), durability).unwrap();
    measure("memory", Store::memory(), false).await;
    measure("directory, nothing flushed", open(Durability::Nothing), false).await;
    measure("directory, nothing flushed, looked first", open(Durability::Nothing), true).await;
    measure("directory, decisions flushed", open(Durability::Decisions), false).await;
}
