//! The walk over the grammar of a line: finds every simple command, assignment and redirection, wherever it stands.

use super::assign::{self, Variables};
use super::scan::{self, HERE, Scanned, Token};
use super::word::{self, Word};
use super::{Class, Judged, MAX_DEPTH, Refusal, Verdict, paths, programs, unjudged};
use brush_parser::ast::{
    AndOr, AndOrList, Assignment, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem,
    CompoundCommand, CompoundList, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, Pipeline, Program,
    RedirectList, SimpleCommand,
};
use std::collections::BTreeSet;

/// Judges a line that runs with these variables.
pub(super) fn line(text: &str, outer: &Variables, depth: usize) -> Judged {
    if depth > MAX_DEPTH {
        return unjudged("it is nested too deeply; use a script");
    }
    let scanned = scan::scan(text)?;
    let Some(program) = parse(&scanned)? else {
        return judge_inner(&scanned, outer, depth);
    };
    let mut variables = outer.clone();
    let mut gatherer =
        Gatherer { scanned: &scanned, found: Variables::default(), functions: BTreeSet::new() };
    gatherer.program(&program);
    for name in &scanned.set {
        gatherer.found.unknown(name);
    }
    let functions = gatherer.functions;
    variables.merge(gatherer.found);
    let inner = judge_inner(&scanned, &variables, depth)?;
    let walker = Walker { scanned: &scanned, variables, functions: &functions, depth };
    Ok(inner.with(walker.program(&program)?))
}

fn judge_inner(scanned: &Scanned, variables: &Variables, depth: usize) -> Judged {
    scanned.inner.iter().try_fold(Verdict::inspect(), |verdict, inner| {
        if inner.trim().is_empty() {
            return Ok(verdict);
        }
        Ok(verdict.with(line(inner, variables, depth + 1)?))
    })
}

/// The grammar of the flat text, when both readings of it agree.
fn parse(scanned: &Scanned) -> Result<Option<Program>, Refusal> {
    if !scanned.tokens.iter().any(|token| matches!(token, Token::Word(_))) {
        return if scanned.tokens.iter().all(|token| *token == Token::Operator("\n".to_owned())) {
            Ok(None)
        } else {
            unjudged("it is not valid sh")
        };
    }
    let options = brush_parser::ParserOptions {
        enable_extended_globbing: false,
        posix_mode: true,
        sh_mode: true,
        ..brush_parser::ParserOptions::default()
    };
    // A defect of the parser must cost the command, not the worker.
    let parsed = std::panic::catch_unwind(|| {
        let tokens = brush_parser::uncached_tokenize_str(&scanned.flat, &options.tokenizer_options()).ok()?;
        let same = tokens.len() == scanned.tokens.len()
            && tokens.iter().zip(&scanned.tokens).all(|(a, b)| agrees(a, b));
        same.then(|| brush_parser::parse_tokens(&tokens, &options).ok()).flatten()
    });
    match parsed {
        Ok(Some(program)) => Ok(Some(program)),
        _ => unjudged("it is not valid plain sh"),
    }
}

fn agrees(one: &brush_parser::Token, other: &Token) -> bool {
    match (one, other) {
        (brush_parser::Token::Word(a, _), Token::Word(b))
        | (brush_parser::Token::Operator(a, _), Token::Operator(b)) => a == b,
        _ => false,
    }
}

/// Goes through the commands of a compound command.
fn lists(command: &CompoundCommand) -> Vec<&CompoundList> {
    match command {
        CompoundCommand::BraceGroup(group) => vec![&group.list],
        CompoundCommand::Subshell(subshell) => vec![&subshell.list],
        CompoundCommand::ForClause(clause) => vec![&clause.body.list],
        CompoundCommand::CaseClause(clause) => {
            clause.cases.iter().filter_map(|case| case.cmd.as_ref()).collect()
        }
        CompoundCommand::IfClause(clause) => {
            let mut lists = vec![&clause.condition, &clause.then];
            for other in clause.elses.iter().flatten() {
                lists.extend(&other.condition);
                lists.push(&other.body);
            }
            lists
        }
        CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
            vec![&clause.0, &clause.1.list]
        }
        CompoundCommand::Arithmetic(_)
        | CompoundCommand::ArithmeticForClause(_)
        | CompoundCommand::Coprocess(_) => Vec::new(),
    }
}

fn pipelines(list: &AndOrList) -> impl Iterator<Item = &Pipeline> {
    std::iter::once(&list.first).chain(list.additional.iter().map(|next| match next {
        AndOr::And(pipeline) | AndOr::Or(pipeline) => pipeline,
    }))
}

/// Collects what a line sets, before anything is judged.
struct Gatherer<'a> {
    scanned: &'a Scanned,
    found: Variables,
    functions: BTreeSet<String>,
}

