//! Coordinator and workers over real gRPC on loopback, with a store in memory: what happens when streams break, messages repeat, and
//! processes die.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests fail as tests do")]

#[path = "world/mod.rs"]
mod world;

use domain::id::AttemptNo;
use proto::eval::v1;
use proto::eval::v1::run_event::Kind;
use proto::message::{Cause, FromCoordinator, FromWorker, Hello, RevokeReason};
use run_folder::Store;
use world::{Fake, Served, attempts, brisk, calm, held, planned, tally, trials};

#[tokio::test]
async fn without_faults_attempts_are_trials_and_nothing_else_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().to_str().unwrap()).unwrap();
    let run = planned(&store, "r", 6).await;
    let served = Served::start(calm("c"), &store).await;
    assert_eq!(served.start_run(&run).await.unwrap().state(), v1::RunState::Reigning);
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 3).await;
    let first = one.grant().await;
    assert_eq!(first.trials.len(), 3, "no more than it wants");
    let mut two = Fake::join("two", &served, &store, 4).await;
    let second = two.grant().await;
    assert_eq!((second.trials.len(), second.epoch.get()), (3, 1));
    one.work(&first).await;
    two.work(&second).await;
    let end = watch.end().await;
    assert_eq!((end.state(), tally(&end)), (v1::RunState::Sealed, (6, 0, 0)));
    assert_eq!(attempts(&store, &run).await, [1; 6]);
    let mut names: Vec<String> = std::fs::read_dir(directory.path().join("r"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["attempts", "epochs", "run.json", "sealed.json", "verdicts"],
        "no journal of an ordinary run"
    );
}

#[tokio::test]
async fn a_broken_stream_ends_no_lease() {
    let store = Store::memory();
    let run = planned(&store, "r", 2).await;
    let served = Served::start(calm("c"), &store).await;
    served.start_run(&run).await.unwrap();
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 2).await;
    let grant = one.grant().await;
    let all = trials(&grant);
    let kept = one.claim(&run, &all[0], AttemptNo::FIRST).await;
    one.break_stream();
    watch
        .until(|kind| {
            matches!(kind, Kind::Worker(event) if event.change() == v1::WorkerChange::Suspect).then_some(())
        })
        .await;
    assert_eq!(served.get_run(&run).await.unwrap().tally.unwrap().in_flight, 2);
    // Another worker gets nothing of it; the first comes back with one of the two: the other grant never arrived.
    let mut two = Fake::join("two", &served, &store, 2).await;
    one.connect(vec![held(&grant, &all[..1])]).await;
    let again = two.grant().await;
    assert_eq!(trials(&again), all[1..]);
    two.work(&again).await;
    one.beat(vec![held(&grant, &all[..1])]).await;
    let renewed = one.until(|message| {
        if let FromCoordinator::Renewed { leases, heartbeat, .. } = message {
            Some((leases, heartbeat))
        } else {
            None
        }
    });
    assert_eq!(renewed.await, (vec![grant.lease.clone()], 1));
    let decided = one.conclude(kept).await;
    one.send(FromWorker::Decided(vec![proto::message::TrialDecided { run: run.clone(), ..decided }])).await;
    assert_eq!(watch.end().await.state(), v1::RunState::Sealed);
    assert_eq!(attempts(&store, &run).await, [1, 1]);
}

#[tokio::test]
async fn repeated_messages_change_nothing() {
    let store = Store::memory();
    let run = planned(&store, "r", 3).await;
    let served = Served::start(calm("c"), &store).await;
    served.start_run(&run).await.unwrap();
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 1).await;
    let first = one.grant().await;
    let late = one.abandon(&first, &trials(&first)[0], Cause::Drained).await;
    one.send(late.clone()).await;
    let hello = FromWorker::Hello(Hello {
        protocol: proto::PROTOCOL,
        worker: "one".parse().unwrap(),
        incarnation: one.incarnation(),
        slots: 1,
        version: String::new(),
        labels: [].into(),
        held: vec![],
    });
    for _ in 0..3 {
        let grant = one.grant().await;
        one.send(late.clone()).await;
        one.send(hello.clone()).await;
        one.send(FromWorker::Ready { credits: 1 }).await;
        one.beat(vec![held(&grant, &trials(&grant))]).await;
        one.send(one.work(&grant).await).await;
    }
    let end = watch.end().await;
    assert_eq!((tally(&end), end.tally.unwrap().abandoned), ((3, 0, 0), 1));
    assert_eq!(attempts(&store, &run).await, [1; 3]);
}

