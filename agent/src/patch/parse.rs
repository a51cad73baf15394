//! Reading a unified diff. Tolerates what models get wrong without changing what they mean: counts, missing prefixes of blank
//! lines, fences and prose around the patch.

use super::{Error, FilePatch, Hunk, Kind, Line, PatchSet};
use crate::tools::resolve_path;

/// Reads a patch.
pub(crate) fn parse(text: &str) -> Result<PatchSet, Error> {
    let lines = Lines::of(text);
    let mut files = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if lines.begins_file(at) {
            let (file, next) = file(&lines, at)?;
            files.push(file);
            at = next;
        } else {
            at += 1;
        }
    }
    if files.is_empty() {
        return Err(Error::Nothing { hint: hint(text) });
    }
    Ok(PatchSet { files })
}

fn hint(text: &str) -> &'static str {
    if text.contains("*** Begin Patch") || text.contains("*** Update File") {
        "; the `*** Begin Patch` form is not understood"
    } else if text.contains("<<<<<<<") {
        "; search and replace blocks are not understood, use replace_text for them"
    } else if text.contains("@@") {
        "; the `---` and `+++` lines are missing"
    } else {
        ""
    }
}

/// The lines of a patch without their breaks.
struct Lines<'a> {
    lines: Vec<&'a str>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let mut lines: Vec<&str> = text.split('\n').collect();
        if lines.last() == Some(&"") {
            lines.pop();
        }
        // A patch that was sent with CRLF throughout, headers included, means LF.
        let carried = lines.iter().all(|line| line.ends_with('\r'));
        if carried {
            lines = lines.into_iter().map(|line| &line[..line.len() - 1]).collect();
        }
        Self { lines }
    }

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn get(&self, at: usize) -> Option<&'a str> {
        self.lines.get(at).copied()
    }

    fn starts(&self, at: usize, with: &str) -> bool {
        self.get(at).is_some_and(|line| line.starts_with(with))
    }

    fn begins_file(&self, at: usize) -> bool {
        self.starts(at, "diff --git ") || self.has_names(at)
    }

    /// Whether `--- ` and `+++ ` lines stand here.
    fn has_names(&self, at: usize) -> bool {
        self.starts(at, "--- ") && self.starts(at + 1, "+++ ")
    }

    /// Whether the header of another file stands here, inside a hunk whose counts cannot be trusted.
    fn ends_hunks(&self, at: usize) -> bool {
        self.starts(at, "diff --git ")
            || (self.has_names(at) && (self.starts(at + 2, "@@") || self.get(at + 2).is_none()))
    }
}

fn invalid(at: usize, why: impl Into<String>) -> Error {
    Error::Invalid { line: at + 1, why: why.into() }
}

fn file(lines: &Lines<'_>, at: usize) -> Result<(FilePatch, usize), Error> {
    let mut file = FilePatch::default();
    let mut at = at;
    let mut named = false;
    if let Some(names) = lines.get(at).and_then(|line| line.strip_prefix("diff --git ")) {
        at += 1;
        (at, named) = extended(lines, at, &mut file)?;
        if !named && !lines.has_names(at) {
            let (old, new) = git_names(names).ok_or_else(|| invalid(at - 1, "does not name two files"))?;
            (file.old, file.new) = (Some(path(&old)?), Some(path(&new)?));
            if file.created {
                file.old = None;
            }
            if file.deleted {
                file.new = None;
            }
            named = true;
        }
    }
    if lines.has_names(at) {
        let old = name(lines.get(at).unwrap_or_default(), "--- ");
        let new = name(lines.get(at + 1).unwrap_or_default(), "+++ ");
        at += 2;
        if !named {
            (file.old, file.new) = stripped(old, new)?;
        }
    } else if !named {
        return Err(invalid(at, "must be a `+++ ` line"));
    }
    if file.old.is_none() && file.new.is_none() {
        return Err(invalid(at.saturating_sub(1), "names /dev/null on both sides"));
    }
    while lines.starts(at, "@@") {
        let (hunk, next) = hunk(lines, at)?;
        file.hunks.push(hunk);
        at = next;
        // Blank lines between hunks are nobody's.
        while lines.get(at).is_some_and(|line| line.trim().is_empty()) && lines.get(at + 1).is_some() {
            at += 1;
        }
    }
    if file.hunks.is_empty()
        && !(file.renamed || file.copied || file.created || file.deleted || file.mode.is_some())
    {
        return Err(invalid(at.saturating_sub(1), "is followed by no `@@` hunk"));
    }
    Ok((file, at))
}

