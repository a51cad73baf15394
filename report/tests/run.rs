//! Reports of runs: what they say, that they are stable, and that nothing said by a model can act in them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod fixture;

use domain::id::PresetName;
use domain::outcome::{Failure, Outcome, Verdict};
use domain::preset::ProviderKind;
use domain::run::RunSpec;
use fixture::{failed, key, links, several, small, spec, suite, verdict, view};
use proptest::prelude::*;
use report::{
    Comparison, Facts, Links, Options, Places, RunView, comparison, comparison_with, preset_report,
};
use serde_json::Value;

/// Every document of a run, in a fixed order.
fn documents(view: &RunView) -> Vec<(String, String)> {
    let links = links();
    let compared = comparison(view, &links);
    let mut documents = vec![
        ("comparison.md".to_owned(), compared.to_markdown()),
        ("comparison.json".to_owned(), compared.to_json()),
        ("comparison.html".to_owned(), compared.to_html()),
        ("manifest".to_owned(), compared.manifest(&Places::default())),
    ];
    for preset in view.presets() {
        let report = preset_report(view, preset, &links).unwrap();
        documents.push((format!("{preset}/report.md"), report.to_markdown()));
        documents.push((format!("{preset}/report.json"), report.to_json()));
        documents.push((format!("{preset}/report.html"), report.to_html()));
    }
    documents
}

/// A page in lines, without the style and script that are files of their own.
fn lines(html: &str) -> String {
    let (head, rest) = html.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (body, _) = rest.split_once("<script>").unwrap();
    // Hashes follow the files; a test inside the crate checks them.
    let head: Vec<&str> =
        head.split("sha256-").map(|part| part.split_once('\'').map_or(part, |(_, rest)| rest)).collect();
    format!("{}{body}", head.join("…")).replace("><", ">\n<")
}

#[test]
fn small_run_as_documents() {
    let view = view(small());
    for (name, text) in documents(&view) {
        if name.starts_with("mock/") {
            continue;
        }
        let text = if name.ends_with(".html") { lines(&text) } else { text };
        insta::assert_snapshot!(name.replace('/', "-"), text);
    }
}

#[test]
fn several_trials_as_markdown() {
    insta::assert_snapshot!(comparison(&view(several()), &links()).to_markdown());
}

fn same_documents(spec: &RunSpec, facts: &Facts, one: &[Verdict], two: Vec<Verdict>) {
    let first = documents(&RunView::new(spec, one.to_vec(), facts.clone()));
    let second = documents(&RunView::new(spec, two, facts.clone()));
    for ((name, one), (_, two)) in first.into_iter().zip(second) {
        assert_eq!(one, two, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// R1: the same folder gives the same bytes, in whatever order it is listed.
    #[test]
    fn r1_order_of_verdicts_does_not_matter(verdicts in Just(several().1).prop_shuffle()) {
        let (spec, sorted, facts) = several();
        same_documents(&spec, &facts, &sorted, verdicts);
    }
}

/// The keys of the original's loader, with their types and in its order; then ours.
#[test]
fn report_json_is_what_the_original_reads() {
    let view = view(several());
    let preset: PresetName = "mock".parse().unwrap();
    let json: Value =
        serde_json::from_str(&preset_report(&view, &preset, &links()).unwrap().to_json()).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys[..7],
        ["suite", "started_at", "model_provider", "model_name", "total", "passed", "results"]
    );
    assert_eq!(json["started_at"], "20261120-174512");
    assert_eq!(json["format"], 1);
    let results = json["results"].as_array().unwrap();
    assert_eq!(json["total"].as_u64().unwrap() as usize, results.len());
    assert_eq!(
        json["passed"].as_u64().unwrap() as usize,
        results.iter().filter(|result| result["ok"] == true).count()
    );
    let mut ids = std::collections::HashSet::new();
    for result in results {
        let keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
        let original = [
            "id",
            "ok",
            "finished",
            "steps",
            "seconds",
            "summary",
            "trace",
            "session",
            "error",
            "failure_type",
        ];
        assert_eq!(keys[..10], original);
        assert!(
            result["ok"].is_boolean()
                && result["finished"].is_boolean()
                && result["steps"].is_u64()
                && result["seconds"].is_f64()
        );
        assert!(
            result["summary"].is_string() && result["trace"].is_string() && result["session"].is_string()
        );
        assert!(result["error"].is_null() || result["error"].is_string());
        assert_eq!(result["failure_type"].is_null(), result["ok"] == true);
        assert!(ids.insert(result["id"].as_str().unwrap().to_owned()), "{} twice", result["id"]);
    }
    assert!(ids.contains("repair/calculator#1") && ids.contains("long-context/calculator#4"), "{ids:?}");
}

#[test]
fn one_trial_of_one_suite_has_plain_ids() {
    let view = view(small());
    let json: Value =
        serde_json::from_str(&preset_report(&view, &"hasty".parse().unwrap(), &links()).unwrap().to_json())
            .unwrap();
    assert_eq!(json["results"][0]["id"], "calculator");
    assert_eq!(json["results"][11]["failure_type"], "provider_unavailable");
    assert_eq!(json["results"][11]["outcome"], "errored");
    assert_eq!(json["results"][11]["trace"], "", "no attempt, no trace");
    assert!(preset_report(&view, &"deepseek".parse().unwrap(), &links()).is_none());
}

#[test]
fn ids_that_look_like_trials_stay_apart() {
    let spec = spec(vec![suite("s", &["a", "a#1"])], &[("mock", ProviderKind::Mock, "m")], 2);
    let verdicts =
        domain::matrix::trials(&spec.suites, &spec.presets, 2).map(|trial| verdict(trial, Outcome::Passed));
    let view = RunView::new(&spec, verdicts, Facts::default());
    let json: Value =
        serde_json::from_str(&preset_report(&view, &"mock".parse().unwrap(), &links()).unwrap().to_json())
            .unwrap();
    let ids: Vec<&str> =
        json["results"].as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "a##1", "a#1", "a#1##1"]);
}

