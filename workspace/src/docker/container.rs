//! One container: made, attached to and started, with the tool server as its first process.

use super::engine::{Call, Engine};
use super::labels::Identity;
use super::pool::Shape;
use crate::contract::{OpenError, OpenSpec, Owner};
use crate::server::WORKSPACE;
use crate::session::{Gone, Session};
use crate::wire::{Answer, Request};
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, ResourcesUlimits};
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder};
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::io::StreamReader;

/// Where the tool server is in every image we run.
pub(super) const SERVER: &str = "/.och/toolserver";

/// The user of everything in a container.
const USER: &str = "10001:10001";
const USER_ID: u32 = 10001;

/// How long a server may take to greet after its container started.
const GREETING: Duration = Duration::from_secs(30);

/// How long a container nobody begins to use lives.
pub(super) const IDLE: Duration = Duration::from_secs(3600);

/// Size of `/tmp`, of `/dev/shm`, and of a volume the image asks for.
const SMALL_MIB: u64 = 64;

/// Memory of the tool server itself: its buffers for two capped streams, a frame and the code.
const SERVER_MIB: u64 = 32;

/// Threads of the tool server, which count as processes.
const SERVER_PIDS: u32 = 6;

/// How much of the server's complaints is kept.
const COMPLAINTS: usize = 4096;

/// A running container.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    session: Session,
    complaints: Arc<Mutex<Vec<u8>>>,
}

impl Container {
    /// Makes one. What was made of it when a later step fails is removed.
    pub(super) async fn make(
        engine: &Engine,
        identity: &Identity,
        shape: &Shape,
        network: &str,
        owner: Option<&Owner>,
        lives: Duration,
    ) -> Result<Self, OpenError> {
        let body = body(shape, network, identity.labels(lives, owner));
        let options = CreateContainerOptionsBuilder::new().name(&identity.name(owner)).build();
        let create = engine.docker().create_container(Some(options), body);
        let id = engine.call(Call::Make, "create a container", create).await?.id;
        match Self::begin(engine, &id).await {
            Ok(container) => Ok(container),
            Err(error) => {
                // Never started, so nothing in it can end it.
                if let Err(why) = engine.remove(&id).await {
                    tracing::warn!(container = %id, %why, "container left to the reaper");
                }
                Err(error)
            }
        }
    }

    async fn begin(engine: &Engine, id: &str) -> Result<Self, OpenError> {
        let options =
            AttachContainerOptionsBuilder::new().stdin(true).stdout(true).stderr(true).stream(true).build();
        let attach = engine.docker().attach_container(id, Some(options));
        let AttachContainerResults { output, input } =
            engine.call(Call::Ask, "attach to a container", attach).await?;
        engine.call(Call::Make, "start a container", engine.docker().start_container(id, None)).await?;
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        let stdout = output.filter_map(move |part| {
            let part = match part {
                Ok(LogOutput::StdOut { message }) => Some(Ok(message)),
                Ok(LogOutput::StdErr { message }) => {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = COMPLAINTS - heard.len();
                    heard.extend(message.iter().take(room));
                    None
                }
                Ok(_) => None,
                Err(error) => Some(Err(std::io::Error::other(error))),
            };
            std::future::ready(part)
        });
        let reader = Box::new(StreamReader::new(Box::pin(stdout)));
        let opened = Session::open(reader, Box::new(input), GREETING).await;
        match opened {
            Ok((session, _)) => Ok(Self { id: id.to_owned(), session, complaints }),
            Err(Gone(why)) => {
                let text = text(&complaints);
                let why = if text.is_empty() { why } else { format!("{why}: {text}") };
                Err(OpenError::Engine { doing: "start a container", why })
            }
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What the server complained of.
    pub(super) fn complaint(&self) -> String {
        text(&self.complaints)
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Gone> {
        self.session.ask(request, GREETING).await
    }
}

fn text(complaints: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&complaints.lock().unwrap_or_else(PoisonError::into_inner)).trim().to_owned()
}

/// The request that begins an attempt.
pub(super) fn begin(spec: &OpenSpec) -> Request {
    let deadline_millis = u64::try_from(spec.deadline.as_millis()).unwrap_or(u64::MAX);
    Request::Begin { env: spec.env.clone(), deadline_millis }
}

fn body(shape: &Shape, network: &str, labels: HashMap<String, String>) -> ContainerCreateBody {
    let mib = |mib: u64| i64::try_from(mib.saturating_mul(1 << 20)).unwrap_or(i64::MAX);
    // Files in memory count as memory of the container: the room for them comes on top of what its processes may use.
    let small_ones = 2 + shape.image.volumes.len() as u64;
    let memory = mib(shape.memory_mib + shape.disk_mib + small_ones * SMALL_MIB + SERVER_MIB);
    let owned = format!("uid={USER_ID},gid={USER_ID}");
    let small = format!("rw,exec,nosuid,nodev,mode=1777,size={SMALL_MIB}m");
    let mut tmpfs: HashMap<String, String> =
        shape.image.volumes.iter().map(|volume| (volume.clone(), small.clone())).collect();
    tmpfs.insert("/tmp".to_owned(), small);
    let workspace = format!("rw,exec,nosuid,nodev,mode=0755,{owned},size={}m", shape.disk_mib);
    tmpfs.insert(WORKSPACE.to_owned(), workspace);
    let host = HostConfig {
        network_mode: Some(if shape.full_network { network } else { "none" }.to_owned()),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::try_from(shape.cpu_millis.saturating_mul(1_000_000)).unwrap_or(i64::MAX)),
        pids_limit: Some(i64::from(shape.pids.saturating_add(SERVER_PIDS))),
        shm_size: Some(mib(SMALL_MIB)),
        tmpfs: Some(tmpfs),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        auto_remove: Some(true),
        // The streams are frames for us: nobody reads them as a log, and a log would fill the disk.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(shape.image.id.clone()),
        entrypoint: Some(vec![SERVER.to_owned()]),
        cmd: Some(vec!["serve".to_owned(), IDLE.as_secs().to_string()]),
        user: Some(USER.to_owned()),
        working_dir: Some(WORKSPACE.to_owned()),
        hostname: Some("workspace".to_owned()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        // The first process of a container is deaf to every other one.
        stop_signal: Some("SIGKILL".to_owned()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}