/// Reads git's extended header; tells whether it named the files.
fn extended(lines: &Lines<'_>, mut at: usize, file: &mut FilePatch) -> Result<(usize, bool), Error> {
    let (mut from, mut to) = (None, None);
    while let Some(line) = lines.get(at) {
        let line = line.trim_end();
        if let Some(mode) = line.strip_prefix("new file mode ") {
            file.created = true;
            file.mode = permissions(mode);
        } else if let Some(mode) = line.strip_prefix("new mode ") {
            file.mode = permissions(mode);
        } else if line.starts_with("deleted file mode ") {
            file.deleted = true;
        } else if let Some(name) = line.strip_prefix("rename from ") {
            (file.renamed, from) = (true, Some(path(&unquoted(name))?));
        } else if let Some(name) = line.strip_prefix("rename to ") {
            (file.renamed, to) = (true, Some(path(&unquoted(name))?));
        } else if let Some(name) = line.strip_prefix("copy from ") {
            (file.copied, from) = (true, Some(path(&unquoted(name))?));
        } else if let Some(name) = line.strip_prefix("copy to ") {
            (file.copied, to) = (true, Some(path(&unquoted(name))?));
        } else if line.starts_with("GIT binary patch") || line.starts_with("Binary files ") {
            return Err(invalid(at, "is a binary patch, which is not supported"));
        } else if !["old mode ", "similarity index ", "dissimilarity index ", "index "]
            .iter()
            .any(|word| line.starts_with(word))
        {
            break;
        }
        at += 1;
    }
    if !(file.renamed || file.copied) {
        return Ok((at, false));
    }
    if from.is_none() || to.is_none() {
        return Err(invalid(at.saturating_sub(1), "names only one side of a rename or copy"));
    }
    (file.old, file.new) = (from, to);
    Ok((at, true))
}

/// The permission bits in a git mode such as `100755`.
fn permissions(mode: &str) -> Option<u32> {
    let mode = u32::from_str_radix(mode.trim(), 8).ok()?;
    (mode >> 12 == 0o10).then_some(mode & 0o777)
}

/// The two names of a `diff --git` line, without their prefixes.
fn git_names(names: &str) -> Option<(String, String)> {
    let names = names.trim_end();
    if let Some(quoted) = names.strip_prefix('"') {
        let end = 1 + quoted.find("\" ")?;
        let (old, new) = (unquoted(&names[..=end]), unquoted(names[end + 2..].trim()));
        return Some((without_first(&old)?, without_first(&new)?));
    }
    // Both names are equal up to the prefix, so the middle blank separates them even if they hold blanks.
    names.match_indices(' ').find_map(|(at, _)| {
        let (old, new) = (&names[..at], &names[at + 1..]);
        let (old, new) = (without_first(old)?, without_first(&unquoted(new))?);
        (old == new).then_some((old, new))
    })
}

fn without_first(name: &str) -> Option<String> {
    name.split_once('/').map(|(_, rest)| rest.to_owned())
}

/// The name in a `---` or `+++` line; `None` for `/dev/null`.
fn name(line: &str, sign: &str) -> Option<String> {
    let rest = line.strip_prefix(sign).unwrap_or(line).trim_end_matches('\r');
    let named = match rest.starts_with('"') {
        true => unquoted(rest),
        false => rest.split('\t').next().unwrap_or_default().trim().to_owned(),
    };
    (named != "/dev/null").then_some(named)
}

