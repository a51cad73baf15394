//! How a round and an attempt are judged: errors apart from failures, tool failure only when the last tools failed, the marker before
//! the verify command. Pure; knows nothing of how rounds are run or results stored.

use domain::chat::{ModelError, ModelFault};
use domain::outcome::{ErrorReason, Failure, Note, Outcome};
use domain::usage::Usage;
use proto::message::Cause;
use std::time::Duration;

/// What the rules must know of a trial.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Model calls of a round.
    pub(crate) max_steps: u32,
    /// Output tokens of a reply.
    pub(crate) max_tokens: u32,
    /// What the final answer must contain.
    pub(crate) marker: Option<String>,
    /// The verify command.
    pub(crate) verify: Option<String>,
    /// Repair rounds after a failed verification.
    pub(crate) repair_rounds: u32,
    /// Time of the agent, from the moment its workspace is ready, verification included, though never cutting one short.
    pub(crate) timeout: Duration,
}

/// How a round of the agent ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum How {
    /// The model finished by itself.
    Finished,
    /// The steps were used up.
    MaxSteps,
    /// The steps ended on a reply that the output limit had cut off.
    Truncated,
    /// Nothing but empty replies.
    EmptyReplies,
    /// A model call failed for good.
    Model(ModelError),
    /// The time of the attempt was used up.
    TimeUp {
        /// Whether the agent stood still at that moment because the store took no more of its trace.
        waiting_for_store: bool,
    },
}

/// What the agent has done so far, over all rounds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tally {
    /// The final answer, or what stopped it.
    pub(crate) summary: String,
    /// Model calls.
    pub(crate) steps: u32,
    /// Tools executed.
    pub(crate) tool_calls: u32,
    /// Of them, failed.
    pub(crate) failed_tool_calls: u32,
    /// Whether a reply was cut off by the output limit.
    pub(crate) truncated: bool,
    /// Whether the tools of the last reply that asked for any all failed.
    pub(crate) last_tools_failed: bool,
    /// Tokens and money.
    pub(crate) usage: Usage,
    /// Waiting for the model.
    pub(crate) model_seconds: f64,
    /// Running tools.
    pub(crate) tool_seconds: f64,
}

/// What an attempt says of its end when it has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Why.
    pub(crate) cause: Cause,
    /// Whether another attempt can help.
    pub(crate) retryable: bool,
    /// Whether it counts towards the attempts of the trial.
    pub(crate) counts: bool,
    /// One line for people.
    pub(crate) text: String,
}

impl Notice {
    /// The two bits as each cause has them; the ones that depend on more are set by [`Self::died`] and [`Self::unready`].
    pub(crate) fn of(cause: Cause, text: impl Into<String>) -> Self {
        let (retryable, counts) = match cause {
            Cause::LeaseLost
            | Cause::Drained
            | Cause::WorkspaceUnavailable
            | Cause::WorkspaceDied
            | Cause::ProviderUnavailable
            | Cause::StoreUnavailable => (true, false),
            Cause::Cancelled | Cause::Unusable => (false, false),
            Cause::Bug => (true, true),
        };
        Self { cause, retryable, counts, text: text.into() }
    }

    /// A workspace that died under the agent: counts when what ran inside brought it down.
    pub(crate) fn died(counts: bool, text: impl Into<String>) -> Self {
        Self { counts, ..Self::of(Cause::WorkspaceDied, text) }
    }

    /// A workspace that could not be had.
    pub(crate) fn unready(retryable: bool, text: impl Into<String>) -> Self {
        Self { retryable, ..Self::of(Cause::WorkspaceUnavailable, text) }
    }
}

/// What follows from the end of a round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ruling {
    /// The agent did its part: run the verify command.
    Verify,
    /// The attempt has a result.
    Conclude(Judgement),
    /// It has none.
    Abandon(Notice),
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judgement {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Whether the agent finished by itself.
    pub(crate) finished: bool,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// Which limit ended it.
    pub(crate) bound_by: Option<String>,
}

