//! Programs that run other commands: wrappers, `xargs`, `eval`, `sh -c`. What they run is judged in turn; what cannot be read
//! from the line is refused.

use super::assign;
use super::programs::{self, Call};
use super::word::Word;
use super::{Class, Judged, Refusal, Verdict, paths, runners, unjudged, walk};

/// Judges a wrapper.
pub(super) fn judge(name: &str, call: &Call<'_>) -> Judged {
    match name {
        "printenv" => Ok(Verdict::inspect()),
        "env" => env(call),
        "xargs" => xargs(call),
        "command" | "builtin" => match call.args.first().and_then(Word::text) {
            Some("-v" | "-V") => Ok(Verdict::inspect()),
            Some("-p") => unjudged("`command -p` searches another path"),
            _ => rest(call, call.args),
        },
        "timeout" => wrapped(
            call,
            &["-s", "--signal", "-k", "--kill-after"],
            &["-v", "-f", "-p", "--foreground", "--preserve-status", "--verbose"],
            1,
        ),
        "nice" => wrapped(call, &["-n", "--adjustment"], &[], 0),
        "ionice" => wrapped(call, &["-c", "-n"], &["-t"], 0),
        "stdbuf" => wrapped(call, &["-i", "-o", "-e"], &[], 0),
        "setsid" => wrapped(call, &[], &["-w", "--wait", "-f", "--fork", "-c"], 0),
        "time" => wrapped(call, &[], &["-p", "-v"], 0),
        // A redirection of `exec` is judged as one; the rest is a command.
        _ if call.args.is_empty() => Ok(Verdict::inspect()),
        _ => wrapped(call, &[], &[], 0),
    }
}

fn rest(call: &Call<'_>, command: &[Word]) -> Judged {
    match command {
        [] => Ok(Verdict::inspect()),
        [name, args @ ..] => programs::judge(&Call { name, args, ..*call }),
    }
}

/// A wrapper with these options, some of which take an argument, and so many operands before the command.
fn wrapped(call: &Call<'_>, with_value: &[&str], flags: &[&str], operands: usize) -> Judged {
    let mut args = call.args;
    while let [first, after @ ..] = args {
        let Some(text) = first.text() else {
            return unjudged("an option of a wrapper is known only when it runs");
        };
        if !text.starts_with('-') || text == "-" {
            break;
        }
        args = after;
        if text == "--" {
            break;
        }
        if with_value.contains(&text) {
            args = args.get(1..).unwrap_or_default();
        } else if !flags.contains(&text) && !glued(text, with_value) {
            return unjudged(format!("the option `{text}` of a wrapper is not known"));
        }
    }
    if args.iter().take(operands).any(|arg| arg.text().is_none()) {
        return unjudged("an operand of a wrapper is known only when it runs");
    }
    rest(call, args.get(operands..).unwrap_or_default())
}

fn glued(text: &str, with_value: &[&str]) -> bool {
    let numeric = text.len() > 1 && text[1..].chars().all(|c| c.is_ascii_digit());
    numeric
        || with_value.iter().any(|option| match option.strip_prefix("--") {
            Some(_) => text.starts_with(&format!("{option}=")),
            None => !text.starts_with("--") && text.starts_with(option),
        })
}

fn env(call: &Call<'_>) -> Judged {
    let mut verdict = Verdict::inspect();
    let mut args = call.args;
    while let [first, after @ ..] = args {
        let Some(text) = first.text() else {
            return unjudged("an argument of env is known only when it runs");
        };
        if let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.starts_with('-')) {
            verdict = verdict.with(assign::judge(name, &Word::known(value))?);
        } else if matches!(text, "-u" | "--unset") {
            args = after.get(1..).unwrap_or_default();
            continue;
        } else if !matches!(text, "-i" | "-" | "--ignore-environment" | "-0" | "--null")
            && !text.starts_with("--unset=")
        {
            if text.starts_with('-') {
                return Err(Refusal::Forbidden(format!("env {text}")));
            }
            break;
        }
        args = after;
    }
    Ok(verdict.with(rest(call, args)?))
}

fn xargs(call: &Call<'_>) -> Judged {
    let mut args = call.args;
    let mut placeholder = None;
    while let [first, after @ ..] = args {
        let Some(text) = first.text() else {
            return unjudged("an argument of xargs is known only when it runs");
        };
        if !text.starts_with('-') {
            break;
        }
        args = after;
        match text {
            "-I" | "-n" | "-L" | "-P" | "-d" | "-s" | "--max-args" | "--max-procs" | "--max-lines"
            | "--delimiter" | "--replace" => {
                let Some(value) = args.first().and_then(Word::text) else {
                    return unjudged("an option of xargs is known only when it runs");
                };
                if text == "-I" {
                    placeholder = Some(value.to_owned());
                }
                args = &args[1..];
            }
            "-0" | "-r" | "-t" | "-x" | "-0r" | "-r0" | "--null" | "--no-run-if-empty" | "--verbose"
            | "--exit" => {}
            _ if ["-n", "-L", "-P", "-d", "-s"]
                .iter()
                .any(|option| text.starts_with(option) && !text.starts_with("--")) => {}
            _ if text.starts_with("-I") => placeholder = Some(text[2..].to_owned()),
            _ => return unjudged(format!("the option `{text}` of xargs is not known")),
        }
    }
    let [name, inner @ ..] = args else {
        return Ok(Verdict::inspect());
    };
    let fed = if call.feeds { Word::known("./found") } else { Word::Unknown };
    let mut given: Vec<Word> = match &placeholder {
        Some(placeholder) => inner.iter().map(|arg| place(arg, placeholder, &fed)).collect(),
        None => inner.to_vec(),
    };
    if placeholder.is_none() {
        given.push(fed);
    }
    programs::judge(&Call { name, args: &given, feeds: false, ..*call })
}

