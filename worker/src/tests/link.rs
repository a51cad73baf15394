//! The session over a real connection, against a coordinator that does what the test says.

use super::world;
use crate::{Config, Summary, serve};
use domain::id::Epoch;
use domain::preset::{Preset, ProviderKind};
use domain::run::{Limits, Permissions, RunSpec, Sandbox};
use domain::secret::Secret;
use domain::suite::{Case, Suite, WorkspaceSource};
use proto::eval::v1;
use proto::eval::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use proto::message::{Cause, FromCoordinator, FromWorker, Grant, GrantedTrial, Hello, Welcome};
use providers::Endpoints;
use run_folder::Store;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use workspace::FakeSandboxes;

const PATIENCE: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

struct Accepting {
    sessions: mpsc::Sender<Session>,
    token: Option<&'static str>,
}

/// One stream, seen from the coordinator.
struct Session {
    incoming: Streaming<v1::WorkerMessage>,
    outgoing: mpsc::Sender<Result<v1::CoordinatorMessage, Status>>,
}

#[tonic::async_trait]
impl WorkerService for Accepting {
    type SessionStream = ReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if self.token.is_some_and(|token| given != Some(&format!("Bearer {token}"))) {
            return Err(Status::unauthenticated("the token is wrong"));
        }
        let (outgoing, stream) = mpsc::channel(64);
        let session = Session { incoming: request.into_inner(), outgoing };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

struct Coordinator {
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    task: JoinHandle<()>,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Coordinator {
    async fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap(), None, None)
    }

    fn listen(listener: TcpListener, token: Option<&'static str>, tls: Option<ServerTlsConfig>) -> Self {
        let address = listener.local_addr().unwrap();
        let (accepted, sessions) = mpsc::channel(8);
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let service = WorkerServiceServer::new(Accepting { sessions: accepted, token });
        let serving = server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { drop(serving.await) });
        Self { address, sessions, task }
    }

    async fn accept(&mut self) -> (Session, Hello) {
        let mut session = soon("a stream", self.sessions.recv()).await.unwrap();
        let FromWorker::Hello(hello) = session.hear().await else { panic!("no hello") };
        (session, hello)
    }

    async fn welcome(&mut self) -> (Session, Hello) {
        let (session, hello) = self.accept().await;
        session.say(welcome(proto::PROTOCOL)).await;
        (session, hello)
    }
}

fn welcome(protocol: u32) -> FromCoordinator {
    FromCoordinator::Welcome(Welcome {
        protocol,
        incarnation: "c".parse().unwrap(),
        heartbeat: Duration::from_millis(50),
        ttl: Duration::from_secs(60),
        store: "memory:".to_owned(),
        version: String::new(),
    })
}

impl Session {
    async fn hear(&mut self) -> FromWorker {
        let message = soon("a word of the worker", self.incoming.message()).await.unwrap();
        message.expect("the worker hung up").try_into().unwrap()
    }

    /// The next word that is neither heartbeat nor readiness.
    async fn hear_news(&mut self) -> FromWorker {
        loop {
            match self.hear().await {
                FromWorker::Heartbeat { .. } | FromWorker::Ready { .. } => {}
                news => return news,
            }
        }
    }

    async fn say(&self, message: FromCoordinator) {
        self.outgoing.send(Ok(message.into())).await.unwrap();
    }

    async fn grant(&self, index: u32) {
        let trial = GrantedTrial { trial: world::trial(index), attempt: world::attempt(1), adopted: false };
        self.say(FromCoordinator::Grant(Grant {
            lease: world::lease("l1"),
            run: world::run(),
            epoch: Epoch::FIRST,
            preset: "p".parse().unwrap(),
            trials: vec![trial],
            ttl: Duration::from_secs(60),
            heartbeat: 0,
        }))
        .await;
    }
}

/// A worker that serves a run of mock trials, until it is told to leave.
struct Serving {
    task: JoinHandle<Result<Summary, serve::Error>>,
    leave: CancellationToken,
    store: Store,
    disk: tempfile::TempDir,
}

