//! A coordinator on a loopback port, workers that do what a test says, and short words for both.

use coordinator::Config;
use domain::id::{AttemptNo, Epoch, Incarnation, LeaseId, RunId, TrialKey};
use proto::PROTOCOL;
use proto::dial::Dial;
use proto::eval::v1;
use proto::eval::v1::run_event::Kind;
use proto::message::{
    Cause, FromCoordinator, FromWorker, Grant, HeldLease, HeldTrial, Hello, TrialAbandoned, TrialDecided,
};
use run_folder::testing as samples;
use run_folder::{Claim, Decided, RunFolder, Store};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Nothing here takes this long; a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// A configuration whose leases outlast every test.
pub(crate) fn calm(name: &str) -> Config {
    let mut config = Config::new(Incarnation::folded(name));
    config.store_is_proven = true;
    config
}

/// A configuration whose leases end soon.
pub(crate) fn brisk(name: &str) -> Config {
    let mut config = calm(name);
    config.heartbeat = Duration::from_millis(100);
    config.ttl = Duration::from_millis(800);
    config
}

/// A coordinator with a runtime of its own, so that it can die as a process does.
pub(crate) struct Served {
    pub(crate) dial: Dial,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<Result<(), coordinator::Error>>>,
}

impl Served {
    pub(crate) async fn start(config: Config, store: &Store) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = store.clone();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let stopped = async { drop(stopped.await) };
            let result =
                coordinator::serve(config, listener, store, || "2026-11-20T17:45:00Z".to_owned(), stopped)
                    .await;
            drop(end.send(result));
        });
        Self { dial: Dial::plain(url), runtime: Some(runtime), stop: Some(stop), ended: Some(ended) }
    }

    /// `kill -9`.
    pub(crate) fn crash(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// SIGTERM.
    pub(crate) fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn ended(&mut self) -> Result<(), coordinator::Error> {
        soon("the end of the coordinator", self.ended.take().unwrap()).await.unwrap()
    }

    pub(crate) async fn start_run(&self, run: &RunId) -> Result<v1::RunStatus, Status> {
        let request = v1::StartRunRequest { run: run.to_string() };
        let mut client = self.dial.run_client().unwrap();
        let answer = soon("StartRun", client.start_run(request)).await?.into_inner();
        Ok(answer.status.unwrap())
    }

    pub(crate) async fn get_run(&self, run: &RunId) -> Result<v1::RunStatus, Status> {
        let request = v1::GetRunRequest { run: run.to_string() };
        Ok(self.dial.run_client().unwrap().get_run(request).await?.into_inner().status.unwrap())
    }

    pub(crate) async fn cancel_run(&self, run: &RunId, reason: &str) -> Result<v1::RunStatus, Status> {
        let request = v1::CancelRunRequest { run: run.to_string(), reason: reason.to_owned() };
        Ok(self.dial.run_client().unwrap().cancel_run(request).await?.into_inner().status.unwrap())
    }

    pub(crate) async fn watch(&self, run: &RunId) -> Watch {
        let request = v1::WatchRunRequest { run: run.to_string() };
        Watch(self.dial.run_client().unwrap().watch_run(request).await.unwrap().into_inner())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A reader of progress.
pub(crate) struct Watch(Streaming<v1::RunEvent>);

impl Watch {
    pub(crate) async fn next(&mut self) -> Kind {
        soon("an event", self.0.message())
            .await
            .unwrap()
            .expect("the watch ended without an end")
            .kind
            .unwrap()
    }

    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Kind) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.next().await) {
                return found;
            }
        }
    }

    /// Reads to the last event.
    pub(crate) async fn end(&mut self) -> v1::RunStatus {
        let status =
            self.until(|kind| if let Kind::End(end) = kind { end.status.clone() } else { None }).await;
        assert!(
            soon("the end of the watch", self.0.message()).await.unwrap().is_none(),
            "something follows the end"
        );
        status
    }
}

/// A worker that does what the test says.
pub(crate) struct Fake {
    pub(crate) name: String,
    pub(crate) dial: Dial,
    pub(crate) store: Store,
    out: Option<mpsc::Sender<v1::WorkerMessage>>,
    inbound: Option<Streaming<v1::CoordinatorMessage>>,
    beats: u64,
}

impl Fake {
    pub(crate) fn new(name: &str, served: &Served, store: &Store) -> Self {
        let (dial, store) = (served.dial.clone(), store.clone());
        Self { name: name.to_owned(), dial, store, out: None, inbound: None, beats: 0 }
    }

    /// Connects with nothing in hand and wants so many trials.
    pub(crate) async fn join(name: &str, served: &Served, store: &Store, credits: u32) -> Self {
        let mut fake = Self::new(name, served, store);
        fake.connect(Vec::new()).await;
        fake.send(FromWorker::Ready { credits }).await;
        fake
    }

    pub(crate) async fn connect(&mut self, held: Vec<HeldLease>) {
        let hello = FromWorker::Hello(Hello {
            protocol: PROTOCOL,
            worker: self.name.parse().unwrap(),
            incarnation: self.incarnation(),
            slots: 4,
            version: String::new(),
            labels: [].into(),
            held,
        });
        self.open(hello).await.unwrap();
        let welcome = self.next().await;
        assert!(matches!(welcome, FromCoordinator::Welcome(_)), "{welcome:?}");
    }

    /// Opens a stream that begins with this message.
    pub(crate) async fn open(&mut self, first: FromWorker) -> Result<(), Status> {
        let (out, messages) = mpsc::channel(64);
        out.send(first.into()).await.unwrap();
        let mut client = self.dial.worker_client().unwrap();
        let inbound = soon("a session", client.session(ReceiverStream::new(messages))).await?;
        self.out = Some(out);
        self.inbound = Some(inbound.into_inner());
        self.beats = 0;
        Ok(())
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation::folded(&self.name)
    }

