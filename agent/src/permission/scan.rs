//! The strict reading of a command line: quotes, comments, expansions, substitutions, here-documents. It takes out everything
//! that is not plain grammar and puts one placeholder character in its place, so that what is left has one reading only.

use super::{Refusal, unjudged};

/// Stands for the output of a command or another text that is not known.
pub(super) const UNKNOWN: char = '\u{E000}';
/// Stands for a number.
pub(super) const NUMBER: char = '\u{E001}';
/// Stands for the file behind a here-document.
pub(super) const HERE: char = '\u{E002}';
/// The first of the placeholders of variables.
const VARIABLE: u32 = 0xE100;
const MAX_VARIABLES: usize = 2000;
/// Parentheses, braces and compound commands in one line.
const MAX_OPENERS: usize = 48;
/// The grammar reads the last item of a `case` twice, so nested ones cost twice each.
const MAX_CASES: usize = 8;

/// A token of the flat text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Operator(String),
}

/// A line read.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The line with placeholders.
    pub(super) flat: String,
    /// Its tokens.
    pub(super) tokens: Vec<Token>,
    /// Command lines found in substitutions.
    pub(super) inner: Vec<String>,
    /// The variables behind the placeholders.
    names: Vec<String>,
    /// Variables that are set by expansions and arithmetic.
    pub(super) set: Vec<String>,
}

impl Scanned {
    /// The variable that a placeholder stands for.
    pub(super) fn variable(&self, c: char) -> Option<&str> {
        let index = u32::from(c).checked_sub(VARIABLE)?;
        self.names.get(usize::try_from(index).ok()?).map(String::as_str)
    }
}

/// Reads a line.
pub(super) fn scan(line: &str) -> Result<Scanned, Refusal> {
    if let Some(strange) = line.chars().find(|c| is_strange(*c)) {
        return unjudged(format!("it holds the character U+{:04X}", u32::from(strange)));
    }
    let mut scanner = Scanner::new(line.chars().collect(), 0, 0);
    scanner.all()?;
    let openers = scanner.out.tokens.iter().filter(|token| opens(token)).count();
    let cases = scanner.out.tokens.iter().filter(|token| **token == Token::Word("case".to_owned())).count();
    if openers > MAX_OPENERS || cases > MAX_CASES {
        return unjudged("it is nested too deeply; use a script");
    }
    Ok(scanner.out)
}

fn is_strange(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || matches!(u32::from(c), 0xE000..=0xF8FF)
}

fn opens(token: &Token) -> bool {
    match token {
        Token::Operator(operator) => operator == "(",
        Token::Word(word) => matches!(word.as_str(), "{" | "if" | "while" | "until" | "for" | "case" | "!"),
    }
}

/// A here-document whose body has not come yet.
struct Here {
    tag: String,
    quoted: bool,
    tabs: bool,
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    out: Scanned,
    /// The word being read.
    word: Option<String>,
    here: Vec<Here>,
    nesting: usize,
}

const OPERATORS: [&str; 18] =
    ["<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|", "&", "|", ";", "<", ">", "(", ")", "\n"];
/// What bash reads as one operator and sh as two, or not at all.
const BASH_ONLY: [&str; 8] = ["&>", "|&", "<<<", ";;&", ";&", "<(", ">(", "(("];
/// How deep substitutions may hide in substitutions.
const MAX_NESTING: usize = 12;