#[tokio::test]
async fn trials_of_a_dead_worker_are_granted_again_after_their_lease() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().to_str().unwrap()).unwrap();
    let run = planned(&store, "r", 2).await;
    let served = Served::start(brisk("c"), &store).await;
    served.start_run(&run).await.unwrap();
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 2).await;
    let grant = one.grant().await;
    // It dies with one trial claimed, the other with a result and no verdict.
    let all = trials(&grant);
    drop(one.claim(&run, &all[0], AttemptNo::FIRST).await);
    let writer = one.claim(&run, &all[1], AttemptNo::FIRST).await;
    let finished =
        writer.finish(&run_folder::testing::result(&all[1], AttemptNo::FIRST, "one")).await.unwrap();
    drop(finished);
    one.break_stream();
    let mut two = Fake::join("two", &served, &store, 2).await;
    let again = two.grant().await;
    assert_eq!(again.trials.len(), 1, "the result is helped to its verdict, not paid for again");
    assert_eq!((&again.trials[0].trial, again.trials[0].attempt.get()), (&all[0], 2));
    two.work(&again).await;
    let end = watch.end().await;
    assert_eq!((end.state(), tally(&end)), (v1::RunState::Sealed, (2, 0, 0)));
    assert_eq!(attempts(&store, &run).await, [2, 1]);
    let journal =
        std::fs::read_dir(directory.path().join("r/journal")).unwrap().next().unwrap().unwrap().path();
    let lines = std::fs::read_to_string(journal).unwrap();
    assert!(lines.contains("\"type\":\"expired\""), "{lines}");
}

#[tokio::test]
async fn a_worker_that_leaves_frees_its_trials_at_once() {
    let store = Store::memory();
    let run = planned(&store, "r", 2).await;
    let served = Served::start(calm("c"), &store).await;
    served.start_run(&run).await.unwrap();
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 2).await;
    let grant = one.grant().await;
    one.send(FromWorker::Returned { run: run.clone(), lease: grant.lease.clone(), trials: vec![] }).await;
    one.leave().await;
    let mut two = Fake::join("two", &served, &store, 4).await;
    let mut done = 0;
    while done < 2 {
        let again = two.grant().await;
        done += again.trials.len();
        two.work(&again).await;
    }
    let mut left = false;
    let end = watch
        .until(|kind| {
            left |= matches!(kind, Kind::Worker(event) if event.change() == v1::WorkerChange::Left);
            if let Kind::End(end) = kind { end.status.clone() } else { None }
        })
        .await;
    assert!(left);
    assert_eq!(tally(&end), (2, 0, 0));
    assert_eq!(attempts(&store, &run).await, [1, 1]);
}

#[tokio::test]
async fn a_crashed_coordinator_is_followed_by_one_that_adopts() {
    let store = Store::memory();
    let run = planned(&store, "r", 4).await;
    let first = Served::start(brisk("first"), &store).await;
    first.start_run(&run).await.unwrap();
    let mut one = Fake::join("one", &first, &store, 3).await;
    let grant = one.grant().await;
    let all = trials(&grant);
    // One decided and told, one decided in silence, one under way.
    one.work(&proto::message::Grant { trials: grant.trials[..1].to_vec(), ..grant.clone() }).await;
    let writer = one.claim(&run, &all[1], AttemptNo::FIRST).await;
    one.conclude(writer).await;
    let under_way = one.claim(&run, &all[2], AttemptNo::FIRST).await;
    first.crash();
    one.break_stream();

    let second = Served::start(brisk("second"), &store).await;
    one.dial = second.dial.clone();
    // The worker is there before anybody resumes the run: nobody answers for its lease yet.
    one.connect(vec![held(&grant, &all[2..])]).await;
    let status = second.start_run(&run).await.unwrap();
    assert_eq!((status.state(), status.epoch), (v1::RunState::Opening, 2));
    let mut watch = second.watch(&run).await;
    one.beat(vec![held(&grant, &all[2..])]).await;
    let adopted = one.grant().await;
    assert_eq!((trials(&adopted), adopted.epoch.get()), (all[2..].to_vec(), 2));
    assert!(adopted.trials[0].adopted && adopted.heartbeat == 1);
    let decided = one.conclude(under_way).await;
    one.send(FromWorker::Decided(vec![proto::message::TrialDecided { run: run.clone(), ..decided }])).await;
    one.send(FromWorker::Ready { credits: 3 }).await;
    let rest = one.grant().await;
    assert!(!rest.trials[0].adopted);
    one.work(&rest).await;
    let end = watch.end().await;
    assert_eq!((end.state(), tally(&end)), (v1::RunState::Sealed, (4, 0, 0)));
    assert_eq!(attempts(&store, &run).await, [1; 4], "nothing was paid for twice");
}

