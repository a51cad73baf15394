//! Numbers and foreign text made readable. Everything a model, a tool or a file said passes through here before it is shown: control
//! characters, terminal escapes and direction overrides become visible instead of acting.

use crate::stats::Interval;
use crate::summary::{Cost, Tokens};
use std::fmt::Write as _;

/// Makes a text safe to look at. Newlines and tabs stay; everything that would act or hide becomes visible.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' if rest.peek() == Some(&'\n') => {}
            '\0'..='\x1f' => shown.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\x7f' => shown.push('\u{2421}'),
            _ if acts(c) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\u{27e8}U+{:04X}\u{27e9}", u32::from(c));
            }
            _ => shown.push(c),
        }
    }
    shown
}

/// C1 controls, line and paragraph separators, direction marks and overrides, invisible fillers, tags. Joiners stay: scripts and emoji
/// need them.
const fn acts(c: char) -> bool {
    matches!(
        c,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// One visible line of at most about `max` bytes.
#[must_use]
pub fn brief(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = &text[..end];
    let mut line = visible(cut).split_whitespace().collect::<Vec<_>>().join(" ");
    if end < text.len() {
        line.push('\u{2026}');
    }
    line
}

/// A Markdown table cell, or any inline text: one line, with what Markdown or HTML would act upon escaped.
#[must_use]
pub fn cell(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '\n' | '\t' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '\\' | '`' | '[' | ']' | '*' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    let trimmed = escaped.trim();
    if trimmed.is_empty() { "-".to_owned() } else { trimmed.to_owned() }
}

/// A fenced block whose fence is longer than any run of backticks inside.
#[must_use]
pub fn fence(text: &str) -> String {
    let shown = visible(text);
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{}\n{fence}", shown.trim_end_matches('\n'))
}

/// `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `83.3%`, or `-`.
#[must_use]
pub fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", rate * 100.0))
}

/// `+33.3 points`.
#[must_use]
pub fn points(difference: f64) -> String {
    // Adding 0 turns a negative zero into a plain one.
    let value = (difference * 1000.0).round() / 10.0 + 0.0;
    format!("{value:+.1} points")
}

/// `-77.0 to -14.3`.
#[must_use]
pub fn point_range(interval: Interval) -> String {
    let [low, high] = [interval.low, interval.high].map(|end| (end * 1000.0).round() / 10.0 + 0.0);
    format!("{low:+.1} to {high:+.1}")
}

/// `0.031`, `<0.001`.
#[must_use]
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// `p = 0.031`, `p < 0.001`.
#[must_use]
pub fn p_equation(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

/// A number with a fixed number of decimals, or `-`.
#[must_use]
pub fn decimals(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
}

/// `340 ms`, `12.3 s`, `4 min 05 s`, `1 h 02 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    if seconds < 0.9995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and not negative")]
    let whole = seconds.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = whole.div_ceil(30) / 2;
    format!("{} h {:02} min", thousands(minutes / 60), minutes % 60)
}

/// `$0.0123`, with as many digits as it takes to say something.
#[must_use]
pub fn dollars(amount: f64) -> String {
    let places = if amount == 0.0 || amount >= 1.0 {
        2
    } else if amount >= 0.01 {
        4
    } else {
        6
    };
    if amount < 1000.0 {
        return format!("${amount:.places$}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, not negative, far below 2^63"
    )]
    let cents = (amount * 100.0).round() as u64;
    format!("${}.{:02}", thousands(cents / 100), cents % 100)
}

/// Exact tokens: `12,345`, `at least 12,345`, `unknown`.
#[must_use]
pub fn tokens(tokens: &Tokens, part: Option<u64>) -> String {
    match part {
        None if tokens.calls == 0 && tokens.unknown_trials == 0 => "-".to_owned(),
        None => "unknown".to_owned(),
        Some(count) if tokens.complete => thousands(count),
        Some(count) => format!("at least {}", thousands(count)),
    }
}

/// Money: `$1.23`, `at least $1.23`, `unknown`.
#[must_use]
pub fn cost(cost: &Cost) -> String {
    match cost.usd {
        Some(usd) => dollars(usd),
        None if cost.unknown_trials == 0 => "-".to_owned(),
        None if cost.known_usd > 0.0 => format!("at least {}", dollars(cost.known_usd)),
        None => "unknown".to_owned(),
    }
}

/// `1 trial`, `2 trials`.
#[must_use]
pub fn plural(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{} {word}s", thousands(count)) }
}

/// `2026-11-20 17:45:12 UTC` of an ISO time in UTC; any other text stays.
#[must_use]
pub fn readable_time(time: &str) -> String {
    let utc = time.ends_with('Z') || time.ends_with("+00:00");
    match (time.get(..10), time.get(10..11), time.get(11..19)) {
        (Some(day), Some("T"), Some(clock)) if utc => format!("{day} {clock} UTC"),
        _ => time.to_owned(),
    }
}

/// The original's `YYYYMMDD-HHMMSS` of an ISO time; any other text stays.
#[must_use]
pub fn compact_time(time: &str) -> String {
    let digits: String = time.chars().take(19).filter(char::is_ascii_digit).collect();
    let is_iso =
        time.len() >= 19 && time.is_ascii() && time.as_bytes().get(4) == Some(&b'-') && digits.len() == 14;
    if is_iso { format!("{}-{}", &digits[..8], &digits[8..]) } else { time.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_act_becomes_visible() {
        assert_eq!(visible("a\x1b[31mred\0\x07\x7f\r\nnext\rover"), "a␛[31mred␀␇␡\nnext␍over");
        assert_eq!(
            visible("safe\u{202e}exe.txt\u{2066}\u{2028}\u{85}"),
            "safe⟨U+202E⟩exe.txt⟨U+2066⟩⟨U+2028⟩⟨U+0085⟩"
        );
        assert_eq!(visible("👩‍💻 می‌خواهم 修复"), "👩‍💻 می‌خواهم 修复");
    }

    #[test]
    fn cells_stay_one_cell() {
        assert_eq!(cell("a|b\nc"), "a\\|b c");
        assert_eq!(cell("<img src=x onerror=1>"), "&lt;img src=x onerror=1&gt;");
        assert_eq!(cell("[x](javascript:1) `y`"), "\\[x\\](javascript:1) \\`y\\`");
        assert_eq!(cell(" \n "), "-");
    }

    #[test]
    fn fences_hold() {
        assert_eq!(fence("a\n"), "```text\na\n```");
        assert_eq!(fence("```\nbreak out\n````"), "`````text\n```\nbreak out\n````\n`````");
    }

    #[test]
    fn numbers_read_well() {
        let times = [0.0, 0.0504, 0.99999, 12.34, 99.96, 245.0, 3600.0, 3_725.0].map(duration);
        assert_eq!(
            times,
            ["0 ms", "50 ms", "1.0 s", "12.3 s", "1 min 40 s", "4 min 05 s", "1 h 00 min", "1 h 02 min"]
        );
        assert_eq!(
            [0.0, 1.5, 0.0123, 0.000_012, 12_463.051].map(dollars),
            ["$0.00", "$1.50", "$0.0123", "$0.000012", "$12,463.05"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.25, -0.0001, -1.0].map(points), ["+25.0 points", "+0.0 points", "-100.0 points"]);
    }

    #[test]
    fn started_at_keeps_the_originals_form() {
        assert_eq!(compact_time("2026-11-20T17:43:47.649981+00:00"), "20261120-174347");
        assert_eq!(compact_time("2026-11-20T17:43:47Z"), "20261120-174347");
        assert_eq!(compact_time("20261120-174347"), "20261120-174347");
        assert_eq!(compact_time("yesterday"), "yesterday");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_survives(text in "\\PC{0,40}|.{0,40}|[\u{0}-\u{2100}]{0,40}", max in 0usize..50) {
            let quiet = |c: char| !acts(c) && (!c.is_control() || c == '\n' || c == '\t');
            prop_assert!(visible(&text).chars().all(quiet));
            prop_assert!(brief(&text, max).chars().all(|c| quiet(c) && c != '\n'));
            prop_assert!(!cell(&text).contains(['\n', '<', '\t']));
            let block = fence(&text);
            let bar = block.lines().next().unwrap().trim_end_matches("text").to_owned();
            prop_assert_eq!(block.matches(&bar).count(), 2);
        }
    }
}
