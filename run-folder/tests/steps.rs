//! Every step of an attempt fails, and every step happens twice; whatever happens, the folder ends right. The invariants are read
//! from the folder alone: V1 (a verdict never changes), V2 (it rests on a result), A1 (one writer for each attempt), A2 (an attempt
//! with a result is never re-rolled).
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use bytes::Bytes;
use domain::Retry;
use domain::id::{AttemptNo, RunId, TrialKey};
use domain::outcome::Verdict;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use run_folder::testing::{FaultyStore, Plan, Trouble, claim, result, spec, trials, violations};
use run_folder::{AttemptView, ChunkKind, Claim, Decided, Error, RunFolder, Store, TrialState};
use std::sync::Arc;
use std::time::Duration;

const MAX_ATTEMPTS: u32 = 3;

/// A run of one trial in memory.
struct World {
    inner: Arc<InMemory>,
    run: RunId,
    trial: TrialKey,
}

impl World {
    async fn new() -> Self {
        let inner = Arc::new(InMemory::new());
        let run: RunId = "20261120-1745-steps-7f3k2m".parse().unwrap();
        let spec = spec(&run, 1, 1);
        let trial = trials(&spec).remove(0);
        let world = Self { inner, run, trial };
        world.healthy().plan(&spec).await.unwrap();
        world
    }

    fn folder(&self, store: Arc<dyn ObjectStore>) -> RunFolder {
        Store::new(store, "evals", "memory:").run(&self.run)
    }

    fn healthy(&self) -> RunFolder {
        self.folder(self.inner.clone())
    }

    fn faulty(&self, plan: Plan) -> (FaultyStore, RunFolder) {
        let faulty = FaultyStore::new(self.inner.clone(), plan);
        (faulty.clone(), self.folder(Arc::new(faulty)))
    }

    /// What a coordinator and a worker do with an undecided trial: look, help or try, until it is decided.
    async fn recover(&self, who: &str) -> Verdict {
        let folder = self.healthy();
        for life in 0..=MAX_ATTEMPTS {
            if let Some(verdict) = folder.settle(&self.trial, MAX_ATTEMPTS).await.unwrap() {
                return verdict;
            }
            worker(&folder, &self.trial, &format!("{who}-{life}")).await.unwrap();
        }
        panic!("not decided after {MAX_ATTEMPTS} attempts");
    }

    async fn verdict_bytes(&self) -> Option<Bytes> {
        let key = format!("evals/{}/verdicts/{}.json", self.run, self.trial);
        self.inner.get(&key.into()).await.ok()?.bytes().await.ok()
    }

    /// Checks the folder of a decided trial. `results` is how many attempts may have one.
    async fn check(&self, verdict: &Verdict, results: usize, what: &str) {
        let folder = self.healthy();
        assert_eq!(violations(&folder).await.unwrap(), [""; 0], "{what}");
        assert_eq!(folder.verdict(&self.trial).await.unwrap().as_ref(), Some(verdict), "V1: {what}");
        let attempts = folder.attempts(&self.trial).await.unwrap();
        for view in &attempts {
            self.one_writer(&folder, view, what).await;
        }
        let with_result = attempts.iter().filter(|view| view.result.is_some()).count();
        assert!((1..=results).contains(&with_result), "{what}: {with_result} results");
        let bytes = self.verdict_bytes().await;
        assert_eq!(self.recover("late").await, *verdict, "A2: {what}");
        assert_eq!(folder.attempts(&self.trial).await.unwrap(), attempts, "A2: {what}");
        let (first, second) = (folder.seal().await.unwrap(), folder.seal().await.unwrap());
        assert_eq!(first, second, "{what}");
        assert_eq!(first.contested.len(), usize::from(with_result > 1), "{what}");
        assert_eq!(self.verdict_bytes().await, bytes, "V1: {what}");
        assert_eq!(violations(&folder).await.unwrap(), [""; 0], "S1: {what}");
    }

    /// A1: every object of an attempt names the incarnation of its claim.
    async fn one_writer(&self, folder: &RunFolder, view: &AttemptView, what: &str) {
        let owner = view.claim.as_ref().unwrap().incarnation.to_string();
        let trace = folder.trace(&self.trial, view.attempt).await.unwrap();
        assert!(trace.iter().all(|line| line.data["by"] == *owner), "A1: {what}: {trace:?}");
        let transcript = folder.transcript(&self.trial, view.attempt).await.unwrap();
        assert!(
            transcript.is_empty() || transcript == format!("{{\"by\":\"{owner}\"}}\n").into_bytes(),
            "A1: {what}"
        );
        let patch = folder.artifact(&self.trial, view.attempt, "patch.diff").await.unwrap();
        assert!(patch.is_none_or(|patch| patch == owner), "A1: {what}");
        if view.result.is_some() {
            assert_eq!(trace.len(), 2, "no event is lost and none is doubled: {what}");
        }
    }
}

