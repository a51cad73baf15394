//! The frame of every page and its small parts.

use crate::compare::{Banner, Level};
use crate::settings::Setting;
use crate::stats::Interval;
use crate::summary::Summary;
use crate::text::{percent, plural, visible};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// Base64 SHA-256 of [`STYLE`] and [`SCRIPT`] for the content security policy; a test keeps them true.
const STYLE_HASH: &str = "YQBX6a8RnhgCSp1lpLD6EIdr1a/GyyM0n/VHQ7UrtRw=";
const SCRIPT_HASH: &str = "hak8uaACtgQ3T0metSKC8Fy5XiquGwNQSL+RxevVHeo=";

/// Foreign text, made visible; maud escapes it.
pub(super) fn show(text: &str) -> String {
    visible(text)
}

/// A whole page.
pub(super) fn page(title: &str, head: &Markup, body: &Markup, foot: &Markup) -> String {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'"
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (show(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (hatch())
                header { (head) }
                main { (body) }
                footer { (foot) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    let mut page = page.into_string();
    page.push('\n');
    page
}

/// The pattern of errors: told apart by more than its colour.
fn hatch() -> Markup {
    html! {
        svg width="0" height="0" aria-hidden="true" focusable="false" {
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch-bg" width="6" height="6" {}
                    line class="hatch-line" x1="0" y1="0" x2="0" y2="6" {}
                }
            }
        }
    }
}

pub(super) fn banners(banners: &[Banner]) -> Markup {
    html! {
        @for banner in banners {
            div class=(match banner.level { Level::Warning => "banner warning", Level::Note => "banner" }) role="note" {
                p { strong { (show(&banner.title)) ". " } (show(&banner.text)) }
            }
        }
    }
}

/// A number to see from afar.
pub(super) fn card(name: &str, value: &str, more: &str) -> Markup {
    let value = show(value);
    // A number must not break in the middle.
    let class = match value.chars().count() {
        0..=9 => "",
        10..=12 => "mid",
        _ => "long",
    };
    html! {
        dl class="card" {
            dt { (name) }
            dd class=[(!class.is_empty()).then_some(class)] { (value) }
            @if !more.is_empty() { p { (show(more)) } }
        }
    }
}

/// A table in a container of its own that scrolls sideways. The first `left` columns are text, the rest numbers.
pub(super) fn table(titles: &[&str], left: usize, rows: &[Vec<Markup>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(titles.join(", ")) {
            table {
                thead { tr { @for (at, title) in titles.iter().enumerate() { th scope="col" class=[(at >= left).then_some("num")] { (title) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } }
                                @else { td class=[(at >= left).then_some("num")] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn linked(text: &str, href: Option<&str>) -> Markup {
    html! { @if let Some(href) = href { a href=(href) { (show(text)) } } @else { (show(text)) } }
}

pub(super) fn plain(text: impl AsRef<str>) -> Markup {
    html! { (show(text.as_ref())) }
}

/// `72.3% to 98.5%`.
pub(super) fn interval(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |ends| format!("{} to {}", percent(Some(ends.low)), percent(Some(ends.high))),
    )
}

/// What a chip says and how it looks: symbol, then word.
pub(super) fn symbol(outcome: &str) -> &'static str {
    match outcome {
        "passed" => "\u{2713}",
        "failed" => "\u{2717}",
        _ => "!",
    }
}

pub(super) fn settings(settings: &[Setting], notes: &[String]) -> Markup {
    if settings.is_empty() && notes.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { @if settings.is_empty() { "Notes" } @else { "How it was run" } }
            @if !settings.is_empty() {
                dl class="settings" {
                    @for setting in settings { dt { (show(&setting.name)) } dd { (show(&setting.value)) } }
                }
            }
            @if !notes.is_empty() {
                @if !settings.is_empty() { h3 { "Notes" } }
                ul { @for note in notes { li { (show(note)) } } }
            }
        }
    }
}

/// Chances over several trials: one row a column, one column a number of trials.
pub(super) fn reliability(columns: &[(&str, &Summary)]) -> Markup {
    let mut numbers: Vec<u32> =
        columns.iter().flat_map(|(_, summary)| &summary.reliability).map(|chance| chance.k).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() {
        return html! {};
    }
    let mut titles = vec!["Column".to_owned()];
    titles.extend(numbers.iter().map(|k| format!("k = {k}")));
    let cell = |summary: &Summary, k: u32| {
        let chance = summary.reliability.iter().find(|chance| chance.k == k);
        html! {
            @if let Some(chance) = chance {
                b { (percent(Some(chance.pass_at_k))) }
                span class="sub" { "all: " (percent(Some(chance.pass_all_k))) }
                @if chance.cases < summary.cases { span class="sub" { (plural(chance.cases, "case")) } }
            } @else { "-" }
        }
    };
    let rows: Vec<Vec<Markup>> = columns
        .iter()
        .map(|(title, summary)| {
            let mut row = vec![plain(title)];
            row.extend(numbers.iter().map(|k| cell(summary, *k)));
            row
        })
        .collect();
    html! {
        section {
            h2 { "Reliability over several trials" }
            p class="lede" { "The chance that at least one of k trials of a case passes (pass@k), and below it that all k do (pass^k). Means over the cases with at least k measured trials." }
            (table(&titles.iter().map(String::as_str).collect::<Vec<_>>(), 1, &rows))
        }
    }
}

/// The words under every page: what the numbers are and are not.
pub(super) fn definitions() -> Markup {
    html! {
        p {
            "A pass rate is passed trials over measured trials. Errors (provider, workspace or machine trouble) and undecided trials are in no rate. "
            "Intervals are 95 % Wilson score intervals; where a case has several trials or cases form clusters, at the effective number of independent trials. "
            "Differences are paired by case and trial (Newcombe's interval; exact sign-flip test over clusters, which is McNemar's test when each case has one pair; Holm's correction over all columns compared). "
            "Tokens and money are those of the attempts that verdicts rest on; what nobody reported is unknown, not zero."
        }
    }
}

#[cfg(test)]
pub(super) const SOURCES: [(&str, &str); 2] = [(STYLE, STYLE_HASH), (SCRIPT, SCRIPT_HASH)];