fn place(arg: &Word, placeholder: &str, fed: &Word) -> Word {
    match (arg.text(), fed.text()) {
        (Some(text), _) if placeholder.is_empty() || !text.contains(placeholder) => arg.clone(),
        (Some(text), Some(fed)) => Word::known(text.replace(placeholder, fed)),
        _ => Word::Unknown,
    }
}

/// `eval`: its words joined are a command line of their own.
pub(super) fn eval(call: &Call<'_>) -> Judged {
    let words: Option<Vec<&str>> = call.args.iter().map(Word::text).collect();
    match words {
        Some(words) => inner(&words.join(" "), call),
        None => unjudged("`eval` runs a text that is known only when it runs"),
    }
}

/// `trap`: its first word is a command line that runs later.
pub(super) fn trap(call: &Call<'_>) -> Judged {
    match call.args {
        [] => Ok(Verdict::inspect()),
        [first, ..] => match first.text() {
            Some("-" | "" | "-l" | "-p") => Ok(Verdict::inspect()),
            Some(text) => inner(text, call),
            None => unjudged("`trap` runs a text that is known only when it runs"),
        },
    }
}

fn inner(text: &str, call: &Call<'_>) -> Judged {
    if text.trim().is_empty() {
        return Ok(Verdict::inspect());
    }
    walk::line(text, call.variables, call.depth + 1)
}

/// `sh`, with a command line, a script or what comes through a pipe.
pub(super) fn shell(name: &str, call: &Call<'_>) -> Judged {
    let mut args = call.args;
    let mut checks_only = false;
    while let [first, after @ ..] = args {
        let Some(text) = first.text() else {
            if paths::certainty(first, name).class == Class::Inspect {
                break;
            }
            return paths::all(args, Class::Execute, &format!("`{name}` runs a script"));
        };
        let Some(options) = text.strip_prefix(['-', '+']).filter(|options| !options.is_empty()) else {
            break;
        };
        args = after;
        if text == "--" {
            break;
        }
        if matches!(text, "--version" | "--help") {
            return Ok(Verdict::inspect());
        }
        if options.starts_with('-') || !options.chars().all(|c| "abcefhimnopuvxC".contains(c)) {
            return unjudged(format!("the option `{text}` of {name} is not known"));
        }
        checks_only |= text.starts_with('-') && options.contains('n');
        if options.contains('o') {
            args = args.get(1..).unwrap_or_default();
        }
        if options.contains('c') {
            return match args.first().map(Word::text) {
                // Its own arguments and environment are not the line's: no variable is known inside.
                Some(Some(text)) => match text.trim().is_empty() {
                    true => Ok(Verdict::inspect()),
                    false => walk::line(text, &assign::Variables::default(), call.depth + 1),
                },
                Some(None) => unjudged(format!("`{name} -c` runs a text that is known only when it runs")),
                None => Ok(Verdict::inspect()),
            };
        }
    }
    let [script, ..] = args else {
        return Ok(Verdict::new(Class::Execute, format!("`{name}` runs what it is given on its input")));
    };
    if checks_only {
        return paths::all(args, Class::Inspect, name);
    }
    runners::script(name, script, args)
}

/// What a command does in front of `xargs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InPipe {
    /// Prints names of files of the workspace.
    Names,
    /// Passes some of the names on.
    Filters,
    /// Anything else.
    Other,
}

/// What a command line of known words does in front of `xargs`. Whether it is allowed is judged elsewhere.
pub(super) fn in_a_pipe(words: &[&str]) -> InPipe {
    let none = |args: &[&str], starts: &[&str]| {
        !args.iter().any(|arg| starts.iter().any(|start| arg.starts_with(start)))
    };
    match words {
        ["find", args @ ..] if none(args, &["-printf", "-exec", "-ok", "-ls", "-fprint"]) => InPipe::Names,
        ["git", "ls-files", args @ ..]
            if none(args, &["--fo", "--de", "-s", "--st", "--eo", "-t", "-v", "-f"]) =>
        {
            InPipe::Names
        }
        ["rg", args @ ..]
            if args.iter().any(|arg| matches!(*arg, "-l" | "--files" | "--files-with-matches"))
                && none(args, &["--path"]) =>
        {
            InPipe::Names
        }
        ["grep", first, ..]
            if first.starts_with('-')
                && !first.starts_with("--")
                && first.contains('l')
                && !first.contains(['e', 'f']) =>
        {
            InPipe::Names
        }
        ["sort"] | ["sort", "-u" | "-z" | "-r"] | ["uniq"] | ["head" | "tail"] => InPipe::Filters,
        ["head" | "tail", "-n", count] | ["head" | "tail", count]
            if count.trim_start_matches('-').chars().all(|c| c.is_ascii_digit())
                && (count.starts_with('-') || words.len() == 3) =>
        {
            InPipe::Filters
        }
        ["grep", "-v" | "-E" | "-i" | "-vE" | "-F", _] | ["grep", _] => InPipe::Filters,
        _ => InPipe::Other,
    }
}
