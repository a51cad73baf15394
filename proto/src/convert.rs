//! Wire ↔ domain. Every name from outside is checked here and nowhere else.

use crate::eval::v1;
use crate::message::{
    Cause, FromCoordinator, FromWorker, Grant, GrantedTrial, HeldLease, HeldTrial, Hello, RevokeReason,
    TrialAbandoned, TrialDecided, Welcome,
};
use crate::status::{Code, Failure};
use domain::id::{AttemptNo, Epoch};
use domain::outcome::{ErrorReason, Failure as ModelFailure, Outcome};
use domain::usage::Usage;
use std::str::FromStr;
use std::time::Duration;

/// A message that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field that must be there is not.
    #[error("message without `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field whose value is not legal.
    #[error("illegal `{field}`: {why}")]
    Illegal {
        /// The field.
        field: &'static str,
        /// Why.
        why: String,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

/// Reads a name.
///
/// # Errors
/// When it is not legal.
pub fn name<T: FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: T::Err| Error::Illegal { field, why: error.to_string() })
}

fn names<T: FromStr<Err: std::fmt::Display>>(field: &'static str, texts: &[String]) -> Result<Vec<T>, Error> {
    texts.iter().map(|text| name(field, text)).collect()
}

fn epoch(number: u64) -> Result<Epoch, Error> {
    Epoch::new(number).ok_or_else(|| Error::Illegal { field: "epoch", why: "epochs count from 1".to_owned() })
}

fn attempt_number(attempt: Option<AttemptNo>) -> u32 {
    attempt.map_or(0, AttemptNo::get)
}

fn duration(field: &'static str, wire: Option<prost_types::Duration>) -> Result<Duration, Error> {
    let wire = wire.ok_or(Error::Missing { field })?;
    wire.try_into().map_err(|_| Error::Illegal { field, why: "not a duration that passes".to_owned() })
}

/// As the wire has it; the longest duration where it does not fit.
#[must_use]
pub fn wire_duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

impl From<Usage> for v1::Usage {
    fn from(usage: Usage) -> Self {
        Self {
            calls: usage.calls,
            unreported: usage.unreported,
            input_tokens: usage.input_tokens,
            cached_input_tokens: usage.cached_input_tokens,
            output_tokens: usage.output_tokens,
            cost_usd: usage.cost_usd,
        }
    }
}

impl From<v1::Usage> for Usage {
    fn from(wire: v1::Usage) -> Self {
        Self {
            calls: wire.calls,
            unreported: wire.unreported,
            input_tokens: wire.input_tokens,
            cached_input_tokens: wire.cached_input_tokens,
            output_tokens: wire.output_tokens,
            cost_usd: wire.cost_usd,
        }
    }
}

/// Two enums that say the same: one table, both directions.
macro_rules! same {
    ($domain:ty, $wire:ty, $field:literal, { $($left:ident = $right:ident),+ $(,)? }) => {
        impl From<$domain> for $wire {
            fn from(domain: $domain) -> Self {
                match domain { $(<$domain>::$left => Self::$right),+ }
            }
        }

        impl TryFrom<$wire> for $domain {
            type Error = Error;
            fn try_from(wire: $wire) -> Result<Self, Error> {
                match wire {
                    $(<$wire>::$right => Ok(Self::$left),)+
                    <$wire>::Unspecified => Err(Error::Missing { field: $field }),
                }
            }
        }
    };
}

same!(ModelFailure, v1::FailureKind, "failed", {
    Exception = Exception,
    ToolFailure = ToolFailure,
    MaxSteps = MaxSteps,
    ExpectationMismatch = ExpectationMismatch,
    VerificationFailure = VerificationFailure,
    TimeLimit = TimeLimit,
    BudgetExhausted = BudgetExhausted,
    ModelMismatch = ModelMismatch,
});

same!(ErrorReason, v1::ErrorKind, "errored", {
    AttemptsExhausted = AttemptsExhausted,
    WorkspaceUnavailable = WorkspaceUnavailable,
    ProviderUnavailable = ProviderUnavailable,
    ProviderRejected = ProviderRejected,
    Cancelled = Cancelled,
});

