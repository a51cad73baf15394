//! Logs to stderr and, when an endpoint is configured, spans over OTLP.

use crate::args::GlobalArgs;
use crate::env_vars;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Keeps the exporter alive; [`Telemetry::stop`] flushes it.
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends what is left.
    pub(crate) fn stop(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::debug!(%error, "failed to flush spans");
        }
    }
}

/// Starts logging. Never fails: a bad filter or endpoint is said in the log and left out.
pub(crate) fn start(global: &GlobalArgs) -> Telemetry {
    let default = match global.verbose {
        0 => "warn",
        1 => "info",
        2 => "debug,h2=info,hyper=info,tower=info",
        _ => "trace",
    };
    let wanted = env_vars::read(env_vars::OCH_LOG).unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new("warn"));
    let provider = env_vars::read(env_vars::OTEL_EXPORTER_OTLP_ENDPOINT).and_then(|_| exporter());
    let spans =
        provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("och")));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(true);
    // In tests a subscriber may be there already; then that one stays.
    drop(tracing_subscriber::registry().with(filter).with(lines).with(spans).try_init());
    Telemetry { provider }
}

fn exporter() -> Option<SdkTracerProvider> {
    // The exporter reads its endpoint and headers from the standard OTEL variables itself.
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().build().ok()?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("och").build();
    Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
