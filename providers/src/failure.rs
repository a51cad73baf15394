//! Why one try failed, whose doing it is and whether another try can help. The only place that reads vendors' error texts: they
//! have no common codes for what matters most, a conversation that grew too long.

use crate::hints::Hints;
use domain::Retry;
use domain::chat::{ModelError, ModelFault};
use domain::secret::Redactor;
use domain::text::cut;
use domain::usage::Usage;
use serde_json::Value;
use std::time::Duration;

/// Longest message taken over from a provider.
const MAX_MESSAGE: usize = 2000;

/// One failed try.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub fault: ModelFault,
    pub message: String,
    pub status: Option<u16>,
    pub retry: Retry,
    /// The endpoint said "too many": everybody should slow down.
    pub throttled: bool,
    /// What the try may have cost.
    pub usage: Usage,
}

impl Failure {
    /// No answer, or not all of it.
    pub(crate) fn transport(message: impl Into<String>) -> Self {
        Self {
            fault: ModelFault::Unavailable,
            message: message.into(),
            status: None,
            retry: Retry::Backoff,
            throttled: false,
            usage: Usage::default(),
        }
    }

    /// An answer that is none. It was paid for, nobody knows how much.
    pub(crate) fn nonsense(status: u16, why: &str, body: &[u8]) -> Self {
        let message = format!("HTTP {status}: {why}: {}", excerpt(body));
        Self {
            fault: ModelFault::Garbage,
            status: Some(status),
            usage: Usage::unknown_call(),
            ..Self::transport(message)
        }
    }

    /// Asking again cannot help.
    pub(crate) fn rejected(status: Option<u16>, message: impl Into<String>) -> Self {
        Self { fault: ModelFault::Rejected, status, retry: Retry::No, ..Self::transport(message) }
    }

    /// An answer with an error status.
    pub(crate) fn answer(status: u16, hints: Hints, body: &[u8]) -> Self {
        let words = Words::of(body);
        let mut failure = classify(status, &words, hints);
        failure.message = format!("HTTP {status}: {}", words.shown());
        failure.status = Some(status);
        failure
    }

    /// An error in the body of an answer that claimed success, or in its stream.
    pub(crate) fn inside(status: u16, hints: Hints, error: &Value) -> Self {
        let words = Words::of_value(error);
        let meant = words.status();
        let mut failure = classify(meant, &words, hints);
        failure.message = format!("HTTP {status} with an error inside: {}", words.shown());
        failure.status = Some(if meant == UNKNOWN { status } else { meant });
        failure
    }

    /// How long the server asked to wait.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self.retry {
            Retry::After(time) => Some(time),
            Retry::No | Retry::Backoff => None,
        }
    }

    pub(crate) fn into_error(self, redactor: &Redactor, usage: Usage) -> ModelError {
        let retry_after = self.after();
        let mut message = self.message;
        redactor.clean(&mut message);
        ModelError { fault: self.fault, message, status: self.status, retry_after, usage }
    }
}

/// The status that stands for an error without one: as good as a 500.
const UNKNOWN: u16 = 599;

fn classify(status: u16, words: &Words, hints: Hints) -> Failure {
    let rejected = || Failure::rejected(None, String::new());
    if matches!(status, 400 | 413 | 422 | 500 | UNKNOWN) && words.tell_of_length(status) {
        return Failure { fault: ModelFault::ContextLength, ..rejected() };
    }
    if matches!(status, 400 | 403 | 422 | UNKNOWN) && words.tell_of_refusal() {
        return Failure { fault: ModelFault::Refused, ..rejected() };
    }
    let again = hints.after.map_or(Retry::Backoff, Retry::After);
    let unavailable = Failure { retry: again, ..Failure::transport(String::new()) };
    let failure = match status {
        // An empty account is told with 429 as well; waiting does not fill it.
        429 if words.tell_of_an_empty_account() => rejected(),
        429 | 529 => Failure { throttled: true, ..unavailable },
        // 409 is a lock that was not had in time, at OpenAI and Anthropic; their own clients ask again.
        408 | 409 | 425 => unavailable,
        501 | 505 => rejected(),
        500.. => Failure { throttled: status == 503 && hints.after.is_some(), ..unavailable },
        300..400 => rejected(),
        _ => rejected(),
    };
    if hints.should_retry == Some(false) { Failure { retry: Retry::No, ..failure } } else { failure }
}

/// What an error body says.
#[derive(Debug, Default)]
struct Words {
    message: String,
    /// `code` and `type`, when they are words.
    codes: Vec<String>,
    /// `code` or `status`, when it is a number that looks like a status.
    number: Option<u16>,
}

