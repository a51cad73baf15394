//! Every record ever committed can be read, and today's records look like the newest of them.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use bytes::Bytes;
use domain::id::{AttemptNo, RunId};
use domain::outcome::{AttemptResult, ChunkRef, ErrorReason, Note, Verdict, VerifyRound};
use domain::run::RunSpec;
use run_folder::testing::{abandoned, claim, epoch, result, spec, trials};
use run_folder::{AbandonRecord, CancelRecord, ClaimRecord, EpochRecord, SealRecord, Store, decode, encode};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// All fixtures: `<record>.v<format>[-<what>].json`.
fn fixtures() -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(testdata())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .collect()
}

/// What this version writes, by the name of its fixture.
fn written() -> BTreeMap<String, Bytes> {
    let run: RunId = "20261120-1745-repair-7f3k2m".parse().unwrap();
    let spec = spec(&run, 1, 2);
    let trials = trials(&spec);
    let mut result = result(&trials[0], AttemptNo::FIRST, "01jd0000000000000000000000");
    result.notes = vec![Note::RepairedAfterFeedback];
    result.verify = vec![VerifyRound { ok: false, end: "exit code 1".into(), seconds: 0.25 }];
    result.chunks = vec![ChunkRef { path: "trace/00000.jsonl".into(), bytes: 1024, sha256: "ab".repeat(32) }];
    result.bound_by = Some("max_steps=8".into());
    let errored =
        Verdict::errored(trials[1].clone(), ErrorReason::AttemptsExhausted, "no attempt reached a result");
    [
        ("run.v1.json", encode(&spec)),
        ("epoch.v1.json", encode(&epoch("01jd0000000000000000000001"))),
        ("cancel.v1.json", encode(&CancelRecord { reason: "ctrl-c".into() })),
        ("claim.v1.json", encode(&claim("01jd0000000000000000000000"))),
        ("abandoned.v1.json", encode(&abandoned(true, true))),
        ("result.v1.json", encode(&result)),
        ("verdict.v1.json", encode(&Verdict::from_result(&result))),
        ("verdict.v1-errored.json", encode(&errored)),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes.unwrap()))
    .collect()
}

/// The seal of a run with the two verdicts above, as the folder makes it.
async fn written_seal() -> Bytes {
    let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
    let folder =
        Store::new(memory.clone(), "", "memory:").run(&"20261120-1745-repair-7f3k2m".parse().unwrap());
    let written = written();
    use object_store::ObjectStoreExt as _;
    let put = async |key: &str, bytes: &Bytes| {
        memory.put(&format!("20261120-1745-repair-7f3k2m/{key}").into(), bytes.clone().into()).await.unwrap();
    };
    put("run.json", &written["run.v1.json"]).await;
    put("verdicts/smoke.case-0.mock.0.json", &written["verdict.v1.json"]).await;
    put("verdicts/smoke.case-0.mock.1.json", &written["verdict.v1-errored.json"]).await;
    folder.seal().await.unwrap();
    let sealed = memory.get(&"20261120-1745-repair-7f3k2m/sealed.json".into()).await.unwrap();
    sealed.bytes().await.unwrap()
}

#[test]
fn every_fixture_ever_committed_can_be_read() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 9, "{:?}", fixtures.keys());
    for (name, bytes) in &fixtures {
        let record = name.split('.').next().unwrap();
        let read = match record {
            "run" => decode::<RunSpec>(bytes).map(drop),
            "epoch" => decode::<EpochRecord>(bytes).map(drop),
            "cancel" => decode::<CancelRecord>(bytes).map(drop),
            "claim" => decode::<ClaimRecord>(bytes).map(drop),
            "abandoned" => decode::<AbandonRecord>(bytes).map(drop),
            "result" => decode::<AttemptResult>(bytes).map(drop),
            "verdict" => decode::<Verdict>(bytes).map(drop),
            "sealed" => decode::<SealRecord>(bytes).map(drop),
            other => panic!("`{other}` is no record"),
        };
        assert!(read.is_ok(), "{name}: {read:?}");
    }
}

