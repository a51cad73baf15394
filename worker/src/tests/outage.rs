//! The store goes away and comes back: nothing is lost, nothing is counted, and only time is paid.

use super::world::{Setup, attempt, lease, passed, run, trial};
use crate::record::ChunkLimits;
use crate::shipping::ShipLimits;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use proto::message::{Cause, FromCoordinator, RevokeReason};
use run_folder::Store;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A store that can be taken away and brought back.
#[derive(Debug, Clone)]
struct Fickle {
    inner: Arc<dyn ObjectStore>,
    away: Arc<AtomicBool>,
}

impl Fickle {
    fn new() -> (Self, Store) {
        let fickle = Self { inner: Arc::new(InMemory::new()), away: Arc::default() };
        let store = Store::new(Arc::new(fickle.clone()), "", "memory:");
        (fickle, store)
    }

    fn take_away(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    fn bring_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    fn ask(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(object_store::Error::Generic { store: "fickle", source: "away".into() });
        }
        Ok(())
    }
}

impl fmt::Display for Fickle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fickle")
    }
}

#[tonic::async_trait]
impl ObjectStore for Fickle {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.ask()?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.ask()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.ask()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.ask() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.ask()?;
        self.inner.copy_opts(from, to, options).await
    }
}

/// A model that lists files a few times, slowly, and is done.
fn turns(calls: usize) -> Value {
    let mut turns: Vec<Value> = (0..calls)
        .map(|_| json!({"tool_calls": [{"name": "list_files", "arguments": {"path": "."}}], "latency_ms": 2000}))
        .collect();
    turns.push(json!({"text": "DONE", "latency_ms": 2000}));
    Value::from(turns)
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_for_the_store_to_come_back() {
    let (fickle, store) = Fickle::new();
    let mut setup = Setup::new(turns(1));
    setup.store = store;
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fickle.take_away();
    tokio::time::sleep(Duration::from_secs(120)).await;
    fickle.bring_back();
    assert_eq!(world.decided().await.outcome, passed());
    assert_eq!(world.trace(1).await.len(), 5);
    assert!(run_folder::testing::violations(&world.folder).await.unwrap().is_empty());
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn chunks_wait_on_the_disk_and_the_agent_pauses_when_that_is_full() {
    let (fickle, store) = Fickle::new();
    let mut setup = Setup::new(turns(20));
    setup.store = store;
    setup.limits.max_steps = 30;
    setup.chunks = ChunkLimits { bytes: 1, age: Duration::from_secs(60) };
    setup.ship = ShipLimits { memory: 2000, spool: 4000, in_flight: 4 };
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fickle.take_away();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let spooled = std::fs::read_dir(&world.spool).unwrap().count();
    assert!(spooled > 0, "nothing is spooled");
    fickle.bring_back();
    assert_eq!(world.decided().await.outcome, passed());
    assert!(world.clock.now().0 > Duration::from_secs(300), "the agent stood still");
    let trace = world.trace(1).await;
    let steps =
        trace.iter().filter(|line| line.kind == "model.response").map(|line| line.data["step"].as_u64());
    assert_eq!(steps.collect::<Vec<_>>(), (1..=21).map(Some).collect::<Vec<_>>(), "in order, none dropped");
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn time_that_the_store_took_is_not_held_against_the_model() {
    let (fickle, store) = Fickle::new();
    let mut setup = Setup::new(turns(20));
    setup.store = store;
    setup.limits.max_steps = 30;
    setup.case.timeout_seconds = Some(100);
    setup.chunks = ChunkLimits { bytes: 1, age: Duration::from_secs(60) };
    setup.ship = ShipLimits { memory: 500, spool: 500, in_flight: 4 };
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    fickle.take_away();
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::StoreUnavailable, true, false));
    fickle.bring_back();
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_told_over_the_wire() {
    let (fickle, store) = Fickle::new();
    let mut setup = Setup::new(turns(0));
    setup.store = store;
    setup.store_patience = Duration::from_secs(60);
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fickle.take_away();
    let told = world.abandoned().await;
    assert_eq!((told.cause, told.retryable, told.counts), (Cause::StoreUnavailable, true, false), "{told:?}");
    fickle.bring_back();
    let view = world.folder.attempts(&trial(0)).await.unwrap().remove(0);
    assert!(view.claim.is_some() && view.result.is_none());
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_lost_during_an_outage_still_ends_the_attempt_soon() {
    let (fickle, store) = Fickle::new();
    let mut setup = Setup::repair(turns(5));
    setup.store = store;
    let mut world = setup.start().await;
    world.grant("l1", &[0]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    fickle.take_away();
    let before = world.clock.now();
    let revoke = FromCoordinator::Revoke {
        run: run(),
        lease: lease("l1"),
        trials: vec![],
        reason: RevokeReason::Lost,
    };
    world.say(revoke).await;
    assert_eq!(world.abandoned().await.cause, Cause::LeaseLost);
    assert!(world.clock.now().since(before) < Duration::from_secs(30));
    fickle.bring_back();
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_for_the_store_and_can_be_interrupted() {
    let (fickle, store) = Fickle::new();
    let mut setup = Setup::new(turns(0));
    setup.store = store;
    setup.trials = 2;
    let mut world = setup.start().await;
    // The run is known before the store goes.
    world.grant("l1", &[0]).await;
    world.decided().await;
    fickle.take_away();
    world.grant("l2", &[1]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    fickle.bring_back();
    assert_eq!(world.decided().await.attempt, Some(attempt(1)));
    world.leave().await;
}
