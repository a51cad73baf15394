//! The original's mock model: fixed rules, no network. Its exchanges are a few dozen bytes, so that mock trials stay small.

use crate::{Exchange, NowUtc, Provider};
use bytes::Bytes;
use domain::chat::{
    Arguments, CallContext, Message, ModelError, ModelFault, ModelReply, ModelRequest, StopReason, ToolCall,
};
use domain::preset::Preset;
use domain::usage::Usage;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, json};
use std::fmt;
use std::time::Duration;

const FORMAT: &str = "och.mock.v1";

/// How every mock run ends. The original's mock suites look for its first three words.
pub const MOCK_SUMMARY: &str =
    "Mock run completed. The tool loop works end to end; no real model was called.";

/// The mock model.
pub(crate) struct Mock {
    preset: Preset,
    now_utc: NowUtc,
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").field("preset", &self.preset.name).finish_non_exhaustive()
    }
}

enum Rule {
    ListFiles,
    Finish,
}

/// The original's rules: after any observation it finishes; before one it lists files when a user text speaks of inspecting or of a
/// repository, and finishes at once otherwise.
fn decide(messages: &[Message]) -> Rule {
    let observed = messages.iter().any(|message| match message {
        Message::Tool { .. } => true,
        Message::System { text } | Message::User { text } | Message::Assistant { text, .. } => {
            text.starts_with("Observation from")
        }
    });
    let asked = || {
        messages.iter().any(|message| match message {
            Message::User { text } => {
                let text = text.to_ascii_lowercase();
                text.contains("inspect") || text.contains("repo")
            }
            _ => false,
        })
    };
    if !observed && asked() { Rule::ListFiles } else { Rule::Finish }
}

/// A number in 0..1 that depends on nothing but the seed and which call this is. The attempt is part of it, so that an attempt
/// abandoned for such an error can succeed the next time.
fn share(seed: u64, context: &CallContext) -> f64 {
    let text = format!("{} {} {} {}", seed, context.trial, context.attempt, context.call);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // FNV alone leaves neighbours near each other: the finalizer of SplitMix64 spreads them.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a float exactly")]
    let share = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    share
}

fn tokens(characters: usize) -> u64 {
    u64::try_from(characters / 4 + 1).unwrap_or(u64::MAX)
}

impl Mock {
    pub(crate) fn new(preset: Preset, now_utc: NowUtc) -> Self {
        Self { preset, now_utc }
    }

    fn exchange(
        &self,
        request: &ModelRequest,
        status: u16,
        response: String,
        error: Option<String>,
    ) -> Exchange {
        Exchange {
            try_no: 1,
            format: FORMAT,
            endpoint: "mock".to_owned(),
            request: Bytes::from(format!("{{\"messages\":{}}}", request.messages.len())),
            status: Some(status),
            response: Bytes::from(response),
            error,
            #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 milliseconds")]
            seconds: self.preset.latency_ms as f64 / 1000.0,
            time: (self.now_utc)(),
        }
    }

    fn answer(
        &self,
        request: &ModelRequest,
        context: &CallContext,
        exchanges: &mut Vec<Exchange>,
    ) -> Result<ModelReply, ModelError> {
        if self.preset.error_rate > 0.0 && share(self.preset.seed, context) < self.preset.error_rate {
            let message = "HTTP 503: mock error by error_rate".to_owned();
            exchanges.push(self.exchange(request, 503, "{}".to_owned(), Some(message.clone())));
            return Err(ModelError {
                status: Some(503),
                ..ModelError::new(ModelFault::Unavailable, message)
            });
        }
        let input: usize = request.messages.iter().map(length).sum();
        let (text, calls, output, response) = match decide(&request.messages) {
            Rule::ListFiles => {
                let mut value = Map::new();
                value.insert("path".to_owned(), json!("."));
                let call = ToolCall {
                    id: "call_1".to_owned(),
                    name: "list_files".to_owned(),
                    arguments: Arguments::Object { value },
                };
                let response = "{\"tool\":\"list_files\",\"args\":{\"path\":\".\"}}".to_owned();
                (String::new(), vec![call], response.len(), response)
            }
            Rule::Finish => (
                MOCK_SUMMARY.to_owned(),
                Vec::new(),
                MOCK_SUMMARY.len(),
                json!({"content": MOCK_SUMMARY}).to_string(),
            ),
        };
        let mut usage = Usage::call(tokens(input), 0, tokens(output));
        usage.cost_usd = self.preset.price.and_then(|price| price.cost(&usage));
        exchanges.push(self.exchange(request, 200, response, None));
        let stop = if calls.is_empty() { StopReason::EndTurn } else { StopReason::ToolUse };
        Ok(ModelReply { text, reasoning: None, calls, stop, usage, model: Some(self.preset.model.clone()) })
    }
}

fn length(message: &Message) -> usize {
    match message {
        Message::System { text } | Message::User { text } | Message::Assistant { text, .. } => text.len(),
        Message::Tool { content, .. } => content.len(),
    }
}

impl Provider for Mock {
    fn call<'a>(
        &'a self,
        request: &'a ModelRequest,
        context: &'a CallContext,
        exchanges: &'a mut Vec<Exchange>,
    ) -> BoxFuture<'a, Result<ModelReply, ModelError>> {
        async move {
            if self.preset.latency_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.preset.latency_ms)).await;
            }
            self.answer(request, context, exchanges)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
