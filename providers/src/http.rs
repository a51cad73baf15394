//! Model calls over HTTP: sending, reading with time limits, trying again, keeping what went over the wire. The formats are in the
//! dialects, the rules in `failure`, `pace` and `limiter`; this file only acts.

use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::hints::{self, Hints};
use crate::model_name;
use crate::pace::Pace;
use crate::reply::{Reading, StreamReader, finish};
use crate::sse::Decoder;
use crate::throttle::Throttle;
use crate::{Exchange, NowUtc, Provider};
use bytes::Bytes;
use domain::Retry;
use domain::chat::{CallContext, ModelError, ModelFault, ModelReply, ModelRequest};
use domain::preset::Preset;
use domain::secret::Redactor;
use domain::usage::Usage;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Client, Response, Url};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Largest reply that is read.
pub(crate) const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Largest error body that is read.
const ERROR_LIMIT: usize = 1024 * 1024;
/// How long to wait for the connection to end after the last event of a stream, so that it can be used again.
const LINGER: Duration = Duration::from_millis(250);

/// A provider behind HTTP.
pub(crate) struct Http {
    pub dialect: &'static dyn Dialect,
    pub preset: Preset,
    pub url: Url,
    /// Content type and key.
    pub headers: HeaderMap,
    pub client: Client,
    pub throttle: Arc<Throttle>,
    /// Knows the key of this endpoint.
    pub redactor: Redactor,
    pub now_utc: NowUtc,
    pub pace: Pace,
    pub body_limit: usize,
    /// Keeps the preset's limits at the endpoint alive.
    pub _registration: Arc<()>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("preset", &self.preset.name)
            .field("format", &self.dialect.format())
            .field("endpoint", &self.shown_url())
            .finish_non_exhaustive()
    }
}

/// How reading a body ended.
enum End {
    /// All of it.
    Whole,
    /// The connection broke.
    Broken(String),
    /// Nothing came for too long.
    Idle(Duration),
    /// More than we take.
    TooLarge,
}

/// A body as far as it came.
struct Body {
    bytes: Vec<u8>,
    end: End,
    stream: Option<Box<dyn StreamReader>>,
}

/// What one try sent and received.
#[derive(Default)]
struct Received {
    status: Option<u16>,
    body: Vec<u8>,
}

impl Http {
    fn shown_url(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }

    async fn run(
        &self,
        request: &ModelRequest,
        exchanges: &mut Vec<Exchange>,
    ) -> Result<ModelReply, ModelError> {
        let body = Bytes::from(self.dialect.body(&self.preset, request).to_string());
        let kept = self.redactor.clean_bytes(&body).map_or_else(|| body.clone(), Bytes::from);
        // Four bytes a token is near enough until the server says how many they were.
        let estimate = (body.len() as u64 / 4).saturating_add(u64::from(self.preset.max_tokens));
        let mut waited = Duration::ZERO;
        let mut lost = Usage::default();
        let mut tries = 0;
        loop {
            tries += 1;
            let patience = self.pace.max_wait.saturating_sub(waited);
            let ticket = self.throttle.enter(estimate, patience).await.map_err(|paused| ModelError {
                retry_after: Some(paused.0),
                usage: lost,
                ..ModelError::new(
                    ModelFault::Unavailable,
                    format!("the endpoint asked for a pause of {} s more", paused.0.as_secs()),
                )
            })?;
            let time = (self.now_utc)();
            let started = Instant::now();
            let mut received = Received::default();
            let outcome = self.try_once(body.clone(), started, &mut received).await;
            let mut exchange = Exchange {
                try_no: tries,
                format: self.dialect.format(),
                endpoint: self.shown_url(),
                request: kept.clone(),
                status: received.status,
                response: self.redactor.clean_bytes(&received.body).unwrap_or(received.body).into(),
                error: None,
                seconds: started.elapsed().as_secs_f64(),
                time,
            };
            let failure = match outcome {
                Ok(reply) => {
                    let known = reply.usage.unreported == 0;
                    ticket.leave(known.then(|| reply.usage.total_tokens()), None);
                    let checked = self.check_model(reply, lost);
                    exchange.error = checked.as_ref().err().map(|error| error.message.clone());
                    exchanges.push(exchange);
                    return checked;
                }
                Err(failure) => failure,
            };
            lost.add(&failure.usage);
            let pause = self.pace.pause(tries, waited, failure.retry, rand::random());
            let slow = failure.throttled.then(|| failure.after().or(pause).unwrap_or(self.pace.first));
            ticket.leave(None, slow);
            let error = failure.into_error(&self.redactor, lost);
            tracing::debug!(preset = %self.preset.name, tries, error = %error.message, "a model call failed");
            exchange.error = Some(error.message.clone());
            exchanges.push(exchange);
            let Some(pause) = pause else { return Err(error) };
            tokio::time::sleep(pause).await;
            waited += pause;
        }
    }