const HOSTILE: [&str; 9] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "</pre></details><h1>you passed</h1>",
    "\u{1b}[31mred\u{1b}[0m \u{1b}]8;;http://evil\u{7}link\u{1b}]8;;\u{7}",
    "invoice\u{202e}gpj.exe \u{2066}hidden\u{2069}",
    "line\u{2028}para\u{2029}next\u{85}nul\0bell\u{7}",
    "a | b || c\n| d | e |\n|---|---|",
    "```\nbreak\n````\n# heading\n[x](javascript:alert(1)) ![y](http://evil/z.png)",
    "' onmouseover='alert(1)' & &lt; \u{feff}\u{200b}",
];

/// The small run with a text in every place that comes from outside.
fn said(text: &str) -> RunView {
    let mut suite = suite("repair", &["one", "two"]);
    suite.name = format!("suite {text}");
    suite.source = format!("path {text}");
    suite.description = Some(text.to_owned());
    suite.cases[0].title = format!("case {text}");
    let mut spec = spec(vec![suite], &[("a", ProviderKind::Mock, "m"), ("b", ProviderKind::Mock, "m")], 1);
    spec.presets[0].model = format!("model {text}");
    spec.presets[0].base_url = Some(text.to_owned());
    spec.tool = text.to_owned();
    spec.created_at = text.to_owned();
    spec.skipped = vec![domain::run::SkippedPreset { preset: text.to_owned(), reason: text.to_owned() }];
    let verdicts = domain::matrix::trials(&spec.suites, &spec.presets, 1).map(|trial| {
        let mut verdict = failed(trial, Failure::MaxSteps);
        verdict.summary = text.to_owned();
        verdict.error = Some(text.to_owned());
        verdict.bound_by = Some(text.to_owned());
        verdict
    });
    let facts = Facts { cancelled: Some(text.to_owned()), notes: vec![text.to_owned()], ..Facts::default() };
    RunView::new(&spec, verdicts, facts)
}

