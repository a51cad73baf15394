//! A real S3-speaking server on loopback, started by `scripts/s3-server.sh` and gone with the value that holds it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that lacks its server must fail, and say why")]

use crate::store::Store;
use object_store::aws::AmazonS3Builder;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// The bucket that the script makes.
const BUCKET: &str = "och-test";
/// The only key and secret that s3rver knows; moto takes any.
const KEY: &str = "S3RVER";

/// A running server. It ends when this is dropped, and also when the process that holds it dies.
#[derive(Debug)]
pub struct S3Server {
    process: Child,
    endpoint: String,
}

impl S3Server {
    /// A good store: moto, from PyPI.
    ///
    /// # Panics
    /// When it cannot be installed or does not start; the message says what is missing.
    #[must_use]
    pub fn moto() -> Self {
        Self::start("moto")
    }

    /// A bad store: s3rver, from npm, which ignores conditions.
    ///
    /// # Panics
    /// As [`S3Server::moto`].
    #[must_use]
    pub fn s3rver() -> Self {
        Self::start("s3rver")
    }

    fn start(kind: &str) -> Self {
        let mut process = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/s3-server.sh"))
            .args(["serve", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoint = line.trim().to_owned();
        if endpoint.is_empty() {
            let mut said = String::new();
            process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("no S3 server to test with: {said}");
        }
        Self { process, endpoint }
    }

    /// Where it listens: `http://127.0.0.1:<port>`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The store's URL with this prefix, for a process that has [`S3Server::environment`].
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// What a process must have in its environment to reach the server.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// The store, opened without the environment.
    ///
    /// # Panics
    /// Never with a server that started.
    #[must_use]
    pub fn store(&self, prefix: &str) -> Store {
        self.store_in(BUCKET, prefix)
    }

    /// A store in another bucket than the one that exists.
    ///
    /// # Panics
    /// Never with a server that started.
    #[must_use]
    pub fn store_in(&self, bucket: &str, prefix: &str) -> Store {
        // As in `Store::open`: the HTTP client has no TLS provider of its own, and an installed one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(KEY)
            .with_bucket_name(bucket)
            .build()
            .unwrap();
        Store::new(Arc::new(client), prefix, &format!("s3://{bucket}/{prefix}"))
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // Its stdin closes: the script stops the server, cleans up and ends.
        drop(self.process.stdin.take());
        if self.process.wait().is_err() {
            // Nothing more to be done in a destructor.
        }
    }
}
