//! Words of the flat text: what they can stand for when the command runs.

use super::scan::{NUMBER, Scanned, UNKNOWN};

/// Texts that one word may stand for before it counts as unknown.
const MAX_TEXTS: usize = 64;

/// What a word stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// Exactly this; a leading tilde that the shell expands is written as `/~`.
    Text {
        /// The text without quotes.
        text: String,
        /// Whether the shell expands a pattern in it.
        glob: bool,
    },
    /// One of these.
    OneOf(Vec<String>),
    /// Known only when it runs.
    Unknown,
}

impl Word {
    /// A known text.
    pub(super) fn known(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), glob: false }
    }

    /// The text, when there is exactly one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Everything it can be; nothing when that is not known.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Self::Text { text, .. } => Some(vec![text]),
            Self::OneOf(texts) => Some(texts.iter().map(String::as_str).collect()),
            Self::Unknown => None,
        }
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text { text, .. } => domain::text::cut(text, 120),
            Self::OneOf(texts) => domain::text::cut(&texts.join(" or "), 120),
            Self::Unknown => "…".to_owned(),
        }
    }
}

/// Reads a word of the flat text. `values` tells what a variable can hold.
pub(super) fn read(raw: &str, scanned: &Scanned, values: &dyn Fn(&str) -> Option<Vec<String>>) -> Word {
    let mut reader = Reader { texts: vec![String::new()], known: true, glob: false, variables: false };
    if raw.starts_with('~') {
        reader.add("/");
    }
    let mut chars = raw.chars();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !double => {
                let quoted: String = chars.by_ref().take_while(|c| *c != '\'').collect();
                reader.add(&quoted);
            }
            '"' => double = !double,
            '\\' if double => match chars.next() {
                Some(next @ ('$' | '`' | '"' | '\\')) => reader.add_char(next),
                Some(next) => {
                    reader.add_char('\\');
                    reader.add_char(next);
                }
                None => reader.add_char('\\'),
            },
            '\\' => reader.add_char(chars.next().unwrap_or('\\')),
            UNKNOWN => reader.known = false,
            NUMBER => reader.add_char('0'),
            c => match scanned.variable(c) {
                Some(name) => reader.vary(values(name)),
                None => {
                    reader.glob |= !double && matches!(c, '*' | '?' | '[');
                    reader.add_char(c);
                }
            },
        }
    }
    reader.word()
}

/// Whether a raw word holds a brace expansion, which bash would expand and sh would not.
pub(super) fn has_braces(raw: &str) -> bool {
    let mut chars = raw.chars();
    let (mut open, mut parts) = (0_u32, false);
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\'' | '"' => {
                let mut escaped = false;
                for next in chars.by_ref() {
                    if next == c && !escaped {
                        break;
                    }
                    escaped = c == '"' && next == '\\' && !escaped;
                }
            }
            '{' => open += 1,
            ',' if open > 0 => parts = true,
            '.' if open > 0 => parts |= chars.clone().next() == Some('.'),
            '}' if open > 0 && parts => return true,
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    false
}

struct Reader {
    texts: Vec<String>,
    known: bool,
    glob: bool,
    variables: bool,
}

impl Reader {
    fn add_char(&mut self, c: char) {
        for text in &mut self.texts {
            text.push(c);
        }
    }

    fn add(&mut self, part: &str) {
        for text in &mut self.texts {
            text.push_str(part);
        }
    }

    fn vary(&mut self, values: Option<Vec<String>>) {
        self.variables = true;
        let Some(values) = values.filter(|values| values.len() * self.texts.len() <= MAX_TEXTS) else {
            self.known = false;
            return;
        };
        self.texts = self
            .texts
            .iter()
            .flat_map(|text| values.iter().map(move |value| format!("{text}{value}")))
            .collect();
    }

    fn word(mut self) -> Word {
        if !self.known || self.texts.is_empty() {
            return Word::Unknown;
        }
        if self.variables {
            return Word::OneOf(self.texts);
        }
        match self.texts.pop() {
            Some(text) => Word::Text { text, glob: self.glob },
            None => Word::Unknown,
        }
    }
}