same!(Cause, v1::AbandonCause, "cause", {
    LeaseLost = LeaseLost,
    Drained = Drained,
    Cancelled = Cancelled,
    WorkspaceUnavailable = WorkspaceUnavailable,
    WorkspaceDied = WorkspaceDied,
    ProviderUnavailable = ProviderUnavailable,
    StoreUnavailable = StoreUnavailable,
    Unusable = Unusable,
    Bug = Bug,
});

same!(RevokeReason, v1::RevokeReason, "reason", {
    Cancelled = Cancelled,
    Decided = Decided,
    Lost = Lost,
});

fn known<T: TryFrom<i32>>(field: &'static str, number: i32) -> Result<T, Error> {
    T::try_from(number).map_err(|_| Error::Illegal { field, why: format!("`{number}` is not known here") })
}

impl From<Outcome> for v1::Outcome {
    fn from(outcome: Outcome) -> Self {
        use v1::outcome::Kind;
        let kind = match outcome {
            Outcome::Passed => Kind::Passed(v1::Passed {}),
            Outcome::Failed { why } => Kind::Failed(v1::FailureKind::from(why).into()),
            Outcome::Errored { why } => Kind::Errored(v1::ErrorKind::from(why).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = Error;
    fn try_from(wire: v1::Outcome) -> Result<Self, Error> {
        use v1::outcome::Kind;
        Ok(match wire.kind.ok_or(Error::Missing { field: "outcome" })? {
            Kind::Passed(_) => Self::Passed,
            Kind::Failed(number) => {
                Self::Failed { why: known::<v1::FailureKind>("failed", number)?.try_into()? }
            }
            Kind::Errored(number) => {
                Self::Errored { why: known::<v1::ErrorKind>("errored", number)?.try_into()? }
            }
        })
    }
}

impl From<HeldLease> for v1::HeldLease {
    fn from(held: HeldLease) -> Self {
        let trials = held.trials.into_iter().map(|held| v1::HeldTrial {
            trial: held.trial.to_string(),
            attempt: attempt_number(held.attempt),
            progress: held.progress,
        });
        Self {
            lease: held.lease.to_string(),
            run: held.run.to_string(),
            epoch: held.epoch.get(),
            trials: trials.collect(),
        }
    }
}

impl TryFrom<v1::HeldLease> for HeldLease {
    type Error = Error;
    fn try_from(wire: v1::HeldLease) -> Result<Self, Error> {
        let trials = wire.trials.into_iter().map(|held| {
            Ok(HeldTrial {
                trial: name("trial", &held.trial)?,
                attempt: AttemptNo::new(held.attempt),
                progress: held.progress,
            })
        });
        Ok(Self {
            lease: name("lease", &wire.lease)?,
            run: name("run", &wire.run)?,
            epoch: epoch(wire.epoch)?,
            trials: trials.collect::<Result<_, Error>>()?,
        })
    }
}

fn wire_held(held: Vec<HeldLease>) -> Vec<v1::HeldLease> {
    held.into_iter().map(Into::into).collect()
}

fn read_held(held: Vec<v1::HeldLease>) -> Result<Vec<HeldLease>, Error> {
    held.into_iter().map(TryInto::try_into).collect()
}

impl From<TrialDecided> for v1::TrialDecided {
    fn from(decided: TrialDecided) -> Self {
        Self {
            run: decided.run.to_string(),
            trial: decided.trial.to_string(),
            attempt: attempt_number(decided.attempt),
            outcome: Some(decided.outcome.into()),
            usage: Some(decided.usage.into()),
            seconds: decided.seconds,
            steps: decided.steps,
        }
    }
}

impl TryFrom<v1::TrialDecided> for TrialDecided {
    type Error = Error;
    fn try_from(wire: v1::TrialDecided) -> Result<Self, Error> {
        Ok(Self {
            run: name("run", &wire.run)?,
            trial: name("trial", &wire.trial)?,
            attempt: AttemptNo::new(wire.attempt),
            outcome: wire.outcome.ok_or(Error::Missing { field: "outcome" })?.try_into()?,
            usage: wire.usage.unwrap_or_default().into(),
            seconds: wire.seconds,
            steps: wire.steps,
        })
    }
}

impl From<FromWorker> for v1::WorkerMessage {
    fn from(message: FromWorker) -> Self {
        use v1::worker_message::Kind;
        let kind = match message {
            FromWorker::Hello(hello) => Kind::Hello(v1::Hello {
                protocol: hello.protocol,
                worker: hello.worker.to_string(),
                incarnation: hello.incarnation.to_string(),
                slots: hello.slots,
                version: hello.version,
                labels: hello.labels.into_iter().collect(),
                held: wire_held(hello.held),
            }),
            FromWorker::Ready { credits } => Kind::Ready(v1::Ready { credits }),
            FromWorker::Heartbeat { number, held } => {
                Kind::Heartbeat(v1::Heartbeat { number, held: wire_held(held) })
            }
            FromWorker::Decided(trials) => {
                Kind::Decided(v1::TrialsDecided { trials: trials.into_iter().map(Into::into).collect() })
            }
            FromWorker::Abandoned(abandoned) => Kind::Abandoned(v1::TrialAbandoned {
                run: abandoned.run.to_string(),
                lease: abandoned.lease.to_string(),
                trial: abandoned.trial.to_string(),
                attempt: attempt_number(abandoned.attempt),
                cause: v1::AbandonCause::from(abandoned.cause).into(),
                retryable: abandoned.retryable,
                counts: abandoned.counts,
                text: abandoned.text,
            }),
            FromWorker::Returned { run, lease, trials } => Kind::Returned(v1::LeaseReturned {
                run: run.to_string(),
                lease: lease.to_string(),
                trials: trials.iter().map(ToString::to_string).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::WorkerMessage> for FromWorker {
    type Error = Error;
    fn try_from(wire: v1::WorkerMessage) -> Result<Self, Error> {
        use v1::worker_message::Kind;
        Ok(match wire.kind.ok_or(Error::Missing { field: "kind" })? {
            Kind::Hello(hello) => Self::Hello(Hello {
                protocol: hello.protocol,
                worker: name("worker", &hello.worker)?,
                incarnation: name("incarnation", &hello.incarnation)?,
                slots: hello.slots,
                version: hello.version,
                labels: hello.labels.into_iter().collect(),
                held: read_held(hello.held)?,
            }),
            Kind::Ready(ready) => Self::Ready { credits: ready.credits },
            Kind::Heartbeat(heartbeat) => {
                Self::Heartbeat { number: heartbeat.number, held: read_held(heartbeat.held)? }
            }
            Kind::Decided(decided) => {
                Self::Decided(decided.trials.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            Kind::Abandoned(abandoned) => Self::Abandoned(TrialAbandoned {
                run: name("run", &abandoned.run)?,
                lease: name("lease", &abandoned.lease)?,
                trial: name("trial", &abandoned.trial)?,
                attempt: AttemptNo::new(abandoned.attempt),
                cause: known::<v1::AbandonCause>("cause", abandoned.cause)?.try_into()?,
                retryable: abandoned.retryable,
                counts: abandoned.counts,
                text: abandoned.text,
            }),
            Kind::Returned(returned) => Self::Returned {
                run: name("run", &returned.run)?,
                lease: name("lease", &returned.lease)?,
                trials: names("trial", &returned.trials)?,
            },
        })
    }
}

impl From<FromCoordinator> for v1::CoordinatorMessage {
    fn from(message: FromCoordinator) -> Self {
        use v1::coordinator_message::Kind;
        let kind = match message {
            FromCoordinator::Welcome(welcome) => Kind::Welcome(v1::Welcome {
                protocol: welcome.protocol,
                incarnation: welcome.incarnation.to_string(),
                heartbeat: Some(wire_duration(welcome.heartbeat)),
                ttl: Some(wire_duration(welcome.ttl)),
                store: welcome.store,
                version: welcome.version,
            }),
            FromCoordinator::Grant(grant) => Kind::Grant(v1::Grant {
                lease: grant.lease.to_string(),
                run: grant.run.to_string(),
                epoch: grant.epoch.get(),
                preset: grant.preset.to_string(),
                trials: grant
                    .trials
                    .into_iter()
                    .map(|granted| v1::GrantedTrial {
                        trial: granted.trial.to_string(),
                        attempt: granted.attempt.get(),
                        adopted: granted.adopted,
                    })
                    .collect(),
                ttl: Some(wire_duration(grant.ttl)),
                heartbeat: grant.heartbeat,
            }),
            FromCoordinator::Renewed { heartbeat, leases, ttl } => Kind::Renewed(v1::Renewed {
                heartbeat,
                leases: leases.iter().map(ToString::to_string).collect(),
                ttl: Some(wire_duration(ttl)),
            }),
            FromCoordinator::Revoke { run, lease, trials, reason } => Kind::Revoke(v1::Revoke {
                run: run.to_string(),
                lease: lease.to_string(),
                trials: trials.iter().map(ToString::to_string).collect(),
                reason: v1::RevokeReason::from(reason).into(),
            }),
            FromCoordinator::Budget { generation, share } => Kind::Budget(v1::Budget { generation, share }),
            FromCoordinator::Drain { text } => Kind::Drain(v1::Drain { text }),
            FromCoordinator::Fenced { run, epoch, address } => Kind::Fenced(v1::Fenced {
                run: run.to_string(),
                epoch: epoch.get(),
                address: address.unwrap_or_default(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::CoordinatorMessage> for FromCoordinator {
    type Error = Error;
    fn try_from(wire: v1::CoordinatorMessage) -> Result<Self, Error> {
        use v1::coordinator_message::Kind;
        Ok(match wire.kind.ok_or(Error::Missing { field: "kind" })? {
            Kind::Welcome(welcome) => Self::Welcome(Welcome {
                protocol: welcome.protocol,
                incarnation: name("incarnation", &welcome.incarnation)?,
                heartbeat: duration("heartbeat", welcome.heartbeat)?,
                ttl: duration("ttl", welcome.ttl)?,
                store: welcome.store,
                version: welcome.version,
            }),
            Kind::Grant(grant) => {
                let trials = grant.trials.into_iter().map(|granted| {
                    Ok(GrantedTrial {
                        trial: name("trial", &granted.trial)?,
                        attempt: AttemptNo::new(granted.attempt)
                            .ok_or(Error::Missing { field: "attempt" })?,
                        adopted: granted.adopted,
                    })
                });
                Self::Grant(Grant {
                    trials: trials.collect::<Result<_, Error>>()?,
                    lease: name("lease", &grant.lease)?,
                    run: name("run", &grant.run)?,
                    epoch: epoch(grant.epoch)?,
                    preset: name("preset", &grant.preset)?,
                    ttl: duration("ttl", grant.ttl)?,
                    heartbeat: grant.heartbeat,
                })
            }
            Kind::Renewed(renewed) => Self::Renewed {
                heartbeat: renewed.heartbeat,
                leases: names("lease", &renewed.leases)?,
                ttl: duration("ttl", renewed.ttl)?,
            },
            Kind::Revoke(revoke) => Self::Revoke {
                run: name("run", &revoke.run)?,
                lease: name("lease", &revoke.lease)?,
                trials: names("trial", &revoke.trials)?,
                reason: known::<v1::RevokeReason>("reason", revoke.reason)?.try_into()?,
            },
            Kind::Budget(budget) => {
                if !(budget.share > 0.0 && budget.share <= 1.0) {
                    return Err(Error::Illegal { field: "share", why: format!("`{}`", budget.share) });
                }
                Self::Budget { generation: budget.generation, share: budget.share }
            }
            Kind::Drain(drain) => Self::Drain { text: drain.text },
            Kind::Fenced(fenced) => Self::Fenced {
                run: name("run", &fenced.run)?,
                epoch: epoch(fenced.epoch)?,
                address: Some(fenced.address).filter(|address| !address.is_empty()),
            },
        })
    }
}

#[cfg(test)]
mod tests;
