//! Every step of an attempt fails once, in every way, and happens twice; and the process dies at every step and another takes over.

use super::world::{Setup, passed, trial, write};
use object_store::memory::InMemory;
use proto::message::FromWorker;
use run_folder::testing::{FaultyStore, Plan, Trouble, violations};
use run_folder::{RunFolder, Store};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// More than the operations of one attempt.
const STEPS: u64 = 16;

fn setup(store: Store) -> Setup {
    let turns =
        json!([write("a.txt", "worse\n"), {"text": "DONE"}, write("a.txt", "good\n"), {"text": "DONE"}]);
    let mut setup = Setup::repair(turns);
    setup.case.verify_feedback_attempts = 1;
    setup.store = store;
    setup
}

fn faulty(inner: &Arc<InMemory>, plan: Plan) -> (FaultyStore, Store) {
    let faulty = FaultyStore::new(Arc::clone(inner) as Arc<dyn object_store::ObjectStore>, plan);
    let store = Store::new(Arc::new(faulty.clone()), "", "memory:");
    (faulty, store)
}

fn honest(inner: &Arc<InMemory>) -> RunFolder {
    faulty(inner, Plan::Healthy).1.run(&super::world::run())
}

#[tokio::test(start_paused = true)]
async fn every_step_fails_once_and_the_trial_passes_all_the_same() {
    let troubles = [
        Trouble::Lost,
        Trouble::AppliedThenError,
        Trouble::FalseExists,
        Trouble::Twice,
        Trouble::Slow(Duration::from_secs(30)),
    ];
    for trouble in troubles {
        for step in 0..STEPS {
            let inner = Arc::new(InMemory::new());
            // The plan and the input are there before anything goes wrong.
            drop(setup(faulty(&inner, Plan::Healthy).1).start().await);
            let (faulty, store) = faulty(&inner, Plan::Nth(step, trouble));
            let mut setup = setup(store);
            setup.incarnation = "i2";
            setup.planned = true;
            let mut world = setup.start().await;
            faulty.clear_log();
            world.grant("l1", &[0]).await;
            let told = world.decided().await;
            assert_eq!(told.outcome, passed(), "{trouble:?} at {step}: {:?}", faulty.log());
            if step == STEPS - 1 {
                assert!((faulty.log().len() as u64) < STEPS, "there are more steps: {:?}", faulty.log());
            }
            // The test looks with honest eyes.
            let folder = honest(&inner);
            assert_eq!(folder.verdict(&trial(0)).await.unwrap().unwrap().outcome, passed());
            assert_eq!(violations(&folder).await.unwrap(), Vec::<String>::new(), "{trouble:?} at {step}");
            let attempts = folder.attempts(&trial(0)).await.unwrap();
            assert_eq!(attempts.len(), 1, "E2: {trouble:?} at {step}");
            world.leave().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_process_dies_at_every_step_and_nothing_is_paid_twice() {
    for trouble in [Trouble::DieBefore, Trouble::DieAfter] {
        for step in 0..STEPS {
            let inner = Arc::new(InMemory::new());
            drop(setup(faulty(&inner, Plan::Healthy).1).start().await);
            let (dying, store) = faulty(&inner, Plan::Nth(step, trouble));
            let mut first = setup(store);
            first.planned = true;
            let mut world = first.start().await;
            dying.clear_log();
            world.grant("l1", &[0]).await;
            // What it says on its way down does not matter: it may be lost with it.
            assert!(matches!(world.heard().await, FromWorker::Decided(_) | FromWorker::Abandoned(_)));
            drop(world);
            let mut second = setup(faulty(&inner, Plan::Healthy).1);
            second.incarnation = "i2";
            let mut world = second.start().await;
            assert_eq!(world.verdict().await.outcome, passed(), "{trouble:?} at {step}");
            let attempts = world.folder.attempts(&trial(0)).await.unwrap();
            let results = attempts.iter().filter(|view| view.result.is_some()).count();
            assert_eq!(results, 1, "A2: {trouble:?} at {step}");
            assert_eq!(
                violations(&world.folder).await.unwrap(),
                Vec::<String>::new(),
                "{trouble:?} at {step}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_lying() {
    for seed in 0..8 {
        let inner = Arc::new(InMemory::new());
        let mut first = setup(faulty(&inner, Plan::Healthy).1);
        first.trials = 12;
        drop(first.start().await);
        let mut liar = setup(faulty(&inner, Plan::Seeded { seed, per_mille: 120 }).1);
        liar.trials = 12;
        liar.planned = true;
        let mut world = liar.start().await;
        world.grant("l1", &(0..12).collect::<Vec<_>>()).await;
        for _ in 0..12 {
            assert_eq!(world.decided().await.outcome, passed(), "seed {seed}");
        }
        let folder = honest(&inner);
        assert_eq!(folder.decided().await.unwrap().len(), 12, "seed {seed}");
        assert_eq!(violations(&folder).await.unwrap(), Vec::<String>::new(), "seed {seed}");
    }
}
