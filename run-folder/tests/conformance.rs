//! One suite on every store: memory, directory, a store that fails on purpose, a real S3-speaking server.

use object_store::memory::InMemory;
use run_folder::testing::{FaultyStore, Plan, S3Server, conformance};
use run_folder::{Durability, Store};
use std::sync::Arc;

#[tokio::test]
async fn memory() {
    conformance(&Store::memory(), "memory").await;
}

#[tokio::test]
async fn memory_beneath_a_prefix() {
    let inner = Arc::new(InMemory::new());
    conformance(&Store::new(inner, "team a/~evals", "memory:"), "prefix").await;
}

#[tokio::test]
async fn directory() {
    let directory = tempfile::tempdir().unwrap();
    conformance(&Store::open(directory.path().to_str().unwrap()).unwrap(), "directory").await;
}

#[tokio::test]
async fn directory_without_flushing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_with(directory.path().to_str().unwrap(), Durability::Nothing).unwrap();
    conformance(&store, "directory").await;
}

#[tokio::test(start_paused = true)]
async fn faulty() {
    for seed in 0..40 {
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), Plan::Seeded { seed, per_mille: 120 });
        let store = Store::new(Arc::new(faulty), "", &format!("faulty, seed {seed}"));
        conformance(&store, &format!("seed-{seed}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3() {
    let server = S3Server::moto();
    let store = server.store("conformance");
    store.probe().await.unwrap();
    conformance(&store, "s3").await;
}