#[test]
fn hostile_texts_are_texts() {
    let calm = documents(&said("calm"));
    for text in HOSTILE {
        for ((name, found), (_, calm)) in documents(&said(text)).into_iter().zip(&calm) {
            if name.ends_with("json") || name == "manifest" {
                serde_json::from_str::<Value>(&found).unwrap();
                continue;
            }
            let quiet = |c: char| !c.is_control() || c == '\n' || c == '\t';
            assert!(found.chars().all(quiet), "{name}: a control character of {text:?} is left");
            for c in ['\u{202e}', '\u{2066}', '\u{2028}', '\u{2029}', '\u{feff}', '\u{200b}'] {
                assert!(!found.contains(c), "{name}: {c:?} of {text:?} is left");
            }
            if name.ends_with(".html") {
                let elements = |page: &str| page.matches('<').count();
                assert_eq!(elements(&found), elements(calm), "{name}: {text:?} made or ended an element");
                // Long values of cards have a class of their own.
                let plain = |page: &str| page.replace(" class=\"long\"", "").replace(" class=\"mid\"", "");
                let quotes = |page: &str| plain(page).matches('"').count();
                assert_eq!(quotes(&found), quotes(calm), "{name}: {text:?} made or ended an attribute");
            } else {
                let outside = outside_fences(&found).replace("\\]", "");
                assert!(!outside.contains('<'), "{name}: {text:?} is markup");
                let cells = |page: &str| page.replace("\\\\", "").replace("\\|", "").matches('|').count();
                assert_eq!(cells(&outside), cells(&outside_fences(calm)), "{name}: {text:?} made a cell");
                assert!(
                    !outside.contains("](javascript:") && !outside.contains("](http://evil"),
                    "{name}: {text:?} made a link"
                );
                assert_eq!(
                    headings(&outside),
                    headings(&outside_fences(calm)),
                    "{name}: {text:?} made a heading"
                );
            }
        }
    }
}

/// Markdown without its fenced blocks, as a reader of CommonMark would find them.
fn outside_fences(page: &str) -> String {
    let mut open: Option<usize> = None;
    let mut kept = String::new();
    for line in page.lines() {
        let ticks = line.chars().take_while(|c| *c == '`').count();
        match open {
            None if ticks >= 3 => open = Some(ticks),
            None => {
                kept.push_str(line);
                kept.push('\n');
            }
            Some(count) if ticks >= count && line.trim_matches('`').is_empty() => open = None,
            Some(_) => {}
        }
    }
    assert_eq!(open, None, "a fence stays open");
    kept
}

fn headings(page: &str) -> usize {
    page.lines().filter(|line| line.starts_with('#')).count()
}

/// A link of a hostile case cannot leave its attribute either.
#[test]
fn hostile_links_are_links() {
    let text = "x\"><script>alert(1)</script>";
    let links = Links::new(move |_| Some(format!("../{text}")));
    let page = comparison(&view(small()), &links).to_html();
    assert!(!page.contains("<script>alert") && page.contains("../x%22%3E%3Cscript%3E"));
    let none = comparison(&view(small()), &Links::new(|_| Some("javascript:alert(1)".to_owned()))).to_html();
    assert!(!none.contains("javascript:"));
}

fn counts(compared: &Comparison) -> Vec<[u64; 6]> {
    let of = |summary: &report::Summary| {
        [summary.planned, summary.decided, summary.passed, summary.failed, summary.errored, summary.missing]
    };
    compared.columns.iter().map(|column| of(&column.summary)).collect()
}

/// A naive count over the verdicts themselves.
#[test]
fn totals_are_those_of_the_verdicts() {
    let (spec, verdicts, facts) = several();
    let planned = domain::matrix::trials(&spec.suites, &spec.presets, spec.trials).count() as u64
        / spec.presets.len() as u64;
    let expect: Vec<[u64; 6]> = spec
        .presets
        .iter()
        .map(|preset| {
            let mine: Vec<&Verdict> =
                verdicts.iter().filter(|verdict| verdict.trial.preset == preset.name).collect();
            let count = |test: fn(&Outcome) -> bool| {
                mine.iter().filter(|verdict| test(&verdict.outcome)).count() as u64
            };
            let decided = mine.len() as u64;
            [
                planned,
                decided,
                count(|outcome| matches!(outcome, Outcome::Passed)),
                count(|outcome| matches!(outcome, Outcome::Failed { .. })),
                count(|outcome| matches!(outcome, Outcome::Errored { .. })),
                planned - decided,
            ]
        })
        .collect();
    let view = RunView::new(&spec, verdicts, facts);
    let compared = comparison(&view, &links());
    assert_eq!(counts(&compared), expect);
    for (column, expect) in expect.iter().enumerate() {
        let suites =
            compared.by_suite.iter().filter(|group| group.column == column).map(|group| group.summary.passed);
        assert_eq!(suites.sum::<u64>(), expect[2], "suites add up");
        let summary = &compared.columns[column].summary;
        assert_eq!(summary.measured, summary.passed + summary.failed);
        assert_eq!(summary.valid, summary.errored + summary.missing == 0);
    }
    assert_eq!(
        (view.planned(), view.decided()),
        (expect.iter().map(|c| c[0]).sum(), expect.iter().map(|c| c[1]).sum())
    );
    assert_eq!(view.errored(), expect.iter().map(|c| c[4]).sum::<u64>());
    assert_eq!(view.passed(), expect.iter().map(|c| c[2]).sum::<u64>());
}

