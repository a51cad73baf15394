//! Calling models: vendors' formats, HTTP with retries, limits, transcripts, and models that need no network. Knows nothing of
//! agents' decisions, workspaces or run folders.

mod anthropic;
mod conversation;
mod dialect;
mod endpoints;
mod error;
mod failure;
mod hints;
mod http;
mod limiter;
mod mock;
mod model_name;
mod openai;
mod pace;
mod reply;
mod script;
mod scripted;
mod sse;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod throttle;
mod transcript;

use domain::chat::{CallContext, ModelError, ModelReply, ModelRequest};
use futures::future::BoxFuture;
use std::fmt::Debug;

pub use bytes::Bytes;
pub use endpoints::{Endpoints, Keys, NowUtc, Share};
pub use error::BuildError;
pub use mock::MOCK_SUMMARY;
pub use transcript::{
    Damage, Rebuild, RebuildError, Rebuilt, TRANSCRIPT_FORMAT, TranscriptWriter, rebuild, rebuild_lines,
};

/// One way to call one model. Shared by all trials of a preset; keeps no state of a conversation.
pub trait Provider: Send + Sync + Debug {
    /// Makes one model call, retries included, and appends what went over the wire to `exchanges`: one entry a try, also when the
    /// call fails in the end. A reply's usage is that of its own try; what broken tries before it may have cost is unknown and stands
    /// in the exchanges only. Dropping the future cancels the call and gives back what it held of the endpoint's limits.
    fn call<'a>(
        &'a self,
        request: &'a ModelRequest,
        context: &'a CallContext,
        exchanges: &'a mut Vec<Exchange>,
    ) -> BoxFuture<'a, Result<ModelReply, ModelError>>;
}

/// One try of a model call as it went over the wire: bodies only, no header ever, known keys replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Which try of the call, from 1.
    pub try_no: u32,
    /// The format of both bodies: `openai.chat_completions.v1`, `anthropic.messages.v1`, `och.mock.v1` or `och.scripted.v1`.
    pub format: &'static str,
    /// The URL, without credentials and query; `mock` and the like where there is none.
    pub endpoint: String,
    /// The request body.
    pub request: Bytes,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The response body as received, server-sent events included; partial when the try broke off.
    pub response: Bytes,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// How long the try took.
    pub seconds: f64,
    /// When it began: UTC, for people.
    pub time: String,
}
