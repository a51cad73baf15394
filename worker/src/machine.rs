//! The attempt as a machine: what to do next, given what happened. Owns the table of states and events; has no clock, store, model
//! or workspace.
//!
//! An attempt is one of: claimed and on its way, abandoned (no result, the trial may be tried again), or decided (its result was
//! stored and a verdict exists). Up to the end of verification anything may take the attempt away; from then on the money is spent
//! and only the create of the verdict decides.

#[cfg(test)]
mod tests;

use crate::judge::{self, How, Judgement, Notice, Plan, Ruling, Tally};
use domain::env::Moment;
use domain::id::AttemptNo;
use domain::outcome::{Note, Outcome, Seconds, Verdict, VerifyRound};
use domain::usage::Usage;
use proto::message::Cause;

/// How often a taken number is answered by trying the next one. Each of them is somebody else's attempt at the same trial.
const MOST_TAKEN_NUMBERS: u32 = 32;

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// A number is being claimed.
    Claiming,
    /// Inputs, provider and workspace are being readied.
    Preparing,
    /// The agent is at work.
    Running,
    /// The verify command runs.
    Verifying,
    /// Chunks, artifacts and the result are being written.
    Finishing,
    /// The verdict is being created.
    Committing,
    /// The attempt is being given up.
    Abandoning,
    /// Nothing more happens.
    Ended,
}

/// What can happen to an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The number is ours.
    ClaimWon,
    /// The number is somebody else's.
    ClaimTaken,
    /// The trial is still open; this number is free.
    StillOpen(AttemptNo),
    /// The trial is decided; nothing was spent here.
    AlreadyDecided(Box<Verdict>),
    /// Nothing could be claimed.
    ClaimFailed(Notice),
    /// All is ready for the agent.
    Prepared,
    /// Something that the agent needs cannot be had.
    Unready(Notice),
    /// A round of the agent ended.
    RoundEnded {
        /// How.
        how: How,
        /// What the agent has done so far.
        tally: Tally,
    },
    /// The workspace is gone.
    WorkspaceLost {
        /// Whether what ran inside brought it down.
        counts: bool,
        /// For people.
        reason: String,
    },
    /// The verify command ended.
    Verified {
        /// How, for the result.
        round: VerifyRound,
        /// What it said, when it failed.
        said: String,
    },
    /// Lease lost, run cancelled, worker leaving.
    Stop(Notice),
    /// `result.json` exists.
    Stored,
    /// The verdict exists: ours, or the one that was there first.
    Committed {
        /// The verdict that stands.
        verdict: Box<Verdict>,
        /// Whether it is that of another attempt.
        orphaned: bool,
    },
    /// What must be stored could not be.
    StoreFailed(String),
    /// The attempt is given up, and nothing of it is left.
    Abandoned,
    /// The work came to an end because it was told to.
    Interrupted,
    /// A defect ended the work.
    Crashed(String),
}

/// The names of events, for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum EventKind {
    /// [`Event::ClaimWon`].
    ClaimWon,
    /// [`Event::ClaimTaken`].
    ClaimTaken,
    /// [`Event::StillOpen`].
    StillOpen,
    /// [`Event::AlreadyDecided`].
    AlreadyDecided,
    /// [`Event::ClaimFailed`].
    ClaimFailed,
    /// [`Event::Prepared`].
    Prepared,
    /// [`Event::Unready`].
    Unready,
    /// [`Event::RoundEnded`].
    RoundEnded,
    /// [`Event::WorkspaceLost`].
    WorkspaceLost,
    /// [`Event::Verified`].
    Verified,
    /// [`Event::Stop`].
    Stop,
    /// [`Event::Stored`].
    Stored,
    /// [`Event::Committed`].
    Committed,
    /// [`Event::StoreFailed`].
    StoreFailed,
    /// [`Event::Abandoned`].
    Abandoned,
    /// [`Event::Interrupted`].
    Interrupted,
    /// [`Event::Crashed`].
    Crashed,
}

impl Event {
    /// The event's name.
    pub(crate) const fn kind(&self) -> EventKind {
        match self {
            Self::ClaimWon => EventKind::ClaimWon,
            Self::ClaimTaken => EventKind::ClaimTaken,
            Self::StillOpen(_) => EventKind::StillOpen,
            Self::AlreadyDecided(_) => EventKind::AlreadyDecided,
            Self::ClaimFailed(_) => EventKind::ClaimFailed,
            Self::Prepared => EventKind::Prepared,
            Self::Unready(_) => EventKind::Unready,
            Self::RoundEnded { .. } => EventKind::RoundEnded,
            Self::WorkspaceLost { .. } => EventKind::WorkspaceLost,
            Self::Verified { .. } => EventKind::Verified,
            Self::Stop(_) => EventKind::Stop,
            Self::Stored => EventKind::Stored,
            Self::Committed { .. } => EventKind::Committed,
            Self::StoreFailed(_) => EventKind::StoreFailed,
            Self::Abandoned => EventKind::Abandoned,
            Self::Interrupted => EventKind::Interrupted,
            Self::Crashed(_) => EventKind::Crashed,
        }
    }
}

