//! `comparison.html`.

use super::charts::{self, DifferenceLane};
use super::matrix;
use super::page::{
    banners, card, definitions, interval, linked, page, plain, reliability, settings, show, table,
};
use crate::compare::{ComparedColumn, Comparison, DIFFERENT_CASES, best};
use crate::summary::{Cost, Summary, Tokens};
use crate::text::{self, decimals, duration, percent, plural, thousands};
use maud::{Markup, html};

impl Comparison {
    /// The comparison as a page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let title = format!("Eval comparison: {}", self.suites.join(", "));
        let body = html! {
            (banners(&self.banners))
            @if self.columns.is_empty() {
                section { h2 { "Nothing to compare" } p { "No preset was executed." } }
            } @else {
                (self.cards())
                (self.in_short())
                (self.rates())
                (self.difference_chart())
                (self.ends())
                (self.per_suite())
                (self.resource_table())
                (self.reliability_table())
                (matrix::matrix(&self.matrix, self.suites.len() > 1))
            }
            (self.left_out())
            (settings(&self.settings, &self.notes))
        };
        page(&title, &self.head(), &body, &definitions())
    }

    fn head(&self) -> Markup {
        html! {
            p class="eyebrow" { "Eval comparison" }
            h1 { @if self.suites.is_empty() { "No suite" } @else { (show(&self.suites.join(", "))) } }
            @if let Some(run) = &self.run {
                ul class="meta" {
                    li { span class=(match run.state.as_str() { "sealed" | "complete" => "state good", _ => "state bad" }) { (run.state) } }
                    li { "Run " b class="mono" { (show(&run.run)) } }
                    li { "Created " b { (show(&text::readable_time(&run.created_at))) } }
                    li { (show(&run.tool)) }
                    @if let Some(parent) = &run.parent { li { "Repeats errors of " b class="mono" { (show(parent)) } } }
                }
            } @else {
                ul class="meta" { li { (plural(self.columns.len() as u64, "report")) } @if !self.broken.is_empty() { li { (plural(self.broken.len() as u64, "broken file")) } } }
            }
        }
    }

    fn cards(&self) -> Markup {
        let sum =
            |part: fn(&Summary) -> u64| self.columns.iter().map(|column| part(&column.summary)).sum::<u64>();
        let (planned, decided, errored) = (sum(|s| s.planned), sum(|s| s.decided), sum(|s| s.errored));
        let seconds: f64 = self.columns.iter().map(|column| column.summary.seconds.total).sum();
        let trials = if decided == planned {
            "all decided".to_owned()
        } else {
            format!("{} of {} decided", thousands(decided), thousands(planned))
        };
        let (tokens, cost) = (self.all_tokens(), self.all_cost());
        html! {
            div class="cards" {
                @if let Some(column) = self.best().and_then(|best| self.columns.get(best)) {
                    (card("Highest pass rate", &percent(column.summary.pass_rate), &format!("{}, {}", column.title, interval(column.summary.interval))))
                }
                (card("Trials", &thousands(planned), &format!("{trials}; {} \u{d7} {}", plural(self.columns.len() as u64, "column"), plural(self.matrix.cases, "case"))))
                (card("Errors", &thousands(errored), if errored == 0 { "every decided trial was measured" } else { "could not be measured; in no rate" }))
                (card("Tokens", &text::tokens(&tokens, tokens.total), &format!("{} answered", plural(tokens.calls, "model call"))))
                (card("Cost", &text::cost(&cost), if cost.usd.is_none() && cost.unknown_trials > 0 { "no price or no usage for some trials" } else { "at the presets' prices" }))
                (card("Trial time", &duration(seconds), "summed over trials; they overlap"))
            }
        }
    }

    /// The column of the highest rate, where rates compare.
    fn best(&self) -> Option<usize> {
        let compare = self.banners.iter().all(|banner| banner.title != DIFFERENT_CASES);
        best(&self.columns).filter(|_| compare)
    }

    fn all_tokens(&self) -> Tokens {
        let parts = self.columns.iter().map(|column| &column.summary.tokens);
        let known: Vec<u64> = parts.clone().filter_map(|tokens| tokens.total).collect();
        Tokens {
            total: (!known.is_empty()).then(|| known.iter().sum()),
            calls: parts.clone().map(|tokens| tokens.calls).sum(),
            unreported_calls: parts.clone().map(|tokens| tokens.unreported_calls).sum(),
            unknown_trials: parts.clone().map(|tokens| tokens.unknown_trials).sum(),
            complete: parts.clone().all(|tokens| tokens.complete),
            ..Tokens::default()
        }
    }

    fn all_cost(&self) -> Cost {
        let parts = self.columns.iter().map(|column| &column.summary.cost);
        let known = parts.clone().all(|cost| cost.usd.is_some());
        let known_usd = parts.clone().map(|cost| cost.known_usd).sum();
        Cost {
            usd: known.then_some(known_usd),
            known_usd,
            unknown_trials: parts.map(|cost| cost.unknown_trials).sum(),
            usd_per_pass: None,
        }
    }

    fn in_short(&self) -> Markup {
        html! {
            @if !self.findings.is_empty() {
                section { h2 { "In short" } ul class="findings" { @for finding in &self.findings { li { (show(finding)) } } } }
            }
        }
    }

    fn rates(&self) -> Markup {
        let lanes: Vec<(Markup, &Summary)> =
            self.columns.iter().map(|column| (name(column), &column.summary)).collect();
        let clustered = self.columns.iter().any(|column| column.summary.interval != column.summary.wilson);
        html! {
            section {
                h2 { "Pass rate" }
                p class="lede" {
                    "Dot: passed over measured trials. Bar: 95 % Wilson interval"
                    @if clustered { " at the effective number of independent trials, because trials of one case resemble each other" }
                    "."
                }
                (charts::rates(&lanes))
            }
        }
    }

    fn difference_chart(&self) -> Markup {
        let mut groups: Vec<(usize, Vec<DifferenceLane<'_>>)> = Vec::new();
        for pair in &self.differences {
            if groups.last().is_none_or(|(against, _)| *against != pair.against) {
                groups.push((pair.against, Vec::new()));
            }
            let more = pair.difference.as_ref().map_or_else(String::new, |found| {
                let corrected =
                    pair.p_corrected.map_or_else(String::new, |p| format!(", {}", text::p_equation(p)));
                format!(
                    "{}, {} to {}{corrected}",
                    plural(found.pairs.total(), "pair"),
                    thousands(found.pairs.only_first),
                    thousands(found.pairs.only_second)
                )
            });
            let Some((_, lanes)) = groups.last_mut() else { continue };
            lanes.push(DifferenceLane {
                name: self.columns.get(pair.column).map(name).unwrap_or_default(),
                found: pair.difference.as_ref(),
                clear: pair.distinguishable,
                verdict: &pair.verdict,
                more,
            });
        }
        html! {
            @for (against, lanes) in &groups {
                section {
                    h2 { "Difference to " (show(self.columns.get(*against).map_or("", |column| &column.title))) }
                    p class="lede" {
                        "In percentage points of the pass rate, over pairs of the same case and trial that were measured on both sides. "
                        "\u{201c}3 to 1\u{201d} says how many pairs only the one and only the other passed; p is corrected for the number of columns."
                    }
                    (charts::differences(lanes))
                }
            }
        }
    }

    fn ends(&self) -> Markup {
        html! {
            section {
                h2 { "How trials ended" }
                p class="lede" { "Failures are the model's doing and count. Errors (hatched) are not, and are in no rate." }
                @for column in &self.columns {
                    (charts::ends(&html! { (show(&column.title)) }, &details(&column.summary), &column.summary))
                }
            }
        }
    }

    fn per_suite(&self) -> Markup {
        if self.suites.len() < 2 {
            return html! {};
        }
        let row = |group: &crate::compare::SuiteColumn| {
            let column = self.columns.get(group.column)?;
            let summary = &group.summary;
            Some(vec![
                plain(&group.suite),
                plain(&column.title),
                html! { b { (percent(summary.pass_rate)) } " " span class="muted" { (thousands(summary.passed)) "/" (thousands(summary.measured)) } },
                plain(interval(summary.interval)),
                plain(thousands(summary.errored)),
                plain(decimals(summary.steps.mean, 2)),
                plain(duration(summary.seconds.total)),
            ])
        };
        let rows: Vec<Vec<Markup>> = self.by_suite.iter().filter_map(row).collect();
        html! {
            section {
                h2 { "Suite by suite" }
                (table(&["Suite", "Column", "Pass rate", "95 % interval", "Errors", "Mean steps", "Trial time"], 2, &rows))
            }
        }
    }

    fn resource_table(&self) -> Markup {
        let known = |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), thousands);
        let row = |column: &ComparedColumn| {
            let Summary { steps, seconds, tokens, cost, .. } = &column.summary;
            vec![
                plain(&column.title),
                plain(format!("{} / {}", decimals(steps.mean, 1), decimals(steps.median, 1))),
                html! { (known(column.summary.tool_calls)) @if let Some(failed) = column.summary.failed_tool_calls && failed > 0 { span class="sub" { (thousands(failed)) " failed" } } },
                html! { (text::tokens(tokens, tokens.input)) @if let Some(cached) = tokens.cached_input && cached > 0 { span class="sub" { (thousands(cached)) " cached" } } },
                html! { (text::tokens(tokens, tokens.output)) @if tokens.unreported_calls > 0 { span class="sub" { (plural(tokens.unreported_calls, "call")) " unreported" } } },
                html! { (text::cost(cost)) @if let Some(each) = cost.usd_per_pass { span class="sub" { (text::dollars(each)) " a pass" } } },
                html! { (seconds.median.map_or_else(|| "-".to_owned(), duration)) @if let Some(p90) = seconds.p90 { span class="sub" { "90 %: " (duration(p90)) } } },
                plain(duration(seconds.total)),
            ]
        };
        let rows: Vec<Vec<Markup>> = self.columns.iter().map(row).collect();
        html! {
            section {
                h2 { "Steps, tokens, money, time" }
                (table(&["Column", "Steps (mean / median)", "Tool calls", "Input tokens", "Output tokens", "Cost", "Median time", "Trial time"], 1, &rows))
            }
        }
    }

    fn reliability_table(&self) -> Markup {
        let columns: Vec<(&str, &Summary)> =
            self.columns.iter().map(|column| (column.title.as_str(), &column.summary)).collect();
        reliability(&columns)
    }

    fn left_out(&self) -> Markup {
        let skipped: Vec<Vec<Markup>> =
            self.skipped.iter().map(|skipped| vec![plain(&skipped.preset), plain(&skipped.reason)]).collect();
        let broken: Vec<Vec<Markup>> =
            self.broken.iter().map(|broken| vec![plain(&broken.report), plain(&broken.reason)]).collect();
        html! {
            @if !skipped.is_empty() { section { h2 { "Skipped presets" } (table(&["Preset", "Reason"], 2, &skipped)) } }
            @if !broken.is_empty() { section { h2 { "Broken reports" } (table(&["Report", "Why"], 2, &broken)) } }
        }
    }
}

/// A column's title, linked to its own page, with its model below.
fn name(column: &ComparedColumn) -> Markup {
    let model = format!("{}/{}", column.model_provider, column.model_name);
    html! {
        (linked(&column.title, column.report.as_deref()))
        @if model != column.title { small { (show(&model)) } }
    }
}

/// What else is to say about how trials ended.
fn details(summary: &Summary) -> String {
    let mut parts = vec![plural(summary.planned, "trial")];
    if summary.unstable_cases > 0 {
        parts.push(format!("{} whose trials disagree", plural(summary.unstable_cases, "case")));
    }
    let more = summary.notes.iter().chain(&summary.bound_by).take(4);
    parts.extend(more.map(|count| format!("{} {}", thousands(count.count), show(&count.word))));
    parts.join(" \u{00b7} ")
}
