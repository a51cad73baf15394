//! Cutting and cleaning of text that came from outside.

/// Cuts a text to at most `max` bytes at a character boundary and says how much was left out.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n… ({} bytes left out)", &text[..end], text.len() - end)
}

/// Keeps the head and the tail of a text within `max` bytes: for output whose end matters most.
#[must_use]
pub fn cut_middle(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let half = max / 2;
    let mut head = half;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - half;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}\n… ({} bytes left out) …\n{}", &text[..head], tail - head, &text[tail..])
}

/// The known word nearest to a mistyped one, when it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nearest_finds_typos_and_nothing_else() {
        assert_eq!(nearest("expect_contain", ["expect_contains", "task"]), Some("expect_contains"));
        assert_eq!(nearest("zebra", ["expect_contains", "task"]), None);
    }

    proptest! {
        #[test]
        fn cuts_never_panic_and_keep_the_limit(text in ".{0,300}", max in 0usize..200) {
            for cut in [cut(&text, max), cut_middle(&text, max)] {
                prop_assert!(cut.len() <= text.len().max(max) + 48);
            }
        }
    }
}
