//! The tables, and a naive second implementation to compare them with.

use super::*;
use crate::records::AbandonRecord;
use domain::id::TrialKey;
use domain::outcome::ErrorReason;
use proptest::prelude::*;

fn trial() -> TrialKey {
    "s.c.p.0".parse().unwrap()
}

fn verdict() -> Verdict {
    Verdict::errored(trial(), ErrorReason::Cancelled, "")
}

/// One attempt in a word: `open`, `result`, `lost` (not counted), `killed` (counted), `never` (must not be tried again),
/// `debris` (objects without a claim).
fn attempt(word: &str) -> AttemptFacts {
    let abandoned = |retryable, counts| Some(AbandonRecord { reason: word.to_owned(), retryable, counts });
    AttemptFacts {
        claimed_by: (word != "debris").then(|| Incarnation::folded("one")),
        result: word == "result",
        abandoned: match word {
            "lost" => abandoned(true, false),
            "killed" => abandoned(true, true),
            "never" => abandoned(false, false),
            _ => None,
        },
    }
}

fn facts(words: &str) -> TrialFacts {
    let mut facts = TrialFacts::default();
    for (index, word) in words.split_whitespace().enumerate() {
        match word {
            "verdict" => facts.verdict = Some(verdict()),
            word => drop(facts.attempts.insert(AttemptNo::new(index as u32 + 1).unwrap(), attempt(word))),
        }
    }
    facts
}

fn tell(state: &TrialState) -> String {
    match state {
        TrialState::Pending { counted, next } => format!("pending, {counted} counted, next {next}"),
        TrialState::Claimed { attempt, counted, .. } => format!("claimed {attempt}, {counted} counted"),
        TrialState::Settleable(attempt) => format!("settleable {attempt}"),
        TrialState::Exhausted => "exhausted".to_owned(),
        TrialState::Decided(_) => "decided".to_owned(),
    }
}

#[track_caller]
fn check(words: &str, alive: &str, dead: &str) {
    let state = derive(facts(words), 3);
    assert_eq!(tell(&state), alive, "{words}");
    assert_eq!(tell(&state.with_claim_dead(3)), dead, "{words}, its owner dead");
}

#[test]
fn trials() {
    let same = |words, state| check(words, state, state);
    same("", "pending, 0 counted, next 01");
    check("open", "claimed 01, 0 counted", "pending, 1 counted, next 02");
    same("result", "settleable 01");
    same("lost", "pending, 0 counted, next 02");
    same("killed", "pending, 1 counted, next 02");
    same("never", "exhausted");
    same("debris", "pending, 0 counted, next 02");
    check("open open", "claimed 02, 1 counted", "pending, 2 counted, next 03");
    check("killed open", "claimed 02, 1 counted", "pending, 2 counted, next 03");
    check("open open open", "claimed 03, 2 counted", "exhausted");
    check("killed lost killed open", "claimed 04, 2 counted", "exhausted");
    check("open open open open", "claimed 04, 3 counted", "exhausted");
    check("never open", "claimed 02, 0 counted", "pending, 1 counted, next 03");
    same("open open killed", "exhausted");
    same("lost lost lost lost", "pending, 0 counted, next 05");
    same("open lost", "pending, 1 counted, next 03");
    same("open result open", "settleable 02");
    same("killed result result", "settleable 02");
    same("result verdict", "decided");
    same("open open open verdict", "decided");
    same("verdict", "decided");
}

#[test]
fn zero_attempts_mean_one() {
    assert_eq!(tell(&derive(facts(""), 0)), "pending, 0 counted, next 01");
    assert_eq!(tell(&derive(facts("killed"), 0)), "exhausted");
    assert_eq!(tell(&derive(facts("open"), 1).with_claim_dead(1)), "exhausted");
}

/// The same rules, told the long way round.
fn oracle(words: &[&str], decided: bool, max: u32) -> String {
    if decided {
        return "decided".to_owned();
    }
    for (index, word) in words.iter().enumerate() {
        if *word == "result" {
            return format!("settleable {:02}", index + 1);
        }
    }
    let mut counted = 0;
    for (index, word) in words.iter().enumerate() {
        let newest = index + 1 == words.len();
        if *word == "open" && newest {
            return format!("claimed {:02}, {counted} counted", index + 1);
        }
        if *word == "open" || *word == "killed" {
            counted += 1;
        }
    }
    if words.contains(&"never") || counted >= max {
        return "exhausted".to_owned();
    }
    format!("pending, {counted} counted, next {:02}", words.len() + 1)
}

proptest! {
    #[test]
    fn trials_agree_with_the_oracle(
        words in proptest::collection::vec(
            proptest::sample::select(vec!["open", "result", "lost", "killed", "never", "debris"]), 0..7),
        decided: bool,
        max in 1_u32..5,
    ) {
        let mut facts = facts(&words.join(" "));
        facts.verdict = decided.then(verdict);
        let state = derive(facts, max);
        prop_assert_eq!(tell(&state), oracle(&words, decided, max));
        // Whatever happens to the owner of a claim, no number is given out twice and the count never falls.
        if let TrialState::Claimed { attempt, counted, .. } = state.clone()
            && let TrialState::Pending { counted: after, next } = state.with_claim_dead(max)
        {
            prop_assert!(next > attempt && after == counted + 1 && after < max);
        }
    }
}

#[test]
fn runs() {
    let planned = RunFacts { planned: true, trials: 4, ..RunFacts::default() };
    let open = RunFacts { epoch: Some(Epoch::FIRST), decided: 3, ..planned };
    for (facts, state) in [
        (RunFacts::default(), RunState::Absent),
        (RunFacts { planned: false, sealed: true, ..open }, RunState::Absent),
        (planned, RunState::Planned),
        (open, RunState::Open),
        (RunFacts { cancelled: true, ..open }, RunState::Cancelling),
        (RunFacts { cancelled: true, ..planned }, RunState::Cancelling),
        (RunFacts { decided: 4, ..open }, RunState::Settled),
        (RunFacts { decided: 4, cancelled: true, ..open }, RunState::Settled),
        (RunFacts { decided: 4, sealed: true, ..open }, RunState::Sealed),
        (RunFacts { trials: 0, ..planned }, RunState::Settled),
    ] {
        assert_eq!(derive_run(&facts), state, "{facts:?}");
    }
}