#[tokio::test]
async fn a_second_coordinator_fences_the_first() {
    let store = Store::memory();
    let run = planned(&store, "r", 2).await;
    let first = Served::start(brisk("first"), &store).await;
    first.start_run(&run).await.unwrap();
    let mut watch = first.watch(&run).await;
    let mut one = Fake::join("one", &first, &store, 1).await;
    let grant = one.grant().await;
    let second = Served::start(brisk("second"), &store).await;
    second.start_run(&run).await.unwrap();
    let fenced = one.until(|message| {
        if let FromCoordinator::Fenced { epoch, address, .. } = message {
            Some((epoch.get(), address))
        } else {
            None
        }
    });
    assert_eq!(fenced.await, (2, Some(second.dial.url.clone())));
    let end = watch.end().await;
    assert_eq!(end.state(), v1::RunState::Fenced);
    assert!(end.note.contains(&second.dial.url), "{}", end.note);
    // The worker dials where it was told, and goes on.
    let mut watch = second.watch(&run).await;
    one.break_stream();
    one.dial = second.dial.clone();
    one.connect(vec![held(&grant, &trials(&grant))]).await;
    let adopted = one.grant().await;
    assert!(adopted.trials[0].adopted);
    one.work(&adopted).await;
    one.send(FromWorker::Ready { credits: 1 }).await;
    let rest = one.grant().await;
    one.work(&rest).await;
    assert_eq!(tally(&watch.end().await), (2, 0, 0));
    assert_eq!(attempts(&store, &run).await, [1, 1]);
}

