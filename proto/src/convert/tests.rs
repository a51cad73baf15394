//! Every message survives the wire, and nonsense is refused by name.

use super::*;
use domain::id::TrialKey;
use proptest::prelude::*;
use prost::Message as _;

fn an_id() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9-]{0,12}"
}

fn a_trial() -> impl Strategy<Value = TrialKey> {
    (an_id(), an_id(), an_id(), 0u32..9)
        .prop_map(|(suite, case, preset, index)| format!("{suite}.{case}.{preset}.{index}").parse().unwrap())
}

fn an_attempt() -> impl Strategy<Value = Option<AttemptNo>> {
    (0u32..9).prop_map(AttemptNo::new)
}

fn an_epoch() -> impl Strategy<Value = Epoch> {
    (1u64..).prop_map(|number| Epoch::new(number).unwrap())
}

fn an_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Passed),
        prop::sample::select(&ModelFailure::ALL[..]).prop_map(|why| Outcome::Failed { why }),
        prop::sample::select(
            &[
                ErrorReason::AttemptsExhausted,
                ErrorReason::WorkspaceUnavailable,
                ErrorReason::ProviderUnavailable,
                ErrorReason::ProviderRejected,
                ErrorReason::Cancelled
            ][..]
        )
        .prop_map(|why| Outcome::Errored { why }),
    ]
}

fn a_usage() -> impl Strategy<Value = Usage> {
    (any::<u32>(), any::<u32>(), any::<[u64; 3]>(), prop::option::of(0.0..9.0f64)).prop_map(
        |(calls, unreported, [input_tokens, cached_input_tokens, output_tokens], cost_usd)| Usage {
            calls,
            unreported,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            cost_usd,
        },
    )
}

fn a_holding() -> impl Strategy<Value = Vec<HeldLease>> {
    let trial = (a_trial(), an_attempt(), ".{0,9}").prop_map(|(trial, attempt, progress)| HeldTrial {
        trial,
        attempt,
        progress,
    });
    let lease = (an_id(), an_id(), an_epoch(), prop::collection::vec(trial, 0..3)).prop_map(
        |(lease, run, epoch, trials)| HeldLease {
            lease: lease.parse().unwrap(),
            run: run.parse().unwrap(),
            epoch,
            trials,
        },
    );
    prop::collection::vec(lease, 0..3)
}

fn from_worker() -> impl Strategy<Value = FromWorker> {
    let hello =
        (an_id(), an_id(), any::<u32>(), a_holding()).prop_map(|(worker, incarnation, slots, held)| {
            FromWorker::Hello(Hello {
                protocol: crate::PROTOCOL,
                worker: worker.parse().unwrap(),
                incarnation: incarnation.parse().unwrap(),
                slots,
                version: "och 0.1.0".to_owned(),
                labels: [("sandbox".to_owned(), "local".to_owned())].into(),
                held,
            })
        });
    let decided = (an_id(), a_trial(), an_attempt(), an_outcome(), a_usage(), 0.0..9.0f64, any::<u32>())
        .prop_map(|(run, trial, attempt, outcome, usage, seconds, steps)| TrialDecided {
            run: run.parse().unwrap(),
            trial,
            attempt,
            outcome,
            usage,
            seconds,
            steps,
        });
    let abandoned = (
        an_id(),
        an_id(),
        a_trial(),
        an_attempt(),
        prop::sample::select(&Cause::ALL[..]),
        any::<bool>(),
        any::<bool>(),
        ".{0,9}",
    )
        .prop_map(|(run, lease, trial, attempt, cause, retryable, counts, text)| {
            FromWorker::Abandoned(TrialAbandoned {
                run: run.parse().unwrap(),
                lease: lease.parse().unwrap(),
                trial,
                attempt,
                cause,
                retryable,
                counts,
                text,
            })
        });
    prop_oneof![
        hello,
        any::<u32>().prop_map(|credits| FromWorker::Ready { credits }),
        (any::<u64>(), a_holding()).prop_map(|(number, held)| FromWorker::Heartbeat { number, held }),
        prop::collection::vec(decided, 0..3).prop_map(FromWorker::Decided),
        abandoned,
        (an_id(), an_id(), prop::collection::vec(a_trial(), 0..3)).prop_map(|(run, lease, trials)| {
            FromWorker::Returned { run: run.parse().unwrap(), lease: lease.parse().unwrap(), trials }
        }),
    ]
}