impl Scanner {
    fn new(chars: Vec<char>, at: usize, nesting: usize) -> Self {
        Self { chars, at, out: Scanned::default(), word: None, here: Vec::new(), nesting }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.peek(index) == Some(c))
    }

    fn push(&mut self, c: char) {
        self.out.flat.push(c);
        self.word.get_or_insert_with(String::new).push(c);
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.out.tokens.push(Token::Word(word));
        }
    }

    fn all(&mut self) -> Result<(), Refusal> {
        while let Some(c) = self.peek(0) {
            match c {
                '\\' => self.escape()?,
                '\'' => self.single()?,
                '"' => self.double()?,
                '$' => self.dollar(false)?,
                '`' => self.backquote(false)?,
                ' ' | '\t' => {
                    self.end_word();
                    self.out.flat.push(' ');
                    self.at += 1;
                }
                '#' if self.word.is_none() => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                '&' | '|' | ';' | '<' | '>' | '(' | ')' | '\n' => self.operator()?,
                other => {
                    self.push(other);
                    self.at += 1;
                }
            }
        }
        self.end_word();
        if self.here.is_empty() { Ok(()) } else { unjudged("a here-document does not end") }
    }

    fn escape(&mut self) -> Result<(), Refusal> {
        match self.peek(1) {
            None => return unjudged("it ends in a backslash"),
            Some('\n') => {}
            Some(c) => {
                self.push('\\');
                self.push(c);
            }
        }
        self.at += 2;
        Ok(())
    }

    fn single(&mut self) -> Result<(), Refusal> {
        self.push('\'');
        self.at += 1;
        loop {
            let Some(c) = self.peek(0) else {
                return unjudged("a single quote does not end");
            };
            self.push(c);
            self.at += 1;
            if c == '\'' {
                return Ok(());
            }
        }
    }

    fn double(&mut self) -> Result<(), Refusal> {
        self.push('"');
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return unjudged("a double quote does not end"),
                Some('"') => {
                    self.push('"');
                    self.at += 1;
                    return Ok(());
                }
                Some('$') => self.dollar(true)?,
                Some('`') => self.backquote(true)?,
                Some('\\') => self.escape()?,
                Some(c) => {
                    self.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn operator(&mut self) -> Result<(), Refusal> {
        if let Some(strange) = BASH_ONLY.iter().find(|text| self.looking_at(text)) {
            return unjudged(format!("`{strange}` is not plain sh; write it another way"));
        }
        let operator = OPERATORS.iter().find(|text| self.looking_at(text)).copied().unwrap_or("\n");
        if self.word.as_ref().is_some_and(|word| word.len() > 3 && word.chars().all(|c| c.is_ascii_digit()))
            && operator.starts_with(['<', '>'])
        {
            return unjudged("the number before a redirection is too large");
        }
        self.end_word();
        self.at += operator.chars().count();
        if operator.starts_with("<<") {
            return self.here_tag(operator == "<<-");
        }
        self.out.flat.push_str(operator);
        self.out.tokens.push(Token::Operator(operator.to_owned()));
        if operator == "\n" { self.here_bodies() } else { Ok(()) }
    }

    /// Reads the tag of a here-document and leaves an ordinary input redirection behind.
    fn here_tag(&mut self, tabs: bool) -> Result<(), Refusal> {
        while matches!(self.peek(0), Some(' ' | '\t')) {
            self.at += 1;
        }
        let (mut tag, mut quoted) = (String::new(), false);
        while let Some(c) = self.peek(0) {
            match c {
                '\'' | '"' => quoted = true,
                c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '!' | '+') => tag.push(c),
                ' ' | '\t' | '\n' | '&' | '|' | ';' | '<' | '>' | '(' | ')' => break,
                _ => return unjudged("the tag of a here-document is unusual; use a plain word"),
            }
            self.at += 1;
        }
        if tag.is_empty() {
            return unjudged("a here-document has no tag");
        }
        self.out.flat.push('<');
        self.out.tokens.push(Token::Operator("<".to_owned()));
        self.push(HERE);
        self.end_word();
        self.out.flat.push(' ');
        self.here.push(Here { tag, quoted, tabs });
        Ok(())
    }

    fn here_bodies(&mut self) -> Result<(), Refusal> {
        for here in std::mem::take(&mut self.here) {
            let mut body = String::new();
            loop {
                if self.at >= self.chars.len() {
                    return unjudged("a here-document does not end");
                }
                let end = (self.at..self.chars.len())
                    .find(|at| self.chars[*at] == '\n')
                    .unwrap_or(self.chars.len());
                let line: String = self.chars[self.at..end].iter().collect();
                self.at = (end + 1).min(self.chars.len());
                let line = if here.tabs { line.trim_start_matches('\t') } else { &line };
                if line == here.tag {
                    break;
                }
                // The shell would join the next line to this one, perhaps the tag.
                if !here.quoted && line.ends_with('\\') {
                    return unjudged("a line of a here-document ends in a backslash; quote the tag: <<'EOF'");
                }
                body.push_str(line);
                body.push('\n');
            }
            if !here.quoted {
                self.here_expansions(&body)?;
            }
        }
        Ok(())
    }

    /// Looks for commands in the body of a here-document, which expands like a double-quoted text.
    fn here_expansions(&mut self, body: &str) -> Result<(), Refusal> {
        let mut inside = Self::new(body.chars().collect(), 0, self.nesting);
        while let Some(c) = inside.peek(0) {
            match c {
                '$' => inside.dollar(true)?,
                '`' => inside.backquote(true)?,
                '\\' => inside.at += 2,
                _ => inside.at += 1,
            }
        }
        self.out.inner.append(&mut inside.out.inner);
        self.out.set.append(&mut inside.out.set);
        Ok(())
    }

    fn variable(&mut self, name: String) -> Result<(), Refusal> {
        let names = &mut self.out.names;
        let index = names.iter().position(|known| *known == name).unwrap_or(names.len());
        if index == names.len() {
            names.push(name);
        }
        let code = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(VARIABLE);
        match char::from_u32(code) {
            Some(placeholder) if index < MAX_VARIABLES => self.push(placeholder),
            _ => return unjudged("it uses too many variables"),
        }
        Ok(())
    }

    fn dollar(&mut self, quoted: bool) -> Result<(), Refusal> {
        match self.peek(1) {
            Some('(') if self.peek(2) == Some('(') => self.arithmetic(),
            Some('(') => self.substitution(),
            Some('{') => self.braces(),
            Some('\'' | '"') if !quoted => unjudged("`$'` and `$\"` are not plain sh"),
            Some('[') => unjudged("`$[` is not plain sh; use $(( ))"),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                self.at += 1;
                let name = self.name();
                self.variable(name)
            }
            Some('#' | '?' | '$' | '!') => {
                self.at += 2;
                self.push(NUMBER);
                Ok(())
            }
            Some('@' | '*' | '-' | '0'..='9') => {
                self.at += 2;
                self.push(UNKNOWN);
                Ok(())
            }
            _ => {
                self.at += 1;
                self.push('$');
                Ok(())
            }
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek(0).filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// `$(( … ))`, when nothing but arithmetic is in it.
    fn arithmetic(&mut self) -> Result<(), Refusal> {
        self.at += 3;
        let mut depth = 0_u32;
        let mut name = String::new();
        loop {
            let Some(c) = self.peek(0) else {
                return unjudged("an arithmetic expansion does not end");
            };
            if c.is_ascii_alphabetic() || c == '_' || (!name.is_empty() && c.is_ascii_digit()) {
                name.push(c);
            } else if !name.is_empty() {
                self.out.set.push(std::mem::take(&mut name));
            }
            match c {
                '(' => depth += 1,
                ')' if depth > 0 => depth -= 1,
                ')' if self.peek(1) == Some(')') => break,
                ')' => {
                    return unjudged(
                        "`$((` does not hold plain arithmetic; put a blank after `$(` to run a subshell",
                    );
                }
                c if c.is_ascii_alphanumeric() || " \t_$+-*/%<>=!&|^~?:,".contains(c) => {}
                _ => return unjudged("an arithmetic expansion holds more than arithmetic"),
            }
            self.at += 1;
        }
        self.at += 2;
        self.push(NUMBER);
        Ok(())
    }

    /// `$( … )`: finds its end by reading what is inside in the same strict way.
    fn substitution(&mut self) -> Result<(), Refusal> {
        self.at += 2;
        let start = self.at;
        if self.nesting >= MAX_NESTING {
            return unjudged("it is nested too deeply; use a script");
        }
        let mut inside = Self::new(std::mem::take(&mut self.chars), start, self.nesting + 1);
        let end = inside.until_closed();
        self.chars = inside.chars;
        let end = end?;
        let text: String = self.chars[start..end].iter().collect();
        self.at = end + 1;
        self.out.inner.push(text);
        self.push(UNKNOWN);
        Ok(())
    }

    /// Reads on to the parenthesis that closes a substitution and answers with its place.
    fn until_closed(&mut self) -> Result<usize, Refusal> {
        let mut depth = 0_u32;
        while let Some(c) = self.peek(0) {
            match c {
                ')' if depth == 0 => {
                    if !self.here.is_empty() {
                        return unjudged("a here-document inside a substitution does not end");
                    }
                    return Ok(self.at);
                }
                '\\' => self.escape()?,
                '\'' => self.single()?,
                '"' => self.double()?,
                '$' => self.dollar(false)?,
                '`' => self.backquote(false)?,
                ' ' | '\t' => {
                    self.end_word();
                    self.at += 1;
                }
                '#' if self.word.is_none() => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                '(' | ')' => {
                    depth = if c == '(' { depth + 1 } else { depth - 1 };
                    self.operator()?;
                }
                '&' | '|' | ';' | '<' | '>' | '\n' => self.operator()?,
                other => {
                    self.push(other);
                    self.at += 1;
                }
            }
        }
        unjudged("a command substitution does not end")
    }

    fn backquote(&mut self, quoted: bool) -> Result<(), Refusal> {
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek(0) {
                None => return unjudged("a backquote does not end"),
                Some('`') => break,
                Some('\\') => return unjudged("a backslash inside backquotes; use $( ) instead"),
                Some('"') if quoted => {
                    return unjudged("a double quote inside quoted backquotes; use $( ) instead");
                }
                Some(c) => text.push(c),
            }
            self.at += 1;
        }
        self.at += 1;
        self.out.inner.push(text);
        self.push(UNKNOWN);
        Ok(())
    }

    /// `${ … }`: a plain variable, or an expansion whose text is plain.
    fn braces(&mut self) -> Result<(), Refusal> {
        self.at += 2;
        if self.peek(0) == Some('#') && self.peek(1).is_some_and(|c| c != '}') {
            self.at += 1;
            self.name();
            if self.peek(0) != Some('}') {
                return unjudged("`${#…}` holds more than a name");
            }
            self.at += 1;
            self.push(NUMBER);
            return Ok(());
        }
        let mut name = self.name();
        if name.is_empty() && self.peek(0).is_some_and(|c| "@*#?$!-".contains(c)) {
            self.at += 1;
        } else if name.is_empty() {
            return unjudged("`${` is followed by no name");
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.clear();
        }
        if self.peek(0) == Some('}') {
            self.at += 1;
            if name.is_empty() {
                self.push(UNKNOWN);
                return Ok(());
            }
            return self.variable(name);
        }
        let operator = [":-", ":=", ":?", ":+", "-", "=", "?", "+", "%%", "%", "##", "#"];
        let Some(operator) = operator.iter().find(|text| self.looking_at(text)) else {
            return unjudged("an expansion in `${…}` is not plain sh");
        };
        self.at += operator.len();
        loop {
            match self.peek(0) {
                None => return unjudged("`${` does not end"),
                Some('}') => break,
                Some(c) if "'\"\\`$\n{".contains(c) => {
                    return unjudged("the text in `${…}` is too intricate");
                }
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        if operator.ends_with('=') {
            self.out.set.push(name);
        }
        self.push(UNKNOWN);
        Ok(())
    }
}
