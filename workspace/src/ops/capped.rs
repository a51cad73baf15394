//! Keeping the head and the tail of a stream of any length in fixed memory.

use std::collections::VecDeque;

/// What is kept of a stream.
#[derive(Debug)]
pub(super) struct Capped {
    head: Vec<u8>,
    head_cap: usize,
    tail: VecDeque<u8>,
    tail_cap: usize,
    dropped: u64,
}

impl Capped {
    pub(super) fn new(cap: usize) -> Self {
        let head_cap = cap.div_ceil(2);
        Self { head: Vec::new(), head_cap, tail: VecDeque::new(), tail_cap: cap - head_cap, dropped: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = (self.head_cap - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let rest = &bytes[room..];
        let kept = &rest[rest.len().saturating_sub(self.tail_cap)..];
        let over = (self.tail.len() + kept.len()).saturating_sub(self.tail_cap);
        self.tail.drain(..over);
        self.tail.extend(kept);
        self.dropped += (rest.len() - kept.len() + over) as u64;
    }

    /// Head and tail in one, and how many bytes are missing between them.
    pub(super) fn finish(self) -> (Vec<u8>, u64) {
        let mut bytes = self.head;
        let (front, back) = self.tail.as_slices();
        bytes.extend_from_slice(front);
        bytes.extend_from_slice(back);
        (bytes, self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_the_head_and_the_tail(cap in 0_usize..40, pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..12)) {
            let mut capped = Capped::new(cap);
            for piece in &pieces {
                capped.push(piece);
            }
            let whole = pieces.concat();
            let (kept, dropped) = capped.finish();
            prop_assert_eq!(kept.len() as u64 + dropped, whole.len() as u64);
            if whole.len() <= cap {
                prop_assert_eq!(kept, whole);
            } else {
                let head = cap.div_ceil(2);
                prop_assert_eq!(kept.len(), cap);
                prop_assert_eq!(&kept[..head], &whole[..head]);
                prop_assert_eq!(&kept[head..], &whole[whole.len() - (cap - head)..]);
            }
        }
    }
}