fn from_coordinator() -> impl Strategy<Value = FromCoordinator> {
    let a_duration = || (0u64..1 << 40).prop_map(Duration::from_millis);
    let granted = (a_trial(), 1u32..9, any::<bool>()).prop_map(|(trial, attempt, adopted)| GrantedTrial {
        trial,
        attempt: AttemptNo::new(attempt).unwrap(),
        adopted,
    });
    let grant = (
        an_id(),
        an_id(),
        an_epoch(),
        an_id(),
        prop::collection::vec(granted, 0..3),
        a_duration(),
        any::<u64>(),
    )
        .prop_map(|(lease, run, epoch, preset, trials, ttl, heartbeat)| {
            FromCoordinator::Grant(Grant {
                lease: lease.parse().unwrap(),
                run: run.parse().unwrap(),
                epoch,
                preset: preset.parse().unwrap(),
                trials,
                ttl,
                heartbeat,
            })
        });
    prop_oneof![
        (an_id(), a_duration(), a_duration()).prop_map(|(incarnation, heartbeat, ttl)| {
            FromCoordinator::Welcome(Welcome {
                protocol: 1,
                incarnation: incarnation.parse().unwrap(),
                heartbeat,
                ttl,
                store: "s3://bucket/x".to_owned(),
                version: String::new(),
            })
        }),
        grant,
        (any::<u64>(), prop::collection::vec(an_id(), 0..3), a_duration()).prop_map(
            |(heartbeat, leases, ttl)| {
                let leases = leases.iter().map(|lease| lease.parse().unwrap()).collect();
                FromCoordinator::Renewed { heartbeat, leases, ttl }
            }
        ),
        (
            an_id(),
            an_id(),
            prop::collection::vec(a_trial(), 0..3),
            prop::sample::select(&[RevokeReason::Cancelled, RevokeReason::Decided, RevokeReason::Lost][..])
        )
            .prop_map(|(run, lease, trials, reason)| FromCoordinator::Revoke {
                run: run.parse().unwrap(),
                lease: lease.parse().unwrap(),
                trials,
                reason
            }),
        (any::<u64>(), 0.01..=1.0f64)
            .prop_map(|(generation, share)| FromCoordinator::Budget { generation, share }),
        ".{0,9}".prop_map(|text| FromCoordinator::Drain { text }),
        (an_id(), an_epoch(), prop::option::of("[a-z]{1,9}")).prop_map(|(run, epoch, address)| {
            FromCoordinator::Fenced { run: run.parse().unwrap(), epoch, address }
        }),
    ]
}

proptest! {
    #[test]
    fn what_a_worker_says_arrives_as_it_was(message in from_worker()) {
        let bytes = v1::WorkerMessage::from(message.clone()).encode_to_vec();
        let wire = v1::WorkerMessage::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(FromWorker::try_from(wire).unwrap(), message);
    }

    #[test]
    fn what_the_coordinator_says_arrives_as_it_was(message in from_coordinator()) {
        let bytes = v1::CoordinatorMessage::from(message.clone()).encode_to_vec();
        let wire = v1::CoordinatorMessage::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(FromCoordinator::try_from(wire).unwrap(), message);
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    use v1::worker_message::Kind;
    let check = |kind: Option<Kind>, expect: &str| {
        let error = FromWorker::try_from(v1::WorkerMessage { kind }).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    let abandoned = v1::TrialAbandoned {
        run: "r".to_owned(),
        lease: "e1-1".to_owned(),
        trial: "a.b.c.0".to_owned(),
        cause: v1::AbandonCause::Bug.into(),
        ..Default::default()
    };
    check(None, "without `kind`");
    check(
        Some(Kind::Abandoned(v1::TrialAbandoned { run: "../x".to_owned(), ..abandoned.clone() })),
        "illegal `run`",
    );
    check(
        Some(Kind::Abandoned(v1::TrialAbandoned { trial: "a.b".to_owned(), ..abandoned.clone() })),
        "illegal `trial`",
    );
    check(Some(Kind::Abandoned(v1::TrialAbandoned { cause: 99, ..abandoned.clone() })), "`99` is not known");
    check(Some(Kind::Abandoned(v1::TrialAbandoned { cause: 0, ..abandoned })), "without `cause`");
    let decided = v1::TrialDecided { run: "r".to_owned(), trial: "a.b.c.0".to_owned(), ..Default::default() };
    check(Some(Kind::Decided(v1::TrialsDecided { trials: vec![decided] })), "without `outcome`");
}

#[test]
fn shares_out_of_range_are_refused() {
    for share in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY] {
        let kind = v1::coordinator_message::Kind::Budget(v1::Budget { generation: 1, share });
        assert!(FromCoordinator::try_from(v1::CoordinatorMessage { kind: Some(kind) }).is_err(), "{share}");
    }
}
