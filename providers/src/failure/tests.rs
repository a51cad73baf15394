//! Tests of `failure`.

use super::*;
use serde_json::json;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)).unwrap()
}

#[track_caller]
fn check(status: u16, body: impl AsRef<[u8]>, fault: ModelFault, retry: Retry) {
    let failure = Failure::answer(status, Hints::default(), body.as_ref());
    assert_eq!((&failure.fault, failure.retry), (&fault, retry), "{}", failure.message);
    assert_eq!(failure.status, Some(status));
    assert!(failure.message.starts_with(&format!("HTTP {status}: ")), "{}", failure.message);
}

#[test]
fn statuses_decide() {
    for status in [408, 409, 425, 429, 500, 502, 503, 504, 520, 529] {
        check(status, "{}", ModelFault::Unavailable, Retry::Backoff);
    }
    for status in [301, 307, 400, 401, 402, 403, 404, 405, 415, 422, 501, 505] {
        check(status, "{}", ModelFault::Rejected, Retry::No);
    }
}

#[test]
fn a_conversation_that_grew_too_long_is_known_in_every_shape() {
    for name in ["vllm/oa-ctx.body", "vllm-reasoning/oa-ctx.body"] {
        check(400, fixture(name), ModelFault::ContextLength, Retry::No);
    }
    for (status, body) in [
        (400, json!({"error": {"message": "x", "code": "context_length_exceeded"}})),
        (
            400,
            json!({"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.", "type": "invalid_request_error", "param": "messages", "code": null}}),
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"}}),
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or `max_tokens` and try again"}}),
        ),
        (
            413,
            json!({"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}),
        ),
        (
            400,
            json!({"error": {"code": 400, "message": "the request exceeds the available context size, try increasing it", "type": "exceed_context_size_error", "n_ctx": 4096}}),
        ),
        (
            400,
            json!({"error": {"code": "invalid_parameter_error", "message": "Range of input length should be [1, 129024]"}}),
        ),
        (
            400,
            json!({"error": {"code": 400, "message": "The input token count (1048580) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}),
        ),
        (
            400,
            json!({"object": "error", "message": "Requested token count exceeds the model's maximum context length of 32768 tokens.", "code": 400}),
        ),
        (400, json!({"error": "prompt too long; exceeded max context length by 12 tokens"})),
        (422, json!({"detail": [{"msg": "Input is too long for requested model"}]})),
        (500, json!({"error": {"message": "context window exceeded"}})),
    ] {
        check(status, body.to_string(), ModelFault::ContextLength, Retry::No);
    }
    // The preset asks for more output than the model can give: no conversation is to blame.
    for body in [
        fixture("vllm/oa-maxtokens-too-big.body"),
        json!({"error": {"message": "max_tokens is too large: 99999. This model supports at most 16384 completion tokens", "code": null}}).to_string().into_bytes(),
        json!({"error": {"message": "Range of max_tokens should be [1, 8192]"}}).to_string().into_bytes(),
    ] {
        check(400, body, ModelFault::Rejected, Retry::No);
    }
    // A rate limit that speaks of size stays a rate limit.
    check(
        429,
        json!({"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000", "code": "rate_limit_exceeded"}}).to_string(),
        ModelFault::Unavailable,
        Retry::Backoff,
    );
}

#[test]
fn refusals_and_empty_accounts_are_known() {
    for body in [
        json!({"error": {"code": "content_filter", "message": "The response was filtered due to the prompt triggering content management policy."}}),
        json!({"error": {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content."}}),
        json!({"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}),
    ] {
        check(400, body.to_string(), ModelFault::Refused, Retry::No);
    }
    let empty = json!({"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}});
    check(429, empty.to_string(), ModelFault::Rejected, Retry::No);
    check(
        402,
        json!({"error": {"message": "Insufficient Balance"}}).to_string(),
        ModelFault::Rejected,
        Retry::No,
    );
}

#[test]
fn errors_inside_a_success_count_as_what_they_say() {
    for (error, fault, status) in [
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            ModelFault::Unavailable,
            529,
        ),
        (
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}),
            ModelFault::Unavailable,
            429,
        ),
        (
            json!({"type": "error", "error": {"type": "throttling_error", "message": "slow down"}}),
            ModelFault::Unavailable,
            429,
        ),
        (json!({"error": {"code": 502, "message": "upstream"}}), ModelFault::Unavailable, 502),
        (json!({"error": {"code": "404", "message": "no model"}}), ModelFault::Rejected, 404),
        (json!({"error": {"type": "invalid_request_error", "message": "bad"}}), ModelFault::Rejected, 400),
        (json!({"error": {"type": "authentication_error", "message": "bad key"}}), ModelFault::Rejected, 401),
        (
            json!({"error": {"code": "context_length_exceeded", "message": "x"}}),
            ModelFault::ContextLength,
            400,
        ),
        (json!({"error": "upstream died"}), ModelFault::Unavailable, 200),
        (json!({"type": "error"}), ModelFault::Unavailable, 200),
    ] {
        let failure = Failure::inside(200, Hints::default(), &error);
        assert_eq!((&failure.fault, failure.status), (&fault, Some(status)), "{error}");
        assert!(failure.message.starts_with("HTTP 200 with an error inside: "));
    }
    let limited = json!({"error": {"type": "rate_limit_error", "message": "x"}});
    assert!(Failure::inside(200, Hints::default(), &limited).throttled);
}

#[test]
fn hints_are_followed() {
    let after = Hints { after: Some(Duration::from_secs(7)), should_retry: None };
    let failure = Failure::answer(429, after, b"{}");
    assert_eq!((failure.retry, failure.throttled), (Retry::After(Duration::from_secs(7)), true));
    assert!(Failure::answer(503, after, b"{}").throttled);
    assert!(!Failure::answer(503, Hints::default(), b"{}").throttled);
    let never = Hints { after: None, should_retry: Some(false) };
    let failure = Failure::answer(500, never, b"{}");
    assert_eq!((failure.retry, failure.fault), (Retry::No, ModelFault::Unavailable));
    // A server that wants a bad request again does not get it.
    let always = Hints { after: None, should_retry: Some(true) };
    assert_eq!(Failure::answer(400, always, b"{}").retry, Retry::No);
}

#[test]
fn messages_are_the_providers_own() {
    for (body, expected) in [
        (fixture("vllm/oa-wrong-model.body"), "HTTP 404: The model `other` does not exist. (NotFoundError)"),
        (fixture("vllm/an-wrong-model.body"), "HTTP 404: The model `other` does not exist. (NotFoundError)"),
        (b"plain  text\n of a proxy".to_vec(), "HTTP 404: plain text of a proxy"),
        (
            b"<html><head><title>404 Not\nFound</title></head><body>x</body></html>".to_vec(),
            "HTTP 404: 404 Not Found",
        ),
        (b"".to_vec(), "HTTP 404: empty body"),
        (b"{\"detail\":\"Not Found\"}".to_vec(), "HTTP 404: Not Found"),
        (b"[{\"error\":{\"message\":\"from a list\"}}]".to_vec(), "HTTP 404: from a list"),
        (b"{\"a\":1}".to_vec(), "HTTP 404: {\"a\":1}"),
    ] {
        assert_eq!(Failure::answer(404, Hints::default(), &body).message, expected);
    }
    let long =
        Failure::answer(500, Hints::default(), json!({"error": "x".repeat(100_000)}).to_string().as_bytes());
    assert!(long.message.len() < 2200);
    let deep = (0..50).fold(json!("end"), |inner, _| json!({"error": inner}));
    assert!(Failure::answer(500, Hints::default(), deep.to_string().as_bytes()).message.len() < 700);
}

#[test]
fn keys_are_cleaned_out_of_messages() {
    let body = json!({"error": {"message": "Incorrect API key provided: sk-canary-0123456789"}}).to_string();
    let failure = Failure::answer(401, Hints::default(), body.as_bytes());
    let error = failure.into_error(&Redactor::new(["sk-canary-0123456789"]), Usage::default());
    assert_eq!(error.message, "HTTP 401: Incorrect API key provided: ****");
}
