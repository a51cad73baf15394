//! Rendering of the map and the pack, and the score of relevance.

use super::{Repository, Source};
use std::collections::BTreeSet;

const MAP_ENTRIES: usize = 80;
const MAP_SYMBOLS: usize = 12;
const PACK_MAP_ENTRIES: usize = 20;
const PACK_SYMBOLS: usize = 8;
/// Words that say nothing about a file and are part of many others.
const STOP_WORDS: [&str; 22] = [
    "and", "are", "but", "can", "for", "from", "has", "have", "into", "its", "not", "that", "the", "their",
    "them", "then", "there", "this", "was", "with", "you", "your",
];
const RELEVANT: &str = "Likely relevant files:";

impl Repository {
    /// The whole map.
    pub(crate) fn map(&self) -> String {
        self.render(MAP_ENTRIES)
    }

    fn render(&self, entries: usize) -> String {
        let mut lines = vec!["Repository map".to_owned(), format!("Files: {}", self.count())];
        lines.extend(self.sources.iter().take(entries).map(map_line));
        if self.sources.len() > entries {
            lines.push(format!("... {} more files", self.sources.len() - entries));
        }
        lines.join("\n")
    }

    fn count(&self) -> String {
        let more = if self.truncated { " or more" } else { "" };
        format!("{}{more}", self.sources.len())
    }

    /// A short map and the files that a query is likely about, in at most `limit` characters. The map gets at most half of it
    /// while relevant files want the rest.
    pub(crate) fn pack(&self, query: &str, limit: usize) -> String {
        let relevant = self.relevant(query);
        let map = self.render(PACK_MAP_ENTRIES);
        let map_chars = map.chars().count();
        let for_relevant = limit.saturating_sub(map_chars.min(limit / 2) + 2);
        let relevant = fit(&relevant, for_relevant);
        let relevant_chars = relevant.chars().count();
        let map_lines: Vec<String> = map.lines().map(str::to_owned).collect();
        let map = fit(&map_lines, limit.saturating_sub(relevant_chars + 2));
        let pack = match (map.is_empty(), relevant.is_empty()) {
            (_, true) => map,
            (true, false) => relevant,
            (false, false) => format!("{map}\n\n{relevant}"),
        };
        pack.chars().take(limit).collect()
    }

    fn relevant(&self, query: &str) -> Vec<String> {
        if self.sources.is_empty() {
            return Vec::new();
        }
        let terms = terms(query);
        let mut scored: Vec<(u64, &Source)> =
            self.sources.iter().map(|source| (score(source, &terms), source)).collect();
        scored.sort_by(|(a, one), (b, other)| {
            b.cmp(a).then(one.lines.cmp(&other.lines)).then(one.path.cmp(&other.path))
        });
        let mut lines = vec![RELEVANT.to_owned()];
        for (score, source) in scored {
            if score == 0 && lines.len() > 2 {
                break;
            }
            lines.push(relevant_line(source));
        }
        lines
    }
}

/// The first lines that fit into so many characters; nothing when not even two do, for a heading alone says nothing.
fn fit(lines: &[String], limit: usize) -> String {
    let mut text = String::new();
    let (mut chars, mut taken) = (0, 0);
    for line in lines {
        let more = line.chars().count() + usize::from(taken > 0);
        if chars + more > limit {
            break;
        }
        if taken > 0 {
            text.push('\n');
        }
        text.push_str(line);
        chars += more;
        taken += 1;
    }
    if taken < 2 && lines.len() > 1 { String::new() } else { text }
}

fn map_line(source: &Source) -> String {
    let head = format!("- {} ({}, {} lines)", source.path, source.language, source.lines);
    with_symbols(head, source, MAP_SYMBOLS)
}

fn relevant_line(source: &Source) -> String {
    with_symbols(format!("- {}", source.path), source, PACK_SYMBOLS)
}

fn with_symbols(head: String, source: &Source, most: usize) -> String {
    if source.symbols.is_empty() {
        return head;
    }
    let shown: Vec<&str> = source.symbols.iter().take(most).map(String::as_str).collect();
    format!("{head}: {}", shown.join(", "))
}

fn score(source: &Source, terms: &BTreeSet<String>) -> u64 {
    let mut text = format!("{} {} {}", source.path, source.language, source.symbols.join(" "));
    text = text.to_lowercase();
    let hits = terms.iter().filter(|term| text.contains(term.as_str())).count() as u64;
    let path = source.path.to_lowercase();
    let entrance =
        ["readme.md", "pyproject.toml", "package.json", "cargo.toml"].iter().any(|name| path.ends_with(name));
    3 * hits + u64::from(entrance)
}

/// The words of a query that can be looked for: ASCII words of three characters, words of other alphabets of two, and pairs of
/// characters of scripts that write no blanks.
pub(super) fn terms(query: &str) -> BTreeSet<String> {
    let mut terms = BTreeSet::new();
    for word in query.to_lowercase().split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        for run in runs(word) {
            let chars: Vec<char> = run.chars().collect();
            if chars.iter().all(char::is_ascii) {
                if chars.len() >= 3 && !STOP_WORDS.contains(&run) {
                    terms.insert(run.to_owned());
                }
            } else if chars.iter().any(|c| is_unspaced(*c)) {
                terms.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
            } else if chars.len() >= 2 {
                terms.insert(run.to_owned());
            }
        }
    }
    terms
}

/// A word cut where its script changes between spaced and unspaced.
fn runs(word: &str) -> Vec<&str> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut before: Option<bool> = None;
    for (at, c) in word.char_indices() {
        let unspaced = is_unspaced(c);
        if before.is_some_and(|before| before != unspaced) {
            runs.push(&word[start..at]);
            start = at;
        }
        before = Some(unspaced);
    }
    runs.push(&word[start..]);
    runs
}

fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3040..=0x30FF | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x2FFFF)
}
