//! The envelope: format first, newer refused with a hint, unknown fields passed over.

use super::*;
use domain::id::TrialKey;
use domain::outcome::{ErrorReason, Seconds};
use proptest::prelude::*;

fn cancel() -> CancelRecord {
    CancelRecord { reason: "ctrl-c".to_owned() }
}

#[test]
fn a_record_is_one_line_with_its_format_first() {
    assert_eq!(encode(&cancel()).unwrap(), "{\"format\":1,\"reason\":\"ctrl-c\"}\n");
    assert_eq!(decode::<CancelRecord>(b"{\"format\":1,\"reason\":\"ctrl-c\"}\n").unwrap(), cancel());
    let tricky = CancelRecord { reason: "line\nbreak \u{2028} \"quoted\"".to_owned() };
    let bytes = encode(&tricky).unwrap();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(decode::<CancelRecord>(&bytes).unwrap(), tricky);
}

#[test]
fn a_record_without_fields_is_still_a_record() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Nothing {}
    impl Record for Nothing {
        const NAME: &'static str = "nothing";
    }
    assert_eq!(encode(&Nothing {}).unwrap(), "{\"format\":1}\n");
    decode::<Nothing>(b"{\"format\":1}").unwrap();
}

#[test]
fn unknown_fields_are_passed_over_wherever_they_stand() {
    for text in [
        r#"{"format":1,"reason":"ctrl-c","new":{"deep":[1,2]}}"#,
        r#"{"format":1,"new":null,"reason":"ctrl-c"}"#,
        r#"{ "reason": "ctrl-c", "format": 1 }"#,
    ] {
        assert_eq!(decode::<CancelRecord>(text.as_bytes()).unwrap(), cancel(), "{text}");
    }
}

#[test]
fn what_cannot_be_read_says_why_and_what_to_do() {
    let refused = |text: &str| {
        let error = decode::<CancelRecord>(text.as_bytes()).unwrap_err();
        format!("{error} / {}", error.hint().unwrap())
    };
    assert_eq!(
        refused(r#"{"format":2,"reason":1}"#),
        "cancel wish has format 2, this version reads up to 1 / the run was written by a newer och: update this one to read it"
    );
    for text in [
        "",
        "{",
        "[]",
        "{}",
        "null",
        r#"{"format":0,"reason":"x"}"#,
        r#"{"format":"1"}"#,
        r#"{"reason":"x"}"#,
    ] {
        assert!(refused(text).starts_with("not a record of a run folder"), "{text}: {}", refused(text));
    }
    for text in [r#"{"format":1}"#, r#"{"format":1,"reason":7}"#, r#"{"format":1,"reason":"cut"#] {
        assert!(refused(text).starts_with("cancel wish is damaged"), "{text}: {}", refused(text));
    }
}

proptest! {
    /// The base of `verdict = f(result)`: a helper computes it from a result that went through JSON, the worker from its own.
    #[test]
    fn a_result_read_back_gives_the_same_verdict_to_the_byte(
        total in 0.0_f64..1e6, model: f64, cost: f64, summary in ".{0,200}", padding in 0_usize..9000,
    ) {
        prop_assume!(model.is_finite() && cost.is_finite());
        let trial: TrialKey = "s.c.p.0".parse().unwrap();
        let mut result = crate::testing::result(&trial, domain::id::AttemptNo::FIRST, "one");
        result.seconds = Seconds { total, model, ..Seconds::default() };
        result.usage.cost_usd = Some(cost);
        result.summary = summary + &"é".repeat(padding);
        let read: AttemptResult = decode(&encode(&result).unwrap()).unwrap();
        prop_assert_eq!(&read, &result);
        prop_assert_eq!(encode(&Verdict::from_result(&read)).unwrap(), encode(&Verdict::from_result(&result)).unwrap());
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode::<Verdict>(&bytes).is_err());
    }
}

#[test]
fn a_verdict_of_a_trial_without_result_reads_back() {
    let verdict = Verdict::errored("s.c.p.0".parse().unwrap(), ErrorReason::AttemptsExhausted, "three died");
    assert_eq!(decode::<Verdict>(&encode(&verdict).unwrap()).unwrap(), verdict);
}
