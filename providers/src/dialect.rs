//! What the vendors' formats have in common: the seam between HTTP and formats.

use crate::reply::{Reading, StreamReader};
use domain::chat::ModelRequest;
use domain::preset::Preset;
use serde_json::{Map, Value};
use std::fmt::Debug;

/// A vendor's format. Pure: bodies in, bodies out.
pub(crate) trait Dialect: Debug + Send + Sync {
    /// Its name in transcripts.
    fn format(&self) -> &'static str;
    /// The path behind the version, `chat/completions`.
    fn path(&self) -> &'static str;
    /// The request body. What stays the same from call to call stands at the front and at the back.
    fn body(&self, preset: &Preset, request: &ModelRequest) -> Value;
    /// Reads a plain reply.
    fn read(&self, body: &Value) -> Reading;
    /// Reads a streamed reply.
    fn stream(&self) -> Box<dyn StreamReader>;
}

/// Adds the preset's own fields. A null takes a field away (`max_tokens = null` with `max_completion_tokens` beside it).
pub(crate) fn merge_extra(body: &mut Map<String, Value>, extra: &Map<String, Value>) {
    for (field, value) in extra {
        if value.is_null() {
            body.shift_remove(field);
        } else {
            body.insert(field.clone(), value.clone());
        }
    }
}

/// Reads a stream that comes in these portions.
#[cfg(test)]
pub(crate) fn read_portions<'a>(
    dialect: &dyn Dialect,
    portions: impl IntoIterator<Item = &'a [u8]>,
) -> Reading {
    let mut stream = dialect.stream();
    let mut decoder = crate::sse::Decoder::default();
    for portion in portions {
        decoder.push(portion, |event| stream.take(&event));
    }
    if let Some(event) = decoder.finish() {
        stream.take(&event);
    }
    stream.read()
}