/// Evaluates a call again as long as its error says that this can help.
macro_rules! insist {
    ($call:expr) => {
        loop {
            match $call.await {
                Err(error) if Error::retry(&error) == Retry::Backoff => {}
                done => break done?,
            }
        }
    };
}

/// One life of a worker: look, claim, write, finish, decide. Ends at the first error that does not pass.
async fn worker(folder: &RunFolder, trial: &TrialKey, who: &str) -> Result<Option<Decided>, Error> {
    let mut attempt = match insist!(folder.trial_state(trial, MAX_ATTEMPTS)).with_claim_dead(MAX_ATTEMPTS) {
        TrialState::Pending { next, .. } => next,
        _ => return Ok(None),
    };
    let writer = loop {
        match insist!(folder.claim(trial, attempt, &claim(who))) {
            Claim::Mine(writer) => break writer,
            Claim::Theirs(_) => attempt = attempt.next(),
        }
    };
    for event in 0..2 {
        let line =
            format!("{{\"time\":\"\",\"type\":\"note\",\"data\":{{\"by\":\"{who}\",\"event\":{event}}}}}\n");
        insist!(writer.put_chunk(ChunkKind::Trace, line.clone().into()));
    }
    insist!(writer.put_chunk(ChunkKind::Transcript, format!("{{\"by\":\"{who}\"}}\n").into()));
    insist!(writer.put_artifact("patch.diff", who.to_owned().into()));
    let finished = writer.finish(&result(trial, attempt, who)).await?;
    finished.decide().await.map(Some)
}

/// How many store operations a healthy worker makes.
async fn steps() -> u64 {
    let world = World::new().await;
    let (faulty, folder) = world.faulty(Plan::Healthy);
    let decided = worker(&folder, &world.trial, "healthy").await.unwrap();
    assert!(matches!(decided, Some(Decided::Ours(_))));
    let steps = faulty.log();
    let puts: Vec<_> = steps.iter().filter(|step| step.starts_with("put")).collect();
    assert_eq!(puts.len(), 7, "claim, two events, transcript, artifact, result, verdict: {puts:?}");
    steps.len() as u64
}

