//! `och coordinator`: serves runs to workers until it is told to stop.

use crate::args::CoordinatorArgs;
use crate::exit::{Code, Expected};
use crate::signals::Signals;
use crate::{connect, say, stores};
use anyhow::Result;
use domain::id::RunId;
use std::path::Path;
use std::time::Duration;

/// Serves.
pub(crate) async fn run(args: CoordinatorArgs) -> Result<Code> {
    let store = stores::open(args.store.as_deref(), Path::new("eval-runs"))?;
    stores::prove(&store).await?;
    let token = connect::token(args.token_file.as_deref())?;
    let tls = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
    let mut config = coordinator::Config::new(crate::plan::incarnation());
    config.heartbeat = seconds("--heartbeat-seconds", args.heartbeat_seconds)?;
    config.ttl = seconds("--lease-seconds", args.lease_seconds)?;
    config.token = token;
    config.tls = tls.map(|(cert, key)| coordinator::TlsFiles {
        cert: cert.clone(),
        key: key.clone(),
        client_ca: None,
    });
    config.insecure = args.insecure;
    config.store_is_proven = true;
    config.advertised = args.advertise.clone();
    for run in &args.resume {
        let id = RunId::new(run).map_err(|error| Expected::usage(format!("--resume: {error}")))?;
        config.resume.push(id);
    }
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .map_err(|error| Expected::unusable(format!("cannot listen on {}: {error}", args.listen)))?;
    let address = listener.local_addr()?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    // One line of data: a script that asked for port 0 reads it from here.
    say::data(&format!("{scheme}://{address}"));
    say::note(&format!("serving the runs of `{}`", store.url()));
    let mut signals = Signals::listen()?;
    let shutdown = async move { signals.next().await };
    coordinator::serve(config, listener, store, crate::wall::now_utc, shutdown)
        .await
        .map_err(|error| anyhow::Error::new(error).context(Expected::unusable("the coordinator stopped")))?;
    Ok(Code::Ok)
}

/// A positive number of seconds.
pub(crate) fn seconds(flag: &str, number: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(number).ok().filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Expected::usage(format!("{flag} must be a positive number of seconds, not {number}")).into()
    })
}
