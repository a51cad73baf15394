//! What all calls of a worker process share: keys, HTTP clients and limiters. Builds providers from presets.

use crate::anthropic::Anthropic;
use crate::dialect::Dialect;
use crate::http::{BODY_LIMIT, Http, describe};
use crate::mock::Mock;
use crate::openai::OpenAi;
use crate::pace::Pace;
use crate::script::Script;
use crate::scripted::Scripted;
use crate::throttle::Throttle;
use crate::{BuildError, Provider};
use domain::id::PresetName;
use domain::preset::{Preset, ProviderKind};
use domain::secret::{Redactor, Secret};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::Duration;

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

impl Share {
    fn of(preset: &Preset) -> Self {
        Self {
            requests_per_minute: preset.requests_per_minute,
            tokens_per_minute: preset.tokens_per_minute,
            max_in_flight: preset.max_in_flight,
        }
    }

    /// What both allow.
    fn strictest(self, other: Self) -> Self {
        fn least<T: Ord>(left: Option<T>, right: Option<T>) -> Option<T> {
            match (left, right) {
                (Some(left), Some(right)) => Some(left.min(right)),
                (left, right) => left.or(right),
            }
        }
        Self {
            requests_per_minute: least(self.requests_per_minute, other.requests_per_minute),
            tokens_per_minute: least(self.tokens_per_minute, other.tokens_per_minute),
            max_in_flight: least(self.max_in_flight, other.max_in_flight),
        }
    }
}

/// One endpoint: a base URL and whose key is used there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    base: String,
    variable: Option<String>,
}

/// A preset that uses an endpoint, for as long as one of its providers lives.
#[derive(Debug)]
struct User {
    preset: PresetName,
    declared: Share,
    alive: Weak<()>,
}

#[derive(Debug)]
struct Endpoint {
    throttle: Arc<Throttle>,
    users: Vec<User>,
    /// By connect timeout, which belongs to the client.
    clients: HashMap<Duration, Client>,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Place, Endpoint>,
    shares: HashMap<PresetName, Share>,
}

impl State {
    /// The strictest of what the presets in use allow.
    fn limit(&mut self, place: &Place) {
        if let Some(endpoint) = self.places.get_mut(place) {
            endpoint.users.retain(|user| user.alive.strong_count() > 0);
            let share = endpoint
                .users
                .iter()
                .map(|user| self.shares.get(&user.preset).copied().unwrap_or(user.declared))
                .reduce(Share::strictest)
                .unwrap_or_default();
            endpoint.throttle.set_share(share);
        }
    }
}

/// The endpoints of one worker process. One of it lives as long as the process.
pub struct Endpoints {
    keys: Keys,
    now_utc: NowUtc,
    state: Mutex<State>,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").finish_non_exhaustive()
    }
}

