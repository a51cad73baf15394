//! The attempt machine: its table as a picture, scenarios, and a naive second reading of the rules.

use super::*;
use domain::chat::{ModelError, ModelFault};
use domain::id::TrialKey;
use domain::outcome::{ErrorReason, Failure};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::time::Duration;

const STATES: [State; 8] = [
    State::Claiming,
    State::Preparing,
    State::Running,
    State::Verifying,
    State::Finishing,
    State::Committing,
    State::Abandoning,
    State::Ended,
];

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn number(number: u32) -> AttemptNo {
    AttemptNo::new(number).unwrap()
}

fn trial() -> TrialKey {
    "suite.case.preset.0".parse().unwrap()
}

fn verdict() -> Box<Verdict> {
    Box::new(Verdict::errored(trial(), ErrorReason::Cancelled, "x"))
}

fn plan(verify: bool, repair_rounds: u32) -> Plan {
    Plan {
        max_steps: 8,
        max_tokens: 2048,
        marker: Some("DONE".to_owned()),
        verify: verify.then(|| "make test".to_owned()),
        repair_rounds,
        timeout: Duration::from_secs(60),
    }
}

fn finished() -> Event {
    Event::RoundEnded { how: How::Finished, tally: Tally { summary: "DONE".to_owned(), ..Tally::default() } }
}

fn verified(ok: bool) -> Event {
    let end = if ok { "exit code 0" } else { "exit code 1" };
    let said = if ok { String::new() } else { "verify_command failed: 1 != 2".to_owned() };
    Event::Verified { round: VerifyRound { ok, end: end.to_owned(), seconds: 1.5 }, said }
}

fn lost() -> Notice {
    Notice::of(Cause::LeaseLost, "the lease ran out")
}

/// One of each kind.
fn events() -> Vec<Event> {
    vec![
        Event::ClaimWon,
        Event::ClaimTaken,
        Event::StillOpen(number(2)),
        Event::AlreadyDecided(verdict()),
        Event::ClaimFailed(Notice::of(Cause::StoreUnavailable, "x")),
        Event::Prepared,
        Event::Unready(Notice::unready(true, "x")),
        finished(),
        Event::WorkspaceLost { counts: true, reason: "killed".to_owned() },
        verified(true),
        Event::Stop(lost()),
        Event::Stored,
        Event::Committed { verdict: verdict(), orphaned: false },
        Event::StoreFailed("x".to_owned()),
        Event::Abandoned,
        Event::Interrupted,
        Event::Crashed("panicked".to_owned()),
    ]
}

/// A machine brought into a state by legal events alone.
fn machine_in(state: State) -> AttemptMachine {
    let (mut machine, _) = AttemptMachine::new(plan(true, 1), number(1));
    let way: Vec<Event> = match state {
        State::Claiming => vec![],
        State::Preparing => vec![Event::ClaimWon],
        State::Running => vec![Event::ClaimWon, Event::Prepared],
        State::Verifying => vec![Event::ClaimWon, Event::Prepared, finished()],
        State::Finishing => vec![Event::ClaimWon, Event::Prepared, finished(), verified(true)],
        State::Committing => {
            vec![Event::ClaimWon, Event::Prepared, finished(), verified(true), Event::Stored]
        }
        State::Abandoning => vec![Event::ClaimWon, Event::Stop(lost())],
        State::Ended => vec![Event::ClaimWon, Event::Stop(lost()), Event::Abandoned],
    };
    for event in way {
        machine.apply(at(0), event).unwrap();
    }
    assert_eq!(machine.state(), state);
    machine
}

/// An interruption while claiming only comes after a stop.
fn ready_for(state: State, event: &Event) -> AttemptMachine {
    let mut machine = machine_in(state);
    if state == State::Claiming && *event == Event::Interrupted {
        machine.apply(at(0), Event::Stop(lost())).unwrap();
    }
    machine
}

#[test]
fn the_table_is_what_the_machine_does() {
    for state in STATES {
        for event in events() {
            let mut machine = ready_for(state, &event);
            let kind = event.kind();
            let got = machine.apply(at(1), event);
            match meaning(state, kind) {
                Meaning::Illegal => assert_eq!(got, Err(Unexpected { state, event: kind })),
                Meaning::Ignored => {
                    assert_eq!(got, Ok(vec![]), "{state:?} {kind:?}");
                    assert_eq!(machine.state(), state, "{kind:?}");
                }
                Meaning::Acts => {
                    let effects = got.unwrap();
                    let moved = machine.state() != state || !effects.is_empty();
                    assert!(moved, "{state:?} {kind:?} does nothing");
                }
            }
        }
    }
}

