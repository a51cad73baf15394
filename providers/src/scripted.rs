//! A model that says what a script file tells it to; no network. Errors of the script are retried by the same rules as real ones, only
//! without waiting.

use crate::failure::Failure;
use crate::hints;
use crate::model_name;
use crate::pace::Pace;
use crate::reply::{Draft, finish};
use crate::script::{Fault, Script, Slot, Turn, slot};
use crate::{Exchange, NowUtc, Provider};
use bytes::Bytes;
use domain::chat::{CallContext, Message, ModelError, ModelFault, ModelReply, ModelRequest};
use domain::preset::Preset;
use domain::secret::Redactor;
use domain::usage::Usage;
use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const FORMAT: &str = "och.scripted.v1";

/// The scripted model.
pub(crate) struct Scripted {
    preset: Preset,
    /// By the key of `RunSpec::scripts`.
    scripts: Arc<BTreeMap<String, Script>>,
    now_utc: NowUtc,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("preset", &self.preset.name).finish_non_exhaustive()
    }
}

fn rejected(message: String) -> ModelError {
    ModelError::new(ModelFault::Rejected, message)
}

/// The failure that a fault of the script stands for.
fn failure(fault: &Fault, now_utc: &str) -> Failure {
    let Some(status) = fault.status else {
        return if fault.garbage {
            Failure::nonsense(200, "the body is no JSON", b"garbage")
        } else if fault.drop {
            Failure::transport("connection dropped")
        } else {
            Failure {
                usage: Usage::unknown_call(),
                status: Some(200),
                ..Failure::transport("the reply ended before it was complete")
            }
        };
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    let body = fault.body_text();
    match serde_json::from_str::<Value>(&body) {
        Ok(error) if status == 200 => Failure::inside(status, hints::read(&headers, now_utc), &error),
        _ => Failure::answer(status, hints::read(&headers, now_utc), body.as_bytes()),
    }
}

impl Scripted {
    pub(crate) fn new(preset: Preset, scripts: Arc<BTreeMap<String, Script>>, now_utc: NowUtc) -> Self {
        Self { preset, scripts, now_utc }
    }

    fn find(&self, request: &ModelRequest, context: &CallContext) -> Result<(&Slot, usize), ModelError> {
        let key = self.preset.script.as_deref().unwrap_or_else(|| context.trial.suite.as_str());
        let script = self.scripts.get(key).ok_or_else(|| rejected(format!("no script for `{key}`")))?;
        let texts: Vec<&str> = request
            .messages
            .iter()
            .filter_map(|message| match message {
                Message::User { text } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let slots = script
            .model(&self.preset.model)
            .and_then(|model| model.turns(&[&context.case_title, context.trial.case.as_str()], &texts))
            .map_err(rejected)?;
        let said =
            request.messages.iter().filter(|message| matches!(message, Message::Assistant { .. })).count();
        let slot = slot(slots, said).ok_or_else(|| rejected(format!("the script `{key}` has no turns")))?;
        Ok((slot, said))
    }

    fn reply(&self, turn: &Turn) -> ModelReply {
        let draft = Draft {
            text: turn.text.clone(),
            reasoning: turn.reasoning.clone(),
            calls: turn.raw_calls(),
            stop: turn.stop_reason(),
            usage: turn.usage,
            model: Some(turn.model.clone().unwrap_or_else(|| self.preset.model.clone())),
        };
        finish(draft, &self.preset, &Redactor::default())
    }

    fn response(turn: &Turn, model: Option<&str>) -> String {
        let mut response = json!({"text": turn.text, "stop": turn.stop_word(), "model": model});
        if !turn.calls.is_empty() {
            let calls =
                turn.calls.iter().map(|(_, name, arguments)| json!({"name": name, "arguments": arguments}));
            response["tool_calls"] = calls.collect();
        }
        if let Some(usage) = turn.usage {
            response["usage"] = json!({"input": usage.input_tokens, "cached_input": usage.cached_input_tokens,
                                       "output": usage.output_tokens});
        }
        response.to_string()
    }

    async fn run(
        &self,
        request: &ModelRequest,
        context: &CallContext,
        exchanges: &mut Vec<Exchange>,
    ) -> Result<ModelReply, ModelError> {
        let (slot, said) = self.find(request, context)?;
        let body = json!({"model": self.preset.model, "messages": *request.messages, "turn": said + 1});
        let body = Bytes::from(body.to_string());
        let pace = Pace::new(self.preset.max_tries);
        let mut lost = Usage::default();
        let mut tries = 0;
        loop {
            let fault = slot.fault(tries);
            tries += 1;
            let time = (self.now_utc)();
            let started = Instant::now();
            let latency = fault
                .map(|(_, latency)| latency)
                .or_else(|| slot.turn.as_ref().map(|turn| turn.latency))
                .unwrap_or_default();
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            let mut exchange = Exchange {
                try_no: tries,
                format: FORMAT,
                endpoint: "scripted".to_owned(),
                request: body.clone(),
                status: Some(200),
                response: Bytes::new(),
                error: None,
                seconds: started.elapsed().as_secs_f64(),
                time,
            };
            let (fault, turn) = match (fault, &slot.turn) {
                (Some((fault, _)), turn) => (Some(fault), turn.as_ref()),
                (None, turn) => (None, turn.as_ref()),
            };
            // A connection that breaks behind a whole reply costs nothing.
            let fault = fault.filter(|fault| !(fault.late_drop && turn.is_some()));
            let Some(fault) = fault else {
                let turn = turn.ok_or_else(|| rejected("the script has no turn here".to_owned()))?;
                let reply = self.reply(turn);
                exchange.response = Bytes::from(Self::response(turn, reply.model.as_deref()));
                let checked = match &reply.model {
                    Some(got) if !model_name::accepts(&self.preset, got) => {
                        lost.add(&reply.usage);
                        let message = format!(
                            "asked for model `{}`, the script answered with `{got}`",
                            self.preset.model
                        );
                        Err(ModelError {
                            usage: lost,
                            ..ModelError::new(ModelFault::WrongModel { got: got.clone() }, message)
                        })
                    }
                    _ => Ok(reply),
                };
                exchange.error = checked.as_ref().err().map(|error| error.message.clone());
                exchanges.push(exchange);
                return checked;
            };
            let failure = failure(fault, &exchange.time);
            lost.add(&failure.usage);
            let again = pace.pause(tries, Duration::ZERO, failure.retry, 0.0).is_some();
            exchange.status = failure.status;
            exchange.response =
                if fault.status.is_some() { Bytes::from(fault.body_text()) } else { Bytes::new() };
            let error = failure.into_error(&Redactor::default(), lost);
            exchange.error = Some(error.message.clone());
            exchanges.push(exchange);
            if !again {
                return Err(error);
            }
        }
    }
}

impl Provider for Scripted {
    fn call<'a>(
        &'a self,
        request: &'a ModelRequest,
        context: &'a CallContext,
        exchanges: &'a mut Vec<Exchange>,
    ) -> BoxFuture<'a, Result<ModelReply, ModelError>> {
        self.run(request, context, exchanges).boxed()
    }
}

#[cfg(test)]
mod tests;