/// What an event means in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Something follows.
    Acts,
    /// It comes too late, or changes nothing: the attempt goes on as it was.
    Ignored,
    /// It cannot happen here: a defect of the shell.
    Illegal,
}

/// The table: what each event means in each state. Nothing else decides whether an event is legal.
pub(crate) const fn meaning(state: State, event: EventKind) -> Meaning {
    use EventKind as E;
    use Meaning::{Acts, Ignored, Illegal};
    match (state, event) {
        (
            State::Claiming,
            E::ClaimWon
            | E::ClaimTaken
            | E::StillOpen
            | E::AlreadyDecided
            | E::ClaimFailed
            | E::Stop
            | E::Interrupted
            | E::Crashed,
        )
        | (State::Preparing, E::Prepared | E::Unready | E::Stop | E::Crashed)
        | (
            State::Running,
            E::RoundEnded | E::Unready | E::WorkspaceLost | E::StoreFailed | E::Stop | E::Crashed,
        )
        | (State::Verifying, E::Verified | E::WorkspaceLost | E::Stop | E::Crashed)
        | (State::Finishing, E::Stored | E::StoreFailed | E::Crashed)
        | (State::Committing, E::Committed | E::StoreFailed | E::Crashed)
        | (State::Abandoning, E::Abandoned | E::Crashed) => Acts,
        // The money is spent: let the create decide.
        (State::Finishing | State::Committing, E::Stop)
        // The work had ended, or noticed the interruption, before it was told.
        | (
            State::Abandoning,
            E::Stop
            | E::Prepared
            | E::Unready
            | E::RoundEnded
            | E::WorkspaceLost
            | E::Verified
            | E::StoreFailed
            | E::Interrupted,
        )
        | (State::Ended, E::Stop) => Ignored,
        _ => Illegal,
    }
}

/// An event that cannot happen in the state it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an attempt in state {state:?} met the event {event:?}")]
pub(crate) struct Unexpected {
    /// The state.
    pub(crate) state: State,
    /// The event.
    pub(crate) event: EventKind,
}

/// What to do. At most one effect at a time is work whose end comes back as an event: all but `Interrupt`, `Close` and `Tell`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// Create the claim of this number; ends in `ClaimWon`, `ClaimTaken` or `ClaimFailed`.
    Claim(AttemptNo),
    /// Look whether the trial is still open; ends in `StillOpen`, `AlreadyDecided` or `ClaimFailed`.
    Look,
    /// Ready inputs, provider and workspace; ends in `Prepared` or `Unready`.
    Prepare,
    /// Run a round of the agent, at most until this moment; ends in `RoundEnded`, `Unready`, `WorkspaceLost` or
    /// `StoreFailed`.
    Run {
        /// The failed verification that the round is to repair.
        repair: Option<Repair>,
        /// When the attempt's time is used up.
        until: Moment,
    },
    /// Run the verify command; ends in `Verified` or `WorkspaceLost`.
    Verify {
        /// Verification from 1.
        round: u32,
    },
    /// Write everything up to `result.json`; ends in `Stored` or `StoreFailed`.
    Finish(Box<Conclusion>),
    /// Create the verdict; ends in `Committed` or `StoreFailed`.
    Commit,
    /// Write what can be written of the end, close the workspace; ends in `Abandoned`.
    Abandon(Notice),
    /// End the work under way as soon as it can be; it still ends in one event.
    Interrupt,
    /// Give up the workspace: nothing needs it any more.
    Close,
    /// Tell upwards how it ended.
    Tell(Ending),
}

/// What a repair round is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repair {
    /// Repair round from 1.
    pub(crate) attempt: u32,
    /// The verify command.
    pub(crate) command: String,
    /// What it said.
    pub(crate) said: String,
}

/// Everything in a result that is not the name of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conclusion {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Whether the agent finished by itself.
    pub(crate) finished: bool,
    /// Model calls.
    pub(crate) steps: u32,
    /// Tools executed.
    pub(crate) tool_calls: u32,
    /// Of them, failed.
    pub(crate) failed_tool_calls: u32,
    /// Tokens and money.
    pub(crate) usage: Usage,
    /// Where the time went, up to here.
    pub(crate) seconds: Seconds,
    /// The final answer.
    pub(crate) summary: String,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// Which limit ended it.
    pub(crate) bound_by: Option<String>,
    /// Remarks.
    pub(crate) notes: Vec<Note>,
    /// Every run of the verify command.
    pub(crate) verify: Vec<VerifyRound>,
}