#[tokio::test]
async fn cancelling_revokes_decides_and_seals() {
    let store = Store::memory();
    let run = planned(&store, "r", 3).await;
    let served = Served::start(calm("c"), &store).await;
    served.start_run(&run).await.unwrap();
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 1).await;
    let grant = one.grant().await;
    served.cancel_run(&run, "enough").await.unwrap();
    let reason =
        one.until(
            |message| if let FromCoordinator::Revoke { reason, .. } = message { Some(reason) } else { None },
        );
    assert_eq!(reason.await, RevokeReason::Cancelled);
    one.abandon(&grant, &trials(&grant)[0], Cause::Cancelled).await;
    let end = watch.end().await;
    assert_eq!((end.state(), tally(&end)), (v1::RunState::Sealed, (0, 0, 3)));
    assert_eq!(store.run(&run).cancelled().await.unwrap().as_deref(), Some("enough"));
    // Again, and of a run that nobody ever opened.
    assert_eq!(served.cancel_run(&run, "again").await.unwrap().state(), v1::RunState::Sealed);
    let other = planned(&store, "s", 2).await;
    served.cancel_run(&other, "never mind").await.unwrap();
    world::soon("the seal", async {
        while served.get_run(&other).await.unwrap().state() != v1::RunState::Sealed {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(attempts(&store, &other).await, [0, 0]);
}

#[tokio::test]
async fn a_coordinator_that_stops_says_so_and_leaves_runs_open() {
    let store = Store::memory();
    let run = planned(&store, "r", 2).await;
    let mut served = Served::start(calm("c"), &store).await;
    served.start_run(&run).await.unwrap();
    let mut watch = served.watch(&run).await;
    let mut one = Fake::join("one", &served, &store, 1).await;
    one.grant().await;
    served.ask_to_stop();
    one.until(|message| matches!(message, FromCoordinator::Drain { .. }).then_some(())).await;
    assert!(one.hear().await.is_err(), "the stream ends");
    let end = watch.end().await;
    assert_eq!((end.state(), end.tally.unwrap().decided), (v1::RunState::Reigning, 0));
    assert!(end.note.contains("stopping"));
    served.ended().await.unwrap();
    assert!(store.run(&run).cancelled().await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_stream_ends_the_old_one() {
    let store = Store::memory();
    let served = Served::start(calm("c"), &store).await;
    let mut old = Fake::join("one", &served, &store, 1).await;
    let mut new = Fake::join("one", &served, &store, 1).await;
    while old.hear().await.is_ok() {}
    assert!(matches!(new.next().await, FromCoordinator::Budget { .. }));
}

#[tokio::test]
async fn workers_share_the_limits() {
    let store = Store::memory();
    let served = Served::start(calm("c"), &store).await;
    let share = |message: FromCoordinator| {
        if let FromCoordinator::Budget { share, .. } = message { Some(share) } else { None }
    };
    let mut one = Fake::join("one", &served, &store, 1).await;
    assert!((one.until(share).await - 1.0).abs() < 1e-9);
    let mut two = Fake::join("two", &served, &store, 1).await;
    assert!((one.until(share).await - 0.5).abs() < 1e-9);
    assert!((two.until(share).await - 0.5).abs() < 1e-9);
    two.leave().await;
    assert!((one.until(share).await - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn streams_that_begin_badly_are_refused() {
    let store = Store::memory();
    let served = Served::start(calm("c"), &store).await;
    let refused = async |first: FromWorker| {
        let mut fake = Fake::new("one", &served, &store);
        match fake.open(first).await {
            Err(status) => status,
            Ok(()) => fake.hear().await.unwrap_err().unwrap(),
        }
    };
    let hello = |protocol| {
        FromWorker::Hello(Hello {
            protocol,
            worker: "one".parse().unwrap(),
            incarnation: "one".parse().unwrap(),
            slots: 1,
            version: String::new(),
            labels: [].into(),
            held: vec![],
        })
    };
    let status = refused(hello(99)).await;
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("speaks protocol 99"), "{status}");
    let status = refused(FromWorker::Ready { credits: 1 }).await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn runs_are_started_once_and_listed() {
    let store = Store::memory();
    let (first, second) =
        (planned(&store, "20261120-1-a", 2).await, planned(&store, "20261121-1-b", 0).await);
    let served = Served::start(calm("c"), &store).await;
    assert_eq!(served.start_run(&first).await.unwrap().epoch, 1);
    assert_eq!(served.start_run(&first).await.unwrap().epoch, 1, "starting again claims no other epoch");
    served.start_run(&second).await.unwrap();
    world::soon("the seal", async {
        while served.get_run(&second).await.unwrap().state() != v1::RunState::Sealed {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        served.watch(&second).await.end().await.state(),
        v1::RunState::Sealed,
        "a sealed run is over at once"
    );
    let mut client = served.dial.run_client().unwrap();
    let listed = client.list_runs(v1::ListRunsRequest { limit: 0 }).await.unwrap().into_inner().runs;
    let listed: Vec<(&str, v1::RunState)> =
        listed.iter().map(|run| (run.run.as_str(), run.state())).collect();
    assert_eq!(listed, [("20261121-1-b", v1::RunState::Sealed), ("20261120-1-a", v1::RunState::Reigning)]);
    let unknown = "nobody".parse().unwrap();
    assert_eq!(served.start_run(&unknown).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(served.get_run(&unknown).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(served.cancel_run(&unknown, "").await.unwrap_err().code(), tonic::Code::NotFound);
    let illegal = v1::StartRunRequest { run: "../x".to_owned() };
    assert_eq!(client.start_run(illegal).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    let third = planned(&store, "20261122-1-c", 1).await;
    let request = v1::WatchRunRequest { run: third.to_string() };
    let status = client.watch_run(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
}

#[tokio::test]
async fn runs_are_resumed_at_start() {
    let store = Store::memory();
    let run = planned(&store, "r", 1).await;
    let mut config = calm("c");
    config.resume = vec![run.clone()];
    let served = Served::start(config, &store).await;
    let mut one = Fake::join("one", &served, &store, 1).await;
    assert_eq!(one.grant().await.run, run);
    let mut config = calm("d");
    config.resume = vec!["nobody".parse().unwrap()];
    let mut refused = Served::start(config, &store).await;
    let error = refused.ended().await.unwrap_err().to_string();
    assert!(error.contains("`nobody` cannot be resumed") && error.contains("no run"), "{error}");
}

#[tokio::test]
async fn two_runs_share_one_fleet() {
    let store = Store::memory();
    let (first, second) = (planned(&store, "a", 4).await, planned(&store, "b", 4).await);
    let served = Served::start(calm("c"), &store).await;
    served.start_run(&first).await.unwrap();
    served.start_run(&second).await.unwrap();
    let (mut of_first, mut of_second) = (served.watch(&first).await, served.watch(&second).await);
    let mut one = Fake::join("one", &served, &store, 4).await;
    let (a, b) = (one.grant().await, one.grant().await);
    assert_eq!((a.trials.len(), b.trials.len()), (2, 2));
    assert_ne!(a.run, b.run, "equal parts");
    one.work(&a).await;
    one.work(&b).await;
    let mut done = 4;
    while done < 8 {
        let more = one.grant().await;
        done += more.trials.len();
        one.work(&more).await;
    }
    assert_eq!(tally(&of_first.end().await), (4, 0, 0));
    assert_eq!(tally(&of_second.end().await), (4, 0, 0));
}
