//! Transcripts: every exchange of an attempt as one JSON line, small enough to keep them all. Owns the line format, both ways.
//!
//! A conversation grows at its end, so each request repeats the one before it. A line therefore says how many bytes of the previous
//! request it keeps at the front and at the back, and holds only what lies between: the transcript grows linearly, and the exact
//! bytes can be rebuilt. Bytes that are no UTF-8 are kept as base64.

use crate::Exchange;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::secret::Redactor;
use serde::{Deserialize, Serialize};

/// The version of the line format.
pub const TRANSCRIPT_FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    format: u32,
    call: u32,
    #[serde(rename = "try")]
    try_no: u32,
    time: String,
    api: String,
    endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default)]
    request: Body,
    #[serde(default)]
    response: Body,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Body {
    /// Bytes kept of the previous request: at its front, at its back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<(usize, usize)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Body {
    fn whole(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { text: Some(text.to_owned()), ..Self::default() },
            Err(_) => Self { base64: Some(STANDARD.encode(bytes)), ..Self::default() },
        }
    }

    fn delta(previous: &[u8], bytes: &[u8]) -> Self {
        let mut front = common_front(previous, bytes);
        let mut back = common_back(&previous[front..], &bytes[front..]);
        if let Ok(text) = std::str::from_utf8(bytes) {
            while !text.is_char_boundary(front) {
                front -= 1;
            }
            while !text.is_char_boundary(bytes.len() - back) {
                back -= 1;
            }
        }
        let keep = (front + back > 0).then_some((front, back));
        Self { keep, ..Self::whole(&bytes[front..bytes.len() - back]) }
    }

    fn into_bytes(self, previous: &[u8]) -> Result<Bytes, Damage> {
        let middle = match (self.text, self.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| Damage::Base64)?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(Damage::Base64),
        };
        let Some((front, back)) = self.keep else { return Ok(middle.into()) };
        if front.checked_add(back).is_none_or(|kept| kept > previous.len()) {
            return Err(Damage::Keep);
        }
        Ok([&previous[..front], &middle, &previous[previous.len() - back..]].concat().into())
    }
}

/// How many bytes two slices share at their fronts; whole blocks first, because requests are long and nearly equal.
fn common_front(left: &[u8], right: &[u8]) -> usize {
    const BLOCK: usize = 1024;
    let blocks = left.chunks_exact(BLOCK).zip(right.chunks_exact(BLOCK)).take_while(|(a, b)| a == b).count();
    let from = blocks * BLOCK;
    from + left[from..].iter().zip(&right[from..]).take_while(|(a, b)| a == b).count()
}

fn common_back(left: &[u8], right: &[u8]) -> usize {
    left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count()
}

/// Turns the exchanges of one attempt into lines, in order.
#[derive(Debug)]
pub struct TranscriptWriter {
    redactor: Redactor,
    previous: Bytes,
}

impl TranscriptWriter {
    /// For a new attempt. What the redactor knows is replaced before anything is kept, so the rebuilt bytes are the cleaned ones.
    #[must_use]
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, previous: Bytes::new() }
    }

    fn cleaned(&self, text: &str) -> String {
        let mut text = text.to_owned();
        self.redactor.clean(&mut text);
        text
    }

    /// One JSON line, without the line break. `call` is the number of the model call within the attempt.
    #[must_use]
    pub fn push(&mut self, call: u32, exchange: &Exchange) -> String {
        let request = self
            .redactor
            .clean_bytes(&exchange.request)
            .map_or_else(|| exchange.request.clone(), Bytes::from);
        let response = self.redactor.clean_bytes(&exchange.response);
        let line = Line {
            format: TRANSCRIPT_FORMAT,
            call,
            try_no: exchange.try_no,
            time: exchange.time.clone(),
            api: exchange.format.to_owned(),
            endpoint: self.cleaned(&exchange.endpoint),
            status: exchange.status,
            seconds: (exchange.seconds * 1e6).round() / 1e6,
            error: exchange.error.as_deref().map(|error| self.cleaned(error)),
            request: Body::delta(&self.previous, &request),
            response: Body::whole(response.as_deref().unwrap_or(&exchange.response)),
        };
        self.previous = request;
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// One exchange, rebuilt.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuilt {
    /// The model call within the attempt, from 1.
    pub call: u32,
    /// The try of the call, from 1.
    pub try_no: u32,
    /// The format of both bodies.
    pub format: String,
    /// The URL.
    pub endpoint: String,
    /// The request body, byte for byte.
    pub request: Bytes,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// The response body, byte for byte.
    pub response: Bytes,
    /// What went wrong.
    pub error: Option<String>,
    /// How long the try took.
    pub seconds: f64,
    /// When it began.
    pub time: String,
}

/// Why a transcript cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
#[error("transcript line {line} cannot be read")]
pub struct RebuildError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub damage: Damage,
}

/// What is wrong with a line of a transcript.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// No line of this format.
    #[error("no JSON object with the fields of a transcript line")]
    Json(#[source] serde_json::Error),
    /// Written by a later version.
    #[error("format {0} is not known here, only {TRANSCRIPT_FORMAT}")]
    Format(u32),
    /// It keeps more of the previous request than there is.
    #[error("it builds on a request that is not there")]
    Keep,
    /// A body that is no base64, or given twice.
    #[error("a body is damaged")]
    Base64,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

type Lines<'a> = std::slice::Split<'a, u8, fn(&u8) -> bool>;

/// Rebuilds one exchange after the other, so that long transcripts need not be in memory at once.
#[derive(Debug)]
pub struct Rebuild<'a> {
    lines: std::iter::Enumerate<Lines<'a>>,
    previous: Bytes,
    broken: bool,
}

/// Reads a transcript line by line: all its chunks joined. The iterator ends after the first damaged line.
#[must_use]
pub fn rebuild_lines(transcript: &[u8]) -> Rebuild<'_> {
    let is_break: fn(&u8) -> bool = |byte| *byte == b'\n';
    Rebuild { lines: transcript.split(is_break).enumerate(), previous: Bytes::new(), broken: false }
}

/// The exact request and response bytes of every exchange.
///
/// # Errors
/// When a line is damaged. [`rebuild_lines`] gives the exchanges before it.
pub fn rebuild(transcript: &[u8]) -> Result<Vec<Rebuilt>, RebuildError> {
    rebuild_lines(transcript).collect()
}

impl Rebuild<'_> {
    fn read(&mut self, line: &[u8]) -> Result<Rebuilt, Damage> {
        let version: Version = serde_json::from_slice(line).map_err(Damage::Json)?;
        if version.format != TRANSCRIPT_FORMAT {
            return Err(Damage::Format(version.format));
        }
        let line: Line = serde_json::from_slice(line).map_err(Damage::Json)?;
        let request = line.request.into_bytes(&self.previous)?;
        self.previous = request.clone();
        Ok(Rebuilt {
            call: line.call,
            try_no: line.try_no,
            format: line.api,
            endpoint: line.endpoint,
            request,
            status: line.status,
            response: line.response.into_bytes(&[])?,
            error: line.error,
            seconds: line.seconds,
            time: line.time,
        })
    }
}

impl Iterator for Rebuild<'_> {
    type Item = Result<Rebuilt, RebuildError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.broken {
                return None;
            }
            let (number, line) = self.lines.next()?;
            if line.is_empty() {
                continue;
            }
            let read = self.read(line).map_err(|damage| RebuildError { line: number + 1, damage });
            self.broken = read.is_err();
            return Some(read);
        }
    }
}

#[cfg(test)]
mod tests;