    /// A reply of another model is paid for, and never asked for again.
    fn check_model(&self, reply: ModelReply, mut lost: Usage) -> Result<ModelReply, ModelError> {
        match &reply.model {
            Some(got) if !model_name::accepts(&self.preset, got) => {
                lost.add(&reply.usage);
                let mut message =
                    format!("asked for model `{}`, the server answered with `{got}`", self.preset.model);
                self.redactor.clean(&mut message);
                Err(ModelError {
                    status: Some(200),
                    usage: lost,
                    ..ModelError::new(ModelFault::WrongModel { got: got.clone() }, message)
                })
            }
            _ => Ok(reply),
        }
    }

    async fn try_once(
        &self,
        body: Bytes,
        started: Instant,
        received: &mut Received,
    ) -> Result<ModelReply, Failure> {
        let idle = seconds(self.preset.idle_timeout_seconds);
        let deadline = started + seconds(self.preset.request_timeout_seconds);
        // A server that does not stream may think in silence until it has the whole reply.
        let first = if self.preset.stream { deadline.min(started + idle) } else { deadline };
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        let response = match timeout_at(first, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_builder() => return Err(Failure::rejected(None, describe(error))),
            Ok(Err(error)) => return Err(Failure::transport(describe(error))),
            Err(_) => {
                let waited = started.elapsed().as_secs_f64();
                return Err(Failure::transport(format!("no answer within {waited:.1} s")));
            }
        };
        let status = response.status();
        received.status = Some(status.as_u16());
        let hints = hints::read(response.headers(), &(self.now_utc)());
        let redirected = response
            .headers()
            .get(LOCATION)
            .filter(|_| status.is_redirection())
            .map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        let ok = status.is_success();
        let limit = if ok { self.body_limit } else { ERROR_LIMIT.min(self.body_limit) };
        let Body { bytes, end, stream } = self.read_body(response, ok, limit, idle, deadline).await;
        received.body = bytes;
        if let Some(to) = redirected {
            // The key must not follow to another place.
            let to = to.split(['?', '#']).next().unwrap_or_default().to_owned();
            let message = format!("HTTP {}: redirected to {to}, which is not followed", status.as_u16());
            return Err(Failure::rejected(Some(status.as_u16()), message));
        }
        if !ok {
            return Err(Failure::answer(status.as_u16(), hints, &received.body));
        }
        self.read_reply(status.as_u16(), hints, &received.body, end, stream)
    }

