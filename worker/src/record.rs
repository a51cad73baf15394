//! What an attempt says while it runs: lines of trace and transcript, cleaned of keys (invariant K1), gathered into chunks that are
//! closed at a size or an age. Stores nothing.

use bytes::Bytes;
use domain::env::Moment;
use domain::secret::Redactor;
use domain::trace::TraceEvent;
use run_folder::ChunkKind;
use std::time::Duration;

/// When a chunk is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimits {
    /// At so many bytes.
    pub(crate) bytes: usize,
    /// So long after its first line.
    pub(crate) age: Duration,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { bytes: 1024 * 1024, age: Duration::from_secs(60) }
    }
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// When it is too old; set by its first line.
    ripe_at: Option<Moment>,
}

impl Buffer {
    fn take(&mut self) -> Bytes {
        self.ripe_at = None;
        Bytes::from(std::mem::take(&mut self.bytes))
    }
}

/// The lines of one attempt that are not stored yet.
#[derive(Debug)]
pub(crate) struct Recorder {
    redactor: Redactor,
    limits: ChunkLimits,
    trace: Buffer,
    transcript: Buffer,
}

impl Recorder {
    /// Nothing recorded.
    pub(crate) fn new(redactor: Redactor, limits: ChunkLimits) -> Self {
        Self { redactor, limits, trace: Buffer::default(), transcript: Buffer::default() }
    }

    /// Knows every key that may be met here.
    pub(crate) const fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Adds an event to the trace.
    pub(crate) fn event(&mut self, now: Moment, time: &str, event: &TraceEvent) {
        let line = event.to_line(time);
        self.line(now, ChunkKind::Trace, &line);
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, now: Moment, kind: ChunkKind, line: &str) {
        let age = self.limits.age;
        let cleaned = self.redactor.clean_bytes(line.as_bytes());
        let buffer = self.buffer(kind);
        buffer.bytes.extend_from_slice(cleaned.as_deref().unwrap_or(line.as_bytes()));
        buffer.bytes.push(b'\n');
        buffer.ripe_at.get_or_insert(now + age);
    }

    /// A chunk that is to be closed now.
    pub(crate) fn ripe(&mut self, now: Moment) -> Option<(ChunkKind, Bytes)> {
        let limit = self.limits.bytes;
        ChunkKind::ALL.into_iter().find_map(|kind| {
            let buffer = self.buffer(kind);
            let ripe = buffer.bytes.len() >= limit || buffer.ripe_at.is_some_and(|at| at <= now);
            ripe.then(|| (kind, buffer.take()))
        })
    }

    /// When the next chunk is closed by its age.
    pub(crate) fn ripe_at(&self) -> Option<Moment> {
        [self.trace.ripe_at, self.transcript.ripe_at].into_iter().flatten().min()
    }

    /// Whatever is left, as last chunks.
    pub(crate) fn rest(&mut self) -> Vec<(ChunkKind, Bytes)> {
        ChunkKind::ALL
            .into_iter()
            .filter_map(|kind| {
                let bytes = self.buffer(kind).take();
                (!bytes.is_empty()).then_some((kind, bytes))
            })
            .collect()
    }

    const fn buffer(&mut self, kind: ChunkKind) -> &mut Buffer {
        match kind {
            ChunkKind::Trace => &mut self.trace,
            ChunkKind::Transcript => &mut self.transcript,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    fn recorder() -> Recorder {
        let limits = ChunkLimits { bytes: 10, age: Duration::from_secs(60) };
        Recorder::new(Redactor::new(["sk-canary-123456"]), limits)
    }

    #[test]
    fn chunks_close_at_a_size_or_an_age() {
        let mut recorder = recorder();
        recorder.line(at(0), ChunkKind::Trace, "12345");
        assert_eq!(recorder.ripe(at(59)), None);
        recorder.line(at(59), ChunkKind::Trace, "678");
        assert_eq!(recorder.ripe(at(59)), Some((ChunkKind::Trace, Bytes::from("12345\n678\n"))));
        assert_eq!(recorder.ripe(at(200)), None);
        recorder.line(at(200), ChunkKind::Transcript, "a");
        assert_eq!(recorder.ripe_at(), Some(at(260)));
        assert_eq!(recorder.ripe(at(260)), Some((ChunkKind::Transcript, Bytes::from("a\n"))));
        assert_eq!(recorder.ripe_at(), None);
    }

    #[test]
    fn the_rest_is_whole_lines_and_comes_once() {
        let mut recorder = recorder();
        recorder.event(at(0), "t", &TraceEvent::Note { text: "x".to_owned() });
        recorder.line(at(0), ChunkKind::Transcript, "{}");
        let rest = recorder.rest();
        assert_eq!(rest.len(), 2);
        assert!(rest.iter().all(|(_, bytes)| bytes.ends_with(b"\n")));
        assert_eq!(recorder.rest(), []);
    }

    #[test]
    fn k1_keys_are_replaced_before_anything_is_kept() {
        let mut recorder = recorder();
        recorder.event(at(0), "t", &TraceEvent::Note { text: "key sk-canary-123456".to_owned() });
        let rest = recorder.rest();
        let text = String::from_utf8_lossy(&rest[0].1);
        assert!(text.contains("key ****") && !text.contains("canary"), "{text}");
    }
}
