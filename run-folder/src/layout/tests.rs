//! Keys are printed and parsed, and nothing else is a key.

use super::*;
use domain::id::{CaseId, PresetName, SuiteId, TrialIndex};
use proptest::prelude::*;

fn trial() -> TrialKey {
    "repair.calculator.deepseek.0".parse().unwrap()
}

#[test]
fn every_object_has_its_place() {
    let (trial, first) = (trial(), AttemptNo::FIRST);
    let keys = [
        Place::Run,
        Place::Input(InputDigest("ab".repeat(32))),
        Place::Epoch(Epoch::FIRST),
        Place::Cancel,
        Place::Claim(trial.clone(), first),
        Place::Chunk(trial.clone(), first, ChunkKind::Trace, 0),
        Place::Chunk(trial.clone(), AttemptNo::new(123).unwrap(), ChunkKind::Transcript, 100_000),
        Place::Artifact(trial.clone(), first, "patch.diff".parse().unwrap()),
        Place::Result(trial.clone(), first),
        Place::Abandoned(trial.clone(), first),
        Place::Verdict(trial),
        Place::Journal(Epoch::FIRST, 7),
        Place::Sealed,
        Place::Report("mock/report.json".parse().unwrap()),
    ]
    .map(|place| place.key());
    insta::assert_snapshot!(keys.join("\n"), @r"
    run.json
    inputs/abababababababababababababababababababababababababababababababab.tar.zst
    epochs/000001.json
    cancel.json
    attempts/repair.calculator.deepseek.0/01/claim.json
    attempts/repair.calculator.deepseek.0/01/trace/00000.jsonl
    attempts/repair.calculator.deepseek.0/123/transcript/100000.jsonl
    attempts/repair.calculator.deepseek.0/01/artifacts/patch.diff
    attempts/repair.calculator.deepseek.0/01/result.json
    attempts/repair.calculator.deepseek.0/01/abandoned.json
    verdicts/repair.calculator.deepseek.0.json
    journal/000001-00007.jsonl
    sealed.json
    report/mock/report.json
    ");
}

#[test]
fn what_looks_almost_like_a_key_is_none() {
    for key in [
        "",
        "run.json/",
        "/run.json",
        "runs.json",
        "inputs/AB.tar.zst",
        "epochs/1.json",
        "epochs/0000001.json",
        "epochs/000000.json",
        "attempts/a.b.c.0/1/claim.json",
        "attempts/a.b.c.0/00/claim.json",
        "attempts/a.b.c.00/01/claim.json",
        "attempts/a.b.c/01/claim.json",
        "attempts/a.b.c.0/01/trace/0.jsonl",
        "attempts/a.b.c.0/01/logs/00000.jsonl",
        "attempts/a.b.c.0/01/artifacts/..",
        "attempts/a.b.c.0/01/artifacts/a/b",
        "attempts/a.b.c.0/01/artifacts/Patch.diff",
        "verdicts/a.b.c.0.json#1",
        "verdicts/A.b.c.0.json",
        "verdicts/x/a.b.c.0.json",
        "report/../run.json",
        "report/",
        "journal/000001-1.jsonl",
    ] {
        assert_eq!(Place::parse(key), None, "{key}");
    }
}

#[test]
fn names_cannot_leave_their_folder() {
    for name in
        ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "A", "a\n", "a\0", "-a", "#1", "ä", &"x".repeat(101)]
    {
        assert!(name.parse::<Name>().is_err(), "{name:?}");
    }
    for path in ["", "/", "/a", "a/", "a//b", "a/../b", "../a"] {
        assert!(path.parse::<ReportPath>().is_err(), "{path:?}");
    }
    assert!("verify-1.log".parse::<Name>().is_ok());
}

fn id() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9-]{0,59}"
}

fn place() -> impl Strategy<Value = Place> {
    let trial = (id(), id(), id(), any::<u32>()).prop_map(|(suite, case, preset, index)| TrialKey {
        suite: SuiteId::new(suite).unwrap(),
        case: CaseId::new(case).unwrap(),
        preset: PresetName::new(preset).unwrap(),
        index: TrialIndex(index),
    });
    let attempt = (1_u32..).prop_map(|number| AttemptNo::new(number).unwrap());
    let epoch = (1_u64..).prop_map(|number| Epoch::new(number).unwrap());
    (trial, attempt, epoch, any::<u32>(), "[a-z0-9][a-z0-9._-]{0,99}", 0..12).prop_map(
        |(trial, attempt, epoch, number, name, which)| match which {
            0 => Place::Run,
            1 => Place::Input(InputDigest(crate::chunks::sha256(name.as_bytes()))),
            2 => Place::Epoch(epoch),
            3 => Place::Cancel,
            4 => Place::Claim(trial, attempt),
            5 => Place::Chunk(trial, attempt, ChunkKind::ALL[number as usize % 2], number),
            6 => Place::Artifact(trial, attempt, name.parse().unwrap()),
            7 => Place::Result(trial, attempt),
            8 => Place::Abandoned(trial, attempt),
            9 => Place::Verdict(trial),
            10 => Place::Journal(epoch, u64::from(number)),
            _ => Place::Report(format!("{name}/{name}").parse().unwrap()),
        },
    )
}

proptest! {
    #[test]
    fn keys_survive_parsing(place in place()) {
        prop_assert_eq!(Place::parse(&place.key()), Some(place.clone()));
        for segment in place.key().split('/') {
            prop_assert!(segment.len() <= 255, "fits a file name: {segment}");
        }
        prop_assert!(object_store::path::Path::parse(place.key()).is_ok());
    }

    #[test]
    fn no_text_panics_the_parser(key in "[a-z0-9./#-]{0,60}|.{0,60}") {
        if let Some(place) = Place::parse(&key) {
            prop_assert_eq!(place.key(), key);
        }
    }
}
