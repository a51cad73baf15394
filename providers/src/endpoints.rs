//! What all calls of a worker process share. Owns keys, HTTP clients and limiters; builds providers from presets.

use crate::mock::Mock;
use crate::{BuildError, Provider};
use domain::id::PresetName;
use domain::preset::{Preset, ProviderKind};
use domain::secret::{Redactor, Secret};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Looks a key up by the name of its environment variable. Reads the worker's environment, which this crate does not.
pub type Keys = Arc<dyn Fn(&str) -> Option<Secret<String>> + Send + Sync>;

/// The time for people: UTC, ISO 8601.
pub type NowUtc = Arc<dyn Fn() -> String + Send + Sync>;

/// This worker's part of a preset's limits over all workers. `None` = no limit; 0 = nothing until the next share comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
    /// Calls in flight.
    pub max_in_flight: Option<u32>,
}

/// The endpoints of one worker process. One of it lives as long as the process.
pub struct Endpoints {
    keys: Keys,
    now_utc: NowUtc,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

impl Endpoints {
    /// No endpoint yet; they come with the presets.
    pub fn new(keys: Keys, now_utc: NowUtc) -> Self {
        Self { keys, now_utc }
    }

    /// The provider of a preset. Cheap to call again: clients and limiters are shared by (base URL, key variable). `scripts` is
    /// `RunSpec::scripts`; only scripted presets look into it.
    ///
    /// # Errors
    /// When the preset is unusable: a missing key, a bad URL, a bad script.
    pub fn provider(
        &self,
        preset: &Preset,
        scripts: &BTreeMap<String, Value>,
    ) -> Result<Arc<dyn Provider>, BuildError> {
        let _ = scripts;
        match preset.provider {
            ProviderKind::Mock => Ok(Arc::new(Mock::new(preset.clone(), Arc::clone(&self.now_utc)))),
            ProviderKind::OpenaiCompatible | ProviderKind::Anthropic | ProviderKind::Scripted => {
                Err(BuildError::NoBaseUrl { preset: preset.name.to_string() })
            }
        }
    }

    /// Knows the keys of these presets, for cleaning everything that is stored.
    #[must_use]
    pub fn redactor(&self, presets: &[Preset]) -> Redactor {
        let keys: Vec<Secret<String>> = presets
            .iter()
            .filter_map(|preset| preset.api_key_env.as_deref())
            .filter_map(|variable| (self.keys)(variable))
            .collect();
        Redactor::new(keys.iter().map(|key| key.reveal().as_str()))
    }

    /// Sets this worker's part of a preset's limits, from now on and for calls that wait already.
    pub fn set_share(&self, preset: &PresetName, share: Share) {
        let _ = (preset, share);
    }
}
