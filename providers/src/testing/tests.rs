//! Tests of `testing`.

use super::*;
use serde_json::json;

#[tokio::test]
async fn bad_scripts_and_taken_ports_are_told() {
    assert!(matches!(ModelServer::start(&json!({"format": 1})).await, Err(StartError::Script(_))));
    let script = json!({"format": 1, "models": {}});
    let server = ModelServer::start(&script).await.unwrap();
    let options = Options { port: server.address().port(), ..Options::default() };
    assert!(matches!(ModelServer::start_with(&script, options).await, Err(StartError::Listen { .. })));
    assert!(server.address().ip().is_loopback());
}

#[tokio::test]
async fn what_the_apis_refuse_is_refused_and_logged() {
    let script = json!({"format": 1, "models": {"m": {"default": [{"text": "x"}]}}});
    let options = Options { anthropic: false, ..Options::default() };
    let server = ModelServer::start_with(&script, options).await.unwrap();
    crate::Endpoints::new(std::sync::Arc::new(|_| None), std::sync::Arc::new(String::new));
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let good = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let send = |path: &str, key: Option<&str>, body: &serde_json::Value| {
        let mut request = client.post(format!("{}{path}", server.base_url())).json(body);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        async { request.send().await.unwrap().status().as_u16() }
    };
    let path = "/v1/chat/completions";
    assert_eq!(send(path, Some("any"), &good).await, 200);
    assert_eq!(send(path, None, &good).await, 401);
    assert_eq!(send("/v1/messages", Some("any"), &good).await, 404);
    assert_eq!(send("/v2/other", Some("any"), &good).await, 404);
    assert_eq!(send(path, Some("any"), &json!({"model": "m", "messages": []})).await, 400);
    let unknown = json!({"model": "n", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(send(path, Some("any"), &unknown).await, 404);
    assert_eq!((server.requests(), server.complete_replies()), (6, 1));
    let log = server.log();
    assert_eq!(log[0].sent, Sent::Reply);
    assert!(log[0].keyed && !log[1].keyed);
    assert_eq!(log[4].sent, Sent::Refused(400));
    assert!(!format!("{server:?}").contains("any"));
}