impl Endpoints {
    /// No endpoint yet; they come with the presets.
    pub fn new(keys: Keys, now_utc: NowUtc) -> Self {
        static RING: Once = Once::new();
        RING.call_once(|| {
            // An error means that the process has chosen a provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        Self { keys, now_utc, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider of a preset; build it once for a run and share it. Clients and limiters are shared by (base URL, key variable), so several providers of one endpoint
    /// wait for each other. `scripts` is `RunSpec::scripts`; only scripted presets look into it.
    ///
    /// # Errors
    /// When the preset is unusable: a missing key, a bad URL, a bad script.
    pub fn provider(
        &self,
        preset: &Preset,
        scripts: &BTreeMap<String, Value>,
    ) -> Result<Arc<dyn Provider>, BuildError> {
        check_numbers(preset)?;
        match preset.provider {
            ProviderKind::Mock => Ok(Arc::new(Mock::new(preset.clone(), Arc::clone(&self.now_utc)))),
            ProviderKind::Scripted => Ok(Arc::new(Scripted::new(
                preset.clone(),
                Arc::new(read_scripts(preset, scripts)?),
                Arc::clone(&self.now_utc),
            ))),
            ProviderKind::OpenaiCompatible => Ok(Arc::new(self.http(preset, &OpenAi)?)),
            ProviderKind::Anthropic => Ok(Arc::new(self.http(preset, &Anthropic)?)),
        }
    }

    pub(crate) fn http(&self, preset: &Preset, dialect: &'static dyn Dialect) -> Result<Http, BuildError> {
        let url = endpoint_url(preset, dialect.path())?;
        let key = self.key(preset)?;
        let headers = headers(preset, key.as_ref())?;
        let place = Place { base: url.to_string(), variable: preset.api_key_env.clone() };
        let registration = Arc::new(());
        let mut state = self.state();
        let endpoint = state.places.entry(place.clone()).or_insert_with(|| Endpoint {
            throttle: Arc::new(Throttle::new(Share::default())),
            users: Vec::new(),
            clients: HashMap::new(),
        });
        let connect = seconds(preset.connect_timeout_seconds);
        let client = match endpoint.clients.get(&connect) {
            Some(client) => client.clone(),
            None => {
                let client = client(&url, connect).map_err(|error| BuildError::Client {
                    preset: preset.name.to_string(),
                    why: describe(error),
                })?;
                endpoint.clients.insert(connect, client.clone());
                client
            }
        };
        endpoint.users.push(User {
            preset: preset.name.clone(),
            declared: Share::of(preset),
            alive: Arc::downgrade(&registration),
        });
        let throttle = Arc::clone(&endpoint.throttle);
        state.limit(&place);
        drop(state);
        Ok(Http {
            dialect,
            preset: preset.clone(),
            url,
            headers,
            client,
            throttle,
            redactor: Redactor::new(key.iter().map(|key| key.reveal().as_str())),
            now_utc: Arc::clone(&self.now_utc),
            pace: Pace::new(preset.max_tries),
            body_limit: BODY_LIMIT,
            _registration: registration,
        })
    }

    /// The key of a preset, without the line break that files end in.
    fn key(&self, preset: &Preset) -> Result<Option<Secret<String>>, BuildError> {
        let Some(variable) = preset.api_key_env.as_deref() else { return Ok(None) };
        let key = (self.keys)(variable)
            .map(|key| Secret::new(key.reveal().trim().to_owned()))
            .filter(|key| !key.reveal().is_empty());
        if key.is_none() && !preset.api_key_optional {
            return Err(BuildError::MissingKey {
                preset: preset.name.to_string(),
                variable: variable.to_owned(),
            });
        }
        Ok(key)
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

    /// Sets this worker's part of a preset's limits, from now on and for calls that wait already. Presets without a share keep to
    /// the limits they declare.
    pub fn set_share(&self, preset: &PresetName, share: Share) {
        let mut state = self.state();
        state.shares.insert(preset.clone(), share);
        let places: Vec<Place> = state
            .places
            .iter()
            .filter(|(_, endpoint)| endpoint.users.iter().any(|user| user.preset == *preset))
            .map(|(place, _)| place.clone())
            .collect();
        for place in places {
            state.limit(&place);
        }
    }
}

fn seconds(number: f64) -> Duration {
    // Checked before.
    Duration::try_from_secs_f64(number).unwrap_or(Duration::from_secs(10))
}

fn check_numbers(preset: &Preset) -> Result<(), BuildError> {
    let bad = |field: &'static str, why: &str| BuildError::BadValue {
        preset: preset.name.to_string(),
        field,
        why: why.to_owned(),
    };
    for (field, number) in [
        ("connect_timeout_seconds", preset.connect_timeout_seconds),
        ("idle_timeout_seconds", preset.idle_timeout_seconds),
        ("request_timeout_seconds", preset.request_timeout_seconds),
    ] {
        if !(number > 0.0 && number <= 1e6) {
            return Err(bad(field, "must be above 0 and at most 1000000"));
        }
    }
    if !(0.0..=1.0).contains(&preset.error_rate) {
        return Err(bad("error_rate", "must be between 0 and 1"));
    }
    if preset.temperature.is_some_and(|temperature| !temperature.is_finite()) {
        return Err(bad("temperature", "must be a number"));
    }
    Ok(())
}

fn read_scripts(
    preset: &Preset,
    scripts: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Script>, BuildError> {
    if let Some(named) = &preset.script {
        let value = scripts.get(named).ok_or_else(|| BuildError::BadScript {
            script: named.clone(),
            why: "the run does not carry it".to_owned(),
        })?;
        return Ok(BTreeMap::from([(named.clone(), Script::read(named, value)?)]));
    }
    scripts.iter().map(|(key, value)| Ok((key.clone(), Script::read(key, value)?))).collect()
}

/// Whether a path segment is an API version: `v1`, `v1beta`, `v4`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The URL to call. `/v1` is added where the base URL has no version of its own, and the path where it is not there already; a query
/// stays.
fn endpoint_url(preset: &Preset, path: &str) -> Result<Url, BuildError> {
    let bad = |why: &str| BuildError::BadBaseUrl { preset: preset.name.to_string(), why: why.to_owned() };
    let base = preset.base_url.as_deref().map(str::trim).filter(|base| !base.is_empty());
    let base = base.ok_or_else(|| BuildError::NoBaseUrl { preset: preset.name.to_string() })?;
    let mut url = Url::parse(base).map_err(|error| bad(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("is no http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("must not carry credentials: name the key's variable in api_key_env"));
    }
    url.set_fragment(None);
    let old = url.path().trim_end_matches('/').to_owned();
    if !old.ends_with(&format!("/{path}")) {
        let versioned = old.split('/').any(is_version);
        url.set_path(&format!("{old}{}/{path}", if versioned { "" } else { "/v1" }));
    } else {
        url.set_path(&old);
    }
    Ok(url)
}

fn headers(preset: &Preset, key: Option<&Secret<String>>) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if preset.provider == ProviderKind::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    if let Some(key) = key {
        let (name, text) = match preset.provider {
            ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), key.reveal().clone()),
            _ => (reqwest::header::AUTHORIZATION, format!("Bearer {}", key.reveal())),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| BuildError::IllegalKey {
            variable: preset.api_key_env.clone().unwrap_or_default(),
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

fn client(url: &Url, connect: Duration) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("och/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        // The key must not follow a redirect to another place; model APIs do not redirect.
        .redirect(reqwest::redirect::Policy::none())
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(Duration::from_secs(60));
    if url.scheme() == "http" {
        // Nothing is verified there: a machine without root certificates can still call its own servers.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build()
}

#[cfg(test)]
mod tests;
