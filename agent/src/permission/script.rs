//! `sed` and `awk`: small languages that can write and run programs. A script that plainly does neither is looking.

use super::word::Word;
use super::{Class, Judged, Verdict, paths};

/// Judges `sed`.
pub(super) fn sed(args: &[Word]) -> Judged {
    let mut verdict = Verdict::inspect();
    let (mut script_given, mut script_next, mut only_operands) = (false, false, false);
    for arg in args {
        let text = arg.text();
        if script_next {
            script_next = false;
            verdict = verdict.with(sed_script(arg));
            continue;
        }
        match text {
            Some(option) if option.starts_with('-') && option.len() > 1 && !only_operands => match option {
                "--" => only_operands = true,
                "-e" | "--expression" | "-ne" | "-rne" | "-Ene" | "-nre" => {
                    (script_given, script_next) = (true, true);
                }
                "-n" | "-E" | "-r" | "-s" | "-u" | "-z" | "-nE" | "-En" | "-nr" | "-rn" | "--quiet"
                | "--silent" | "--regexp-extended" | "--posix" | "--debug" | "--separate"
                | "--unbuffered" | "--null-data" | "--sandbox" | "--version" | "--help" => {}
                _ if option.starts_with("--expression=") => {
                    script_given = true;
                    verdict = verdict.with(sed_script(&Word::known(&option["--expression=".len()..])));
                }
                _ if option.starts_with("-i")
                    || option.starts_with("--i")
                    || (!option.starts_with("--") && option.contains('i')) =>
                {
                    paths::check(arg)?;
                    verdict = verdict.with(Verdict::new(Class::Write, "`sed -i` changes files"));
                }
                _ => {
                    paths::check(arg)?;
                    verdict = verdict.with(Verdict::new(
                        Class::Execute,
                        format!("what `sed {option}` does is not in the line"),
                    ));
                }
            },
            _ if !script_given => {
                script_given = true;
                verdict = verdict.with(sed_script(arg));
            }
            _ => {
                paths::check(arg)?;
                verdict = verdict.with(paths::certainty(arg, "sed"));
            }
        }
    }
    Ok(verdict)
}

fn sed_script(script: &Word) -> Verdict {
    let plain = script.texts().is_some_and(|texts| texts.iter().all(|text| is_plain_sed(text)));
    if plain {
        Verdict::inspect()
    } else {
        Verdict::new(Class::Execute, "this sed script may write files or run commands")
    }
}

/// Whether a script prints, deletes, substitutes and quits, and does nothing else.
fn is_plain_sed(script: &str) -> bool {
    let mut rest = script;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ';' || c == '}' || c.is_whitespace());
        if rest.is_empty() {
            return true;
        }
        let Some(command) = after_address(rest) else {
            return false;
        };
        let Some(next) = after_command(command) else {
            return false;
        };
        rest = next;
    }
}

/// What follows the address of a command.
fn after_address(script: &str) -> Option<&str> {
    let mut rest = script;
    for _ in 0..2 {
        let mut chars = rest.chars();
        rest = match chars.next()? {
            '0'..='9' => rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '~'),
            '$' => chars.as_str(),
            '+' if rest.len() > 1 => rest[1..].trim_start_matches(|c: char| c.is_ascii_digit()),
            '/' => delimited(chars.as_str(), '/')?.trim_start_matches(['I', 'M']),
            _ => break,
        };
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    Some(rest.trim_start_matches(['!', ' ']))
}

/// What follows a text up to an unescaped delimiter.
fn delimited(text: &str, delimiter: char) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == delimiter && !escaped {
            return Some(&text[at + c.len_utf8()..]);
        }
        if c == '\n' {
            return None;
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn after_command(script: &str) -> Option<&str> {
    let mut chars = script.chars();
    let command = chars.next()?;
    let rest = chars.as_str();
    let rest = match command {
        'p' | 'd' | 'D' | 'P' | 'n' | 'N' | 'g' | 'G' | 'h' | 'H' | 'x' | '=' => rest,
        'q' | 'Q' | 'l' => rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '),
        '{' => return Some(rest),
        's' | 'y' => {
            let delimiter =
                rest.chars().next().filter(|c| !c.is_alphanumeric() && !c.is_whitespace() && *c != '\\')?;
            let second = delimited(&rest[delimiter.len_utf8()..], delimiter)?;
            let flags = delimited(second, delimiter)?;
            match command {
                's' => flags.trim_start_matches(|c: char| {
                    c.is_ascii_digit() || matches!(c, 'g' | 'p' | 'i' | 'I' | 'm' | 'M')
                }),
                _ => flags,
            }
        }
        _ => return None,
    };
    // A command ends at a separator; anything else glued to it is another meaning.
    let rest = rest.trim_start_matches(' ');
    (rest.is_empty() || rest.starts_with([';', '\n', '}'])).then_some(rest)
}

/// Judges `awk`.
pub(super) fn awk(name: &str, args: &[Word]) -> Judged {
    let mut verdict = Verdict::inspect();
    let (mut program_given, mut value_next, mut only_operands) = (false, false, false);
    for arg in args {
        let text = arg.text();
        if value_next {
            value_next = false;
            verdict = verdict.with(paths::certainty(arg, name));
            continue;
        }
        match text {
            Some("--") if !only_operands => only_operands = true,
            Some("-F" | "-v") if !program_given && !only_operands => value_next = true,
            Some(option)
                if !program_given
                    && !only_operands
                    && (option.starts_with("-F") || option.starts_with("-v")) => {}
            Some(option)
                if !program_given && !only_operands && option.starts_with('-') && option.len() > 1 =>
            {
                paths::check(arg)?;
                verdict = verdict.with(Verdict::new(
                    Class::Execute,
                    format!("what `{name} {option}` does is not in the line"),
                ));
            }
            _ if !program_given => {
                program_given = true;
                if !arg.texts().is_some_and(|texts| texts.iter().all(|text| is_plain_awk(text))) {
                    verdict = verdict.with(Verdict::new(
                        Class::Execute,
                        format!("this {name} program may write files or run commands"),
                    ));
                }
            }
            _ => {
                paths::check(arg)?;
                verdict = verdict.with(paths::certainty(arg, name));
            }
        }
    }
    Ok(verdict)
}

/// Whether a program has none of the words and signs by which awk reaches out: pipes, redirections, `system`, `getline`, `@load`,
/// and the names of its own arguments. Comparisons with `>` fall under this too.
fn is_plain_awk(program: &str) -> bool {
    let reaches = program.contains("system")
        || program.contains("getline")
        || program.contains("ARGV")
        || program.contains("ENVIRON");
    let pipes = program.replace("||", "").contains('|');
    !reaches && !pipes && !program.contains(['>', '<', '@'])
}
