//! `report.html` of one preset.

use super::charts;
use super::page::{banners, card, definitions, interval, page, reliability, settings, show, symbol};
use crate::links::Target;
use crate::preset::{PresetReport, ResultEntry};
use crate::settings::{Setting, of_run};
use crate::table::{Sample, Texts};
use crate::text::{self, duration, percent, plural, thousands};
use maud::{Markup, html};

/// Results on a page, and bytes of summaries and errors on it. Beyond them only what did not pass is shown, then what fits.
const MAX_RESULTS: usize = 1_000;
const MAX_TEXT: usize = 4_000_000;

impl PresetReport<'_> {
    /// The report as a page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let title = format!("Eval report: {}, {}", self.suite(), self.column.title);
        let chosen = self.chosen();
        let body = html! {
            (banners(&self.banners()))
            (self.cards())
            section {
                h2 { "Pass rate" }
                (charts::rates(&[(html! { (show(&self.column.title)) }, &self.summary)]))
                (charts::ends(&html! { "How trials ended" }, &plural(self.summary.planned, "trial"), &self.summary))
            }
            (reliability(&[(self.column.title.as_str(), &self.summary)]))
            (self.results(&chosen))
            (self.summaries(&chosen))
            (settings(&self.settings(), &self.view.notes))
        };
        page(&title, &self.head(), &body, &definitions())
    }

    fn head(&self) -> Markup {
        html! {
            p class="eyebrow" { "Eval report" }
            h1 { (show(&self.suite())) }
            ul class="meta" {
                li { "Preset " b { (show(&self.column.title)) } }
                li { "Run " b class="mono" { (show(self.view.run.as_str())) } }
                li { (show(&self.view.tool)) }
                @if let Some(href) = self.links.to(Target::Comparison) { li { a href=(href) { "Comparison with the other presets" } } }
            }
            @for suite in &self.view.suites {
                @if let Some(description) = &suite.description { p class="lede" { @if self.view.suites.len() > 1 { b { (show(&suite.name)) } ": " } (show(description)) } }
            }
        }
    }

    /// The original's four cards, then ours.
    fn cards(&self) -> Markup {
        let summary = &self.summary;
        html! {
            div class="cards eight" {
                (card("Passed", &format!("{}/{}", thousands(summary.passed), thousands(summary.measured)), &format!("{}; 95 %: {}", percent(summary.pass_rate), interval(summary.interval))))
                (card("Started", &text::readable_time(&self.view.created_at), ""))
                (card("Provider", &self.column.provider, ""))
                (card("Model", &self.column.model, ""))
                (card("Errors", &thousands(summary.errored), if summary.errored == 0 { "" } else { "could not be measured; in no rate" }))
                (card("Tokens", &text::tokens(&summary.tokens, summary.tokens.total), &plural(summary.tokens.calls, "model call")))
                (card("Cost", &text::cost(&summary.cost), &summary.cost.usd_per_pass.map(|each| format!("{} a pass", text::dollars(each))).unwrap_or_default()))
                (card("Median time", &summary.seconds.median.map_or_else(|| "-".to_owned(), duration), &format!("{} in all", duration(summary.seconds.total))))
            }
        }
    }

    /// The results of the page: all, or when there are too many, those that did not pass first.
    fn chosen(&self) -> Vec<(&Sample, &Texts)> {
        let all = self.column.samples.len();
        let imperfect = self.column.samples.iter().filter(|sample| !sample.end.passed()).count();
        let mut room_passed = MAX_RESULTS.saturating_sub(imperfect);
        let mut room_imperfect = MAX_RESULTS;
        let fits = |sample: &Sample| {
            if all <= MAX_RESULTS {
                return true;
            }
            let room = if sample.end.passed() { &mut room_passed } else { &mut room_imperfect };
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        };
        let mut fits = fits;
        self.samples().filter(|(sample, _)| fits(sample)).collect()
    }

    fn results(&self, chosen: &[(&Sample, &Texts)]) -> Markup {
        let all = self.column.samples.len();
        html! {
            section class="results" {
                h2 { "Results" }
                @if chosen.len() < all {
                    p class="lede" { (thousands(chosen.len() as u64)) " of " (thousands(all as u64)) " results, those that did not pass first; report.json has all of them." }
                }
                div class="filters" data-search="Find a case" {
                    label { input type="radio" name="show" id="show-all" checked; "All" }
                    label { input type="radio" name="show" id="show-imperfect"; "Not passed" }
                }
                div class="scroll" tabindex="0" role="region" aria-label="Results" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Case" } th scope="col" { "Status" } th scope="col" { "Finished" }
                                th scope="col" class="num" { "Steps" } th scope="col" class="num" { "Time" } th scope="col" class="num" { "Tokens" }
                                th scope="col" class="num" { "Cost" } th scope="col" { "Bound by" } th scope="col" { "Files" }
                            }
                        }
                        tbody { @for (sample, texts) in chosen { (result(&self.entry(sample, texts))) } }
                    }
                }
            }
        }
    }

    fn summaries(&self, chosen: &[(&Sample, &Texts)]) -> Markup {
        let mut room = MAX_TEXT;
        let mut shown = Vec::new();
        for (sample, texts) in chosen {
            let bytes = texts.summary.len() + texts.error.as_deref().map_or(0, str::len);
            if bytes > room {
                break;
            }
            room -= bytes;
            shown.push((*sample, *texts));
        }
        let open = shown.len() <= 3;
        html! {
            section class="results" {
                h2 { "Case summaries" }
                @if shown.len() < chosen.len() { p class="lede" { "The first " (thousands(shown.len() as u64)) "; report.json has all of them." } }
                @for (sample, texts) in shown { (summary(&self.entry(sample, texts), open)) }
            }
        }
    }

    fn settings(&self) -> Vec<Setting> {
        let other = |setting: &Setting| {
            let mine = format!("Preset {}", self.column.title);
            setting.name.starts_with("Preset ") && setting.name != mine
        };
        of_run(self.view).into_iter().filter(|setting| !other(setting)).collect()
    }
}

