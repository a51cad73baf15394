//! The scripted server: sockets, keys, the choice of the turn, faults.

use super::answer::{self, Answer};
use super::log::{Log, Logged, Sent};
use super::protocol::{self, Api};
use crate::BuildError;
use crate::script::{Fault, Script, Slot, slot};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, io::Error>>>;

/// Largest request.
const REQUEST_LIMIT: usize = 64 * 1024 * 1024;

/// How a server behaves beside its script.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port; 0 = any free one.
    pub port: u16,
    /// Before every reply, beside the script's own latencies.
    pub latency: Duration,
    /// The only key that is taken; `None` = any, but one there must be.
    pub key: Option<String>,
    /// Whether a request without a key is refused.
    pub require_key: bool,
    /// Whether to speak OpenAI.
    pub openai: bool,
    /// Whether to speak Anthropic.
    pub anthropic: bool,
    /// Whether request bodies and entries are kept; off for benchmarks, where counting is enough.
    pub keep_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            latency: Duration::ZERO,
            key: None,
            require_key: true,
            openai: true,
            anthropic: true,
            keep_log: true,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The script is malformed.
    #[error("the script cannot be used")]
    Script(#[source] BuildError),
    /// The port cannot be had.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

struct State {
    script: Script,
    options: Options,
    log: Arc<Log>,
    /// How often a request body has met an error.
    faults: Mutex<HashMap<u64, u32>>,
}

/// A running server; it stops when it is dropped.
pub struct ModelServer {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ModelServer {
    /// Starts a server with the default options on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the script is malformed or no port can be had.
    pub async fn start(script: &Value) -> Result<Self, StartError> {
        Self::start_with(script, Options::default()).await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When the script is malformed or the port cannot be had.
    pub async fn start_with(script: &Value, options: Options) -> Result<Self, StartError> {
        let script = Script::read("script", script).map_err(StartError::Script)?;
        let port = options.port;
        let listen = |source| StartError::Listen { port, source };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let state = Arc::new(State { script, options, log: Arc::default(), faults: Mutex::default() });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { address, state, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, the base URL of a preset.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order in which they were answered.
    #[must_use]
    pub fn log(&self) -> Vec<Logged> {
        self.state.log.entries()
    }

    /// Most requests that were being answered at one time.
    #[must_use]
    pub fn peak_in_flight(&self) -> u64 {
        self.state.log.peak()
    }

    /// Requests that arrived so far, answered or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.log.requests()
    }

    /// Whole replies so far: what would have been paid for.
    #[must_use]
    pub fn complete_replies(&self) -> u64 {
        self.state.log.replies()
    }

    /// Runs until the listener fails, which it does not on loopback.
    pub async fn wait(&mut self) {
        // The task ends with the server; its error would be the abort.
        let _ = (&mut self.task).await;
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                // Small replies must not wait for acknowledgements; a socket that refuses the option still works.
                let _ = socket.set_nodelay(true);
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    // A broken connection is what some scripts ask for.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn one_frame(text: impl Into<Bytes>) -> Body {
    StreamBody::new(stream::iter([Ok(Frame::data(text.into()))]).boxed())
}

fn respond(status: u16, content_type: &str, body: Body) -> Result<Response<Body>, io::Error> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(body)
        .map_err(io::Error::other)
}

/// Part of a body, and then a break or silence.
fn partial(text: &str, then_break: bool) -> Body {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let first = stream::iter([Ok(Frame::data(text))]);
    if then_break {
        // The pause lets the first part reach the wire before the connection breaks.
        let broken = stream::once(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(io::Error::other("dropped by the script"))
        });
        StreamBody::new(first.chain(broken).boxed())
    } else {
        StreamBody::new(first.chain(stream::pending()).boxed())
    }
}

/// What a fault sends, besides statuses and drops.
fn broken_reply(fault: &Fault, answer: &Answer) -> Result<Response<Body>, io::Error> {
    let text = answer.text();
    let mut half = text.len() / 2;
    while !text.is_char_boundary(half) {
        half -= 1;
    }
    let part = if fault.late_drop { text.as_str() } else { &text[..half] };
    respond(200, answer.content_type(), partial(part, !fault.stall))
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let _in_flight = state.log.arrive();
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let api = match path.as_str() {
        "/v1/chat/completions" if state.options.openai => Some(Api::OpenAi),
        "/v1/messages" if state.options.anthropic => Some(Api::Anthropic),
        _ => None,
    };
    let key = match api {
        Some(Api::Anthropic) => header("x-api-key"),
        _ => header("authorization").and_then(|value| value.strip_prefix("Bearer ")),
    };
    let key = key.filter(|key| !key.is_empty()).map(str::to_owned);
    let versioned = header("anthropic-version").is_some();
    let method = request.method().clone();
    let body = Limited::new(request.into_body(), REQUEST_LIMIT).collect().await.map_err(io::Error::other)?;
    let body = body.to_bytes();
    let keep = state.options.keep_log;
    let note = |sent: Sent| {
        let body = if keep { body.clone() } else { Bytes::new() };
        state.log.push(Logged { path: path.clone(), body, sent, keyed: key.is_some() }, keep);
    };
    let refuse = |api: Api, status: u16, message: &str| {
        note(Sent::Refused(status));
        respond(status, "application/json", one_frame(answer::error(api, status, message)))
    };
    let Some(api) = api.filter(|_| method == Method::POST) else {
        return refuse(Api::OpenAi, 404, &format!("no such path: {method} {path}"));
    };
    let known = match (&key, &state.options.key) {
        (None, _) => !state.options.require_key,
        (Some(key), Some(expected)) => key == expected,
        (Some(_), None) => true,
    };
    if !known {
        // Real servers repeat the key in this message; so does this one.
        return refuse(
            api,
            401,
            &format!("Incorrect API key provided: {}", key.as_deref().unwrap_or("none")),
        );
    }
    if api == Api::Anthropic && !versioned {
        return refuse(api, 400, "anthropic-version: header is required");
    }
    let Ok(value) = serde_json::from_slice::<Value>(&body) else {
        return refuse(api, 400, "the body is no JSON");
    };
    if let Some(why) = protocol::refusal(api, &value) {
        return refuse(api, 400, &why);
    }
    let model = value.get("model").and_then(Value::as_str).unwrap_or_default();
    let found = state
        .script
        .model(model)
        .and_then(|section| section.turns(&[], &protocol::user_texts(&value)))
        .map(|slots| slot(slots, protocol::assistant_messages(&value)).cloned().unwrap_or_default());
    let place = match found {
        Ok(place) => place,
        Err(why) => return refuse(api, 404, &why),
    };
    let streamed = value.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let turn = place.turn.clone().unwrap_or_default();
    let fault = count_fault(&state, &place, &body);
    let latency = state.options.latency + fault.as_ref().map_or(turn.latency, |(_, latency)| *latency);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let whole = answer::reply(api, &turn, model, streamed, body.len());
    let Some((fault, _)) = fault else {
        note(Sent::Reply);
        let content_type = whole.content_type();
        let body = match whole {
            Answer::Plain(text) => one_frame(text),
            Answer::Events(events) => {
                let frames = events.into_iter().map(|event| Ok(Frame::data(Bytes::from(event))));
                StreamBody::new(stream::iter(frames).boxed())
            }
        };
        return respond(200, content_type, body);
    };
    if let Some(status) = fault.status {
        note(Sent::Fault(status));
        let mut response = respond(status, "application/json", one_frame(fault.body_text()))?;
        for (name, value) in &fault.headers {
            let name = hyper::header::HeaderName::try_from(name.as_str()).map_err(io::Error::other)?;
            let value = hyper::header::HeaderValue::from_str(value).map_err(io::Error::other)?;
            response.headers_mut().insert(name, value);
        }
        return Ok(response);
    }
    if fault.garbage {
        note(Sent::Garbage);
        return respond(200, whole.content_type(), one_frame("<html>not what you asked for"));
    }
    note(if fault.late_drop { Sent::Reply } else { Sent::Broken });
    if fault.drop {
        return Err(io::Error::other("dropped by the script"));
    }
    broken_reply(&fault, &whole)
}

/// The error that this request meets now, if any; counts it.
fn count_fault(state: &State, place: &Slot, body: &[u8]) -> Option<(Fault, Duration)> {
    if place.errors.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let mut faults = state.faults.lock().unwrap_or_else(PoisonError::into_inner);
    let tries = faults.entry(hasher.finish()).or_insert(0);
    let (fault, latency) = place.fault(*tries)?;
    *tries = tries.saturating_add(1);
    Some((fault.clone(), latency))
}