async fn planned(latency_ms: u64) -> Store {
    let store = Store::memory();
    let mut preset = Preset::new("p".parse().unwrap(), ProviderKind::Mock, "m");
    preset.latency_ms = latency_ms;
    let case: Case = serde_json::from_value(serde_json::json!({
        "id": "case", "title": "Case", "task": "Say hello.", "network": "none", "verify_feedback_attempts": 0,
        "workspace": WorkspaceSource::Template { path: "x".to_owned() },
    }))
    .unwrap();
    let spec = RunSpec {
        run: world::run(),
        created_at: String::new(),
        tool: "och".to_owned(),
        suites: vec![Suite {
            id: "s".parse().unwrap(),
            name: "s".to_owned(),
            source: "s.json".to_owned(),
            description: None,
            cases: vec![case],
        }],
        presets: vec![preset],
        trials: 4,
        limits: Limits { context_chars: 0, ..Limits::default() },
        permissions: Permissions::default(),
        sandbox: Sandbox::Local,
        skipped: Vec::new(),
        scripts: BTreeMap::new(),
        parent: None,
    };
    store.run(&world::run()).plan(&spec).await.unwrap();
    store
}

impl Serving {
    async fn start(url: String, latency_ms: u64, change: impl FnOnce(&mut Config)) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let store = planned(latency_ms).await;
        let incarnation = format!("i-{}", disk.path().file_name().unwrap().to_string_lossy().to_lowercase());
        let mut config = Config::new(
            "w".parse().unwrap(),
            domain::id::Incarnation::folded(&incarnation),
            url,
            2,
            disk.path().join("cache"),
        );
        config.store = Some(store.clone());
        config.drain_deadline = Duration::from_secs(20);
        change(&mut config);
        let endpoints = Arc::new(Endpoints::new(Arc::new(|_: &str| None), Arc::new(String::new)));
        let leave = CancellationToken::new();
        let shutdown = leave.clone().cancelled_owned();
        let sandboxes = Arc::new(FakeSandboxes::new());
        let task = tokio::spawn(serve(config, endpoints, sandboxes, String::new, shutdown));
        Self { task, leave, store, disk }
    }

    async fn at(coordinator: &Coordinator, latency_ms: u64) -> Self {
        Self::start(format!("http://{}", coordinator.address), latency_ms, |_| {}).await
    }

    async fn end(self) -> Result<Summary, serve::Error> {
        soon("the worker's end", self.task).await.unwrap()
    }
}

#[tokio::test]
async fn a_session_from_hello_to_goodbye() {
    let mut coordinator = Coordinator::start().await;
    let worker = Serving::at(&coordinator, 0).await;
    let (mut session, hello) = coordinator.welcome().await;
    assert_eq!((hello.slots, hello.held.len(), hello.protocol), (2, 0, proto::PROTOCOL));
    assert_eq!(session.hear().await, FromWorker::Ready { credits: 2 });
    session.grant(0).await;
    let FromWorker::Decided(decided) = session.hear_news().await else { panic!("not decided") };
    assert_eq!(decided[0].trial, world::trial(0));
    let decided = worker.store.run(&world::run()).decided().await.unwrap();
    assert!(decided.contains(&world::trial(0)), "what is told exists");
    let FromWorker::Heartbeat { number, .. } = session.hear().await else { panic!("no heartbeat") };
    assert!(number >= 1);
    worker.leave.cancel();
    loop {
        match soon("the goodbye", session.incoming.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(status) => panic!("no clean goodbye: {status}"),
        }
    }
    drop(session);
    let cache = worker.disk.path().join("cache");
    let (task, disk) = (worker.task, worker.disk);
    assert_eq!(soon("the worker's end", task).await.unwrap().unwrap().decided, 1);
    let left = std::fs::read_dir(&cache)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("of-"));
    assert_eq!(left.count(), 0, "nothing of this life is left");
    drop(disk);
}

#[tokio::test]
async fn a_dropped_stream_is_dialled_again_with_what_is_held() {
    let mut coordinator = Coordinator::start().await;
    let url = format!("http://{}", coordinator.address);
    let worker = Serving::start(url, 600_000, |config| config.drain_deadline = Duration::ZERO).await;
    let (mut session, _) = coordinator.welcome().await;
    session.grant(0).await;
    // The claim is on its way; a heartbeat names the attempt once it is there.
    loop {
        if let FromWorker::Heartbeat { held, .. } = session.hear().await
            && held.iter().any(|lease| lease.trials.iter().any(|trial| trial.attempt.is_some()))
        {
            break;
        }
    }
    drop(session);
    let (mut session, hello) = coordinator.welcome().await;
    assert_eq!(hello.held[0].trials[0].trial, world::trial(0));
    assert_eq!(hello.held[0].trials[0].attempt, Some(world::attempt(1)));
    worker.leave.cancel();
    let FromWorker::Abandoned(abandoned) = session.hear_news().await else { panic!("not abandoned") };
    assert_eq!(abandoned.cause, Cause::Drained);
    drop(session);
    assert_eq!(worker.end().await.unwrap().abandoned, 1);
}