    pub(crate) async fn send(&self, message: FromWorker) {
        self.out.as_ref().unwrap().send(message.into()).await.unwrap();
    }

    pub(crate) async fn beat(&mut self, held: Vec<HeldLease>) {
        self.beats += 1;
        self.send(FromWorker::Heartbeat { number: self.beats, held }).await;
    }

    /// The next message; `Err` when the stream ends.
    pub(crate) async fn hear(&mut self) -> Result<FromCoordinator, Option<Status>> {
        match soon("a message", self.inbound.as_mut().unwrap().message()).await {
            Ok(Some(wire)) => Ok(wire.try_into().unwrap()),
            Ok(None) => Err(None),
            Err(status) => Err(Some(status)),
        }
    }

    pub(crate) async fn next(&mut self) -> FromCoordinator {
        self.hear().await.unwrap_or_else(|status| panic!("the stream ended: {status:?}"))
    }

    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(FromCoordinator) -> Option<T>) -> T {
        loop {
            let message = self.next().await;
            if let Some(found) = wanted(message) {
                return found;
            }
        }
    }

    pub(crate) async fn grant(&mut self) -> Grant {
        self.until(|message| if let FromCoordinator::Grant(grant) = message { Some(grant) } else { None })
            .await
    }

    /// The cable is cut.
    pub(crate) fn break_stream(&mut self) {
        self.out = None;
        self.inbound = None;
    }

    /// Says goodbye.
    pub(crate) async fn leave(&mut self) {
        self.send(FromWorker::Ready { credits: 0 }).await;
        self.out = None;
    }

    pub(crate) fn folder(&self, run: &RunId) -> RunFolder {
        self.store.run(run)
    }

    /// Claims the attempt in the folder, or the next free number.
    pub(crate) async fn claim(
        &self,
        run: &RunId,
        trial: &TrialKey,
        from: AttemptNo,
    ) -> run_folder::AttemptWriter<run_folder::Open> {
        let mut attempt = from;
        loop {
            match self.folder(run).claim(trial, attempt, &samples::claim(&self.name)).await.unwrap() {
                Claim::Mine(writer) => return writer,
                Claim::Theirs(_) => attempt = attempt.next(),
            }
        }
    }

    /// Writes result and verdict; tells nobody.
    pub(crate) async fn conclude(&self, writer: run_folder::AttemptWriter<run_folder::Open>) -> TrialDecided {
        let (trial, attempt) = (writer.trial().clone(), writer.attempt());
        let writer = writer.finish(&samples::result(&trial, attempt, &self.name)).await.unwrap();
        let verdict = match writer.decide().await.unwrap() {
            Decided::Ours(verdict) | Decided::Orphaned { theirs: verdict } => verdict,
        };
        TrialDecided {
            run: RunId::folded("none"),
            trial,
            attempt: verdict.attempt,
            outcome: verdict.outcome,
            usage: verdict.usage,
            seconds: verdict.seconds,
            steps: verdict.steps,
        }
    }

    /// Does all trials of a grant and says so.
    pub(crate) async fn work(&self, grant: &Grant) -> FromWorker {
        let mut all = Vec::new();
        for granted in &grant.trials {
            let writer = self.claim(&grant.run, &granted.trial, granted.attempt).await;
            let decided = self.conclude(writer).await;
            all.push(TrialDecided { run: grant.run.clone(), ..decided });
        }
        let message = FromWorker::Decided(all);
        self.send(message.clone()).await;
        message
    }

    pub(crate) async fn abandon(&self, grant: &Grant, trial: &TrialKey, cause: Cause) -> FromWorker {
        let message = FromWorker::Abandoned(TrialAbandoned {
            run: grant.run.clone(),
            lease: grant.lease.clone(),
            trial: trial.clone(),
            attempt: None,
            cause,
            retryable: true,
            counts: false,
            text: "as the test says".to_owned(),
        });
        self.send(message.clone()).await;
        message
    }
}

pub(crate) fn held(grant: &Grant, trials: &[TrialKey]) -> HeldLease {
    held_as(&grant.lease, &grant.run, grant.epoch, trials)
}

pub(crate) fn held_as(lease: &LeaseId, run: &RunId, epoch: Epoch, trials: &[TrialKey]) -> HeldLease {
    let trials = trials.iter().map(|trial| HeldTrial {
        trial: trial.clone(),
        attempt: Some(AttemptNo::FIRST),
        progress: "step 1".to_owned(),
    });
    HeldLease { lease: lease.clone(), run: run.clone(), epoch, trials: trials.collect() }
}

pub(crate) fn trials(grant: &Grant) -> Vec<TrialKey> {
    grant.trials.iter().map(|granted| granted.trial.clone()).collect()
}

/// Plans a run of so many trials.
pub(crate) async fn planned(store: &Store, name: &str, count: u32) -> RunId {
    let run: RunId = name.parse().unwrap();
    store.run(&run).plan(&samples::spec(&run, count, 1)).await.unwrap();
    run
}

/// Attempts of every trial, and what is broken about the folder.
pub(crate) async fn attempts(store: &Store, run: &RunId) -> Vec<usize> {
    let folder = store.run(run);
    let broken = run_folder::testing::violations(&folder).await.unwrap();
    assert!(broken.is_empty(), "{broken:?}");
    let mut all = Vec::new();
    for trial in samples::trials(&folder.spec().await.unwrap()) {
        all.push(folder.attempts(&trial).await.unwrap().len());
    }
    all
}

pub(crate) fn tally(status: &v1::RunStatus) -> (u32, u32, u32) {
    let tally = status.tally.unwrap();
    (tally.passed + tally.earlier, tally.failed, tally.errored)
}