/// Undoes git's quoting of unusual names.
fn unquoted(name: &str) -> String {
    let name = name.trim();
    let Some(inner) = name
        .strip_prefix('"')
        .and_then(|rest| rest.split_once("\"\t").map(|(name, _)| name).or_else(|| rest.strip_suffix('"')))
    else {
        return name.to_owned();
    };
    let mut bytes = Vec::new();
    let mut rest = inner.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'r') => bytes.push(b'\r'),
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    if let Some(next @ b'0'..=b'7') = rest.peek().copied() {
                        value = value * 8 + u32::from(next - b'0');
                        rest.next();
                    }
                }
                bytes.push(u8::try_from(value & 0xff).unwrap_or(b'?'));
            }
            Some(other) => bytes.push(other),
            None => bytes.push(b'\\'),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The two paths without the prefixes of git, where they are such.
fn stripped(old: Option<String>, new: Option<String>) -> Result<(Option<String>, Option<String>), Error> {
    let prefixed = |name: &Option<String>, prefixes: &[&str]| {
        name.as_deref().is_none_or(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    };
    let git = prefixed(&old, &["a/", "i/", "c/", "o/", "w/"]) && prefixed(&new, &["b/", "w/", "i/", "c/"]);
    let differ = match (&old, &new) {
        // The same prefix on both sides is a directory of that name, not a prefix of git.
        (Some(old), Some(new)) => old.as_bytes().first() != new.as_bytes().first(),
        _ => true,
    };
    if git && differ {
        let strip = |name: Option<String>| name.map(|name| name[2..].to_owned());
        return both(strip(old), strip(new));
    }
    // One side alone carries its prefix.
    match (&old, &new) {
        (Some(one), Some(other)) if one.strip_prefix("a/") == Some(other) => {
            both(Some(other.clone()), Some(other.clone()))
        }
        (Some(one), Some(other)) if other.strip_prefix("b/") == Some(one) => {
            both(Some(one.clone()), Some(one.clone()))
        }
        _ => both(old, new),
    }
}

fn both(old: Option<String>, new: Option<String>) -> Result<(Option<String>, Option<String>), Error> {
    Ok((old.as_deref().map(path).transpose()?, new.as_deref().map(path).transpose()?))
}

fn path(name: &str) -> Result<String, Error> {
    let resolved = resolve_path(name).map_err(Error::Path)?;
    if resolved == "." {
        return Err(Error::Path(format!("`{name}` names no file")));
    }
    Ok(resolved)
}

fn hunk(lines: &Lines<'_>, at: usize) -> Result<(Hunk, usize), Error> {
    let header = lines.get(at).unwrap_or_default();
    let (start, counts, heading) =
        ranges(header).ok_or_else(|| invalid(at, format!("`{header}` is no hunk header")))?;
    let mut hunk = Hunk { at: at + 1, start, heading, lines: Vec::new() };
    let counted = counts.and_then(|counts| by_counts(lines, at + 1, counts));
    let (body, next) = match counted {
        Some(read) => read,
        None => by_shape(lines, at + 1)?,
    };
    if body.is_empty() {
        return Err(invalid(at, "begins a hunk without lines"));
    }
    hunk.lines = body;
    Ok((hunk, next))
}

/// Where the hunk says it begins and how many old lines it has; the old and new counts to trust; the heading.
type Ranges = (Option<(usize, usize)>, Option<(usize, usize)>, String);

fn ranges(header: &str) -> Option<Ranges> {
    let rest = header.strip_prefix("@@")?;
    let (inside, heading) = match rest.split_once("@@") {
        Some((inside, heading)) => (inside.trim(), heading.trim()),
        None if rest.trim().starts_with('-') => (rest.trim(), ""),
        None => ("", rest.trim()),
    };
    if inside.is_empty() || !inside.starts_with('-') {
        // A bare `@@`, or one that only names the place: `@@ def f():`.
        let heading = if heading.is_empty() { inside } else { heading };
        return Some((None, None, heading.to_owned()));
    }
    let mut sides = inside.split_whitespace();
    let old = range(sides.next()?.strip_prefix('-')?)?;
    let new = range(sides.next()?.strip_prefix('+')?)?;
    Some((Some(old), Some((old.1, new.1)), heading.to_owned()))
}

fn range(text: &str) -> Option<(usize, usize)> {
    let (start, count) = text.split_once(',').unwrap_or((text, "1"));
    Some((start.parse().ok()?, count.parse().ok()?))
}

fn line(text: &str) -> Option<Line> {
    let kind = match text.as_bytes().first() {
        None => Kind::Context,
        Some(b' ') => Kind::Context,
        Some(b'\r') if text.len() == 1 => Kind::Context,
        Some(b'-') => Kind::Removed,
        Some(b'+') => Kind::Added,
        Some(_) => return None,
    };
    let text = text.strip_prefix([' ', '-', '+']).unwrap_or(text);
    Some(Line { kind, text: text.as_bytes().to_vec(), unterminated: false })
}

/// Reads a body that its counts fit exactly. They decide about lines that look like the header of another file.
fn by_counts(
    lines: &Lines<'_>,
    from: usize,
    (mut old, mut new): (usize, usize),
) -> Option<(Vec<Line>, usize)> {
    let mut body: Vec<Line> = Vec::new();
    let mut at = from;
    while old > 0 || new > 0 {
        let text = lines.get(at)?;
        at += 1;
        if text.starts_with('\\') {
            body.last_mut()?.unterminated = true;
            continue;
        }
        let line = line(text)?;
        if line.kind != Kind::Added {
            old = old.checked_sub(1)?;
        }
        if line.kind != Kind::Removed {
            new = new.checked_sub(1)?;
        }
        body.push(line);
    }
    while lines.starts(at, "\\") {
        body.last_mut()?.unterminated = true;
        at += 1;
    }
    // Blank lines may be the distance to what follows or more of the hunk: look behind them.
    let mut next = at;
    while lines.get(next).is_some_and(str::is_empty) {
        next += 1;
    }
    let ends = match lines.get(next) {
        None => true,
        Some(text) => {
            !text.starts_with([' ', '+', '-']) || is_signature(lines, next) || lines.begins_file(next)
        }
    };
    ends.then_some((body, at))
}

/// The `-- ` line that mail programs put under a patch.
fn is_signature(lines: &Lines<'_>, at: usize) -> bool {
    let version = |line: &str| line.starts_with(|first: char| first.is_ascii_digit());
    lines.get(at) == Some("-- ") && lines.get(at + 1).is_some_and(version) && at + 3 >= lines.len()
}

/// Reads a body by the look of its lines, for counts that are wrong or absent.
fn by_shape(lines: &Lines<'_>, from: usize) -> Result<(Vec<Line>, usize), Error> {
    let mut body: Vec<Line> = Vec::new();
    let mut at = from;
    while let Some(text) = lines.get(at) {
        if text.starts_with("@@") || lines.ends_hunks(at) || is_signature(lines, at) {
            break;
        }
        if text.starts_with('\\') {
            if let Some(last) = body.last_mut() {
                last.unterminated = true;
            }
            at += 1;
            continue;
        }
        match line(text) {
            Some(line) => body.push(line),
            None if ends_here(lines, at) => break,
            None => return Err(invalid(at, "begins with none of ' ', '+', '-' and '\\'")),
        }
        at += 1;
    }
    // Blank lines at the end are the distance to what follows, not context.
    while body.last().is_some_and(|line| line.kind == Kind::Context && line.text.is_empty()) {
        body.pop();
    }
    Ok((body, at))
}

/// Whether nothing of the hunk follows a line that cannot belong to it.
fn ends_here(lines: &Lines<'_>, at: usize) -> bool {
    (at + 1..lines.len())
        .take_while(|next| !lines.starts(*next, "@@") && !lines.begins_file(*next))
        .all(|next| !lines.starts(next, "+") && !lines.starts(next, "-"))
}
