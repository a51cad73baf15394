//! Who gets in: token and TLS on a loopback port, with messages that say what is wrong.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests fail as tests do")]

#[path = "world/mod.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use more of it")]
mod world;

use coordinator::TlsFiles;
use domain::secret::Secret;
use proto::dial::{Dial, describe_status};
use proto::eval::v1::ListRunsRequest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use run_folder::Store;
use world::{Served, calm};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes a certificate for 127.0.0.1 and its key.
    fn files(&self, directory: &std::path::Path) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let files =
            TlsFiles { cert: directory.join("cert.pem"), key: directory.join("key.pem"), client_ca: None };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

async fn call(dial: &Dial) -> Result<(), String> {
    let listed =
        dial.run_client().map_err(|error| error.to_string())?.list_runs(ListRunsRequest::default()).await;
    listed.map(drop).map_err(|status| describe_status(&status))
}

#[tokio::test]
async fn only_the_token_opens() {
    let mut config = calm("c");
    config.token = Some(Secret::new("right".to_owned()));
    let served = Served::start(config, &Store::memory()).await;
    let with = |token: Option<&str>| Dial {
        token: token.map(|token| Secret::new(token.to_owned())),
        ..served.dial.clone()
    };
    call(&with(Some("right"))).await.unwrap();
    let refused = call(&with(Some("wrong"))).await.unwrap_err();
    assert!(refused.contains("the token is not the coordinator's"), "{refused}");
    let refused = call(&with(None)).await.unwrap_err();
    assert!(refused.contains("wants a token"), "{refused}");
    let mut client = with(None).worker_client().unwrap();
    let refused = client.session(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "workers too");
}

#[tokio::test]
async fn only_a_known_authority_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let mut config = calm("c");
    config.token = Some(Secret::new("right".to_owned()));
    config.tls = Some(ours.files(directory.path()));
    let served = Served::start(config, &Store::memory()).await;
    let url = served.dial.url.replace("http://", "https://");
    let dial = |ca: &Authority, url: &str| Dial {
        url: url.to_owned(),
        token: Some(Secret::new("right".to_owned())),
        ca: Some(ca.pem()),
    };
    call(&dial(&ours, &url)).await.unwrap();
    let refused = call(&dial(&other, &url)).await.unwrap_err();
    assert!(
        refused.contains("hint: the coordinator's certificate is not signed by the certificate authority"),
        "{refused}"
    );
    let refused = call(&dial(&ours, &url.replace("127.0.0.1", "localhost"))).await.unwrap_err();
    assert!(refused.contains("hint: the coordinator's certificate does not name this host"), "{refused}");
    let refused = call(&Dial { url: served.dial.url.clone(), ..dial(&ours, "") }).await;
    assert!(refused.is_err(), "plain calls to a TLS port fail");
}

#[tokio::test]
async fn tls_spoken_to_a_plain_port_is_explained() {
    let served = Served::start(calm("c"), &Store::memory()).await;
    let url = served.dial.url.replace("http://", "https://");
    let refused = call(&Dial { url, token: None, ca: Some(Authority::new().pem()) }).await.unwrap_err();
    assert!(refused.contains("check `http://` against `https://`"), "{refused}");
}

#[tokio::test]
async fn nobody_there_is_explained() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = call(&Dial::plain(url)).await.unwrap_err();
    assert!(refused.contains("is the coordinator running?"), "{refused}");
}

#[tokio::test]
async fn unusable_tls_files_are_named() {
    let mut config = calm("c");
    config.tls =
        Some(TlsFiles { cert: "/nowhere/cert.pem".into(), key: "/nowhere/key.pem".into(), client_ca: None });
    let error = Served::start(config, &Store::memory()).await.ended().await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/cert.pem"), "{error}");
}
