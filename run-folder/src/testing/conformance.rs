//! What every store must be able to carry, as one suite that runs on any of them. Panics where a store does not.
#![expect(clippy::unwrap_used, reason = "a conformance suite fails by panicking")]

use super::samples;
use super::violations::violations;
use crate::{
    AttemptWriter, ChunkKind, Claim, Created, Decided, Error, Open, RunFolder, RunState, Store, TrialState,
    inputs,
};
use bytes::Bytes;
use domain::Retry;
use domain::id::{AttemptNo, Epoch, RunId, TrialKey};
use domain::outcome::{ErrorReason, Outcome, Verdict};
use futures::future::join_all;

/// Racers of every race.
const RACERS: usize = 8;

/// Evaluates a call again as long as its error says that this can help.
macro_rules! insist {
    ($call:expr) => {{
        let mut tries = 0;
        loop {
            match $call.await {
                Err(error) if tries < 100 && Error::retry(&error) == Retry::Backoff => tries += 1,
                done => break done,
            }
        }
    }};
}

/// Runs the whole suite in a store. `tag` makes the names of its runs differ from those of other suites in the same store.
///
/// # Panics
/// When the store does not carry a run.
pub async fn conformance(store: &Store, tag: &str) {
    let folder = |name: &str| store.run(&RunId::folded(&format!("{tag}-{name}")));
    plans_and_listing(store, &folder("plan"), &folder("unplanned")).await;
    inputs_travel(&folder("inputs")).await;
    reigns(&folder("reigns")).await;
    one_claim_wins(&folder("claims")).await;
    an_attempt_from_claim_to_verdict(&folder("attempt")).await;
    helping_and_orphans(&folder("help")).await;
    giving_up(&folder("exhausted")).await;
    everybody_decides_at_once(&folder("race")).await;
    sealing(&folder("seal")).await;
    reports_may_be_overwritten(&folder("report")).await;
    removing(store, &folder("remove")).await;
}

async fn planned(folder: &RunFolder, cases: u32) -> Vec<TrialKey> {
    let spec = samples::spec(folder.id(), cases, 1);
    assert_eq!(insist!(folder.plan(&spec)).unwrap(), Created::Mine);
    samples::trials(&spec)
}

async fn claimed(folder: &RunFolder, trial: &TrialKey, attempt: AttemptNo, who: &str) -> AttemptWriter<Open> {
    match insist!(folder.claim(trial, attempt, &samples::claim(who))).unwrap() {
        Claim::Mine(writer) => writer,
        Claim::Theirs(theirs) => panic!("attempt {attempt} belongs to {theirs:?}"),
    }
}

async fn plans_and_listing(store: &Store, folder: &RunFolder, unplanned: &RunFolder) {
    assert!(matches!(insist!(folder.spec()), Err(Error::NoSuchRun { .. })));
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Absent);
    let spec = samples::spec(folder.id(), 2, 3);
    assert_eq!(insist!(folder.plan(&spec)).unwrap(), Created::Mine);
    assert_eq!(insist!(folder.plan(&spec)).unwrap(), Created::Mine, "the same bytes again are harmless");
    let other = samples::spec(folder.id(), 3, 3);
    assert_eq!(insist!(folder.plan(&other)).unwrap(), Created::Theirs(spec.clone()));
    assert_eq!(insist!(folder.spec()).unwrap(), spec);
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Planned);
    insist!(unplanned.cancel("a folder without run.json does not exist")).unwrap();
    let runs = insist!(store.list_runs()).unwrap();
    assert!(runs.contains(folder.id()) && !runs.contains(unplanned.id()), "{runs:?}");
    assert!(runs.is_sorted());
    let stranger = store.run(&RunId::folded("stranger"));
    assert!(matches!(stranger.plan(&spec).await, Err(Error::Foreign { .. })), "a spec of another run");
}

async fn inputs_travel(folder: &RunFolder) {
    let mut archive = vec![7_u8; 300_000];
    archive[150_000] = 8;
    let digest = crate::chunks::sha256(&archive);
    let packed = inputs::Packed {
        digest: domain::suite::InputDigest(digest.clone()),
        bytes: archive.clone().into(),
        files: 1,
    };
    insist!(folder.put_input(&packed)).unwrap();
    insist!(folder.put_input(&packed)).unwrap();
    assert_eq!(insist!(folder.input(&packed.digest)).unwrap(), archive);
    let absent = domain::suite::InputDigest("0".repeat(64));
    assert!(matches!(insist!(folder.input(&absent)), Err(Error::Missing { .. })));
}

