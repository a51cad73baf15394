//! `WorkerService`: the hello of a stream is checked here, then a session actor has it.

use super::{ANSWER, no_answer};
use crate::Shared;
use crate::actors::{Fleet, Join, Runs, Session, SessionArgs, SessionHandle};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use kameo::actor::ActorRef;
use proto::PROTOCOL;
use proto::eval::v1;
use proto::eval::v1::worker_service_server::WorkerService;
use proto::message::{FromWorker, Hello, Welcome};
use proto::status::{Code, Failure};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// How long a worker may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// Messages that a worker may be behind before its stream is closed.
const OUTBOUND: usize = 1024;

/// See the module.
pub(crate) struct WorkerRpc {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fleet: ActorRef<Fleet>,
    pub(crate) runs: watch::Receiver<Runs>,
}

impl WorkerRpc {
    fn welcome(&self) -> Welcome {
        Welcome {
            protocol: PROTOCOL,
            incarnation: self.shared.config.incarnation.clone(),
            heartbeat: self.shared.config.heartbeat,
            ttl: self.shared.config.ttl,
            store: self.shared.store.url().to_owned(),
            version: concat!("och ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

async fn hello(inbound: &mut Streaming<v1::WorkerMessage>) -> Result<Hello, Status> {
    let first = tokio::time::timeout(HELLO, inbound.message())
        .await
        .map_err(|_| Failure::new(Code::InvalidArgument, "no hello within 10 seconds"))??;
    let first =
        first.ok_or_else(|| Failure::new(Code::InvalidArgument, "the stream ended before a hello"))?;
    let FromWorker::Hello(hello) = FromWorker::try_from(first)? else {
        return Err(Failure::new(Code::InvalidArgument, "the first message must be a hello").into());
    };
    if hello.protocol != PROTOCOL {
        let text = format!(
            "worker `{}` speaks protocol {}, this coordinator speaks {PROTOCOL}: use the same version of och on both",
            hello.worker, hello.protocol
        );
        return Err(Failure::new(Code::FailedPrecondition, text).into());
    }
    Ok(hello)
}

#[tonic::async_trait]
impl WorkerService for WorkerRpc {
    type SessionStream = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (welcome, fleet, runs) = (self.welcome(), self.fleet.clone(), self.runs.clone());
        let mut inbound = request.into_inner();
        // The answer's headers go out at once: a client that waits for them before it sends its hello must not wait for ever.
        let begin = async move {
            let hello = hello(&mut inbound).await?;
            let (out, messages) = mpsc::channel(OUTBOUND);
            let handle = SessionHandle { out, stop: CancellationToken::new() };
            let join = Join {
                worker: hello.incarnation.clone(),
                name: hello.worker.clone(),
                welcome,
                handle: handle.clone(),
            };
            let session = fleet.ask(join).reply_timeout(ANSWER).send().await.map_err(no_answer)?;
            tracing::info!(worker = %hello.worker, incarnation = %hello.incarnation, slots = hello.slots, session, "a worker is connected");
            Session::start(SessionArgs {
                worker: hello.incarnation,
                name: hello.worker,
                session,
                held: hello.held,
                fleet,
                handle,
                runs,
                inbound,
            });
            Ok::<_, Status>(ReceiverStream::new(messages))
        };
        let stream = begin.into_stream().flat_map(|begun| match begun {
            Ok(messages) => messages.map(Ok).left_stream(),
            Err(status) => futures::stream::once(async { Err(status) }).right_stream(),
        });
        Ok(Response::new(stream.boxed()))
    }
}