/// Judges the end of a round. `unrepaired` is what the last verification said, in a repair round.
pub(crate) fn round(plan: &Plan, how: &How, tally: &Tally, unrepaired: Option<&str>) -> Ruling {
    let failed = |why, error: String, bound_by| {
        let finished = *how == How::Finished;
        let error = (!error.is_empty()).then_some(error);
        Ruling::Conclude(match unrepaired {
            // A round that was to repair a failed verification and did not even get to the next one leaves the failure as it was.
            Some(verifier) if why != Failure::ModelMismatch => Judgement {
                outcome: Outcome::Failed { why: Failure::VerificationFailure },
                finished,
                error: Some(match error {
                    Some(error) => format!("{verifier}\nthe repair round did not help: {error}"),
                    None => verifier.to_owned(),
                }),
                bound_by,
            },
            _ => Judgement { outcome: Outcome::Failed { why }, finished, error, bound_by },
        })
    };
    let not_finished = if tally.last_tools_failed { Failure::ToolFailure } else { Failure::MaxSteps };
    match how {
        How::Finished if !marker_is_there(plan, &tally.summary) => {
            let marker = plan.marker.as_deref().unwrap_or_default();
            failed(
                Failure::ExpectationMismatch,
                format!("the final answer does not contain `{marker}`"),
                None,
            )
        }
        How::Finished if plan.verify.is_some() => Ruling::Verify,
        How::Finished => Ruling::Conclude(passed()),
        How::MaxSteps => {
            let limit = format!("max_steps={}", plan.max_steps);
            failed(not_finished, format!("not finished within {limit}"), Some(limit))
        }
        How::Truncated => {
            let limit = format!("max_tokens={}", plan.max_tokens);
            failed(not_finished, format!("the last reply was cut off by {limit}"), Some(limit))
        }
        How::EmptyReplies => {
            failed(Failure::Exception, "the model answered with nothing, also when asked again".into(), None)
        }
        How::TimeUp { waiting_for_store: true } => Ruling::Abandon(Notice::of(
            Cause::StoreUnavailable,
            "the time ran out while the store took nothing",
        )),
        How::TimeUp { waiting_for_store: false } => {
            let limit = format!("timeout_seconds={}", plan.timeout.as_secs());
            failed(Failure::TimeLimit, format!("not finished within {limit}"), Some(limit))
        }
        How::Model(error) => match &error.fault {
            ModelFault::Unavailable => {
                Ruling::Abandon(Notice::of(Cause::ProviderUnavailable, error.message.clone()))
            }
            ModelFault::Rejected => Ruling::Conclude(Judgement {
                outcome: Outcome::Errored { why: ErrorReason::ProviderRejected },
                finished: false,
                error: Some(error.message.clone()),
                bound_by: None,
            }),
            ModelFault::WrongModel { .. } => failed(Failure::ModelMismatch, error.message.clone(), None),
            ModelFault::ContextLength => {
                failed(Failure::Exception, error.message.clone(), Some("context_length".to_owned()))
            }
            ModelFault::Refused | ModelFault::Garbage => {
                failed(Failure::Exception, error.message.clone(), None)
            }
        },
    }
}

/// The outcome when nothing is missing.
pub(crate) const fn passed() -> Judgement {
    Judgement { outcome: Outcome::Passed, finished: true, error: None, bound_by: None }
}

/// The outcome when the last verification failed and no round is left to repair it.
pub(crate) fn unverified(verifier: &str, bound_by: Option<String>) -> Judgement {
    Judgement {
        outcome: Outcome::Failed { why: Failure::VerificationFailure },
        finished: true,
        error: Some(verifier.to_owned()),
        bound_by,
    }
}

/// What deserves a remark, whatever the outcome.
pub(crate) fn notes(outcome: Outcome, tally: &Tally, failed_verifications: usize) -> Vec<Note> {
    let passed = outcome == Outcome::Passed;
    let remarks = [
        (Note::RecoveredToolFailure, passed && tally.failed_tool_calls > 0),
        (Note::Truncated, tally.truncated),
        (Note::RepairedAfterFeedback, passed && failed_verifications > 0),
    ];
    remarks.into_iter().filter(|(_, holds)| *holds).map(|(note, _)| note).collect()
}