async fn reigns(folder: &RunFolder) {
    planned(folder, 1).await;
    assert_eq!(insist!(folder.newest_epoch()).unwrap(), None);
    assert_eq!(insist!(folder.reign(&samples::epoch("first"))).unwrap(), Epoch::FIRST);
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Open);
    assert_eq!(insist!(folder.newer_epoch(Some(Epoch::FIRST))).unwrap(), None);
    let records: Vec<_> = (0..RACERS).map(|racer| samples::epoch(&format!("racer-{racer}"))).collect();
    let mut epochs: Vec<u64> =
        join_all(records.iter().map(|record| async { insist!(folder.reign(record)).unwrap().get() })).await;
    epochs.sort_unstable();
    let distinct: std::collections::BTreeSet<_> = epochs.iter().collect();
    assert_eq!(distinct.len(), RACERS, "no two coordinators reign under one number: {epochs:?}");
    let (newest, record) = insist!(folder.newest_epoch()).unwrap().unwrap();
    assert_eq!(newest.get(), *epochs.last().unwrap());
    assert!(records.contains(&record));
    assert_eq!(insist!(folder.newer_epoch(Some(Epoch::FIRST))).unwrap().unwrap().0, newest);

    assert_eq!(insist!(folder.cancelled()).unwrap(), None);
    insist!(folder.cancel("ctrl-c")).unwrap();
    insist!(folder.cancel("again")).unwrap();
    assert_eq!(insist!(folder.cancelled()).unwrap().as_deref(), Some("ctrl-c"));
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Cancelling);
    insist!(folder.journal(Epoch::FIRST, 0, Bytes::from_static(b"{}\n"))).unwrap();
    insist!(folder.journal(Epoch::FIRST, 0, Bytes::from_static(b"{}\n"))).unwrap();
    let other = insist!(folder.journal(Epoch::FIRST, 0, Bytes::from_static(b"{1}\n")));
    assert!(matches!(other, Err(Error::Foreign { .. })));
}

async fn one_claim_wins(folder: &RunFolder) {
    let trial = &planned(folder, 1).await[0];
    for round in 1..=3 {
        let attempt = AttemptNo::new(round).unwrap();
        let claims: Vec<_> = (0..RACERS).map(|racer| samples::claim(&format!("racer-{racer}"))).collect();
        let said = join_all(
            claims.iter().map(|claim| async { insist!(folder.claim(trial, attempt, claim)).unwrap() }),
        )
        .await;
        let winners: Vec<usize> =
            (0..RACERS).filter(|racer| matches!(said[*racer], Claim::Mine(_))).collect();
        let [winner] = winners[..] else { panic!("{winners:?} won attempt {attempt}") };
        for said in &said {
            assert!(
                matches!(said, Claim::Mine(_))
                    || matches!(said, Claim::Theirs(claim) if *claim == claims[winner])
            );
        }
        let again = insist!(folder.claim(trial, attempt, &claims[winner])).unwrap();
        assert!(matches!(again, Claim::Mine(_)), "a winner that asks again is told again");
    }
    assert_eq!(insist!(folder.next_attempt(trial)).unwrap().get(), 4);
}

