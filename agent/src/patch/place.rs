//! Where a hunk belongs in a file. Owns the order of trust: the line it names, a near unique match, a unique match with less
//! strictness; never a guess between two.

use super::{Hunk, Kind, Line};

/// How far from the named line a match may be while others exist elsewhere.
const NEAR: usize = 10;
/// Context lines that may be given up at each end.
const MAX_FUZZ: usize = 2;

/// A place found for a hunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the first old line in the file.
    pub(super) at: usize,
    /// Lines of the hunk left out at its beginning and end.
    pub(super) trimmed: (usize, usize),
    /// What was loose about it, for the report.
    pub(super) looseness: Option<String>,
}

/// Finds the place of a hunk among the lines of a file, not before `from`; `drift` is how far the hunks before it were off.
pub(super) fn find(lines: &[&[u8]], hunk: &Hunk, from: usize, drift: isize) -> Result<Place, String> {
    let expected = said(hunk).map(|at| at.saturating_add_signed(drift));
    let old: Vec<&Line> = hunk.lines.iter().filter(|line| line.kind != Kind::Added).collect();
    if old.is_empty() {
        return insertion(lines.len(), from, expected);
    }
    let search = Search { lines, from, expected, heading: &hunk.heading };
    let exact = search.matches(&old, strict);
    if let Some(at) = search.choose(&exact, NEAR)? {
        return Ok(Place { at, trimmed: (0, 0), looseness: moved(at, expected) });
    }
    let loose = search.matches(&old, blanks_aside);
    if let Some(at) = search.choose(&loose, 0)? {
        let said = join("white space at line ends differed", moved(at, expected));
        return Ok(Place { at, trimmed: (0, 0), looseness: Some(said) });
    }
    if let Some(place) = with_fuzz(&search, hunk, &old)? {
        return Ok(place);
    }
    Err(nearest(lines, &old, from, expected))
}

/// The index that a hunk says it begins at.
pub(super) fn said(hunk: &Hunk) -> Option<usize> {
    let (start, count) = hunk.start?;
    let has_old = hunk.lines.iter().any(|line| line.kind != Kind::Added);
    // A range of no lines names the line after which to insert.
    Some(if count == 0 && !has_old { start } else { start.saturating_sub(1) })
}

fn insertion(length: usize, from: usize, expected: Option<usize>) -> Result<Place, String> {
    let at = match expected {
        Some(at) if at >= from && at <= length => at,
        Some(at) if at > length => {
            return Err(format!("inserts after line {at}, but the file has {length} lines"));
        }
        Some(_) => return Err("overlaps the hunk before it".to_owned()),
        None if length == 0 => 0,
        None => {
            return Err("adds lines without saying where: give it context lines or line numbers".to_owned());
        }
    };
    Ok(Place { at, trimmed: (0, 0), looseness: None })
}

/// How two lines are compared.
type Same = fn(&[u8], &[u8]) -> bool;

fn strict(file: &[u8], patch: &[u8]) -> bool {
    without_cr(file) == without_cr(patch)
}

fn blanks_aside(file: &[u8], patch: &[u8]) -> bool {
    file.trim_ascii_end() == patch.trim_ascii_end()
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

struct Search<'a> {
    lines: &'a [&'a [u8]],
    from: usize,
    expected: Option<usize>,
    heading: &'a str,
}

