//! Server-sent events, as the WHATWG text says: every line ending, byte-order mark, comments, any chunking. Owns bytes → events;
//! knows nothing of what the events mean. Unknown fields and lines without a colon are ignored, because a reply that was paid for
//! must not be lost to one odd line.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its name, when it has one.
    pub name: Option<String>,
    /// Its data lines, joined.
    pub data: String,
}

/// Takes bytes in any portions and gives the events that are whole.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    name: Option<String>,
    data: Option<String>,
    /// The last portion ended in a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    begun: bool,
}

impl Decoder {
    /// Takes the next bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(Event)) {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&bytes[..end]);
            let returned = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if returned {
                self.after_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            if let Some(event) = self.end_line() {
                take(event);
            }
        }
        self.line.extend_from_slice(bytes);
    }

    /// The stream is over: an event without its empty line counts too, since some servers leave out the last one.
    pub(crate) fn finish(&mut self) -> Option<Event> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.dispatch()
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut rest = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            rest = rest.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(rest);
        }
        if rest.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match rest.iter().position(|byte| *byte == b':') {
            Some(colon) => (&rest[..colon], &rest[colon + 1..]),
            None => (rest, &[][..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                None => self.data = Some(value.into_owned()),
            },
            b"event" => self.name = Some(value.into_owned()),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = self.name.take();
        self.data.take().map(|data| Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use proptest::prelude::*;

    fn decode(portions: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for portion in portions {
            decoder.push(portion, |event| events.push(event));
        }
        events.extend(decoder.finish());
        events
    }

    /// What another implementation makes of the same bytes.
    fn oracle(bytes: &[u8]) -> Option<Vec<Event>> {
        let body = bytes::Bytes::copy_from_slice(bytes);
        let stream = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
        let events: Vec<_> = sse_stream::SseStream::from_bytes_stream(stream).collect().now_or_never()?;
        events.into_iter().map(|event| event.ok()).collect::<Option<Vec<_>>>().map(|events| {
            events
                .into_iter()
                .filter_map(|event| event.data.map(|data| Event { name: event.event, data }))
                .collect()
        })
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &[(Option<&str>, &str)]) {
        let expected: Vec<Event> = expected
            .iter()
            .map(|(name, data)| Event { name: name.map(str::to_owned), data: (*data).to_owned() })
            .collect();
        for split in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(split);
            assert_eq!(decode(&[head, tail]), expected, "split at {split}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single), expected);
    }

    #[test]
    fn all_forms_are_read_at_every_split() {
        check(b"data: a\n\ndata: b\n\n", &[(None, "a"), (None, "b")]);
        check(b"data: a\r\n\r\ndata: b\r\rdata:c\n\n", &[(None, "a"), (None, "b"), (None, "c")]);
        check(b"\xEF\xBB\xBFdata: a\n\n", &[(None, "a")]);
        check(b": comment\n\nevent: e\ndata: a\ndata: b\n\n", &[(Some("e"), "a\nb")]);
        check(b"id: 1\nretry: soon\nnonsense\nx: y\ndata:  a\n\n", &[(None, " a")]);
        check(b"event: lonely\n\ndata: a\n\n", &[(None, "a")]);
        check("data: ä€😀\n\n".as_bytes(), &[(None, "ä€😀")]);
        check(b"data: \xff\n\n", &[(None, "\u{fffd}")]);
        check(b"data: [DONE]", &[(None, "[DONE]")]);
        check(b"data\n\n", &[(None, "")]);
        check(b"", &[]);
    }

    proptest! {
        #[test]
        fn another_implementation_agrees(
            lines in prop::collection::vec(
                (prop_oneof![Just(""), Just("data: x"), Just("data:"), Just(": c"), Just("event: e"), Just("data: ä")],
                 prop_oneof![Just("\n"), Just("\r\n"), Just("\r")]), 0..20),
            splits in prop::collection::vec(1usize..7, 1..10),
        ) {
            let mut bytes: Vec<u8> = lines.iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect();
            bytes.extend_from_slice(b"\n\n");
            let mut portions: Vec<&[u8]> = Vec::new();
            let mut rest = bytes.as_slice();
            for split in splits.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*split).min(rest.len()));
                portions.push(head);
                rest = tail;
            }
            let ours = decode(&portions);
            if let Some(theirs) = oracle(&bytes) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
