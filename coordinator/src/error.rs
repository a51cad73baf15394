//! Why a coordinator cannot serve, and how errors are told in one line.

use domain::{Fault, Retry};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a coordinator does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port can be reached from elsewhere and is not guarded.
    #[error("refusing to serve on {address} without {missing}")]
    Exposed {
        /// Where.
        address: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// The listener has no address.
    #[error("the listener is not usable")]
    Listener(#[source] std::io::Error),
    /// A file of TLS cannot be read.
    #[error("failed to read `{path}`")]
    TlsFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The files of TLS do not fit.
    #[error("the certificate, its key or the certificate authority of clients cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// The store cannot carry runs.
    #[error("the store `{url}` cannot be used")]
    Store {
        /// Which.
        url: String,
        /// Why.
        #[source]
        source: Box<run_folder::probe::Error>,
    },
    /// A run that was to be resumed cannot be opened.
    #[error("run `{run}` cannot be resumed: {why}")]
    Resume {
        /// Which.
        run: domain::id::RunId,
        /// Why.
        why: String,
    },
    /// The server ended.
    #[error("the server stopped")]
    Server(#[source] tonic::transport::Error),
    /// An actor that must live does not.
    #[error("the fleet stopped")]
    Fleet,
}

impl Error {
    /// Whether starting again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Store { .. } | Self::Resume { .. } | Self::Server(_) | Self::Fleet => Retry::Backoff,
            Self::Exposed { .. } | Self::Listener(_) | Self::TlsFile { .. } | Self::Tls(_) => Retry::No,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Exposed { .. } | Self::TlsFile { .. } | Self::Tls(_) | Self::Resume { .. } => Fault::User,
            Self::Listener(_) | Self::Store { .. } | Self::Server(_) => Fault::Infra,
            Self::Fleet => Fault::Bug,
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exposed { .. } => Some(
                "listen on 127.0.0.1, or give a token file, a certificate and its key; `--insecure` serves everybody who can reach the port",
            ),
            Self::TlsFile { .. } | Self::Tls(_) => Some("certificates and keys are PEM files"),
            _ => None,
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