impl Search<'_> {
    fn fits(&self, at: usize, old: &[&Line], same: Same) -> bool {
        self.lines
            .get(at..at + old.len())
            .is_some_and(|block| block.iter().zip(old).all(|(file, line)| same(file, &line.text)))
    }

    fn matches(&self, old: &[&Line], same: Same) -> Vec<usize> {
        let last = self.lines.len().saturating_sub(old.len());
        (self.from..=last).filter(|at| self.fits(*at, old, same)).collect()
    }

    /// The one place that is meant, none, or why it cannot be told.
    fn choose(&self, matches: &[usize], near: usize) -> Result<Option<usize>, String> {
        let (first, rest) = match matches {
            [] => return Ok(None),
            [only] => return Ok(Some(*only)),
            [first, rest @ ..] => (*first, rest),
        };
        if let Some(expected) = self.expected {
            let mut by_distance: Vec<(usize, usize)> =
                matches.iter().map(|at| (at.abs_diff(expected), *at)).collect();
            by_distance.sort_unstable();
            if let [(nearest, at), (second, _), ..] = by_distance[..]
                && (nearest == 0 || (nearest <= near && nearest < second))
            {
                return Ok(Some(at));
            }
        } else if let Some(at) = self.after_heading(matches) {
            return Ok(Some(at));
        }
        let shown: Vec<String> =
            std::iter::once(&first).chain(rest).take(8).map(|at| (at + 1).to_string()).collect();
        Err(format!(
            "fits in {} places (lines {}), none of them where it says: give more context or the right line number",
            matches.len(),
            shown.join(", ")
        ))
    }

    /// For a hunk without numbers: the first match below the one line that its heading names.
    fn after_heading(&self, matches: &[usize]) -> Option<usize> {
        let heading = self.heading.trim();
        if heading.is_empty() {
            return None;
        }
        let mut named = (0..self.lines.len()).filter(|at| {
            let line = String::from_utf8_lossy(self.lines[*at]);
            line.trim().starts_with(heading)
        });
        let line = named.next()?;
        if named.next().is_some() {
            return None;
        }
        matches.iter().copied().find(|at| *at >= line)
    }
}

/// Gives up context lines at the ends, as few as possible, and takes only a place that nothing else competes with.
fn with_fuzz(search: &Search<'_>, hunk: &Hunk, old: &[&Line]) -> Result<Option<Place>, String> {
    let leading = hunk.lines.iter().take_while(|line| line.kind == Kind::Context).count();
    let trailing = hunk.lines.iter().rev().take_while(|line| line.kind == Kind::Context).count();
    for fuzz in 1..=MAX_FUZZ {
        let (head, tail) = (fuzz.min(leading), fuzz.min(trailing));
        if head + tail >= old.len() || (head < fuzz && tail < fuzz) {
            return Ok(None);
        }
        let kept = &old[head..old.len() - tail];
        if kept.iter().all(|line| line.text.trim_ascii().is_empty()) {
            return Ok(None);
        }
        let shifted = Search { expected: search.expected.map(|at| at + head), ..*search };
        let matches = shifted.matches(kept, blanks_aside);
        if let Some(at) = shifted.choose(&matches, 0)? {
            let said = join(
                &format!("fuzz {fuzz}: {} outer context lines did not match", head + tail),
                moved(at, shifted.expected),
            );
            return Ok(Some(Place { at, trimmed: (head, tail), looseness: Some(said) }));
        }
    }
    Ok(None)
}

fn moved(at: usize, expected: Option<usize>) -> Option<String> {
    let expected = expected?;
    match at.cmp(&expected) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("{} lines further down than it says", at - expected)),
        std::cmp::Ordering::Less => Some(format!("{} lines further up than it says", expected - at)),
    }
}

fn join(first: &str, second: Option<String>) -> String {
    match second {
        Some(second) => format!("{first}, {second}"),
        None => first.to_owned(),
    }
}

/// Says where the hunk comes nearest to fitting, so that the model can correct it.
fn nearest(lines: &[&[u8]], old: &[&Line], from: usize, expected: Option<usize>) -> String {
    let score =
        |at: usize| lines[at..].iter().zip(old).filter(|(file, line)| blanks_aside(file, &line.text)).count();
    // Long files are not scored line by line against long hunks.
    let budget = 2_000_000 / old.len().max(1);
    let best = (from..lines.len())
        .take(budget)
        .max_by_key(|at| (score(*at), std::cmp::Reverse(at.abs_diff(expected.unwrap_or(*at)))));
    let Some(at) = best.filter(|at| score(*at) > 0) else {
        return "was not found: none of its old lines is in the file where it could be; read the file again"
            .to_owned();
    };
    let differing = old
        .iter()
        .enumerate()
        .find(|(index, line)| lines.get(at + index).is_none_or(|file| !blanks_aside(file, &line.text)));
    let Some((index, line)) = differing else {
        return "was not found".to_owned();
    };
    let wanted = shown(&line.text);
    match lines.get(at + index) {
        Some(file) => format!(
            "was not found; it comes nearest at line {}, where line {} is `{}` and the hunk says `{wanted}`",
            at + 1,
            at + index + 1,
            shown(file)
        ),
        None => format!(
            "was not found; it comes nearest at line {}, where the file ends before `{wanted}`",
            at + 1
        ),
    }
}

fn shown(line: &[u8]) -> String {
    domain::text::cut(&String::from_utf8_lossy(line), 120)
}
