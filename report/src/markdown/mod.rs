//! Reports as Markdown: the original system's tables first, with its columns, then ours.

mod comparison;
mod preset;

/// One table row; cells are escaped already.
fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Header and rule of a table; columns after the first `left` are right-aligned.
fn header(titles: &[&str], left: usize) -> String {
    let rules: Vec<&str> = (0..titles.len()).map(|at| if at < left { "---" } else { "---:" }).collect();
    format!("| {} |\n| {} |\n", titles.join(" | "), rules.join(" | "))
}

/// The banners as block quotes.
fn banners(banners: &[crate::compare::Banner]) -> String {
    use crate::text::cell;
    banners
        .iter()
        .map(|banner| format!("> **{}.** {}\n\n", cell(&banner.title), cell(&banner.text)))
        .collect()
}
