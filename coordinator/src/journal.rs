//! The journal of a reign: what was out of the ordinary, as JSON lines, for people. Kept in memory until there is enough to store; never
//! read to decide anything, and a failure to store it fails nothing.

use crate::machine::Decision;
use bytes::Bytes;
use domain::env::Moment;
use serde::Serialize;
use std::time::Duration;

/// Stored when it has grown to this…
const FULL: usize = 256 * 1024;
/// …or is this old.
const OLD: Duration = Duration::from_secs(60);

/// Lines that are not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    lines: Vec<u8>,
    since: Option<Moment>,
    number: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    format: u32,
    time: &'a str,
    decision: &'a Decision,
}

impl Journal {
    pub(crate) fn write(&mut self, now: Moment, time: &str, decision: &Decision) {
        if serde_json::to_writer(&mut self.lines, &Line { format: 1, time, decision }).is_ok() {
            self.lines.push(b'\n');
            self.since.get_or_insert(now);
        }
    }

    /// What is due to be stored, with its number.
    pub(crate) fn due(&mut self, now: Moment) -> Option<(u64, Bytes)> {
        let old = self.since.is_some_and(|since| now.since(since) >= OLD);
        if old || self.lines.len() >= FULL { self.rest() } else { None }
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> Option<(u64, Bytes)> {
        if self.lines.is_empty() {
            return None;
        }
        self.since = None;
        self.number += 1;
        Some((self.number, std::mem::take(&mut self.lines).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_until_they_are_old_or_many() {
        let mut journal = Journal::default();
        let decision = Decision::Cancelled { reason: "enough\nof it".to_owned() };
        journal.write(Moment::from_millis(0), "t", &decision);
        assert_eq!(journal.due(Moment::from_millis(59_999)), None);
        let (number, lines) = journal.due(Moment::from_millis(60_000)).unwrap();
        assert_eq!(number, 1);
        assert_eq!(
            lines,
            "{\"format\":1,\"time\":\"t\",\"decision\":{\"type\":\"cancelled\",\"reason\":\"enough\\nof it\"}}\n"
        );
        assert_eq!(journal.rest(), None);
        journal.write(Moment::from_millis(60_000), "t", &decision);
        assert_eq!(journal.rest().unwrap().0, 2);
    }
}