#[test]
fn limits_of_the_page_cut_lists_and_no_totals() {
    let view = view(several());
    let whole = comparison(&view, &links());
    let options = Options { max_rows: 4, max_marks: 30, max_marks_in_cell: 3, ..Options::default() };
    let cut = comparison_with(&view, &links(), &options);
    assert_eq!(counts(&whole), counts(&cut));
    assert_eq!((cut.matrix.rows.len(), whole.matrix.left_out), (4, [0, 0, 0]));
    assert_eq!(cut.matrix.left_out.iter().sum::<u64>() + 4, whole.matrix.cases);
    assert!(cut.matrix.rows.iter().all(|row| row.differs), "differing cases first");
    let marks = cut.matrix.rows.iter().flat_map(|row| &row.cells).map(|cell| cell.trials.len());
    assert!(marks.clone().sum::<usize>() <= 30 && marks.max() == Some(3));
    assert!(cut.to_html().contains("Left out: ") && cut.to_markdown().contains("4 of 15 cases are listed."));
}

#[test]
fn unknown_is_unknown_and_not_zero() {
    let (mut spec, mut verdicts, facts) = small();
    spec.presets.truncate(1);
    verdicts.retain(|verdict| verdict.trial.preset.as_str() == "steady");
    verdicts[0].usage = domain::usage::Usage::unknown_call();
    let view = RunView::new(&spec, verdicts, facts);
    let compared = comparison(&view, &links());
    let summary = &compared.columns[0].summary;
    assert!(
        !summary.tokens.complete
            && summary.tokens.unreported_calls == 1
            && summary.tokens.input == Some(11 * 3_200)
    );
    assert_eq!((summary.cost.usd, summary.cost.usd_per_pass, summary.cost.unknown_trials), (None, None, 1));
    assert!(
        compared.to_markdown().contains("at least 35,200") && compared.to_html().contains("at least $0.1375")
    );
    let first = &serde_json::from_str::<Value>(
        &preset_report(&view, &"steady".parse().unwrap(), &links()).unwrap().to_json(),
    )
    .unwrap()["results"][0];
    assert_eq!((&first["tokens"], &first["cost_usd"]), (&Value::Null, &Value::Null));
}

#[test]
fn errors_are_kept_apart_and_flagged() {
    let compared = comparison(&view(small()), &links());
    let hasty = &compared.columns[1].summary;
    assert_eq!((hasty.measured, hasty.errored, hasty.valid), (11, 1, false));
    assert_eq!(hasty.pass_rate, Some(4.0 / 11.0));
    let bounds = hasty.bounds.unwrap();
    assert_eq!((bounds.low, bounds.high), (4.0 / 12.0, 5.0 / 12.0));
    assert!(compared.banners.iter().any(|banner| banner.title == "Errors"));
    let pair = &compared.differences[0];
    assert_eq!((pair.column, pair.against, pair.unpaired), (1, 0, 1));
}

#[test]
fn baseline_can_be_chosen() {
    let options = Options { baseline: Some("mock".to_owned()), ..Options::default() };
    let compared = comparison_with(&view(small()), &links(), &options);
    let pairs: Vec<(usize, usize)> =
        compared.differences.iter().map(|pair| (pair.column, pair.against)).collect();
    // Against the baseline, then against the best without repeating the pair of both.
    assert_eq!(pairs, [(0, 2), (1, 2), (1, 0)]);
}

#[track_caller]
fn check_state(facts: Facts, verdicts: usize, state: &str, banner: Option<&str>) {
    let spec = spec(vec![suite("s", &["a", "b"])], &[("mock", ProviderKind::Mock, "m")], 1);
    let found =
        ["a", "b"].iter().take(verdicts).map(|case| verdict(key("s", case, "mock", 0), Outcome::Passed));
    let compared = comparison(&RunView::new(&spec, found, facts), &links());
    assert_eq!(compared.run.as_ref().unwrap().state, state);
    assert_eq!(compared.banners.first().map(|banner| banner.title.as_str()), banner);
    let pages = [compared.to_html(), compared.to_markdown()];
    assert!(banner.is_none_or(|banner| pages.iter().all(|page| page.contains(banner))));
}