#[test]
fn the_table_in_words() {
    let mut table = String::from("state      | event          | next\n");
    for state in STATES {
        for event in events() {
            let kind = event.kind();
            let next = match meaning(state, kind) {
                Meaning::Illegal => continue,
                Meaning::Ignored => "(nothing)".to_owned(),
                Meaning::Acts => {
                    let mut machine = ready_for(state, &event);
                    machine.apply(at(1), event).unwrap();
                    format!("{:?}", machine.state())
                }
            };
            writeln!(table, "{:<10} | {:<14} | {next}", format!("{state:?}"), format!("{kind:?}")).unwrap();
        }
    }
    insta::assert_snapshot!(table, @r"
    state      | event          | next
    Claiming   | ClaimWon       | Preparing
    Claiming   | ClaimTaken     | Claiming
    Claiming   | StillOpen      | Claiming
    Claiming   | AlreadyDecided | Ended
    Claiming   | ClaimFailed    | Ended
    Claiming   | Stop           | Claiming
    Claiming   | Interrupted    | Ended
    Claiming   | Crashed        | Ended
    Preparing  | Prepared       | Running
    Preparing  | Unready        | Abandoning
    Preparing  | Stop           | Abandoning
    Preparing  | Crashed        | Abandoning
    Running    | Unready        | Abandoning
    Running    | RoundEnded     | Verifying
    Running    | WorkspaceLost  | Abandoning
    Running    | Stop           | Abandoning
    Running    | StoreFailed    | Abandoning
    Running    | Crashed        | Abandoning
    Verifying  | WorkspaceLost  | Abandoning
    Verifying  | Verified       | Finishing
    Verifying  | Stop           | Abandoning
    Verifying  | Crashed        | Abandoning
    Finishing  | Stop           | (nothing)
    Finishing  | Stored         | Committing
    Finishing  | StoreFailed    | Abandoning
    Finishing  | Crashed        | Abandoning
    Committing | Stop           | (nothing)
    Committing | Committed      | Ended
    Committing | StoreFailed    | Ended
    Committing | Crashed        | Ended
    Abandoning | Prepared       | (nothing)
    Abandoning | Unready        | (nothing)
    Abandoning | RoundEnded     | (nothing)
    Abandoning | WorkspaceLost  | (nothing)
    Abandoning | Verified       | (nothing)
    Abandoning | Stop           | (nothing)
    Abandoning | StoreFailed    | (nothing)
    Abandoning | Abandoned      | Ended
    Abandoning | Interrupted    | (nothing)
    Abandoning | Crashed        | Ended
    Ended      | Stop           | (nothing)
    ");
}

/// Feeds events one after another and prints each effect.
fn story(plan: Plan, steps: Vec<(u64, Event)>) -> String {
    let (mut machine, effects) = AttemptMachine::new(plan, number(1));
    let mut told = effects.iter().map(in_words).collect::<Vec<_>>();
    for (millis, event) in steps {
        told.extend(machine.apply(at(millis), event).unwrap().iter().map(in_words));
    }
    told.join("; ")
}

fn in_words(effect: &Effect) -> String {
    match effect {
        Effect::Claim(number) => format!("claim {number}"),
        Effect::Look => "look".to_owned(),
        Effect::Prepare => "prepare".to_owned(),
        Effect::Run { repair: None, until } => format!("run until {}s", until.0.as_secs()),
        Effect::Run { repair: Some(repair), .. } => format!("repair {}", repair.attempt),
        Effect::Verify { round } => format!("verify {round}"),
        Effect::Finish(conclusion) => {
            let seconds = &conclusion.seconds;
            format!(
                "finish {} total {}s verify {}s",
                outcome(conclusion.outcome),
                seconds.total,
                seconds.verify
            )
        }
        Effect::Commit => "commit".to_owned(),
        Effect::Abandon(notice) => {
            format!("abandon {} {}/{}", notice.cause.as_str(), notice.retryable, notice.counts)
        }
        Effect::Interrupt => "interrupt".to_owned(),
        Effect::Close => "close".to_owned(),
        Effect::Tell(Ending::Decided { orphaned, .. }) => {
            if *orphaned {
                "tell orphaned".to_owned()
            } else {
                "tell decided".to_owned()
            }
        }
        Effect::Tell(Ending::Abandoned { attempt, notice }) => format!(
            "tell abandoned {} {}",
            attempt.map_or_else(|| "unclaimed".to_owned(), |attempt| attempt.to_string()),
            notice.cause.as_str()
        ),
    }
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Failed { why } => why.as_str().to_owned(),
        Outcome::Errored { why } => why.as_str().to_owned(),
    }
}