/// How an attempt ended, as the worker and the coordinator hear of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    /// A verdict exists.
    Decided {
        /// It.
        verdict: Box<Verdict>,
        /// Whether this attempt's own result was too late and is kept without use.
        orphaned: bool,
    },
    /// No result.
    Abandoned {
        /// The number, when one was claimed.
        attempt: Option<AttemptNo>,
        /// Why.
        notice: Notice,
    },
}

/// An attempt at a trial.
#[derive(Debug)]
pub(crate) struct AttemptMachine {
    plan: Plan,
    state: State,
    number: AttemptNo,
    taken: u32,
    /// While claiming: somebody wants the attempt to stop once it is known whether the claim is ours.
    stop: Option<Notice>,
    claimed_at: Moment,
    until: Moment,
    tally: Tally,
    verify: Vec<VerifyRound>,
    said: Option<String>,
    giving_up: Option<Notice>,
}

impl AttemptMachine {
    /// An attempt that begins by claiming this number; the first effect is returned with it.
    pub(crate) fn new(plan: Plan, number: AttemptNo) -> (Self, Vec<Effect>) {
        let machine = Self {
            plan,
            state: State::Claiming,
            number,
            taken: 0,
            stop: None,
            claimed_at: Moment::default(),
            until: Moment::default(),
            tally: Tally::default(),
            verify: Vec::new(),
            said: None,
            giving_up: None,
        };
        (machine, vec![Effect::Claim(number)])
    }

    /// Where it stands.
    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Its number; while claiming, the one being tried.
    pub(crate) const fn number(&self) -> AttemptNo {
        self.number
    }

    /// Takes what happened and says what to do.
    pub(crate) fn apply(&mut self, now: Moment, event: Event) -> Result<Vec<Effect>, Unexpected> {
        match meaning(self.state, event.kind()) {
            Meaning::Illegal => return Err(Unexpected { state: self.state, event: event.kind() }),
            Meaning::Ignored => return Ok(Vec::new()),
            Meaning::Acts => {}
        }
        let unexpected = Unexpected { state: self.state, event: event.kind() };
        match (self.state, event) {
            (State::Claiming, event) => self.claiming(now, event).ok_or(unexpected),
            (State::Abandoning, Event::Abandoned | Event::Crashed(_)) => Ok(self.end_abandoned()),
            (State::Finishing, Event::Stored) => {
                self.state = State::Committing;
                Ok(vec![Effect::Commit])
            }
            (State::Running | State::Finishing, Event::StoreFailed(text)) => {
                Ok(self.abandon(Notice::of(Cause::StoreUnavailable, text), false))
            }
            (State::Committing, Event::Committed { verdict, orphaned }) => {
                self.state = State::Ended;
                Ok(vec![Effect::Tell(Ending::Decided { verdict, orphaned }), Effect::Close])
            }
            // The result exists: whoever looks next makes the verdict of it, and nobody pays again.
            (State::Committing, Event::StoreFailed(text)) => {
                Ok(self.end_without_verdict(Notice::of(Cause::StoreUnavailable, text)))
            }
            (State::Committing, Event::Crashed(text)) => {
                Ok(self.end_without_verdict(Notice::of(Cause::Bug, text)))
            }
            (State::Preparing, Event::Prepared) => {
                self.state = State::Running;
                self.until = now + self.plan.timeout;
                Ok(vec![Effect::Run { repair: None, until: self.until }])
            }
            (_, Event::RoundEnded { how, tally }) => Ok(self.round_ended(now, &how, tally)),
            (_, Event::Verified { round, said }) => Ok(self.verified(now, round, said)),
            (_, Event::Stop(notice)) => Ok(self.abandon(notice, true)),
            (_, Event::Unready(notice)) => Ok(self.abandon(notice, false)),
            (_, Event::WorkspaceLost { counts, reason }) => {
                Ok(self.abandon(Notice::died(counts, reason), false))
            }
            (_, Event::Crashed(text)) => Ok(self.abandon(Notice::of(Cause::Bug, text), false)),
            _ => Err(unexpected),
        }
    }

