//! Dialling a coordinator: address, TLS, token, keepalive, and errors that people can act on. Keeps no connection of its own.

use crate::eval::v1::run_service_client::RunServiceClient;
use crate::eval::v1::worker_service_client::WorkerServiceClient;
use domain::secret::Secret;
use std::error::Error as _;
use std::time::Duration;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Largest message taken, on both sides. A hello of 10 000 trials in flight is about 2 MiB.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// How often a silent connection is asked whether it lives, on both sides.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer to that may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel that sends the token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Whom to dial and how.
#[derive(Debug, Clone)]
pub struct Dial {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// The shared token, when the coordinator has one.
    pub token: Option<Secret<String>>,
    /// PEM text of the certificate authorities to trust; needed for `https`.
    pub ca: Option<String>,
}

/// Why a dial cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No URL.
    #[error("`{url}` is not a coordinator address: expected `http://host:port` or `https://host:port`")]
    Address {
        /// The text as given.
        url: String,
    },
    /// `https` without certificates to trust.
    #[error("`{url}` needs the certificate authority that signed the coordinator's certificate")]
    NoAuthority {
        /// The address.
        url: String,
    },
    /// A token would go over a readable connection.
    #[error("`{url}` is neither loopback nor `https`: the token would be readable on the way")]
    ReadableToken {
        /// The address.
        url: String,
    },
    /// The token has characters that no header can carry.
    #[error("the token has characters that cannot be sent: use printable ASCII on one line")]
    Token,
    /// TLS does not take the certificate authorities.
    #[error("the certificate authorities for `{url}` cannot be used")]
    Tls {
        /// The address.
        url: String,
        /// The transport's reason.
        #[source]
        source: tonic::transport::Error,
    },
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Address { .. } => "write the address as `http://127.0.0.1:7700` or `https://host:7700`",
            Self::NoAuthority { .. } => "name the file with the certificate authority (PEM)",
            Self::ReadableToken { .. } => "use `https://` and the certificate authority of the coordinator",
            Self::Token => "make a new token file, for instance with `openssl rand -hex 32`",
            Self::Tls { .. } => "the file must hold one or more certificates in PEM form",
        }
    }
}

/// Adds `authorization: Bearer …` to every call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<Secret<tonic::metadata::MetadataValue<tonic::metadata::Ascii>>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.reveal().clone());
        }
        Ok(request)
    }
}

impl Dial {
    /// A plain connection to a loopback address.
    #[must_use]
    pub fn plain(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, ca: None }
    }

    /// The channel: connects when it is first used and again whenever the connection is lost.
    ///
    /// # Errors
    /// When the address, token or certificates cannot be used at all; nothing is sent.
    pub fn channel(&self) -> Result<Authorized, Error> {
        let address = || Error::Address { url: self.url.clone() };
        let endpoint = Endpoint::from_shared(self.url.clone()).map_err(|_| address())?;
        let scheme = endpoint.uri().scheme_str().unwrap_or_default().to_owned();
        let host = endpoint.uri().host().ok_or_else(address)?.to_owned();
        let mut endpoint = endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        match scheme.as_str() {
            "http" if self.token.is_some() && !is_loopback(&host) => {
                return Err(Error::ReadableToken { url: self.url.clone() });
            }
            "http" => {}
            "https" => {
                let ca = self.ca.as_ref().ok_or_else(|| Error::NoAuthority { url: self.url.clone() })?;
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
                endpoint = endpoint
                    .tls_config(tls)
                    .map_err(|source| Error::Tls { url: self.url.clone(), source })?;
            }
            _ => return Err(address()),
        }
        let bearer = match &self.token {
            None => Bearer(None),
            Some(token) => {
                let value = format!("Bearer {}", token.reveal()).parse().map_err(|_| Error::Token)?;
                Bearer(Some(Secret::new(value)))
            }
        };
        Ok(InterceptedService::new(endpoint.connect_lazy(), bearer))
    }

    /// A client for workers' sessions.
    ///
    /// # Errors
    /// See [`Self::channel`].
    pub fn worker_client(&self) -> Result<WorkerServiceClient<Authorized>, Error> {
        Ok(WorkerServiceClient::new(self.channel()?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }

    /// A client for people's commands.
    ///
    /// # Errors
    /// See [`Self::channel`].
    pub fn run_client(&self) -> Result<RunServiceClient<Authorized>, Error> {
        Ok(RunServiceClient::new(self.channel()?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

/// Whether a host name or address can only mean this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The message of a status with its causes, and a hint where the transport's own words help nobody.
#[must_use]
pub fn describe_status(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !cause_text.is_empty() && !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if let Some(hint) = hint(status.code(), &text) {
        text.push_str("; hint: ");
        text.push_str(hint);
    }
    text
}

fn hint(code: tonic::Code, text: &str) -> Option<&'static str> {
    if text.contains("UnknownIssuer") || text.contains("BadSignature") {
        return Some("the coordinator's certificate is not signed by the certificate authority given here");
    }
    if text.contains("NotValidForName") || text.contains("not valid for name") {
        return Some("the coordinator's certificate does not name this host");
    }
    if text.contains("CertificateRequired") {
        return Some("the coordinator wants a client certificate");
    }
    if text.contains("invalid peer certificate") {
        return Some("the coordinator's certificate cannot be used");
    }
    if text.contains("received corrupt message") || text.contains("InvalidContentType") {
        return Some("one side speaks TLS and the other does not: check `http://` against `https://`");
    }
    if code == tonic::Code::Unavailable && text.contains("onnection refused") {
        return Some("nobody listens there: is the coordinator running?");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, token: Option<&str>, expect: Option<&str>) {
        let dial =
            Dial { url: url.to_owned(), token: token.map(|token| Secret::new(token.to_owned())), ca: None };
        let got = dial.channel().err().map(|error| error.to_string());
        assert_eq!(got.is_some(), expect.is_some(), "{url}: {got:?}");
        if let (Some(got), Some(expect)) = (got, expect) {
            assert!(got.contains(expect), "{url}: {got}");
        }
    }

    #[tokio::test]
    async fn only_usable_addresses_are_dialled() {
        check("http://127.0.0.1:7700", None, None);
        check("http://localhost:7700", Some("t0ken"), None);
        check("http://[::1]:7700", Some("t0ken"), None);
        check("http://10.0.0.1:7700", None, None);
        check("http://10.0.0.1:7700", Some("t0ken"), Some("readable on the way"));
        check("https://10.0.0.1:7700", Some("t0ken"), Some("certificate authority"));
        check("ftp://127.0.0.1:1", None, Some("not a coordinator address"));
        check("127.0.0.1", None, Some("not a coordinator address"));
        check("http://127.0.0.1:7700", Some("two\nlines"), Some("cannot be sent"));
    }

    #[test]
    fn tokens_do_not_print() {
        let dial =
            Dial { url: "http://x".to_owned(), token: Some(Secret::new("canary".to_owned())), ca: None };
        assert!(!format!("{dial:?}").contains("canary"));
    }
}