#[test]
fn a_trial_that_passes() {
    let steps = vec![
        (0, Event::ClaimWon),
        (500, Event::Prepared),
        (1000, finished()),
        (3000, verified(true)),
        (3100, Event::Stored),
        (3200, Event::Committed { verdict: verdict(), orphaned: false }),
    ];
    assert_eq!(
        story(plan(true, 1), steps),
        "claim 01; prepare; run until 60s; verify 1; finish passed total 3s verify 1.5s; commit; tell decided; close"
    );
}

#[test]
fn a_failed_verification_is_repaired() {
    let steps = vec![
        (0, Event::ClaimWon),
        (0, Event::Prepared),
        (0, finished()),
        (0, verified(false)),
        (0, finished()),
        (0, verified(true)),
    ];
    assert_eq!(
        story(plan(true, 1), steps),
        "claim 01; prepare; run until 60s; verify 1; repair 1; verify 2; finish passed total 0s verify 3s"
    );
}

#[test]
fn no_repair_round_begins_after_the_time_is_up() {
    let steps = vec![(0, Event::ClaimWon), (0, Event::Prepared), (0, finished()), (60_000, verified(false))];
    assert_eq!(
        story(plan(true, 1), steps),
        "claim 01; prepare; run until 60s; verify 1; finish verification_failure total 60s verify 1.5s"
    );
}

#[test]
fn a_taken_number_makes_it_look_before_it_tries_the_next() {
    let decided = vec![(0, Event::ClaimTaken), (0, Event::AlreadyDecided(verdict()))];
    assert_eq!(story(plan(false, 0), decided), "claim 01; look; tell decided; close");
    let open = vec![(0, Event::ClaimTaken), (0, Event::StillOpen(number(4))), (0, Event::ClaimWon)];
    assert_eq!(story(plan(false, 0), open), "claim 01; look; claim 04; prepare");
    // A store whose listing lags names a number that is known to be taken.
    let stale = vec![(0, Event::ClaimTaken), (0, Event::StillOpen(number(1)))];
    assert_eq!(story(plan(false, 0), stale), "claim 01; look; claim 02");
}

#[test]
fn numbers_are_not_tried_for_ever() {
    let (mut machine, mut effects) = AttemptMachine::new(plan(false, 0), number(1));
    let mut claims = 0;
    while machine.state() != State::Ended {
        for effect in std::mem::take(&mut effects) {
            let event = match effect {
                Effect::Claim(_) => {
                    claims += 1;
                    Event::ClaimTaken
                }
                Effect::Look => Event::StillOpen(number(1)),
                _ => continue,
            };
            effects.extend(machine.apply(at(0), event).unwrap());
        }
    }
    assert_eq!(claims, MOST_TAKEN_NUMBERS + 1);
}

#[test]
fn a_stop_while_claiming_waits_for_the_claim() {
    let won =
        vec![(0, Event::Stop(lost())), (0, Event::Stop(lost())), (0, Event::ClaimWon), (0, Event::Abandoned)];
    assert_eq!(
        story(plan(false, 0), won),
        "claim 01; interrupt; abandon lease lost true/false; tell abandoned 01 lease lost; close"
    );
    for event in [Event::ClaimTaken, Event::Interrupted, Event::ClaimFailed(Notice::of(Cause::Unusable, ""))]
    {
        let steps = vec![(0, Event::Stop(lost())), (0, event)];
        assert_eq!(
            story(plan(false, 0), steps),
            "claim 01; interrupt; tell abandoned unclaimed lease lost; close"
        );
    }
}

#[test]
fn a_lease_lost_at_work_abandons_and_one_lost_later_does_not() {
    for state in [State::Preparing, State::Running, State::Verifying] {
        let mut machine = machine_in(state);
        let effects = machine.apply(at(0), Event::Stop(lost())).unwrap();
        assert_eq!(effects, [Effect::Interrupt, Effect::Abandon(lost())], "{state:?}");
    }
    for state in [State::Finishing, State::Committing] {
        let mut machine = machine_in(state);
        assert_eq!(machine.apply(at(0), Event::Stop(lost())).unwrap(), [], "{state:?}");
    }
}