    /// Reads a body to its end or to the end of its events, whichever comes first.
    async fn read_body(
        &self,
        mut response: Response,
        ok: bool,
        limit: usize,
        idle: Duration,
        deadline: Instant,
    ) -> Body {
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_stream = ok && content_type.is_some_and(|kind| kind.contains("event-stream"));
        let mut stream = is_stream.then(|| self.dialect.stream());
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        let end = loop {
            let over = stream.as_ref().is_some_and(|stream| stream.is_over());
            let wait = if over { LINGER.min(idle) } else { idle };
            match timeout_at(deadline.min(Instant::now() + wait), response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    let room = limit - bytes.len();
                    let chunk = &chunk[..chunk.len().min(room + 1)];
                    bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
                    if let Some(stream) = &mut stream {
                        decoder.push(chunk, |event| stream.take(&event));
                    }
                    if chunk.len() > room {
                        break End::TooLarge;
                    }
                }
                Ok(Ok(None)) => break End::Whole,
                Ok(Err(error)) => break End::Broken(describe(error)),
                Err(_) => break End::Idle(wait),
            }
        };
        if let (Some(stream), Some(event)) = (&mut stream, decoder.finish()) {
            stream.take(&event);
        }
        Body { bytes, end, stream }
    }

    fn read_reply(
        &self,
        status: u16,
        hints: Hints,
        body: &[u8],
        end: End,
        stream: Option<Box<dyn StreamReader>>,
    ) -> Result<ModelReply, Failure> {
        let reading = match stream {
            Some(stream) => stream.read(),
            None => self.read_plain(body, &end),
        };
        match reading {
            // Whole is whole, also when the connection broke behind it: asking again would pay twice.
            Reading::Reply(draft) => Ok(finish(draft, &self.preset, &self.redactor)),
            Reading::Failed(error) => Err(Failure::inside(status, hints, &error)),
            Reading::Nonsense(why) => Err(Failure::nonsense(status, &why, body)),
            // What came of it was paid for, nobody knows how much.
            Reading::Cut => Err(Failure {
                usage: if body.is_empty() { Usage::default() } else { Usage::unknown_call() },
                status: Some(status),
                ..self.cut(status, end)
            }),
        }
    }

    fn cut(&self, status: u16, end: End) -> Failure {
        match end {
            End::TooLarge => Failure {
                retry: Retry::No,
                ..Failure::nonsense(status, &format!("longer than {} bytes", self.body_limit), b"")
            },
            End::Whole => Failure::transport("the reply ended before it was complete"),
            End::Broken(why) => Failure::transport(format!("the reply broke off: {why}")),
            End::Idle(idle) => {
                Failure::transport(format!("the reply stalled: nothing came for {:.1} s", idle.as_secs_f64()))
            }
        }
    }

    fn read_plain(&self, body: &[u8], end: &End) -> Reading {
        let value = serde_json::from_slice(body)
            .or_else(|_| serde_json::from_str::<serde_json::Value>(&String::from_utf8_lossy(body)));
        match value {
            Ok(value) => self.dialect.read(&value),
            Err(_) if starts_like_events(body) => {
                let mut stream = self.dialect.stream();
                let mut decoder = Decoder::default();
                decoder.push(body, |event| stream.take(&event));
                if let Some(event) = decoder.finish() {
                    stream.take(&event);
                }
                stream.read()
            }
            Err(error) if matches!(end, End::Whole) => {
                Reading::Nonsense(format!("the body is no JSON: {error}"))
            }
            Err(_) => Reading::Cut,
        }
    }
}

/// Events under a wrong content type.
fn starts_like_events(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    [b"data:".as_slice(), b"event:", b":"].iter().any(|start| body.starts_with(start))
}

fn seconds(number: f64) -> Duration {
    // Checked when the provider was built.
    Duration::try_from_secs_f64(number).unwrap_or(Duration::from_secs(600))
}

/// The error and its causes on one line, without the URL, which may carry a query.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl Provider for Http {
    fn call<'a>(
        &'a self,
        request: &'a ModelRequest,
        _context: &'a CallContext,
        exchanges: &'a mut Vec<Exchange>,
    ) -> BoxFuture<'a, Result<ModelReply, ModelError>> {
        self.run(request, exchanges).boxed()
    }
}

#[cfg(test)]
mod tests;
