//! Every environment variable that och reads, in one place. Provider keys are read here too, by the name that a preset gives.

use domain::secret::Secret;

/// The configuration file, when `--config` is not given.
pub(crate) const OCH_CONFIG: &str = "OCH_CONFIG";
/// Where run folders live, when `--store` is not given.
pub(crate) const OCH_STORE: &str = "OCH_STORE";
/// The coordinator, when `--coordinator` is not given.
pub(crate) const OCH_COORDINATOR: &str = "OCH_COORDINATOR";
/// File with the token shared by coordinator, workers and clients.
pub(crate) const OCH_TOKEN_FILE: &str = "OCH_TOKEN_FILE";
/// Log filter for stderr, in the syntax of tracing's `EnvFilter`: `och=debug,coordinator=trace`.
pub(crate) const OCH_LOG: &str = "OCH_LOG";
/// Directory for packed inputs of a worker.
pub(crate) const OCH_CACHE_DIR: &str = "OCH_CACHE_DIR";
/// The Docker engine, as Docker's own command understands it; `unix:///var/run/docker.sock` when unset.
pub(crate) const DOCKER_HOST: &str = "DOCKER_HOST";
/// Where spans go, over OTLP/HTTP; nothing is sent when it is not set.
pub(crate) const OTEL_EXPORTER_OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A variable's value; `None` when unset, empty or not UTF-8.
#[expect(clippy::disallowed_methods, reason = "the registry is the one reader")]
pub(crate) fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A provider's key, by the name of its variable.
pub(crate) fn key(name: &str) -> Option<Secret<String>> {
    read(name).map(|value| Secret::new(value.trim().to_owned()))
}