#[test]
fn a_result_that_is_too_late_is_orphaned() {
    let mut machine = machine_in(State::Committing);
    let effects = machine.apply(at(0), Event::Committed { verdict: verdict(), orphaned: true }).unwrap();
    assert_eq!(in_words(&effects[0]), "tell orphaned");
}

#[test]
fn what_counts() {
    let counted = |state, event| {
        let effects = machine_in(state).apply(at(0), event).unwrap();
        effects.iter().map(in_words).collect::<Vec<_>>().join("; ")
    };
    let died = |counts| Event::WorkspaceLost { counts, reason: String::new() };
    assert_eq!(counted(State::Running, died(true)), "abandon workspace died true/true");
    assert_eq!(counted(State::Verifying, died(false)), "abandon workspace died true/false");
    assert_eq!(
        counted(State::Preparing, Event::Unready(Notice::unready(false, ""))),
        "abandon workspace unavailable false/false"
    );
    assert_eq!(counted(State::Running, Event::Crashed(String::new())), "abandon bug true/true");
    assert_eq!(
        counted(State::Running, Event::StoreFailed(String::new())),
        "abandon store unavailable true/false"
    );
    assert_eq!(
        counted(State::Finishing, Event::StoreFailed(String::new())),
        "abandon store unavailable true/false"
    );
    assert_eq!(
        counted(State::Committing, Event::StoreFailed(String::new())),
        "tell abandoned 01 store unavailable; close"
    );
    let out = How::Model(ModelError::new(ModelFault::Unavailable, "503"));
    let event = Event::RoundEnded { how: out, tally: Tally::default() };
    assert_eq!(counted(State::Running, event), "abandon provider unavailable true/false");
    let cancelled = Event::Stop(Notice::of(Cause::Cancelled, ""));
    assert_eq!(counted(State::Running, cancelled), "interrupt; abandon run cancelled false/false");
}

/// What happens to an attempt, told from outside: the world answers, the machine does not matter.
#[derive(Debug, Clone)]
struct World {
    taken: u32,
    prepared: bool,
    /// How each agent round ends: 0 finishes, 1 runs out of steps, 2 loses its provider, 3 loses its workspace.
    rounds: Vec<u8>,
    verifications: Vec<bool>,
    repair_rounds: u32,
    verify: bool,
    /// The lease is lost just before this effect is answered, counted over the life of the attempt.
    lost_at: Option<usize>,
    stored: bool,
    theirs: bool,
}

fn worlds() -> impl Strategy<Value = World> {
    (
        0u32..3,
        proptest::bool::weighted(0.9),
        proptest::collection::vec(0u8..4, 6),
        proptest::collection::vec(any::<bool>(), 6),
        0u32..4,
        any::<bool>(),
        proptest::option::weighted(0.4, 0usize..10),
        proptest::bool::weighted(0.9),
        proptest::bool::weighted(0.2),
    )
        .prop_map(
            |(taken, prepared, rounds, verifications, repair_rounds, verify, lost_at, stored, theirs)| {
                World {
                    taken,
                    prepared,
                    rounds,
                    verifications,
                    repair_rounds,
                    verify,
                    lost_at,
                    stored,
                    theirs,
                }
            },
        )
}

/// The end as the rules of the design would have it, read straight from the world: no states, no events.
fn oracle(world: &World) -> String {
    let mut step = 0;
    let mut is_lost = |steps: usize| {
        let before = step;
        step += steps;
        world.lost_at.is_some_and(|lost_at| lost_at >= before && lost_at < step)
    };
    for _ in 0..world.taken {
        if is_lost(2) {
            return "unclaimed lease lost".to_owned();
        }
    }
    if is_lost(1) {
        return "lease lost".to_owned();
    }
    if is_lost(1) {
        return "lease lost".to_owned();
    }
    if !world.prepared {
        return "workspace unavailable".to_owned();
    }
    let mut failed_before = false;
    let mut judged = None;
    for repair in 0..=world.repair_rounds {
        if is_lost(1) {
            return "lease lost".to_owned();
        }
        match world.rounds[repair as usize] {
            2 => return "provider unavailable".to_owned(),
            3 => return "workspace died".to_owned(),
            1 => judged = Some(if failed_before { "verification_failure" } else { "max_steps" }),
            _ if !world.verify => judged = Some("passed"),
            _ => {
                if is_lost(1) {
                    return "lease lost".to_owned();
                }
                if world.verifications[repair as usize] {
                    judged = Some("passed");
                } else if repair == world.repair_rounds {
                    judged = Some("verification_failure");
                }
                failed_before = true;
            }
        }
        if judged.is_some() {
            break;
        }
    }
    match (world.stored, world.theirs) {
        (false, _) => "store unavailable".to_owned(),
        (true, true) => "orphaned".to_owned(),
        (true, false) => judged.unwrap().to_owned(),
    }
}