#[tokio::test]
async fn an_unreachable_coordinator_is_dialled_until_it_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let worker = Serving::start(format!("http://{address}"), 0, |_| {}).await;
    let probe = tokio::net::TcpStream::connect(address).await;
    assert!(probe.is_err(), "nobody listens yet");
    let mut coordinator = Coordinator::listen(TcpListener::bind(address).await.unwrap(), None, None);
    let (session, hello) = coordinator.welcome().await;
    assert_eq!(hello.worker.as_str(), "w");
    drop(session);
    worker.leave.cancel();
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_ends_the_worker_with_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let coordinator = Coordinator::listen(listener, Some("right"), None);
    let url = format!("http://{}", coordinator.address);
    let worker = Serving::start(url, 0, |config| config.token = Some(Secret::new("wrong".to_owned()))).await;
    let error = worker.end().await.unwrap_err();
    assert!(matches!(error, serve::Error::Refused(_)), "{error:?}");
    assert!(crate::chain(&error).contains("the token is wrong"), "{}", crate::chain(&error));
    assert!(error.hint().unwrap().contains("token"));
}

#[tokio::test]
async fn the_right_token_over_tls() {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = key.cert.pem();
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(&pem, key.signing_key.serialize_pem()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut coordinator = Coordinator::listen(listener, Some("right"), Some(tls));
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let url = format!("https://{}", coordinator.address);
    let worker = Serving::start(url, 0, |config| {
        config.token = Some(Secret::new("right".to_owned()));
        config.tls_ca = Some(ca);
    })
    .await;
    let (session, hello) = coordinator.welcome().await;
    assert_eq!(hello.slots, 2);
    drop(session);
    worker.leave.cancel();
    worker.end().await.unwrap();
}

#[tokio::test]
async fn another_protocol_ends_the_worker_with_a_reason() {
    let mut coordinator = Coordinator::start().await;
    let worker = Serving::at(&coordinator, 0).await;
    let (session, _) = coordinator.accept().await;
    session.say(welcome(proto::PROTOCOL + 1)).await;
    let error = worker.end().await.unwrap_err();
    assert!(crate::chain(&error).contains("protocol"), "{}", crate::chain(&error));
}

#[tokio::test]
async fn what_cannot_be_dialled_is_an_error_at_once() {
    let worker = Serving::start("ftp://127.0.0.1:1".to_owned(), 0, |_| {}).await;
    assert!(matches!(worker.end().await, Err(serve::Error::Dial(_))));
    let worker = Serving::start("https://127.0.0.1:1".to_owned(), 0, |config| {
        config.tls_ca = Some("/nonexistent/ca.pem".into());
    })
    .await;
    assert!(matches!(worker.end().await, Err(serve::Error::Authority { .. })));
}

#[tokio::test]
async fn a_fenced_worker_dials_where_the_newer_epoch_reigns() {
    let (mut old, mut new) = (Coordinator::start().await, Coordinator::start().await);
    let worker = Serving::at(&old, 0).await;
    let (session, _) = old.welcome().await;
    session
        .say(FromCoordinator::Fenced {
            run: world::run(),
            epoch: Epoch::FIRST.next(),
            address: Some(format!("http://{}", new.address)),
        })
        .await;
    let (mut session, hello) = new.welcome().await;
    assert_eq!(hello.held, []);
    session.grant(1).await;
    assert!(matches!(session.hear_news().await, FromWorker::Decided(_)));
    worker.leave.cancel();
    drop(session);
    worker.end().await.unwrap();
}

#[tokio::test]
async fn a_dropped_worker_stops_everything() {
    let mut coordinator = Coordinator::start().await;
    let worker = Serving::at(&coordinator, 600_000).await;
    let (mut session, _) = coordinator.welcome().await;
    session.grant(0).await;
    worker.task.abort();
    // Its stream ends, without a goodbye.
    while let Ok(Some(_)) = soon("the stream's end", session.incoming.message()).await {}
    assert_eq!(worker.store.run(&world::run()).decided().await.unwrap().len(), 0);
}