impl Words {
    fn of(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => {
                let words = Self::of_value(&value);
                if words.message.is_empty() { Self { message: excerpt(body), ..words } } else { words }
            }
            _ => Self { message: excerpt(body), ..Self::default() },
        }
    }

    fn of_value(value: &Value) -> Self {
        let mut words = Self::default();
        words.gather(value, 0);
        words.message = cut(words.message.trim(), MAX_MESSAGE);
        words
    }

    /// Walks the shapes in use: `{"error":{…}}`, `{"error":"…"}`, `{"message":…}`, `{"detail":…}`, `{"errors":[…]}`, a list of one.
    fn gather(&mut self, value: &Value, depth: u32) {
        if depth > 4 {
            return;
        }
        match value {
            Value::String(text) => self.say(text),
            Value::Array(items) => items.iter().take(3).for_each(|item| self.gather(item, depth + 1)),
            Value::Object(map) => {
                for field in ["code", "type", "status", "status_code"] {
                    match map.get(field) {
                        Some(Value::String(word)) if word != "error" => self.code(word),
                        Some(Value::Number(number)) => {
                            self.number(number.as_u64().and_then(|number| u16::try_from(number).ok()));
                        }
                        _ => {}
                    }
                }
                for field in ["error", "errors", "message", "msg", "detail", "error_msg"] {
                    if let Some(inner) = map.get(field) {
                        self.gather(inner, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn say(&mut self, text: &str) {
        if !self.message.is_empty() {
            self.message.push_str("; ");
        }
        self.message.push_str(text.trim());
    }

    fn code(&mut self, word: &str) {
        if let Ok(status) = word.parse::<u16>() {
            self.number(Some(status));
        } else if !word.is_empty() {
            self.codes.push(word.to_owned());
        }
    }

    fn number(&mut self, status: Option<u16>) {
        if self.number.is_none() {
            self.number = status.filter(|status| (300..600).contains(status));
        }
    }

    fn shown(&self) -> String {
        let message = if self.message.is_empty() { "no message" } else { &self.message };
        match self.codes.iter().find(|code| !message.contains(code.as_str())) {
            Some(code) => format!("{message} ({code})"),
            None => message.to_owned(),
        }
    }

    /// The status that an error without its own status would have had.
    fn status(&self) -> u16 {
        if let Some(number) = self.number {
            return number;
        }
        let code = self.codes.join(" ").to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| code.contains(word));
        if has(&["overloaded"]) {
            529
        } else if has(&["rate_limit", "throttl", "too_many", "toomany", "ratelimit"]) {
            429
        } else if has(&["authentication", "unauthorized", "invalid_api_key"]) {
            401
        } else if has(&["permission", "forbidden"]) {
            403
        } else if has(&["not_found", "notfound"]) {
            404
        } else if has(&["request_too_large"]) {
            413
        } else if has(&["invalid_request", "badrequest", "bad_request", "invalidparameter", "context_length"])
        {
            400
        } else if has(&["billing", "insufficient_quota"]) {
            402
        } else {
            UNKNOWN
        }
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|own| codes.iter().any(|code| own.eq_ignore_ascii_case(code)))
    }

    fn says(&self, phrases: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }

    /// The conversation is longer than the model takes. A `max_tokens` that is larger than the model allows is not that.
    fn tell_of_length(&self, status: u16) -> bool {
        if self.has_code(&[
            "context_length_exceeded",
            "exceed_context_size_error",
            "model_max_prompt_tokens_exceeded",
            "tokens_limit_reached",
            "string_above_max_length",
            "request_too_large",
        ]) {
            return true;
        }
        let about_output = self.says(&["max_tokens", "max_completion_tokens", "max_new_tokens"])
            && self.says(&[
                "cannot be greater",
                "must be less",
                "too large",
                "range of",
                "at most",
                "valid range",
            ])
            && !self.says(&["prompt", "messages resulted", "input length", "input token"]);
        if about_output {
            return false;
        }
        status == 413
            || self.says(&[
                "maximum context length",
                "context length exceeded",
                "exceeds the context length",
                "exceeds the model's context length",
                "longer than the model's context length",
                "exceed context limit",
                "exceeds the context window",
                "exceeds the available context size",
                "exceed the context window",
                "exceeds context window",
                "larger than the context",
                "context window exceeded",
                "context_length_exceeded",
                "context window of",
                "prompt is too long",
                "prompt too long",
                "input is too long",
                "range of input length",
                "input length should be",
                "exceeds the maximum number of tokens",
                "exceeds maximum input length",
                "maximum input length",
                "maximum prompt length",
                "too many input tokens",
                "total message token length exceed",
                "reduce the length of the messages",
                "reduce the length of the input",
                "exceeded model token limit",
            ])
    }

    fn tell_of_refusal(&self) -> bool {
        self.has_code(&[
            "content_filter",
            "content_policy_violation",
            "data_inspection_failed",
            "DataInspectionFailed",
            "ResponsibleAIPolicyViolation",
            "content_moderation",
            "moderation_blocked",
        ]) || self.says(&["content management policy", "content exists risk", "inappropriate content"])
    }

    fn tell_of_an_empty_account(&self) -> bool {
        self.has_code(&["insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"])
            || self.says(&[
                "insufficient balance",
                "credit balance is too low",
                "exceeded your current quota",
            ])
    }
}

/// The beginning of a body, on one line, for people.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_MESSAGE)]);
    let lower = text.to_ascii_lowercase();
    let page =
        lower.find("<title>").zip(lower.find("</title>")).and_then(|(from, to)| text.get(from + 7..to));
    let words: Vec<&str> = page.unwrap_or(&text).split_whitespace().collect();
    if words.is_empty() { "empty body".to_owned() } else { cut(&words.join(" "), 500) }
}

#[cfg(test)]
mod tests;