impl Gatherer<'_> {
    fn program(&mut self, program: &Program) {
        program.complete_commands.iter().for_each(|list| self.list(list));
    }

    fn list(&mut self, list: &CompoundList) {
        for pipeline in list.0.iter().flat_map(|item| pipelines(&item.0)) {
            pipeline.seq.iter().for_each(|command| self.command(command));
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, _) => self.compound(compound),
            Command::Function(function) => {
                self.functions.insert(function.fname.value.clone());
                self.compound(&function.body.0);
            }
            Command::ExtendedTest(..) => {}
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        if let CompoundCommand::ForClause(clause) = compound {
            let words: Vec<Word> = match &clause.values {
                Some(words) => words.iter().map(|word| self.value(&word.value)).collect(),
                None => vec![Word::Unknown],
            };
            self.found.loops_over(&clause.variable_name, &words);
        }
        lists(compound).into_iter().for_each(|list| self.list(list));
    }

    /// A value as far as it can be known without knowing other variables.
    fn value(&self, raw: &str) -> Word {
        word::read(raw, self.scanned, &|_| None)
    }

    fn simple(&mut self, simple: &SimpleCommand) {
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            if let CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) = item {
                self.assignment(assignment);
            }
        }
        let name = simple.word_or_name.as_ref().map(|word| self.value(&word.value));
        let Some(name) = name.as_ref().and_then(Word::text) else {
            return;
        };
        let items: Vec<&CommandPrefixOrSuffixItem> =
            simple.suffix.iter().flat_map(|suffix| &suffix.0).collect();
        match name {
            "eval" | "." | "source" | "getopts" | "command" | "builtin" => self.found.taint(),
            "read" | "unset" => {
                for item in items {
                    match item {
                        CommandPrefixOrSuffixItem::Word(word) => match self.value(&word.value).text() {
                            Some(text) => self.found.unknown(text),
                            None => self.found.taint(),
                        },
                        CommandPrefixOrSuffixItem::AssignmentWord(..) => self.found.taint(),
                        _ => {}
                    }
                }
            }
            "export" | "readonly" | "local" => {
                for item in items {
                    match item {
                        CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) => {
                            self.assignment(assignment)
                        }
                        CommandPrefixOrSuffixItem::Word(word)
                            if self.value(&word.value).text().is_none_or(|t| t.contains('=')) =>
                        {
                            self.found.taint();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn assignment(&mut self, assignment: &Assignment) {
        match (&assignment.name, &assignment.value) {
            (AssignmentName::VariableName(name), AssignmentValue::Scalar(word)) if !assignment.append => {
                let value = self.value(&word.value);
                self.found.may_be(name, &value);
            }
            _ => self.found.taint(),
        }
    }
}

struct Walker<'a> {
    scanned: &'a Scanned,
    variables: Variables,
    functions: &'a BTreeSet<String>,
    depth: usize,
}

impl Walker<'_> {
    fn program(&self, program: &Program) -> Judged {
        self.all(program.complete_commands.iter().map(|list| self.list(list)))
    }

    fn all(&self, verdicts: impl Iterator<Item = Judged>) -> Judged {
        verdicts.into_iter().try_fold(Verdict::inspect(), |sum, verdict| Ok(sum.with(verdict?)))
    }

    fn list(&self, list: &CompoundList) -> Judged {
        self.all(list.0.iter().flat_map(|item| pipelines(&item.0)).map(|pipeline| self.pipeline(pipeline)))
    }

    fn pipeline(&self, pipeline: &Pipeline) -> Judged {
        self.all(pipeline.seq.iter().enumerate().map(|(index, command)| {
            let feeds = self.names_files_inside(&pipeline.seq[..index]);
            self.command(command, feeds)
        }))
    }

    fn command(&self, command: &Command, feeds: bool) -> Judged {
        match command {
            Command::Simple(simple) => self.simple(simple, feeds),
            Command::Compound(compound, redirects) => {
                Ok(self.compound(compound)?.with(self.redirects(redirects.as_ref())?))
            }
            Command::Function(function) => {
                let inside = Walker { variables: self.variables.clone(), ..*self };
                Ok(inside.compound(&function.body.0)?.with(self.redirects(function.body.1.as_ref())?))
            }
            Command::ExtendedTest(..) => unjudged("`[[` is not plain sh; use `[`"),
        }
    }

    fn compound(&self, compound: &CompoundCommand) -> Judged {
        match compound {
            CompoundCommand::Arithmetic(_)
            | CompoundCommand::ArithmeticForClause(_)
            | CompoundCommand::Coprocess(_) => unjudged("it holds a construct of bash that is not plain sh"),
            CompoundCommand::ForClause(clause) => {
                for word in clause.values.iter().flatten() {
                    self.word(&word.value)?;
                }
                let set = assign::judge(&clause.variable_name, &Word::Unknown)?;
                let inside = Walker { variables: self.variables.within_loop(&clause.variable_name), ..*self };
                Ok(set.with(inside.list(&clause.body.list)?))
            }
            CompoundCommand::CaseClause(clause) => {
                self.word(&clause.value.value)?;
                self.all(lists(compound).into_iter().map(|list| self.list(list)))
            }
            _ => self.all(lists(compound).into_iter().map(|list| self.list(list))),
        }
    }

    fn word(&self, raw: &str) -> Result<Word, Refusal> {
        if word::has_braces(raw) {
            return unjudged("a brace expansion is not plain sh; write the words out");
        }
        Ok(word::read(raw, self.scanned, &|name| self.variables.values(name)))
    }

    fn simple(&self, simple: &SimpleCommand, feeds: bool) -> Judged {
        let mut verdict = Verdict::inspect();
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            verdict = verdict.with(match item {
                CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) => self.assignment(assignment)?,
                CommandPrefixOrSuffixItem::IoRedirect(redirect) => self.redirect(redirect)?,
                _ => return unjudged("it holds a construct of bash that is not plain sh"),
            });
        }
        let Some(name) = &simple.word_or_name else {
            return Ok(verdict);
        };
        let mut args = Vec::new();
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            match item {
                CommandPrefixOrSuffixItem::IoRedirect(redirect) => {
                    verdict = verdict.with(self.redirect(redirect)?)
                }
                CommandPrefixOrSuffixItem::Word(word)
                | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => {
                    args.push(self.word(&word.value)?);
                }
                CommandPrefixOrSuffixItem::ProcessSubstitution(..) => {
                    return unjudged("a process substitution is not plain sh; use a pipe or a file");
                }
            }
        }
        let name = self.word(&name.value)?;
        let call = programs::Call {
            name: &name,
            args: &args,
            feeds,
            functions: self.functions,
            variables: &self.variables,
            depth: self.depth,
        };
        Ok(verdict.with(programs::judge(&call)?))
    }

    fn assignment(&self, assignment: &Assignment) -> Judged {
        match (&assignment.name, &assignment.value) {
            (AssignmentName::VariableName(name), AssignmentValue::Scalar(value)) if !assignment.append => {
                assign::judge(name, &self.word(&value.value)?)
            }
            _ => unjudged("an assignment is not plain sh"),
        }
    }

    fn redirects(&self, redirects: Option<&RedirectList>) -> Judged {
        self.all(redirects.iter().flat_map(|list| &list.0).map(|redirect| self.redirect(redirect)))
    }

    fn redirect(&self, redirect: &IoRedirect) -> Judged {
        let IoRedirect::File(_, kind, target) = redirect else {
            return unjudged("a redirection is not plain sh");
        };
        match target {
            IoFileRedirectTarget::Fd(_) => Ok(Verdict::inspect()),
            IoFileRedirectTarget::ProcessSubstitution(..) => {
                unjudged("a process substitution is not plain sh")
            }
            IoFileRedirectTarget::Duplicate(word) => match self.word(&word.value)?.text() {
                Some(text) if text == "-" || text.chars().all(|c| c.is_ascii_digit()) => {
                    Ok(Verdict::inspect())
                }
                _ => unjudged("`>&` is followed by something else than a number; write `>file 2>&1`"),
            },
            IoFileRedirectTarget::Filename(word) if word.value == HERE.to_string() => Ok(Verdict::inspect()),
            IoFileRedirectTarget::Filename(word) => self.file(kind, &self.word(&word.value)?),
        }
    }

    fn file(&self, kind: &IoFileRedirectKind, word: &Word) -> Judged {
        // A path after `<` or `>` is a path even when it begins with a dash.
        for text in word.texts().unwrap_or_default() {
            if paths::leads_out(text, matches!(word, Word::Text { glob: true, .. })) {
                return Err(Refusal::Outside(text.replacen("/~", "~", 1)));
            }
        }
        let device = word.texts().is_some_and(|texts| texts.iter().all(|text| paths::is_device(text)));
        let vague = paths::certainty(word, "a redirection");
        Ok(match kind {
            IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput => vague,
            _ if device => Verdict::inspect(),
            _ => Verdict::new(Class::Write, format!("redirecting into `{}` writes a file", word.shown()))
                .with(vague),
        })
    }

    /// Whether what comes before in a pipeline prints names of files of the workspace and nothing else.
    fn names_files_inside(&self, before: &[Command]) -> bool {
        for command in before.iter().rev() {
            let Command::Simple(simple) = command else {
                return false;
            };
            let words: Option<Vec<String>> = simple
                .word_or_name
                .iter()
                .chain(simple.suffix.iter().flat_map(|suffix| &suffix.0).filter_map(|item| match item {
                    CommandPrefixOrSuffixItem::Word(word)
                    | CommandPrefixOrSuffixItem::AssignmentWord(_, word) => Some(word),
                    _ => None,
                }))
                .map(|word| self.word(&word.value).ok()?.text().map(str::to_owned))
                .collect();
            let Some(words) = words else {
                return false;
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match super::wrap::in_a_pipe(&words) {
                super::wrap::InPipe::Names => return true,
                super::wrap::InPipe::Filters => {}
                super::wrap::InPipe::Other => return false,
            }
        }
        false
    }
}