    fn claiming(&mut self, now: Moment, event: Event) -> Option<Vec<Effect>> {
        Some(match event {
            Event::Stop(notice) => {
                let first = self.stop.is_none();
                self.stop.get_or_insert(notice);
                if first { vec![Effect::Interrupt] } else { Vec::new() }
            }
            Event::ClaimWon => {
                self.claimed_at = now;
                match self.stop.take() {
                    Some(notice) => self.abandon(notice, false),
                    None => {
                        self.state = State::Preparing;
                        vec![Effect::Prepare]
                    }
                }
            }
            Event::AlreadyDecided(verdict) => {
                self.state = State::Ended;
                vec![Effect::Tell(Ending::Decided { verdict, orphaned: false }), Effect::Close]
            }
            Event::ClaimTaken | Event::StillOpen(_) if self.stop.is_some() => {
                let notice = self.stop.take()?;
                self.end_unclaimed(notice)
            }
            Event::ClaimTaken if self.taken >= MOST_TAKEN_NUMBERS => self.end_unclaimed(Notice::of(
                Cause::Unusable,
                format!("{MOST_TAKEN_NUMBERS} attempt numbers in a row were taken by others"),
            )),
            Event::ClaimTaken => {
                self.taken += 1;
                vec![Effect::Look]
            }
            Event::StillOpen(next) => {
                self.number = next.max(self.number.next());
                vec![Effect::Claim(self.number)]
            }
            Event::ClaimFailed(notice) => {
                let notice = self.stop.take().unwrap_or(notice);
                self.end_unclaimed(notice)
            }
            Event::Interrupted => {
                let notice = self.stop.take()?;
                self.end_unclaimed(notice)
            }
            Event::Crashed(text) => self.end_unclaimed(Notice::of(Cause::Bug, text)),
            _ => return None,
        })
    }

    fn round_ended(&mut self, now: Moment, how: &How, tally: Tally) -> Vec<Effect> {
        self.tally = tally;
        match judge::round(&self.plan, how, &self.tally, self.said.as_deref()) {
            Ruling::Verify => {
                self.state = State::Verifying;
                let round = u32::try_from(self.verify.len()).unwrap_or(u32::MAX).saturating_add(1);
                vec![Effect::Verify { round }]
            }
            Ruling::Conclude(judgement) => self.conclude(now, judgement),
            Ruling::Abandon(notice) => self.abandon(notice, false),
        }
    }

    fn verified(&mut self, now: Moment, round: VerifyRound, said: String) -> Vec<Effect> {
        let ok = round.ok;
        self.verify.push(round);
        if ok {
            return self.conclude(now, judge::passed());
        }
        let repairs = u32::try_from(self.verify.len()).unwrap_or(u32::MAX);
        let time_is_up = now >= self.until;
        if repairs <= self.plan.repair_rounds && !time_is_up {
            self.state = State::Running;
            self.said = Some(said.clone());
            let command = self.plan.verify.clone().unwrap_or_default();
            let repair = Some(Repair { attempt: repairs, command, said });
            return vec![Effect::Run { repair, until: self.until }];
        }
        let bound_by = (time_is_up && repairs <= self.plan.repair_rounds)
            .then(|| format!("timeout_seconds={}", self.plan.timeout.as_secs()));
        self.conclude(now, judge::unverified(&said, bound_by))
    }

    fn conclude(&mut self, now: Moment, judgement: Judgement) -> Vec<Effect> {
        self.state = State::Finishing;
        let failed_verifications = self.verify.iter().filter(|round| !round.ok).count();
        vec![Effect::Finish(Box::new(Conclusion {
            outcome: judgement.outcome,
            finished: judgement.finished,
            steps: self.tally.steps,
            tool_calls: self.tally.tool_calls,
            failed_tool_calls: self.tally.failed_tool_calls,
            usage: self.tally.usage,
            seconds: Seconds {
                total: now.since(self.claimed_at).as_secs_f64(),
                model: self.tally.model_seconds,
                tools: self.tally.tool_seconds,
                verify: self.verify.iter().map(|round| round.seconds).sum(),
            },
            summary: std::mem::take(&mut self.tally.summary),
            error: judgement.error,
            bound_by: judgement.bound_by,
            notes: judge::notes(judgement.outcome, &self.tally, failed_verifications),
            verify: self.verify.clone(),
        }))]
    }

    fn abandon(&mut self, notice: Notice, at_work: bool) -> Vec<Effect> {
        self.state = State::Abandoning;
        self.giving_up = Some(notice.clone());
        let mut effects = Vec::with_capacity(2);
        if at_work {
            effects.push(Effect::Interrupt);
        }
        effects.push(Effect::Abandon(notice));
        effects
    }

    fn end_abandoned(&mut self) -> Vec<Effect> {
        self.state = State::Ended;
        let notice = self.giving_up.take().unwrap_or_else(|| Notice::of(Cause::Bug, "no reason was kept"));
        vec![Effect::Tell(Ending::Abandoned { attempt: Some(self.number), notice }), Effect::Close]
    }

    fn end_without_verdict(&mut self, notice: Notice) -> Vec<Effect> {
        self.state = State::Ended;
        vec![Effect::Tell(Ending::Abandoned { attempt: Some(self.number), notice }), Effect::Close]
    }

    fn end_unclaimed(&mut self, notice: Notice) -> Vec<Effect> {
        self.state = State::Ended;
        vec![Effect::Tell(Ending::Abandoned { attempt: None, notice }), Effect::Close]
    }
}
