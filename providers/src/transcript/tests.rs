//! Tests of `transcript`.

use super::*;
use proptest::prelude::*;

const KEY: &str = "sk-canary-0123456789";

fn exchange(request: impl Into<Vec<u8>>, response: impl Into<Vec<u8>>) -> Exchange {
    Exchange {
        try_no: 1,
        format: "och.mock.v1",
        endpoint: "mock".to_owned(),
        request: Bytes::from(request.into()),
        status: Some(200),
        response: Bytes::from(response.into()),
        error: None,
        seconds: 0.000_012,
        time: "2026-11-20T17:43:47.649981+00:00".to_owned(),
    }
}

fn write(redactor: &Redactor, exchanges: &[Exchange]) -> Vec<u8> {
    let mut writer = TranscriptWriter::new(redactor.clone());
    let mut transcript = Vec::new();
    for (call, exchange) in (1..).zip(exchanges) {
        let line = writer.push(call, exchange);
        assert!(!line.contains('\n'));
        transcript.extend_from_slice(line.as_bytes());
        transcript.push(b'\n');
    }
    transcript
}

#[track_caller]
fn check(exchanges: &[Exchange]) -> Vec<u8> {
    let transcript = write(&Redactor::default(), exchanges);
    let rebuilt = rebuild(&transcript).unwrap();
    assert_eq!(rebuilt.len(), exchanges.len());
    let is_text = |bytes: &Bytes| std::str::from_utf8(bytes).is_ok();
    if exchanges.iter().all(|exchange| is_text(&exchange.request) && is_text(&exchange.response)) {
        assert!(!String::from_utf8_lossy(&transcript).contains("\"base64\":"), "text is kept as text");
    }
    for (got, expected) in rebuilt.iter().zip(exchanges) {
        assert_eq!((&got.request, &got.response), (&expected.request, &expected.response));
        assert_eq!((got.status, &got.error, got.try_no), (expected.status, &expected.error, expected.try_no));
        assert_eq!((got.format.as_str(), &got.time), (expected.format, &expected.time));
    }
    transcript
}

/// The body of an agent's request after so many steps, each of which read a file of 4 KiB.
fn grown(steps: usize) -> Vec<u8> {
    let mut messages = vec![serde_json::json!({"role": "system", "content": "s".repeat(3000)})];
    for step in 0..steps {
        messages.push(serde_json::json!({"role": "assistant", "content": format!("read {step}")}));
        messages.push(
            serde_json::json!({"role": "tool", "content": format!("{step}: {}", "line\n".repeat(800))}),
        );
    }
    let tools = vec![serde_json::json!({"name": "read_file", "description": "x".repeat(500)}); 13];
    serde_json::json!({"model": "m", "messages": messages, "tools": tools}).to_string().into_bytes()
}

#[test]
fn eighty_steps_take_twice_as_much_as_forty() {
    let size = |steps: usize| {
        let exchanges: Vec<Exchange> = (1..=steps).map(|step| exchange(grown(step), "{}")).collect();
        check(&exchanges).len()
    };
    let (forty, eighty) = (size(40), size(80));
    assert!(eighty < 2 * forty, "{forty} bytes at 40 steps, {eighty} at 80");
    assert!(eighty < 80 * 6500, "{eighty} bytes at 80 steps of 4 KiB");
}

#[test]
fn a_repeated_request_costs_one_short_line() {
    let transcript = check(&[exchange(grown(10), "{}"), exchange(grown(10), "{}")]);
    let second = transcript.split(|byte| *byte == b'\n').nth(1).unwrap();
    assert!(second.len() < 250, "{} bytes", second.len());
}

#[test]
fn bytes_of_every_kind_come_back() {
    check(&[exchange("", "")]);
    check(&[
        exchange("ä€😀", "\u{2028}\u{0}\u{7f}"),
        exchange("ö€😁", ""),
        exchange("", "x"),
        exchange("ä", ""),
    ]);
    check(&[
        exchange([0xff, 0xfe, 0], [0xc3]),
        exchange([0xff, 0xfe, 1, 0], *b"plain"),
        exchange("text", ""),
    ]);
    check(&[exchange("xä", ""), exchange("xĤ", ""), exchange("xĤĤ", "")]);
    // The second differs from the first inside a character, at the front and at the back.
    check(&[exchange("aä b", ""), exchange("aö b", ""), exchange("ö", ""), exchange("\u{f6}\u{e4}", "")]);
}

#[test]
fn known_keys_are_gone_from_every_field() {
    let dirty = Exchange {
        endpoint: format!("http://host/{KEY}"),
        error: Some(format!("bad key {KEY}")),
        ..exchange(format!("{{\"a\":\"{KEY}\"}}"), [b"\xff ".as_slice(), KEY.as_bytes()].concat())
    };
    let transcript = write(&Redactor::new([KEY]), &[dirty.clone(), dirty]);
    let rebuilt = rebuild(&transcript).unwrap();
    assert!(!String::from_utf8_lossy(&transcript).contains("canary"));
    for exchange in rebuilt {
        assert_eq!(exchange.request, "{\"a\":\"****\"}");
        assert_eq!(exchange.response, b"\xff ****".as_slice());
        assert_eq!(exchange.endpoint, "http://host/****");
        assert_eq!(exchange.error.as_deref(), Some("bad key ****"));
    }
}

#[test]
fn damage_is_told_by_line_and_keeps_what_came_before() {
    let whole = check(&[exchange("one", "1"), exchange("one two", "2")]);
    let cut = &whole[..whole.len() - 10];
    let error = rebuild(cut).unwrap_err();
    assert_eq!(error.line, 2);
    assert_eq!(rebuild_lines(cut).filter_map(Result::ok).count(), 1);
    let second = whole.split(|byte| *byte == b'\n').nth(1).unwrap();
    assert!(matches!(rebuild(second).unwrap_err().damage, Damage::Keep));
    assert!(matches!(rebuild(b"{\"format\":2}").unwrap_err().damage, Damage::Format(2)));
    assert!(rebuild(b"\n\n").unwrap().is_empty());
}

#[test]
fn the_committed_transcript_still_reads() {
    let rebuilt = rebuild(include_bytes!("../../testdata/transcript-1.jsonl")).unwrap();
    let requests: Vec<_> = rebuilt.iter().map(|exchange| exchange.request.clone()).collect();
    assert_eq!(requests, ["{\"messages\":[1],\"n\":\"ä\"}", "{\"messages\":[1,2],\"n\":\"ä\"}"]);
    assert_eq!(rebuilt[1].response, b"\xff".as_slice());
    assert_eq!(rebuilt[1].status, None);
}

proptest! {
    #[test]
    fn any_bodies_come_back(
        bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), "\\PC{0,40}"), 1..12),
        shared in "\\PC{0,30}",
    ) {
        let exchanges: Vec<Exchange> = bodies
            .into_iter()
            .map(|(raw, text)| {
                let request = if raw.len() % 2 == 0 { raw.clone() } else { format!("{shared}{text}{shared}").into_bytes() };
                exchange(request, if raw.len() % 3 == 0 { text.into_bytes() } else { raw })
            })
            .collect();
        check(&exchanges);
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), keep in any::<(usize, usize)>()) {
        let _ = rebuild(&bytes);
        let line = format!("{{\"format\":1,\"call\":1,\"try\":1,\"time\":\"\",\"api\":\"\",\"endpoint\":\"\",\"seconds\":0,\"request\":{{\"keep\":[{},{}]}}}}", keep.0, keep.1);
        prop_assert!(keep == (0, 0) || rebuild(line.as_bytes()).is_err());
    }
}
