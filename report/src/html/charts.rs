//! Bars, drawn as inline SVG in percent of their width. Every bar has its numbers beside it as text.

use super::page::{interval, show};
use crate::stats::{Difference, Interval};
use crate::summary::{Count, Summary};
use crate::text::{percent, point_range, points, thousands};
use domain::outcome::Failure;
use maud::{Markup, html};

/// A place on an axis, in percent with two decimals, so that pages do not differ in the last bits.
fn at(share: f64) -> String {
    format!("{:.2}%", share.clamp(0.0, 1.0) * 100.0)
}

fn grid(zero: Option<f64>) -> Markup {
    html! {
        @for line in [0.0, 0.25, 0.5, 0.75, 1.0] {
            line class=(if zero == Some(line) { "zero" } else { "gridline" }) x1=(at(line)) x2=(at(line)) y1="0" y2="34" {}
        }
    }
}

fn whiskers(low: f64, high: f64, middle: f64) -> Markup {
    let width = (high - low).max(0.0);
    html! {
        rect class="band" x=(at(low)) width=(at(width)) y="11" height="12" rx="3" {}
        @for end in [low, high] { line class="whisker" x1=(at(end)) x2=(at(end)) y1="9" y2="25" {} }
        circle class="dot" cx=(at(middle)) cy="17" r="7" {}
    }
}

/// The labels of an axis, under its lanes.
fn axis(labels: [&str; 5]) -> Markup {
    html! {
        div class="lane axis" aria-hidden="true" {
            span {}
            div class="plot" {
                svg height="16" {
                    @for (place, label) in labels.iter().enumerate() {
                        @let (x, anchor) = match place { 0 => ("0%", "start"), 1 => ("25%", "middle"), 2 => ("50%", "middle"), 3 => ("75%", "middle"), _ => ("100%", "end") };
                        text x=(x) y="12" text-anchor=(anchor) { (label) }
                    }
                }
            }
            span {}
        }
    }
}

/// One lane of the chart of pass rates.
fn rate_lane(name: &Markup, summary: &Summary) -> Markup {
    let label =
        format!("{} passed, 95 % interval {}", percent(summary.pass_rate), interval(summary.interval));
    html! {
        div class="lane" {
            div class="name" { (name) }
            div class="plot" {
                svg height="34" role="img" aria-label=(label) {
                    (grid(None))
                    @if let (Some(Interval { low, high }), Some(rate)) = (summary.interval, summary.pass_rate) { (whiskers(low, high, rate)) }
                }
            }
            div class="value" {
                @if summary.pass_rate.is_some() {
                    b { (percent(summary.pass_rate)) } " " span class="muted" { (thousands(summary.passed)) "/" (thousands(summary.measured)) }
                    small { (interval(summary.interval)) }
                } @else { b { "no rate" } }
                @if !summary.valid && let Some(why) = &summary.validity { small { "\u{26a0} " (show(why)) } }
            }
        }
    }
}

/// Pass rates with their intervals, one lane each.
pub(super) fn rates(lanes: &[(Markup, &Summary)]) -> Markup {
    html! {
        div class="chart" {
            @for (name, summary) in lanes { (rate_lane(name, summary)) }
            (axis(["0%", "25%", "50%", "75%", "100%"]))
        }
    }
}

/// One compared pair: names, what was found, how it reads.
pub(super) struct DifferenceLane<'a> {
    pub(super) name: Markup,
    pub(super) found: Option<&'a Difference>,
    pub(super) clear: bool,
    pub(super) verdict: &'a str,
    pub(super) more: String,
}

/// Differences with their intervals, one lane each.
pub(super) fn differences(lanes: &[DifferenceLane<'_>]) -> Markup {
    let share = |difference: f64| (difference + 1.0) / 2.0;
    html! {
        div class="chart" {
            @for lane in lanes {
                @let class = match lane.found { Some(found) if lane.clear && found.estimate > 0.0 => "lane better", Some(_) if lane.clear => "lane worse", _ => "lane unclear" };
                div class=(class) {
                    div class="name" { (lane.name) }
                    div class="plot" {
                        @let label = lane.found.map_or_else(|| "no pairs".to_owned(), |found| format!("{}, 95 % interval {}", points(found.estimate), point_range(found.interval)));
                        svg height="34" role="img" aria-label=(label) {
                            (grid(Some(0.5)))
                            @if let Some(found) = lane.found { (whiskers(share(found.interval.low), share(found.interval.high), share(found.estimate))) }
                        }
                    }
                    div class="value" {
                        @if let Some(found) = lane.found {
                            b { (points(found.estimate)) }
                            small { "95 %: " (point_range(found.interval)) }
                        }
                        small { strong { (lane.verdict) } }
                        small { (lane.more) }
                    }
                }
            }
            (axis(["\u{2212}100", "\u{2212}50", "0 points", "+50", "+100"]))
        }
    }
}

/// The class of a failure's colour; colours repeat for words nobody knows, the words stand beside them.
fn failure_class(word: &str, place: usize) -> String {
    // By how often they are met, so that the commonest are furthest apart.
    const ORDER: [Failure; 8] = [
        Failure::VerificationFailure,
        Failure::MaxSteps,
        Failure::ExpectationMismatch,
        Failure::ToolFailure,
        Failure::Exception,
        Failure::TimeLimit,
        Failure::BudgetExhausted,
        Failure::ModelMismatch,
    ];
    let number = ORDER.iter().position(|why| why.as_str() == word).unwrap_or(place);
    format!("s-f{}", number % 8)
}

struct Part {
    class: String,
    word: String,
    count: u64,
}

fn parts(summary: &Summary) -> Vec<Part> {
    let part =
        |class: &str, word: &str, count: u64| Part { class: class.to_owned(), word: word.to_owned(), count };
    let mut parts = vec![part("s-pass", "passed", summary.passed)];
    let failures = summary.failures.iter().enumerate();
    parts.extend(
        failures.map(|(place, Count { word, count })| part(&failure_class(word, place), word, *count)),
    );
    parts.extend(
        summary.errors.iter().map(|Count { word, count }| part("s-err", &format!("error: {word}"), *count)),
    );
    parts.push(part("s-missing", "not decided", summary.missing));
    parts.retain(|part| part.count > 0);
    parts
}

/// How the trials of a column ended: one stacked bar and its words.
pub(super) fn ends(name: &Markup, more: &str, summary: &Summary) -> Markup {
    let parts = parts(summary);
    let all = parts.iter().map(|part| part.count).sum::<u64>().max(1);
    let mut left = 0;
    let mut placed = Vec::new();
    for part in &parts {
        placed.push((
            part,
            crate::summary::float(left) / crate::summary::float(all),
            crate::summary::float(part.count) / crate::summary::float(all),
        ));
        left += part.count;
    }
    html! {
        div class="ends" {
            div class="name" { span { (name) } small { (more) } }
            svg height="26" aria-hidden="true" {
                rect class="track" x="0" y="4" width="100%" height="18" rx="3" {}
                @for (part, start, width) in &placed {
                    rect class=(part.class) x=(at(*start)) y="4" width=(at(*width)) height="18" { title { (show(&part.word)) ": " (thousands(part.count)) } }
                    @if *start > 0.0 { line class="hatch-line" x1=(at(*start)) x2=(at(*start)) y1="4" y2="22" {} }
                }
            }
            ul class="words" {
                @for part in &parts {
                    li {
                        svg width="11" height="11" aria-hidden="true" { rect class=(part.class) width="11" height="11" rx="2" {} }
                        span { b { (thousands(part.count)) } " " (show(&part.word)) }
                    }
                }
            }
        }
    }
}