async fn an_attempt_from_claim_to_verdict(folder: &RunFolder) {
    let trials = planned(folder, 2).await;
    let trial = &trials[0];
    let first = AttemptNo::FIRST;
    let state = |max| async move { insist!(folder.trial_state(trial, max)).unwrap() };
    assert_eq!(state(3).await, TrialState::Pending { counted: 0, next: first });
    let writer = claimed(folder, trial, first, "one").await;
    assert_eq!(
        state(3).await,
        TrialState::Claimed { attempt: first, incarnation: samples::incarnation("one"), counted: 0 }
    );
    let lines = |text: &str| {
        Bytes::from(format!("{{\"time\":\"t\",\"type\":\"note\",\"data\":{{\"text\":\"{text}\"}}}}\n"))
    };
    for text in ["a", "b", "c"] {
        insist!(writer.put_chunk(ChunkKind::Trace, lines(text))).unwrap();
    }
    insist!(writer.put_chunk(ChunkKind::Transcript, Bytes::from_static(b"{\"call\":1}\n"))).unwrap();
    insist!(writer.put_artifact("patch.diff", Bytes::from_static(b"--- a\n"))).unwrap();
    assert!(matches!(writer.put_artifact("../x", Bytes::new()).await, Err(Error::Name(_))));
    assert_eq!(insist!(folder.trace(trial, first)).unwrap().len(), 3, "a running attempt can be read");

    let result = samples::result(trial, first, "one");
    let finished = writer.finish(&result).await.unwrap();
    assert_eq!(state(3).await, TrialState::Settleable(first));
    let verdict = Verdict::from_result(&result);
    assert_eq!(finished.decide().await.unwrap(), Decided::Ours(verdict.clone()));
    assert_eq!(state(3).await, TrialState::Decided(verdict.clone()));
    assert_eq!(insist!(folder.verdict(trial)).unwrap(), Some(verdict.clone()));
    assert_eq!(
        insist!(folder.decided()).unwrap().into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(trial)
    );
    assert_eq!(insist!(folder.verdicts()).unwrap().into_values().collect::<Vec<_>>(), [verdict]);

    let trace = insist!(folder.trace(trial, first)).unwrap();
    let texts: Vec<_> = trace.iter().map(|line| line.data["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(insist!(folder.transcript(trial, first)).unwrap(), b"{\"call\":1}\n");
    assert_eq!(insist!(folder.artifact(trial, first, "patch.diff")).unwrap().unwrap(), "--- a\n");
    assert_eq!(insist!(folder.artifact(trial, first, "session.json")).unwrap(), None);
    let views = insist!(folder.attempts(trial)).unwrap();
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].claim, Some(samples::claim("one")));
    assert_eq!(views[0].result.as_ref().unwrap().chunks.len(), 5);

    let open = insist!(folder.undecided(&samples::spec(folder.id(), 2, 1))).unwrap();
    assert_eq!(open, [(trials[1].clone(), TrialState::Pending { counted: 0, next: first })]);
    assert_eq!(insist!(violations(folder)).unwrap(), [""; 0]);
}

async fn helping_and_orphans(folder: &RunFolder) {
    let trials = planned(folder, 2).await;
    let trial = &trials[0];
    let (first, second) = (AttemptNo::FIRST, AttemptNo::FIRST.next());
    let one = claimed(folder, trial, first, "one").await;
    let two = claimed(folder, trial, second, "two").await;
    let two = two.finish(&samples::result(trial, second, "two")).await.unwrap();
    let helped = insist!(folder.settle(trial, 3)).unwrap().unwrap();
    assert_eq!(helped, Verdict::from_result(&samples::result(trial, second, "two")));
    let bytes = insist!(folder.read(&crate::Place::Verdict(trial.clone()))).unwrap();
    assert_eq!(
        two.decide().await.unwrap(),
        Decided::Ours(helped.clone()),
        "a worker cannot lose to its helper"
    );
    assert_eq!(insist!(folder.read(&crate::Place::Verdict(trial.clone()))).unwrap(), bytes, "V1");
    let one = one.finish(&samples::result(trial, first, "one")).await.unwrap();
    assert_eq!(one.decide().await.unwrap(), Decided::Orphaned { theirs: helped.clone() });
    assert_eq!(
        insist!(folder.contested()).unwrap().into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(trial)
    );
    assert_eq!(insist!(folder.settle(trial, 3)).unwrap(), Some(helped));

    let pending = claimed(folder, &trials[1], first, "three").await;
    insist!(pending.put_chunk(ChunkKind::Trace, Bytes::from_static(b"{}\n"))).unwrap();
    assert_eq!(insist!(folder.settle(&trials[1], 3)).unwrap(), None, "a dead claim alone decides nothing");
    assert_eq!(insist!(violations(folder)).unwrap(), [""; 0]);
}

