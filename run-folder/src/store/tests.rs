//! What a store's name means.

use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let said = match Address::parse(text) {
        Ok(address) => address.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(said, expected, "{text}");
}

#[test]
fn names() {
    check("eval-runs", "eval-runs");
    check("/abs/dir", "/abs/dir");
    check("file:///abs/with%20space", "/abs/with space");
    check("s3://bucket", "s3://bucket");
    check("s3://bucket/", "s3://bucket");
    check("s3://bucket/team/evals/", "s3://bucket/team/evals");
    check("s3a://bucket/x", "s3://bucket/x");
    check("gs://bucket/x", "gs://bucket/x");
    check("az://container/x", "az://container/x");
}

#[test]
fn what_is_no_store_says_why_and_repeats_no_secret() {
    check("", "`` is no store: it is empty");
    check("s3://", "`s3://` is no store: it names no bucket");
    check("s3:///prefix", "`s3:///prefix` is no store: it names no bucket");
    check("ftp://host/x", "`ftp://host/x` is no store: its scheme is not known");
    check("file://relative", "`file://relative` is no store: a file URL is `file:///absolute/path`");
    check("file:///bad%zz", "`file:///bad%zz` is no store: a file URL is `file:///absolute/path`");
    check(
        "s3://KEY:SECRET@bucket/x",
        "`s3://…` is no store: credentials belong into the environment, not into the URL",
    );
    check("s3://bucket/x?X-Amz-Signature=SECRET", "`s3://bucket/x` is no store: it has a query or fragment");
    for text in ["s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a/./b"] {
        assert!(Address::parse(text).is_err(), "{text}");
    }
}

#[test]
fn keys_lie_beneath_the_prefix() {
    let path = |prefix: &str, key: &str| {
        Store::new(Arc::new(InMemory::new()), prefix, "memory:").path(key).to_string()
    };
    assert_eq!(path("", "run/run.json"), "run/run.json");
    assert_eq!(path("team/evals", "run/run.json"), "team/evals/run/run.json");
    assert_eq!(path("team/evals", ""), "team/evals");
}