/// Fails when a record changes. A new field with a default gets a fixture `<record>.v1-<what>.json` beside the old one; to make it,
/// run with `WRITE_FIXTURES=1` and rename what git shows as changed.
#[tokio::test]
async fn todays_records_look_like_their_fixtures() {
    let mut written = written();
    written.insert("sealed.v1.json".to_owned(), written_seal().await);
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        for (name, bytes) in &written {
            std::fs::write(testdata().join(name), bytes).unwrap();
        }
    }
    let fixtures = fixtures();
    for (name, bytes) in &written {
        let fixture = fixtures.get(name).unwrap_or_else(|| panic!("no fixture `{name}`"));
        assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(fixture), "{name}");
        assert!(bytes.starts_with(b"{\"format\":1,"), "{name}");
    }
}

/// Old reader, new data: a field that a later version adds, anywhere in a record, changes nothing for this one.
#[test]
fn fields_of_later_versions_are_passed_over() {
    fn add_fields(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.values_mut().for_each(add_fields);
                map.insert("field_of_a_later_version".to_owned(), serde_json::json!({"deep": [1, null]}));
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(add_fields),
            _ => {}
        }
    }
    fn check<R: run_folder::Record + PartialEq + std::fmt::Debug>(name: &str, bytes: &[u8]) {
        let mut value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        add_fields(&mut value);
        let read: R =
            decode(value.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(read, decode(bytes).unwrap(), "{name}");
    }
    for (name, bytes) in &fixtures() {
        match name.split('.').next().unwrap() {
            // `env`, `scripts` and the like are maps of the person's own keys: there a new key is data. Checked on top alone.
            "run" => {
                let text = String::from_utf8_lossy(bytes).replacen(
                    "{\"format\":1,",
                    "{\"format\":1,\"later\":[{}],",
                    1,
                );
                assert_eq!(decode::<RunSpec>(text.as_bytes()).unwrap(), decode::<RunSpec>(bytes).unwrap());
            }
            "epoch" => check::<EpochRecord>(name, bytes),
            "cancel" => check::<CancelRecord>(name, bytes),
            "claim" => check::<ClaimRecord>(name, bytes),
            "abandoned" => check::<AbandonRecord>(name, bytes),
            "result" => check::<AttemptResult>(name, bytes),
            "verdict" => check::<Verdict>(name, bytes),
            "sealed" => check::<SealRecord>(name, bytes),
            other => panic!("`{other}` is no record"),
        }
    }
}

/// A helper of this version seals verdicts of a later one without losing their fields.
#[tokio::test]
async fn a_seal_keeps_the_fields_of_later_writers() {
    use object_store::ObjectStoreExt as _;
    let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
    let store = Store::new(memory.clone(), "", "memory:");
    let folder = store.run(&"20261120-1745-later".parse().unwrap());
    let spec = spec(folder.id(), 1, 1);
    folder.plan(&spec).await.unwrap();
    let trial = &trials(&spec)[0];
    let verdict = encode(&Verdict::errored(trial.clone(), ErrorReason::Cancelled, "")).unwrap();
    let later = String::from_utf8(verdict.to_vec()).unwrap().replacen('{', "{\"later\":7,", 1);
    memory.put(&format!("{}/verdicts/{trial}.json", folder.id()).into(), later.into()).await.unwrap();
    folder.seal().await.unwrap();
    let sealed =
        memory.get(&format!("{}/sealed.json", folder.id()).into()).await.unwrap().bytes().await.unwrap();
    assert!(
        String::from_utf8_lossy(&sealed).contains("\"verdicts\":[{\"later\":7,\"format\":1,"),
        "{sealed:?}"
    );
    assert_eq!(folder.verdicts().await.unwrap().len(), 1);
}
