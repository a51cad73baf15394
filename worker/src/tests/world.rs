//! The world of the tests: a worker without a network. The test itself is the coordinator.

use crate::actors::link::Link;
use crate::actors::root::{self, Dialling, Drain, Heard, Root, Summary, Trouble};
use crate::actors::shipper::{self, Shipper};
use crate::clock::Clock;
use crate::inputs::InputCache;
use crate::lair::Lair;
use crate::record::ChunkLimits;
use crate::runs::Runs;
use crate::session::{Identity, Session};
use crate::shipping::ShipLimits;
use crate::work::Deps;
use domain::id::{AttemptNo, Epoch, LeaseId, RunId, TrialKey};
use domain::outcome::{AttemptResult, Outcome, Verdict};
use domain::preset::{Preset, ProviderKind};
use domain::run::{Limits, Permissions, RunSpec, Sandbox};
use domain::secret::Secret;
use domain::suite::{Case, Suite, WorkspaceSource};
use domain::trace::TraceLine;
use kameo::actor::{ActorRef, PreparedActor, Spawn as _};
use proto::message::{
    FromCoordinator, FromWorker, Grant, GrantedTrial, TrialAbandoned, TrialDecided, Welcome,
};
use providers::Endpoints;
use run_folder::inputs::{Limit, Packed, pack_template};
use run_folder::{RunFolder, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use workspace::{FakeSandboxes, Sandboxes};

/// The key that must never be stored.
pub(super) const CANARY: &str = "sk-canary-4f1e9a";

/// What a test may change before the worker starts.
pub(super) struct Setup {
    pub(super) case: Case,
    pub(super) script: Value,
    pub(super) limits: Limits,
    pub(super) preset: Preset,
    pub(super) sandboxes: FakeSandboxes,
    pub(super) store: Store,
    pub(super) slots: u32,
    pub(super) incarnation: &'static str,
    /// Whether the run is in the store already.
    pub(super) planned: bool,
    pub(super) trials: u32,
    pub(super) ttl: Duration,
    pub(super) chunks: ChunkLimits,
    pub(super) ship: ShipLimits,
    pub(super) store_patience: Duration,
    /// Files of the workspace, and of the verification.
    pub(super) files: Vec<(&'static str, &'static str)>,
    pub(super) verify_files: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// A case without anything to verify, a model that says these turns.
    pub(super) fn new(turns: Value) -> Self {
        let case = Case {
            id: "case".parse().unwrap(),
            title: "Case".to_owned(),
            task: "Do it.".to_owned(),
            workspace: WorkspaceSource::Template { path: "fixture".to_owned() },
            expect_contains: Some("DONE".to_owned()),
            verify_command: None,
            verify_feedback_attempts: 0,
            tags: Vec::new(),
            trials: None,
            timeout_seconds: None,
            verify_timeout_seconds: None,
            image: None,
            network: domain::suite::Network::None,
            env: BTreeMap::new(),
            verify_files: BTreeMap::new(),
            protected: Vec::new(),
            cluster: None,
            input: None,
            verify_input: None,
        };
        let mut preset = Preset::new("p".parse().unwrap(), ProviderKind::Scripted, "model");
        preset.api_key_env = Some("CANARY".to_owned());
        preset.max_tries = 2;
        Self {
            case,
            script: json!({"format": 1, "models": {"model": {"default": turns}}}),
            limits: Limits { context_chars: 0, ..Limits::default() },
            preset,
            sandboxes: FakeSandboxes::new(),
            store: Store::memory(),
            slots: 4,
            incarnation: "i1",
            planned: false,
            trials: 1,
            ttl: Duration::from_secs(36_000),
            chunks: ChunkLimits::default(),
            ship: ShipLimits::default(),
            store_patience: Duration::from_secs(600),
            files: Vec::new(),
            verify_files: Vec::new(),
        }
    }

    /// A case whose command `check` passes once `a.txt` says `good`.
    pub(super) fn repair(turns: Value) -> Self {
        let mut setup = Self::new(turns);
        setup.case.verify_command = Some("check".to_owned());
        setup.files = vec![("a.txt", "bad\n")];
        setup.sandboxes = FakeSandboxes::new().commands(|_, files| match files.get("a.txt") {
            Some(b"good\n") => workspace::fake::ended(0, ""),
            _ => workspace::fake::ended(1, "a.txt is wrong"),
        });
        setup
    }

    pub(super) async fn start(self) -> World {
        let folder = self.store.run(&run());
        self.start_in(folder).await
    }

    async fn start_in(mut self, folder: RunFolder) -> World {
        let disk = tempfile::tempdir().unwrap();
        if !self.files.is_empty() {
            let packed = pack(&self.files);
            if !self.planned {
                folder.put_input(&packed).await.unwrap();
            }
            self.case.input = Some(packed.digest);
        }
        if !self.verify_files.is_empty() {
            let packed = pack(&self.verify_files);
            folder.put_input(&packed).await.unwrap();
            self.case.verify_input = Some(packed.digest);
        }
        let spec = RunSpec {
            run: run(),
            created_at: String::new(),
            tool: "och".to_owned(),
            suites: vec![Suite {
                id: "s".parse().unwrap(),
                name: "s".to_owned(),
                source: "s.json".to_owned(),
                description: None,
                cases: vec![self.case],
            }],
            presets: vec![self.preset],
            trials: self.trials,
            limits: self.limits,
            permissions: Permissions { allow_write: true, allow_shell: true },
            sandbox: Sandbox::Local,
            skipped: Vec::new(),
            scripts: BTreeMap::from([("s".to_owned(), self.script)]),
            parent: None,
        };
        if !self.planned {
            folder.plan(&spec).await.unwrap();
        }
        let endpoints = Arc::new(Endpoints::new(
            Arc::new(|name: &str| (name == "CANARY").then(|| Secret::new(CANARY.to_owned()))),
            Arc::new(|| "2026-11-20T00:00:00.000000+00:00".to_owned()),
        ));
        let clock = Clock::start();
        let spool = disk.path().join("spool");
        std::fs::create_dir_all(&spool).unwrap();
        let shipper = Shipper::spawn(shipper::Args { clock, limits: self.ship, spool: spool.clone() });
        let incarnation = self.incarnation.parse().unwrap();
        let lair = Lair::open(&disk.path().join("cache"), &incarnation).unwrap();
        let sandboxes: Arc<dyn Sandboxes> = Arc::new(self.sandboxes.clone());
        let deps = Deps {
            incarnation: incarnation.clone(),
            worker: "w".parse().unwrap(),
            clock,
            now_utc: Arc::new(|| "2026-11-20T00:00:00.000000+00:00".to_owned()),
            runs: Arc::new(Runs::new(endpoints, Some(self.store.clone()))),
            inputs: InputCache::new(lair, 1 << 30),
            sandboxes,
            sandbox: Some(Sandbox::Local),
            shipper: shipper.clone(),
            chunks: self.chunks,
            store_patience: self.store_patience,
            lanes: AtomicU64::new(0),
        };
        let identity = Identity {
            worker: "w".parse().unwrap(),
            incarnation,
            slots: self.slots,
            labels: BTreeMap::new(),
        };
        let (end, ended) = oneshot::channel();
        let link = Link::prepare();
        let root = Root::spawn(root::Args {
            deps: Arc::new(deps),
            session: Session::new(identity),
            link: link.actor_ref().clone(),
            end,
        });
        let mut world = World {
            root,
            folder,
            sandboxes: self.sandboxes,
            clock,
            ended: Some(ended),
            ttl: self.ttl,
            renewing: true,
            stream: 0,
            heartbeat: 0,
            said: None,
            spool,
            _link: link,
            _disk: disk,
        };
        world.connect().await;
        world
    }
}

pub(super) fn run() -> RunId {
    "run".parse().unwrap()
}

pub(super) fn trial(index: u32) -> TrialKey {
    format!("s.case.p.{index}").parse().unwrap()
}

pub(super) fn attempt(number: u32) -> AttemptNo {
    AttemptNo::new(number).unwrap()
}

pub(super) fn lease(name: &str) -> LeaseId {
    name.parse().unwrap()
}

fn pack(files: &[(&str, &str)]) -> Packed {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    pack_template(directory.path(), &Limit::default()).unwrap()
}

/// A worker, and the test as its coordinator.
pub(super) struct World {
    pub(super) root: ActorRef<Root>,
    pub(super) folder: RunFolder,
    pub(super) sandboxes: FakeSandboxes,
    pub(super) clock: Clock,
    pub(super) spool: std::path::PathBuf,
    pub(super) renewing: bool,
    ended: Option<oneshot::Receiver<Result<Summary, Trouble>>>,
    ttl: Duration,
    stream: u64,
    heartbeat: u64,
    said: Option<mpsc::Receiver<FromWorker>>,
    _link: PreparedActor<Link>,
    _disk: tempfile::TempDir,
}

impl World {
    /// A new stream, answered with a welcome; returns the worker's hello.
    pub(super) async fn connect(&mut self) -> proto::message::Hello {
        self.stream += 1;
        self.heartbeat = 0;
        let (outgoing, said) = mpsc::channel(64);
        self.said = Some(said);
        self.root.tell(Dialling { stream: self.stream, outgoing }).await.unwrap();
        let Some(FromWorker::Hello(hello)) = self.said.as_mut().unwrap().recv().await else {
            panic!("no hello")
        };
        self.say(FromCoordinator::Welcome(Welcome {
            protocol: proto::PROTOCOL,
            incarnation: "c".parse().unwrap(),
            heartbeat: Duration::from_secs(5),
            ttl: self.ttl,
            store: "memory:".to_owned(),
            version: String::new(),
        }))
        .await;
        hello
    }

    pub(super) async fn disconnect(&mut self) {
        self.said = None;
        let stream = self.stream;
        self.root.tell(root::Disconnected { stream }).await.unwrap();
    }

    pub(super) async fn say(&self, message: FromCoordinator) {
        self.root.tell(Heard { stream: self.stream, message }).await.unwrap();
    }

    /// Grants trials, first attempts each, under a lease of this name.
    pub(super) async fn grant(&self, name: &str, trials: &[u32]) {
        self.grant_from(name, trials, attempt(1)).await;
    }

    pub(super) async fn grant_from(&self, name: &str, trials: &[u32], first: AttemptNo) {
        let granted = |index: &u32| GrantedTrial { trial: trial(*index), attempt: first, adopted: false };
        self.say(FromCoordinator::Grant(Grant {
            lease: lease(name),
            run: run(),
            epoch: Epoch::FIRST,
            preset: "p".parse().unwrap(),
            trials: trials.iter().map(granted).collect(),
            ttl: self.ttl,
            heartbeat: self.heartbeat,
        }))
        .await;
    }

    /// The next thing the worker says that is not a heartbeat or how much it wants. Heartbeats are answered.
    pub(super) async fn heard(&mut self) -> FromWorker {
        let patience = self.clock.now() + Duration::from_secs(7200);
        loop {
            assert!(self.clock.now() < patience, "the worker says nothing for two hours");
            let message = tokio::time::timeout(Duration::from_secs(7200), self.said.as_mut().unwrap().recv());
            match message.await.expect("the worker says nothing for two hours").expect("the worker is gone") {
                FromWorker::Ready { .. } => {}
                FromWorker::Heartbeat { number, held } => {
                    self.heartbeat = number;
                    if self.renewing {
                        let leases = held.into_iter().map(|held| held.lease).collect();
                        self.say(FromCoordinator::Renewed { heartbeat: number, leases, ttl: self.ttl }).await;
                    }
                }
                message => return message,
            }
        }
    }

    pub(super) async fn decided(&mut self) -> TrialDecided {
        match self.heard().await {
            FromWorker::Decided(mut trials) => trials.remove(0),
            other => panic!("not decided: {other:?}"),
        }
    }

    pub(super) async fn abandoned(&mut self) -> TrialAbandoned {
        match self.heard().await {
            FromWorker::Abandoned(abandoned) => abandoned,
            other => panic!("not abandoned: {other:?}"),
        }
    }

    /// Grants trial 0 and waits for its verdict; checks that it is what was told.
    pub(super) async fn verdict(&mut self) -> Verdict {
        self.grant("l1", &[0]).await;
        let told = self.decided().await;
        let verdict = self.folder.verdict(&trial(0)).await.unwrap().expect("no verdict");
        assert_eq!((told.outcome, told.attempt), (verdict.outcome, verdict.attempt));
        verdict
    }

    pub(super) async fn result(&self, number: u32) -> AttemptResult {
        let attempts = self.folder.attempts(&trial(0)).await.unwrap();
        let found = attempts.into_iter().find(|view| view.attempt == attempt(number));
        found.and_then(|view| view.result).expect("no result")
    }

    pub(super) async fn trace(&self, number: u32) -> Vec<TraceLine> {
        self.folder.trace(&trial(0), attempt(number)).await.unwrap()
    }

    pub(super) async fn kinds(&self, number: u32) -> Vec<String> {
        self.trace(number).await.into_iter().map(|line| line.kind).collect()
    }

    pub(super) async fn artifact(&self, name: &str) -> Option<String> {
        let bytes = self.folder.artifact(&trial(0), attempt(1), name).await.unwrap()?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Leaves, and checks that nothing is left open.
    pub(super) async fn leave(mut self) -> Summary {
        self.root.tell(Drain(self.clock.now() + Duration::from_secs(600))).await.unwrap();
        self.wait_for_end().await
    }

    pub(super) async fn wait_for_end(&mut self) -> Summary {
        let ended = self.ended.take().unwrap();
        let said = self.said.take();
        let listen = async {
            if let Some(mut said) = said {
                while said.recv().await.is_some() {}
            }
            std::future::pending::<()>().await;
        };
        let summary = tokio::select! {
            ended = ended => ended.unwrap().unwrap(),
            () = listen => unreachable!(),
        };
        assert_eq!(self.sandboxes.still_open(), 0, "a workspace is left open");
        summary
    }
}

pub(super) fn passed() -> Outcome {
    Outcome::Passed
}

pub(super) fn write(path: &str, content: &str) -> Value {
    json!({"tool_calls": [{"name": "write_file", "arguments": {"path": path, "content": content}}]})
}
