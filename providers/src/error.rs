//! Why a provider cannot be built.

use domain::chat::{ModelError, ModelFault};
use domain::{Fault, Retry};

/// Why a preset cannot be turned into a provider. Always the person's input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The key's variable is unset or empty and the preset needs it.
    #[error("missing {variable}")]
    MissingKey {
        /// The preset.
        preset: String,
        /// The environment variable.
        variable: String,
    },
    /// The key cannot stand in an HTTP header. The key itself is not shown.
    #[error("the value of {variable} is not a legal key: it has line breaks or other control characters")]
    IllegalKey {
        /// The environment variable.
        variable: String,
    },
    /// An HTTP preset without `base_url`.
    #[error("preset `{preset}` has no base_url")]
    NoBaseUrl {
        /// The preset.
        preset: String,
    },
    /// The `base_url` is no http or https URL, or carries credentials.
    #[error("preset `{preset}`: base_url {why}")]
    BadBaseUrl {
        /// The preset.
        preset: String,
        /// What is wrong with it.
        why: String,
    },
    /// A number of the preset is out of its range.
    #[error("preset `{preset}`: {field} {why}")]
    BadValue {
        /// The preset.
        preset: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A script file is missing or malformed.
    #[error("script `{script}`: {why}")]
    BadScript {
        /// Its key in `RunSpec::scripts`.
        script: String,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client could not be set up.
    #[error("no HTTP client for preset `{preset}` (are root certificates installed?): {why}")]
    Client {
        /// The preset.
        preset: String,
        /// What the HTTP library says.
        why: String,
    },
}

impl BuildError {
    /// Building again gives the same answer.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::No
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Client { .. } => Fault::Infra,
            _ => Fault::User,
        }
    }

    /// The same as the failure of a call, for trials that are to be recorded although the preset is unusable.
    #[must_use]
    pub fn to_model_error(&self) -> ModelError {
        ModelError::new(ModelFault::Rejected, self.to_string())
    }
}