#[test]
fn states_of_a_run_are_said() {
    let cancelled = Facts { cancelled: Some("Ctrl-C".to_owned()), ..Facts::default() };
    check_state(Facts { sealed: true, ..Facts::default() }, 2, "sealed", None);
    check_state(Facts::default(), 2, "complete", None);
    check_state(Facts::default(), 1, "incomplete", Some("Incomplete run"));
    check_state(Facts::default(), 0, "incomplete", Some("Incomplete run"));
    check_state(cancelled, 1, "cancelled", Some("Cancelled run"));
}

#[test]
fn contested_trials_are_marked() {
    let (spec, verdicts, mut facts) = small();
    facts.contested.insert(key("repair", "slugify", "steady", 0));
    let compared = comparison(&RunView::new(&spec, verdicts, facts), &links());
    let row = compared.matrix.rows.iter().find(|row| row.case == "slugify").unwrap();
    assert_eq!(row.cells[0].trials[0].notes, ["contested"]);
    assert!(compared.banners.iter().any(|banner| banner.title == "Contested"));
}

#[test]
fn verdicts_of_another_run_are_counted_and_ignored() {
    let (spec, mut verdicts, facts) = small();
    let before = counts(&comparison(&RunView::new(&spec, verdicts.clone(), facts.clone()), &links()));
    for stranger in [
        key("repair", "nowhere", "steady", 0),
        key("repair", "slugify", "gone", 0),
        key("repair", "slugify", "steady", 1),
    ] {
        verdicts.push(verdict(stranger, Outcome::Passed));
    }
    let compared = comparison(&RunView::new(&spec, verdicts, facts), &links());
    assert_eq!(counts(&compared), before);
    assert!(compared.banners.iter().any(|banner| banner.text.starts_with("3 verdicts on trials")));
}

#[test]
fn nothing_ran() {
    let (mut spec, _, facts) = small();
    spec.presets.clear();
    let compared = comparison(&RunView::new(&spec, Vec::new(), facts), &links());
    assert!(
        compared.to_markdown().contains("No preset was executed.")
            && compared.to_html().contains("No preset was executed.")
    );
    assert!(compared.to_markdown().contains("| deepseek | missing DEEPSEEK_API_KEY |"));
}

#[test]
fn suites_of_one_name_stay_apart() {
    let mut twin = suite("twin", &["calculator"]);
    twin.name = "repair".to_owned();
    let spec = spec(vec![suite("repair", &["calculator"]), twin], &[("mock", ProviderKind::Mock, "m")], 1);
    let verdicts = [
        verdict(key("repair", "calculator", "mock", 0), Outcome::Passed),
        failed(key("twin", "calculator", "mock", 0), Failure::Exception),
    ];
    let compared = comparison(&RunView::new(&spec, verdicts, Facts::default()), &links());
    assert_eq!(compared.suites, ["repair (repair)", "repair (twin)"]);
    assert_eq!(compared.matrix.rows.len(), 2);
}

#[test]
fn manifest_has_the_originals_keys_first() {
    let compared = comparison(&view(small()), &links());
    let places = Places {
        suites: vec!["suites/repair.json".to_owned()],
        reports: vec!["eval-runs/r/report/steady/report.json".to_owned()],
        comparison: "out.md".to_owned(),
        html: Some("out.html".to_owned()),
        json: None,
        folder: Some("eval-runs/r".to_owned()),
    };
    let json: Value = serde_json::from_str(&compared.manifest(&places)).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys[..4], ["suite", "reports", "comparison", "skipped"]);
    assert_eq!(json["suite"], "suites/repair.json");
    assert_eq!(json["skipped"][0]["preset"], "deepseek");
    assert_eq!(json["columns"][1]["errored"], 1);
    assert_eq!(json["columns"][2]["tokens"], Value::Null);
}

#[test]
fn pages_load_nothing() {
    for (name, page) in documents(&view(small())) {
        if name.ends_with(".html") {
            assert!(page.contains("default-src 'none'"));
            for loader in
                ["<link", "<img", "<iframe", "src=", "@import", "url(http", "<form", "style=", "onclick"]
            {
                assert!(!page.contains(loader), "{name}: {loader}");
            }
        }
    }
}
