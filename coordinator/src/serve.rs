//! Serving: guards the port, proves the store, starts the actors, and ends everything in order. Keeps no state of its own.

use crate::Shared;
use crate::actors::{Fleet, FleetArgs, Leave, OpenRun, Runs};
use crate::config::{Config, TlsFiles};
use crate::error::Error;
use crate::rpc::{Guard, RunRpc, WorkerRpc};
use kameo::actor::ActorRef;
use proto::dial::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_MESSAGE_BYTES};
use proto::eval::v1::run_service_server::RunServiceServer;
use proto::eval::v1::worker_service_server::WorkerServiceServer;
use run_folder::Store;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// Longest wait for the fleet's answer when stopping.
const ANSWER: Duration = Duration::from_secs(5);

/// Serves runs and workers until `shutdown`. Then: workers are told, their streams end, watchers get their last event, and the port is
/// closed, all within the configured deadline. The runs stay open in their folders.
///
/// # Errors
/// When the port is exposed without token and TLS, the store does not create once, a run to be resumed cannot be opened, or the server
/// fails.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    store: Store,
    now_utc: impl Fn() -> String + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(Error::Listener)?;
    guard_port(&config, address)?;
    let tls = match &config.tls {
        Some(files) => Some(tls(files).await?),
        None => None,
    };
    if !config.store_is_proven {
        store
            .probe()
            .await
            .map_err(|source| Error::Store { url: store.url().to_owned(), source: Box::new(source) })?;
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let advertised = config.advertised.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
    let stop_deadline = config.stop_deadline;
    let shared = Arc::new(Shared {
        config,
        store,
        address: advertised,
        now_utc: Box::new(now_utc),
        start: Instant::now(),
    });
    let (runs_sender, runs) = watch::channel(Runs::default());
    let fleet = Fleet::start(FleetArgs { shared: Arc::clone(&shared), runs: runs_sender });
    let fleet = Root(fleet);
    let ended = serve_with(&shared, listener, tls, &fleet.0, runs, stop_deadline, shutdown).await;
    fleet.0.kill();
    fleet.0.wait_for_shutdown().await;
    ended
}

/// Takes the fleet down, and the runs that are linked to it, also when nobody waits for `serve` any more.
struct Root(ActorRef<Fleet>);

impl Drop for Root {
    fn drop(&mut self) {
        self.0.kill();
    }
}

async fn serve_with(
    shared: &Arc<Shared>,
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    fleet: &ActorRef<Fleet>,
    runs: watch::Receiver<Runs>,
    stop_deadline: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    resume(shared, fleet).await?;
    let workers = WorkerRpc { shared: Arc::clone(shared), fleet: fleet.clone(), runs: runs.clone() };
    let workers = WorkerServiceServer::new(workers)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let people = RunRpc { shared: Arc::clone(shared), fleet: fleet.clone(), runs };
    let people = RunServiceServer::new(people)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let guard = Guard::new(shared.config.token.as_ref());
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    if let Some(tls) = tls {
        server = server.tls_config(tls).map_err(Error::Tls)?;
    }
    let closing = CancellationToken::new();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = server
        .add_service(InterceptedService::new(workers, guard.clone()))
        .add_service(InterceptedService::new(people, guard))
        .serve_with_incoming_shutdown(incoming, closing.clone().cancelled_owned());
    tokio::pin!(serving);
    tracing::info!(address = %shared.address, store = shared.store.url(), "the coordinator serves");
    tokio::select! {
        ended = &mut serving => return ended.map_err(Error::Server),
        () = shutdown => {}
    }
    tracing::info!("the coordinator is leaving");
    // Streams first: the server waits for ever on a live one.
    let end = async {
        leave(fleet).await;
        closing.cancel();
    };
    let (ended, ()) = tokio::join!(tokio::time::timeout(stop_deadline, serving), end);
    match ended {
        Ok(ended) => ended.map_err(Error::Server),
        Err(_) => {
            tracing::warn!("streams did not end in time; they are cut");
            Ok(())
        }
    }
}

/// Ends sessions and runs, and waits for the runs' last words.
async fn leave(fleet: &ActorRef<Fleet>) {
    let text = "the coordinator is stopping; undecided trials go on when the run is resumed".to_owned();
    let Ok(runs) = fleet.ask(Leave { text }).reply_timeout(ANSWER).send().await else { return };
    for run in runs {
        if tokio::time::timeout(ANSWER, run.wait_for_shutdown_result()).await.is_err() {
            run.kill();
        }
    }
}

async fn resume(shared: &Shared, fleet: &ActorRef<Fleet>) -> Result<(), Error> {
    for run in &shared.config.resume {
        let resume = |why: String| Error::Resume { run: run.clone(), why };
        let folder = shared.store.run(run);
        let sealed = folder.sealed().await.map_err(|error| resume(crate::error::chain(&error)))?;
        if sealed.is_some() {
            tracing::info!(%run, "the run is sealed already");
            continue;
        }
        let open =
            fleet.ask(OpenRun(run.clone())).reply_timeout(ANSWER).send().await.map_err(|_| Error::Fleet)?;
        if let Some(open) = open {
            crate::rpc::wait_open(&open).await.map_err(|status| resume(status.message().to_owned()))?;
        }
    }
    Ok(())
}

/// A port that others can reach must be guarded by token and TLS, unless somebody says that it need not be.
fn guard_port(config: &Config, address: SocketAddr) -> Result<(), Error> {
    if address.ip().is_loopback() || config.insecure {
        return Ok(());
    }
    let missing = match (&config.token, &config.tls) {
        (Some(_), Some(_)) => return Ok(()),
        (None, Some(_)) => "a token",
        (Some(_), None) => "TLS",
        (None, None) => "a token and TLS",
    };
    Err(Error::Exposed { address, missing })
}

async fn tls(files: &TlsFiles) -> Result<ServerTlsConfig, Error> {
    let read = |path: std::path::PathBuf| async move {
        tokio::fs::read(&path).await.map_err(|source| Error::TlsFile { path, source })
    };
    let identity = Identity::from_pem(read(files.cert.clone()).await?, read(files.key.clone()).await?);
    let mut tls = ServerTlsConfig::new().identity(identity);
    if let Some(ca) = &files.client_ca {
        tls = tls.client_ca_root(Certificate::from_pem(read(ca.clone()).await?));
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::secret::Secret;

    fn check(address: &str, token: bool, tls: bool, insecure: bool, refused: Option<&str>) {
        let mut config = Config::new("i".parse().unwrap());
        config.token = token.then(|| Secret::new("t".to_owned()));
        config.tls = tls.then(|| TlsFiles { cert: "c".into(), key: "k".into(), client_ca: None });
        config.insecure = insecure;
        let got = guard_port(&config, address.parse().unwrap()).err().map(|error| error.to_string());
        assert_eq!(got.as_deref(), refused);
    }

    #[test]
    fn ports_that_others_reach_are_guarded() {
        check("127.0.0.1:1", false, false, false, None);
        check("[::1]:1", false, false, false, None);
        check(
            "0.0.0.0:1",
            false,
            false,
            false,
            Some("refusing to serve on 0.0.0.0:1 without a token and TLS"),
        );
        check("10.0.0.1:1", true, false, false, Some("refusing to serve on 10.0.0.1:1 without TLS"));
        check("[::]:1", false, true, false, Some("refusing to serve on [::]:1 without a token"));
        check("10.0.0.1:1", true, true, false, None);
        check("10.0.0.1:1", false, false, true, None);
    }
}
