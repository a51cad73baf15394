//! Languages by file name and symbols by line: rough on purpose, for a map and not for a compiler.

const MAX_SYMBOLS: usize = 40;
const MAX_SYMBOL: usize = 80;

const LANGUAGES: [(&str, &str); 29] = [
    (".c", "c"),
    (".h", "c"),
    (".cc", "cpp"),
    (".cpp", "cpp"),
    (".hpp", "cpp"),
    (".cs", "csharp"),
    (".css", "css"),
    (".go", "go"),
    (".html", "html"),
    (".java", "java"),
    (".js", "javascript"),
    (".jsx", "javascript"),
    (".mjs", "javascript"),
    (".json", "json"),
    (".kt", "kotlin"),
    (".md", "markdown"),
    (".php", "php"),
    (".pl", "perl"),
    (".py", "python"),
    (".rb", "ruby"),
    (".rs", "rust"),
    (".sh", "shell"),
    (".sql", "sql"),
    (".toml", "toml"),
    (".ts", "typescript"),
    (".tsx", "typescript"),
    (".awk", "awk"),
    (".yaml", "yaml"),
    (".yml", "yaml"),
];

/// The language of a file by its name; `text` where it is not known.
pub(super) fn language(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    LANGUAGES.iter().find(|(end, _)| name.ends_with(end)).map_or("text", |(_, language)| language)
}

/// The symbols of a text: types first, then functions, each once.
pub(super) fn of(language: &str, text: &str) -> Vec<String> {
    let read: fn(&str) -> Option<(u8, &str)> = match language {
        "python" => python,
        "javascript" | "typescript" => script,
        "rust" => rust,
        "go" => go,
        "shell" => shell,
        "java" | "kotlin" | "csharp" => class_only,
        "markdown" => return headings(text),
        _ => return Vec::new(),
    };
    let mut found: Vec<(u8, &str)> = text.lines().filter_map(read).collect();
    found.sort_by_key(|(rank, _)| *rank);
    unique(found.into_iter().map(|(_, name)| name))
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut symbols: Vec<String> = Vec::new();
    for name in names {
        let name: String = name.chars().take(MAX_SYMBOL).collect();
        if !name.is_empty() && !symbols.contains(&name) {
            symbols.push(name);
        }
        if symbols.len() == MAX_SYMBOLS {
            break;
        }
    }
    symbols
}

/// The identifier that a text begins with.
fn name(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

fn after<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(keyword)?;
    rest.starts_with([' ', '\t']).then_some(rest)
}

fn python(line: &str) -> Option<(u8, &str)> {
    let line = line.trim_start();
    if let Some(rest) = after(line, "class") {
        return Some((0, name(rest)?));
    }
    let line = after(line, "async").map_or(line, str::trim_start);
    Some((1, name(after(line, "def")?)?))
}

fn script(line: &str) -> Option<(u8, &str)> {
    let line = line.trim_start();
    let exported = after(line, "export").map_or(line, str::trim_start);
    let line = after(exported, "default").map_or(exported, str::trim_start);
    if let Some(rest) = after(line, "class").or_else(|| after(line, "interface")) {
        return Some((0, name(rest)?));
    }
    let line = after(line, "async").map_or(line, str::trim_start);
    if let Some(rest) = line.strip_prefix("function") {
        return Some((1, name(rest.trim_start_matches(['*', ' ']))?));
    }
    let rest = after(line, "const")?;
    let constant = name(rest)?;
    rest.contains('=').then_some((2, constant))
}

fn rust(line: &str) -> Option<(u8, &str)> {
    let mut line = line.trim_start();
    if let Some(rest) = line.strip_prefix("pub") {
        line = rest.trim_start();
        if line.starts_with('(') {
            line = line.split_once(')')?.1.trim_start();
        }
    }
    for word in ["async", "const", "unsafe"] {
        if let Some(rest) = after(line, word)
            && after(rest.trim_start(), "fn").is_some()
        {
            line = rest.trim_start();
        }
    }
    for word in ["struct", "enum", "trait", "union"] {
        if let Some(rest) = after(line, word) {
            return Some((0, name(rest)?));
        }
    }
    Some((1, name(after(line, "fn")?)?))
}

fn go(line: &str) -> Option<(u8, &str)> {
    if let Some(rest) = after(line, "type") {
        return Some((0, name(rest)?));
    }
    let rest = after(line, "func")?.trim_start();
    let rest = if rest.starts_with('(') { rest.split_once(')')?.1 } else { rest };
    Some((1, name(rest)?))
}

fn shell(line: &str) -> Option<(u8, &str)> {
    let function = name(line)?;
    line[function.len()..].trim_start().starts_with("()").then_some((1, function))
}

fn class_only(line: &str) -> Option<(u8, &str)> {
    let line = line.trim_start();
    ["class ", "interface ", "record ", "enum "].iter().find_map(|word| {
        let (before, rest) = line.split_once(word)?;
        let modifiers = before.split_whitespace().all(|word| word.chars().all(char::is_alphabetic));
        modifiers.then(|| name(rest)).flatten().map(|name| (0, name))
    })
}

fn headings(text: &str) -> Vec<String> {
    let mut fenced = false;
    let found = text.lines().filter_map(|line| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            return None;
        }
        let rest = line.trim_start_matches('#');
        let level = line.len() - rest.len();
        ((1..=3).contains(&level) && rest.starts_with(' '))
            .then(|| rest.trim().trim_end_matches('#').trim_end())
    });
    unique(found)
}
