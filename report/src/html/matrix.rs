//! The case matrix of a comparison.

use super::page::{show, symbol};
use crate::matrix::{Cell, Mark, Matrix, MatrixRow};
use crate::text::{duration, plural, thousands};
use maud::{Markup, html};
use std::collections::BTreeMap;

pub(super) fn matrix(matrix: &Matrix, several_suites: bool) -> Markup {
    html! {
        section class="matrix" {
            h2 { "Case by case" }
            p class="lede" {
                (plural(matrix.cases, "case")) ", " (thousands(matrix.differing)) " with different results between columns, "
                (thousands(matrix.passing)) " passed by every trial. Each mark is one trial and leads to its trace."
            }
            div class="filters" data-search="Find a case" {
                label { input type="radio" name="show" id="show-all" checked; "All" }
                label { input type="radio" name="show" id="show-differing"; "Differing" }
                label { input type="radio" name="show" id="show-imperfect"; "Not all passed" }
            }
            div class="scroll" tabindex="0" role="region" aria-label="Cases and columns" {
                table {
                    thead { tr { th scope="col" { "Case" } @for title in &matrix.columns { th scope="col" { (show(title)) } } } }
                    tbody {
                        @for (place, row) in matrix.rows.iter().enumerate() {
                            @let before = place.checked_sub(1).and_then(|before| matrix.rows.get(before));
                            @if several_suites && before.is_none_or(|before| before.suite != row.suite) {
                                tr class="suite-row" { th scope="colgroup" { (show(&row.suite)) } @for _ in &matrix.columns { td {} } }
                            }
                            (line(row))
                        }
                    }
                }
            }
            (left_out(matrix))
            p class="legend" {
                span { "\u{2713} passed" } span { "\u{2717} failed" } span { "! could not be measured" } span { "\u{00b7} not decided" }
            }
        }
    }
}

fn line(row: &MatrixRow) -> Markup {
    let class = match (row.differs, row.passes) {
        (true, _) => "case differs imperfect",
        (false, false) => "case imperfect",
        (false, true) => "case",
    };
    html! {
        tr class=(class) data-name=(show(&row.case)) {
            th scope="row" { (show(&row.case)) }
            @for found in &row.cells { td class="cell" { (cell(found)) } }
        }
    }
}

fn cell(found: &Cell) -> Markup {
    let decided = found.decided();
    if decided == 0 {
        let word = if found.missing > 0 { "\u{00b7} not decided" } else { "\u{2013}" };
        return html! { span class="chip none" { (word) } };
    }
    if let ([mark], 0) = (found.trials.as_slice(), found.missing)
        && decided == 1
    {
        return single(mark);
    }
    let more = decided - found.trials.len() as u64;
    html! {
        span class="score" { (found.passed) "/" (found.passed + found.failed) }
        @if found.trials.is_empty() {
            span class="muted" { "passed" @if found.errored > 0 { ", " (plural(found.errored, "error")) } }
        }
        div class="marks" {
            @for mark in &found.trials { (chip(mark, symbol(mark.outcome))) }
            @for _ in 0..found.missing.min(20) { span class="chip none" title="not decided" { "\u{00b7}" } }
        }
        @if more > 0 && !found.trials.is_empty() { small { "and " (thousands(more)) " more" } }
        small { (reasons(found)) }
    }
}

/// What went wrong in the shown trials, each reason once.
fn reasons(found: &Cell) -> String {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for mark in &found.trials {
        for word in
            mark.why.iter().chain(&mark.bound_by).map(String::as_str).chain(mark.notes.iter().copied())
        {
            *reasons.entry(show(word)).or_default() += 1;
        }
    }
    let words: Vec<String> = reasons
        .iter()
        .map(|(word, count)| if *count > 1 { format!("{word} \u{d7}{count}") } else { word.clone() })
        .collect();
    words.join(", ")
}

/// The only trial of its cell, with room for details.
fn single(mark: &Mark) -> Markup {
    let word = match mark.outcome {
        "passed" => "passed".to_owned(),
        _ => mark.why.as_deref().map_or_else(|| mark.outcome.to_owned(), show),
    };
    html! {
        (chip(mark, &format!("{} {word}", symbol(mark.outcome))))
        small {
            (plural(u64::from(mark.steps), "step")) " \u{00b7} " (duration(mark.seconds))
            @if let Some(limit) = &mark.bound_by { " \u{00b7} " (show(limit)) }
        }
        @if !mark.notes.is_empty() { small class="notes" { (mark.notes.join(", ")) } }
        @if let Some(error) = &mark.error { small class="error" { (crate::text::brief(error, 140)) } }
    }
}

/// A mark that leads to its trace and says everything on hovering.
fn chip(mark: &Mark, text: &str) -> Markup {
    let mut says = format!("trial {}: {}", mark.trial, mark.outcome);
    for part in mark
        .why
        .iter()
        .chain(&mark.bound_by)
        .chain(&mark.error)
        .map(String::as_str)
        .chain(mark.notes.iter().copied())
    {
        says.push_str(", ");
        says.push_str(&show(part));
    }
    says.push_str(&format!(", {}, {}", plural(u64::from(mark.steps), "step"), duration(mark.seconds)));
    let class = format!("chip {}", mark.outcome);
    html! {
        @if let Some(href) = &mark.trace { a class=(class) href=(href) title=(says) aria-label=(says) { (text) } }
        @else { span class=(class) title=(says) { (text) } }
    }
}

fn left_out(matrix: &Matrix) -> Markup {
    let [differing, other, passing] = matrix.left_out;
    let all = differing + other + passing;
    html! {
        @if all > 0 {
            p class="lede" {
                "Listed: " (thousands(matrix.cases - all)) " of " (thousands(matrix.cases)) " cases, differing ones first. Left out: "
                (thousands(differing)) " that differ, " (thousands(other)) " others that did not pass everywhere, "
                (thousands(passing)) " that passed everywhere. All totals on this page count every trial; the report of each preset lists them."
            }
        }
    }
}
