//! What response headers say about asking again. Absolute times are compared with the server's own `Date`, so that no two clocks
//! are compared; only a server without one is measured by our clock.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// What headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hints {
    /// Not before so much time has passed.
    pub after: Option<Duration>,
    /// Whether to ask again at all (`x-should-retry`).
    pub should_retry: Option<bool>,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok()
}

/// Reads the headers. `now_utc` is our clock, in ISO 8601.
pub(crate) fn read(headers: &HeaderMap, now_utc: &str) -> Hints {
    let now = text(headers, "date").and_then(http_date).or_else(|| now_utc.parse().ok());
    let after = text(headers, "retry-after-ms")
        .and_then(|text| text.parse::<f64>().ok())
        .and_then(|millis| seconds(millis / 1000.0))
        .or_else(|| text(headers, "retry-after").and_then(|text| moment(text, now)))
        .or_else(|| resets(headers, now));
    let should_retry = match text(headers, "x-should-retry") {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    Hints { after, should_retry }
}

fn http_date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// When the exhausted limit is refilled: `x-ratelimit-reset-requests` and its relatives. Limits that have something left are not
/// what refused us; when none says what is left, the latest reset counts.
fn resets(headers: &HeaderMap, now: Option<Timestamp>) -> Option<Duration> {
    let mut exhausted: Option<Duration> = None;
    let mut unknown: Option<Duration> = None;
    for (prefix, infix) in [("x-ratelimit-", true), ("anthropic-ratelimit-", false)] {
        for kind in ["", "requests", "tokens", "input-tokens", "output-tokens"] {
            let name = |what: &str| match (kind, infix) {
                ("", _) => format!("{prefix}{what}"),
                (kind, true) => format!("{prefix}{what}-{kind}"),
                (kind, false) => format!("{prefix}{kind}-{what}"),
            };
            let Some(reset) = text(headers, &name("reset")).and_then(|text| moment(text, now)) else {
                continue;
            };
            match text(headers, &name("remaining")).and_then(|text| text.parse::<f64>().ok()) {
                Some(left) if left >= 1.0 => {}
                Some(_) => exhausted = exhausted.max(Some(reset)),
                None => unknown = unknown.max(Some(reset)),
            }
        }
    }
    exhausted.or(unknown)
}

/// A length of time in any of the forms in use: `7`, `0.5`, `20ms`, `1m30s`, `6h0m1.5s`, a Unix time in seconds or milliseconds, an
/// HTTP date, RFC 3339.
fn moment(text: &str, now: Option<Timestamp>) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        // A number that would be decades is a time of day.
        return match number {
            number if number > 1e11 => until(Timestamp::from_millisecond(whole(number)?).ok()?, now),
            number if number > 1e9 => until(Timestamp::from_second(whole(number)?).ok()?, now),
            number => seconds(number),
        };
    }
    span(text).or_else(|| until(http_date(text).or_else(|| text.parse().ok())?, now))
}

fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be far below 2^53")]
    (number.is_finite() && number < 1e15).then_some(number as i64)
}

fn until(time: Timestamp, now: Option<Timestamp>) -> Option<Duration> {
    // A time that has passed already means: now.
    Some(Duration::try_from(time.duration_since(now?)).unwrap_or(Duration::ZERO))
}

/// `1h2m3.5s20ms`, as Go prints durations.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(seconds(number * scale)?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    const NOW: &str = "2026-11-20T17:43:47.000000+00:00";
    const DATE: &str = "Fri, 20 Nov 2026 10:00:00 GMT";

    fn hints(headers: &[(&str, &str)]) -> Hints {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        read(&map, NOW)
    }

    #[track_caller]
    fn check(headers: &[(&str, &str)], millis: Option<u64>) {
        assert_eq!(hints(headers).after, millis.map(Duration::from_millis), "{headers:?}");
    }

    #[test]
    fn retry_after_in_every_form() {
        check(&[], None);
        check(&[("retry-after", "7")], Some(7000));
        check(&[("retry-after", "0.5")], Some(500));
        check(&[("retry-after", "0")], Some(0));
        check(&[("retry-after-ms", "250"), ("retry-after", "9")], Some(250));
        check(&[("retry-after", "Fri, 20 Nov 2026 10:00:03 GMT"), ("date", DATE)], Some(3000));
        check(&[("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT"), ("date", DATE)], Some(0));
        check(&[("retry-after", "Fri, 20 Nov 2026 17:43:48 GMT")], Some(1000));
        for nonsense in ["soon", "-1", "NaN", "inf", ""] {
            check(&[("retry-after", nonsense)], None);
        }
    }

    #[test]
    fn rate_limit_resets_count_where_nothing_is_left() {
        check(&[("x-ratelimit-reset-requests", "1s")], Some(1000));
        check(&[("x-ratelimit-reset-requests", "20ms"), ("x-ratelimit-reset-tokens", "1m6s")], Some(66_000));
        check(
            &[
                ("x-ratelimit-reset-requests", "20ms"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-tokens", "6m0s"),
                ("x-ratelimit-remaining-tokens", "100"),
            ],
            Some(20),
        );
        check(&[("anthropic-ratelimit-requests-reset", "2026-11-20T10:00:05Z"), ("date", DATE)], Some(5000));
        check(&[("x-ratelimit-reset", "1795168805"), ("date", DATE)], Some(5000));
        check(&[("x-ratelimit-reset", "1795168805500"), ("date", DATE)], Some(5500));
        check(&[("retry-after", "2"), ("x-ratelimit-reset-requests", "9s")], Some(2000));
    }

    #[test]
    fn the_word_on_retrying_is_read() {
        assert_eq!(hints(&[("x-should-retry", "false")]).should_retry, Some(false));
        assert_eq!(hints(&[("x-should-retry", "true")]).should_retry, Some(true));
        assert_eq!(hints(&[("x-should-retry", "maybe")]).should_retry, None);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,30}", date in "[ -~]{0,30}") {
            hints(&[("retry-after", &value), ("date", &date), ("x-ratelimit-reset-tokens", &value)]);
        }
    }
}