async fn giving_up(folder: &RunFolder) {
    let trials = planned(folder, 3).await;
    let number = |number| AttemptNo::new(number).unwrap();
    let trial = &trials[0];
    claimed(folder, trial, number(1), "one").await;
    let two = claimed(folder, trial, number(2), "two").await;
    two.abandon(&samples::abandoned(true, false)).await.unwrap();
    let three = claimed(folder, trial, number(3), "three").await;
    three.abandon(&samples::abandoned(true, true)).await.unwrap();
    let state = insist!(folder.trial_state(trial, 3)).unwrap();
    assert_eq!(state, TrialState::Pending { counted: 2, next: number(4) });
    claimed(folder, trial, number(4), "four").await;
    let verdict = insist!(folder.settle(trial, 3)).unwrap().unwrap();
    assert_eq!(verdict.outcome, Outcome::Errored { why: ErrorReason::AttemptsExhausted });
    assert_eq!(verdict.attempt, None);
    let late = insist!(folder.decide_errored(trial, ErrorReason::Cancelled, "cancelled")).unwrap();
    assert_eq!(late, verdict, "the first verdict stands");

    let hopeless = claimed(folder, &trials[1], number(1), "one").await;
    hopeless.abandon(&samples::abandoned(false, false)).await.unwrap();
    assert_eq!(insist!(folder.trial_state(&trials[1], 3)).unwrap(), TrialState::Exhausted);

    let cancelled = insist!(folder.decide_errored(&trials[2], ErrorReason::Cancelled, "ctrl-c")).unwrap();
    assert_eq!(cancelled.outcome, Outcome::Errored { why: ErrorReason::Cancelled });
    assert_eq!(insist!(violations(folder)).unwrap(), [""; 0]);
}

async fn everybody_decides_at_once(folder: &RunFolder) {
    let trials = planned(folder, 4).await;
    for trial in &trials {
        let writer = claimed(folder, trial, AttemptNo::FIRST, "one").await;
        let finished = writer.finish(&samples::result(trial, AttemptNo::FIRST, "one")).await.unwrap();
        let helpers =
            join_all((0..RACERS).map(|_| async { insist!(folder.settle(trial, 3)).unwrap().unwrap() }));
        let (decided, helped) = futures::join!(finished.decide(), helpers);
        let Decided::Ours(verdict) = decided.unwrap() else { panic!("lost to its helpers") };
        assert!(helped.iter().all(|helped| *helped == verdict));
    }
}

async fn sealing(folder: &RunFolder) {
    let trials = planned(folder, 3).await;
    let refused = insist!(folder.seal());
    assert!(matches!(refused, Err(Error::Undecided { undecided: 3, .. })), "{refused:?}");
    for trial in &trials[1..] {
        let writer = claimed(folder, trial, AttemptNo::FIRST, "one").await;
        writer
            .finish(&samples::result(trial, AttemptNo::FIRST, "one"))
            .await
            .unwrap()
            .decide()
            .await
            .unwrap();
    }
    insist!(folder.decide_errored(&trials[0], ErrorReason::Cancelled, "cancelled")).unwrap();
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Settled);
    let before = insist!(folder.verdicts()).unwrap();
    let seals = join_all((0..RACERS).map(|_| async { insist!(folder.seal()).unwrap() })).await;
    assert!(seals.iter().all(|seal| *seal == seals[0]));
    let seal = insist!(folder.sealed()).unwrap().unwrap();
    assert_eq!(seal, seals[0]);
    assert_eq!((seal.totals.trials, seal.totals.passed, seal.totals.errored), (3, 2, 1));
    assert_eq!(insist!(folder.verdicts()).unwrap(), before);
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Sealed);
    assert_eq!(insist!(violations(folder)).unwrap(), [""; 0]);
}

async fn reports_may_be_overwritten(folder: &RunFolder) {
    planned(folder, 1).await;
    for text in ["first", "second"] {
        insist!(folder.put_report("mock/report.json", Bytes::from(text))).unwrap();
        assert_eq!(insist!(folder.report("mock/report.json")).unwrap().unwrap(), text);
    }
    assert!(matches!(folder.put_report("../run.json", Bytes::new()).await, Err(Error::Name(_))));
    assert_eq!(insist!(folder.spec()).unwrap().run, *folder.id());
}

async fn removing(store: &Store, folder: &RunFolder) {
    let trial = &planned(folder, 1).await[0];
    assert!(matches!(insist!(folder.remove(false)), Err(Error::NotSealed { .. })));
    insist!(folder.decide_errored(trial, ErrorReason::Cancelled, "cancelled")).unwrap();
    insist!(folder.seal()).unwrap();
    insist!(folder.remove(false)).unwrap();
    assert_eq!(insist!(folder.state()).unwrap(), RunState::Absent);
    assert!(!insist!(store.list_runs()).unwrap().contains(folder.id()));
    assert_eq!(insist!(folder.decided()).unwrap().len(), 0);
}