#[tokio::test(start_paused = true)]
async fn every_step_fails_and_the_worker_lives() {
    for step in 0..steps().await {
        for trouble in [
            Trouble::Lost,
            Trouble::AppliedThenError,
            Trouble::FalseExists,
            Trouble::Twice,
            Trouble::Slow(Duration::from_secs(20)),
        ] {
            let what = format!("step {step}, {trouble:?}");
            let world = World::new().await;
            let (_, folder) = world.faulty(Plan::Nth(step, trouble));
            let decided = worker(&folder, &world.trial, "worker").await.unwrap();
            let Some(Decided::Ours(verdict)) = decided else { panic!("{what}: {decided:?}") };
            assert_eq!(verdict.attempt, Some(AttemptNo::FIRST), "{what}: nothing was paid for twice");
            world.check(&verdict, 1, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_worker_dies_at_every_step_and_another_recovers() {
    for step in 0..steps().await {
        for trouble in [Trouble::DieBefore, Trouble::DieAfter] {
            let what = format!("step {step}, {trouble:?}");
            let world = World::new().await;
            let (faulty, folder) = world.faulty(Plan::Nth(step, trouble));
            worker(&folder, &world.trial, "dead").await.unwrap_err();
            let last = faulty.log().pop().unwrap();
            let left = world.verdict_bytes().await;
            let attempts = world.healthy().attempts(&world.trial).await.unwrap();
            let had_result = attempts.iter().any(|view| view.result.is_some());
            let verdict = world.recover("heir").await;
            if left.is_some() {
                assert_eq!(world.verdict_bytes().await, left, "V1: {what}");
            }
            let owner = if had_result { "dead" } else { "heir" };
            assert!(verdict.summary.contains(owner), "A2: {what} ({last}): {verdict:?}");
            world.check(&verdict, 1, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_goes_on_after_its_heir() {
    for step in 0..steps().await {
        let what = format!("step {step}");
        let world = World::new().await;
        let (_, folder) = world.faulty(Plan::Nth(step, Trouble::Slow(Duration::from_secs(1000))));
        let heir = async {
            tokio::time::sleep(Duration::from_secs(500)).await;
            world.recover("heir").await
        };
        let (zombie, verdict) = tokio::join!(worker(&folder, &world.trial, "zombie"), heir);
        match zombie.unwrap() {
            Some(Decided::Ours(ours)) => assert_eq!(ours, verdict, "{what}"),
            Some(Decided::Orphaned { theirs }) => assert_eq!(theirs, verdict, "{what}"),
            None => {}
        }
        world.check(&verdict, 2, &what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn workers_and_helpers_at_once_on_a_lying_store() {
    for seed in 0..200 {
        let what = format!("seed {seed}");
        let world = World::new().await;
        let lives = (0..3).map(|life| {
            let (_, folder) = world.faulty(Plan::Seeded { seed: seed * 10 + life, per_mille: 200 });
            let trial = world.trial.clone();
            async move {
                let who = format!("worker-{life}");
                let decided = worker(&folder, &trial, &who).await;
                loop {
                    match folder.settle(&trial, MAX_ATTEMPTS).await {
                        Err(error) if error.retry() == Retry::Backoff => {}
                        settled => break (decided.unwrap(), settled.unwrap()),
                    }
                }
            }
        });
        let ends = futures::future::join_all(lives).await;
        let verdict = world.recover("heir").await;
        for (decided, settled) in ends {
            match decided {
                Some(Decided::Ours(seen) | Decided::Orphaned { theirs: seen }) => {
                    assert_eq!(seen, verdict, "V1: {what}")
                }
                None => {}
            }
            assert!(settled.is_none_or(|seen| seen == verdict), "V1: {what}");
        }
        if verdict.attempt.is_some() {
            world.check(&verdict, 3, &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stale_listings_do_not_lead_to_paying_twice() {
    for dies_at in 0..steps().await {
        let world = World::new().await;
        // One store for both lives, whose listings lag behind by more objects than there are.
        let lagging = Arc::new(FaultyStore::new(world.inner.clone(), Plan::Healthy).with_stale_lists(100));
        let dying = FaultyStore::new(lagging.clone(), Plan::Nth(dies_at, Trouble::DieAfter));
        worker(&world.folder(Arc::new(dying)), &world.trial, "dead").await.unwrap_err();
        let folder = world.folder(lagging);
        let had_result =
            world.healthy().attempts(&world.trial).await.unwrap().iter().any(|view| view.result.is_some());
        let settled = folder.settle(&world.trial, MAX_ATTEMPTS).await.unwrap();
        assert_eq!(settled.is_some(), had_result, "step {dies_at}");
        if settled.is_none() {
            let decided = worker(&folder, &world.trial, "heir").await.unwrap();
            assert!(matches!(decided, Some(Decided::Ours(_))), "step {dies_at}");
        }
    }
}

/// The coordinator's own steps: plan, input, reign, settle, give up, seal; dead at each of them, then all again.
#[tokio::test(start_paused = true)]
async fn the_coordinator_dies_at_every_step_and_the_next_one_goes_on() {
    async fn coordinate(folder: &RunFolder, who: &str) -> Result<(), Error> {
        let spec = spec(folder.id(), 2, 1);
        folder.plan(&spec).await?;
        folder.reign(&run_folder::testing::epoch(who)).await?;
        for (trial, _) in folder.undecided(&spec).await? {
            if folder.settle(&trial, 1).await?.is_none() {
                folder.decide_errored(&trial, domain::outcome::ErrorReason::Cancelled, "cancelled").await?;
            }
        }
        folder.seal().await.map(drop)
    }
    let run: RunId = "20261120-1745-coordinator".parse().unwrap();
    let at = |store: Arc<dyn ObjectStore>| Store::new(store, "", "memory:").run(&run);
    let counting = Arc::new(FaultyStore::new(Arc::new(InMemory::new()), Plan::Healthy));
    coordinate(&at(counting.clone()), "one").await.unwrap();
    let steps = counting.log().len() as u64;
    let sealed = |inner: Arc<InMemory>| async move {
        inner.get(&"20261120-1745-coordinator/sealed.json".into()).await.unwrap().bytes().await.unwrap()
    };
    let mut seals = std::collections::BTreeSet::new();
    for step in 0..steps {
        for trouble in [Trouble::DieBefore, Trouble::DieAfter] {
            let inner = Arc::new(InMemory::new());
            coordinate(&at(Arc::new(FaultyStore::new(inner.clone(), Plan::Nth(step, trouble)))), "one")
                .await
                .unwrap_err();
            coordinate(&at(inner.clone()), "two").await.unwrap();
            assert_eq!(violations(&at(inner.clone())).await.unwrap(), [""; 0], "step {step}, {trouble:?}");
            seals.insert(sealed(inner).await);
        }
    }
    assert_eq!(seals.len(), 1, "the same bytes whoever seals");
}