fn chip(entry: &ResultEntry<'_>) -> Markup {
    let word = entry.failure_type.map_or_else(|| "passed".to_owned(), show);
    html! { span class=(format!("chip {}", entry.outcome)) { (symbol(entry.outcome)) " " (word) } }
}

fn files(entry: &ResultEntry<'_>) -> Markup {
    let patch = entry.patch.as_deref().unwrap_or_default();
    let links = [(entry.trace.as_str(), "trace"), (entry.session.as_str(), "session"), (patch, "patch")];
    html! {
        @for (place, (href, word)) in links.iter().filter(|(href, _)| !href.is_empty()).enumerate() {
            @if place > 0 { " \u{00b7} " }
            a href=(href) { (word) }
        }
    }
}

fn result(entry: &ResultEntry<'_>) -> Markup {
    let class = if entry.ok { "case" } else { "case imperfect" };
    html! {
        tr class=(class) data-name=(show(&entry.id)) {
            th scope="row" { (show(&entry.id)) }
            td class="cell" { (chip(entry)) @if !entry.notes.is_empty() { small class="notes" { (entry.notes.join(", ")) } } }
            td { (if entry.finished { "yes" } else { "no" }) }
            td class="num" { (entry.steps) @if entry.failed_tool_calls > 0 { span class="sub" { (plural(u64::from(entry.failed_tool_calls), "failed tool")) } } }
            td class="num" { (duration(entry.seconds)) }
            td class="num" { (entry.tokens.map_or_else(|| "unknown".to_owned(), thousands)) }
            td class="num" { (entry.cost_usd.map_or_else(|| "unknown".to_owned(), text::dollars)) }
            td { @if let Some(limit) = entry.bound_by { code { (show(limit)) } } @else { "-" } }
            td class="nowrap" { (files(entry)) }
        }
    }
}

fn summary(entry: &ResultEntry<'_>, open: bool) -> Markup {
    let class = if entry.ok { "result" } else { "result imperfect" };
    html! {
        details class=(class) open[open] data-name=(show(&entry.id)) {
            summary { strong { (show(&entry.id)) } (chip(entry)) span class="muted" { (files(entry)) } }
            @if entry.summary.is_empty() { p class="muted" { "No final answer." } } @else { pre { (show(entry.summary)) } }
            @if let Some(error) = entry.error { pre class="error" { (show(error)) } }
        }
    }
}