fn marker_is_there(plan: &Plan, summary: &str) -> bool {
    plan.marker.as_deref().is_none_or(|marker| summary.contains(marker))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(marker: &str, verify: bool) -> Plan {
        Plan {
            max_steps: 8,
            max_tokens: 2048,
            marker: (!marker.is_empty()).then(|| marker.to_owned()),
            verify: verify.then(|| "make test".to_owned()),
            repair_rounds: 1,
            timeout: Duration::from_secs(600),
        }
    }

    fn model(fault: ModelFault) -> How {
        How::Model(ModelError::new(fault, "the provider's words"))
    }

    fn words(ruling: &Ruling) -> String {
        match ruling {
            Ruling::Verify => "verify".to_owned(),
            Ruling::Abandon(notice) => format!(
                "abandon: {}{}{}",
                notice.cause.as_str(),
                if notice.retryable { " retryable" } else { "" },
                if notice.counts { " counts" } else { "" }
            ),
            Ruling::Conclude(judgement) => {
                let outcome = match judgement.outcome {
                    Outcome::Passed => "passed".to_owned(),
                    Outcome::Failed { why } => format!("failed {}", why.as_str()),
                    Outcome::Errored { why } => format!("errored {}", why.as_str()),
                };
                let finished = if judgement.finished { " finished" } else { "" };
                let bound =
                    judgement.bound_by.as_ref().map(|limit| format!(" [{limit}]")).unwrap_or_default();
                format!("{outcome}{finished}{bound}")
            }
        }
    }

    #[track_caller]
    fn check(plan: &Plan, how: &How, tools_failed: bool, unrepaired: Option<&str>, expect: &str) {
        let tally = Tally {
            summary: "all DONE".to_owned(),
            last_tools_failed: tools_failed,
            failed_tool_calls: 1,
            ..Tally::default()
        };
        assert_eq!(words(&round(plan, how, &tally, unrepaired)), expect, "{how:?}");
    }

    #[test]
    fn every_way_a_first_round_ends() {
        let plain = plan("DONE", false);
        let verified = plan("DONE", true);
        for (how, tools_failed, expect) in [
            (How::Finished, true, "passed finished"),
            (How::MaxSteps, false, "failed max_steps [max_steps=8]"),
            (How::MaxSteps, true, "failed tool_failure [max_steps=8]"),
            (How::Truncated, false, "failed max_steps [max_tokens=2048]"),
            (How::EmptyReplies, true, "failed exception"),
            (How::TimeUp { waiting_for_store: false }, true, "failed time_limit [timeout_seconds=600]"),
            (How::TimeUp { waiting_for_store: true }, true, "abandon: store unavailable retryable"),
            (model(ModelFault::Unavailable), false, "abandon: provider unavailable retryable"),
            (model(ModelFault::Rejected), false, "errored provider_rejected"),
            (model(ModelFault::ContextLength), false, "failed exception [context_length]"),
            (model(ModelFault::Refused), false, "failed exception"),
            (model(ModelFault::Garbage), false, "failed exception"),
            (model(ModelFault::WrongModel { got: "x".into() }), false, "failed model_mismatch"),
        ] {
            check(&plain, &how, tools_failed, None, expect);
            let expect = if how == How::Finished { "verify" } else { expect };
            check(&verified, &how, tools_failed, None, expect);
        }
    }

    #[test]
    fn the_marker_is_looked_for_before_anything_is_verified() {
        check(&plan("ELSE", true), &How::Finished, false, None, "failed expectation_mismatch finished");
        check(&plan("done", true), &How::Finished, false, None, "failed expectation_mismatch finished");
        check(&plan("", true), &How::Finished, false, None, "verify");
    }

    #[test]
    fn a_repair_round_that_comes_to_nothing_leaves_the_verification_failed() {
        let said = Some("verify_command failed: 1 != 2");
        for (how, expect) in [
            (How::Finished, "failed verification_failure finished"),
            (How::MaxSteps, "failed verification_failure [max_steps=8]"),
            (How::EmptyReplies, "failed verification_failure"),
            (How::TimeUp { waiting_for_store: false }, "failed verification_failure [timeout_seconds=600]"),
            (model(ModelFault::ContextLength), "failed verification_failure [context_length]"),
            (model(ModelFault::WrongModel { got: "x".into() }), "failed model_mismatch"),
            (model(ModelFault::Unavailable), "abandon: provider unavailable retryable"),
            (model(ModelFault::Rejected), "errored provider_rejected"),
        ] {
            check(&plan("ELSE", true), &how, false, said, expect);
        }
        check(&plan("DONE", true), &How::Finished, false, said, "verify");
    }

    #[test]
    fn remarks_never_change_an_outcome_and_some_need_a_pass() {
        let tally = Tally { failed_tool_calls: 2, truncated: true, ..Tally::default() };
        assert_eq!(
            notes(Outcome::Passed, &tally, 1),
            [Note::RecoveredToolFailure, Note::Truncated, Note::RepairedAfterFeedback]
        );
        assert_eq!(notes(Outcome::Failed { why: Failure::MaxSteps }, &tally, 1), [Note::Truncated]);
        assert_eq!(notes(Outcome::Passed, &Tally::default(), 0), []);
    }
}