/// Runs the machine in the world.
fn run(world: &World) -> String {
    let (mut machine, effects) = AttemptMachine::new(plan(world.verify, world.repair_rounds), number(1));
    let mut queue: std::collections::VecDeque<Effect> = effects.into();
    let (mut answered, mut taken, mut rounds, mut verifications) = (0, 0, 0, 0);
    let mut judged = String::new();
    while let Some(effect) = queue.pop_front() {
        let answer = match &effect {
            Effect::Claim(_) if taken < world.taken => {
                taken += 1;
                Event::ClaimTaken
            }
            Effect::Claim(_) => Event::ClaimWon,
            Effect::Look => Event::StillOpen(machine.number().next()),
            Effect::Prepare if world.prepared => Event::Prepared,
            Effect::Prepare => Event::Unready(Notice::unready(true, "")),
            Effect::Run { .. } => {
                rounds += 1;
                match world.rounds[rounds - 1] {
                    0 => finished(),
                    1 => Event::RoundEnded { how: How::MaxSteps, tally: Tally::default() },
                    2 => Event::RoundEnded {
                        how: How::Model(ModelError::new(ModelFault::Unavailable, "")),
                        tally: Tally::default(),
                    },
                    _ => Event::WorkspaceLost { counts: false, reason: String::new() },
                }
            }
            Effect::Verify { .. } => {
                verifications += 1;
                verified(world.verifications[verifications - 1])
            }
            Effect::Finish(conclusion) => {
                judged = outcome(conclusion.outcome);
                if world.stored { Event::Stored } else { Event::StoreFailed(String::new()) }
            }
            Effect::Commit => Event::Committed { verdict: verdict(), orphaned: world.theirs },
            Effect::Abandon(_) => Event::Abandoned,
            Effect::Interrupt => continue,
            Effect::Tell(Ending::Decided { orphaned: true, .. }) => return "orphaned".to_owned(),
            Effect::Tell(Ending::Decided { .. }) => return judged,
            Effect::Tell(Ending::Abandoned { attempt, notice }) => {
                let unclaimed = if attempt.is_none() { "unclaimed " } else { "" };
                return format!("{unclaimed}{}", notice.cause.as_str());
            }
            Effect::Close => continue,
        };
        if world.lost_at == Some(answered) {
            queue.extend(machine.apply(at(0), Event::Stop(lost())).unwrap());
        }
        answered += 1;
        // The answer to work that was under way still comes.
        queue.extend(machine.apply(at(0), answer).unwrap());
    }
    "nothing was told".to_owned()
}

proptest! {
    #[test]
    fn the_machine_and_the_oracle_agree(world in worlds()) {
        prop_assert_eq!(run(&world), oracle(&world));
    }

    /// Whatever is thrown at it, in any order: no panic, and once ended it stays ended and is told exactly once.
    #[test]
    fn any_events_in_any_order(order in proptest::collection::vec(0usize..17, 0..40)) {
        let (mut machine, _) = AttemptMachine::new(plan(true, 2), number(1));
        let all = events();
        let mut told = 0;
        for index in order {
            let effects = machine.apply(at(0), all[index].clone()).unwrap_or_default();
            told += effects.iter().filter(|effect| matches!(effect, Effect::Tell(_))).count();
            prop_assert_eq!(told, usize::from(machine.state() == State::Ended));
        }
    }
}

#[test]
fn an_unfinished_round_is_a_failure_of_the_model() {
    let event = Event::RoundEnded { how: How::MaxSteps, tally: Tally { steps: 8, ..Tally::default() } };
    let effects = machine_in(State::Running).apply(at(0), event).unwrap();
    let [Effect::Finish(conclusion)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(conclusion.outcome, Outcome::Failed { why: Failure::MaxSteps });
    assert_eq!(conclusion.bound_by.as_deref(), Some("max_steps=8"));
}
