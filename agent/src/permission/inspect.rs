//! Programs that look: readers of files, `grep` and its kin, `find`, and those whose options or extra operands make them write.

use super::programs::{self, Call};
use super::word::Word;
use super::{Class, Judged, Refusal, Verdict, paths, unjudged};

/// A program that only reads the files it is given.
pub(super) fn reader(name: &str, args: &[Word]) -> Judged {
    let skipped = match name {
        // Their first operand is a program or a set of characters, not a file.
        "jq" if args.iter().any(|arg| {
            arg.text().is_none_or(|text| text.starts_with("-f") || text.starts_with("--from"))
        }) =>
        {
            None
        }
        "jq" | "tr" => first_operand(args),
        _ => None,
    };
    let mut verdict = Verdict::inspect();
    for (index, arg) in args.iter().enumerate() {
        if Some(index) != skipped && name != "tr" {
            paths::check(arg)?;
        }
        verdict = verdict.with(paths::certainty(arg, name)).with(reaching(name, arg));
    }
    Ok(verdict)
}

/// Options by which readers take names of files from elsewhere, or load code.
fn reaching(name: &str, arg: &Word) -> Verdict {
    let reaches = arg.texts().unwrap_or_default().into_iter().any(|text| {
        (matches!(name, "wc" | "du" | "sort") && text.starts_with("--fi"))
            || (matches!(name, "nm" | "objdump" | "size" | "strings") && text.starts_with("--pl"))
    });
    match reaches {
        true => Verdict::new(
            Class::Execute,
            format!("this option of `{name}` reaches files or code that the line does not name"),
        ),
        false => Verdict::inspect(),
    }
}

fn first_operand(args: &[Word]) -> Option<usize> {
    args.iter().position(|arg| arg.text().is_some_and(|text| !text.starts_with('-')))
}

/// `grep`, `rg` and the like: the pattern is no path, every other operand is.
pub(super) fn grep(name: &str, args: &[Word]) -> Judged {
    let mut pattern_given = args.iter().any(|arg| {
        arg.text().is_some_and(|text| {
            ["-e", "-f", "--regexp", "--file", "--files"]
                .iter()
                .any(|option| text == *option || text.starts_with(&format!("{option}=")))
        })
    });
    let mut verdict = Verdict::inspect();
    let (mut takes_pattern, mut only_operands) = (false, false);
    for arg in args {
        let option = arg.text().filter(|text| text.starts_with('-') && text.len() > 1 && !only_operands);
        if takes_pattern {
            takes_pattern = false;
        } else if let Some(option) = option {
            only_operands = option == "--";
            takes_pattern = takes_text(name, option);
            if runs_programs(name, option) {
                verdict =
                    verdict.with(Verdict::new(Class::Execute, format!("`{name} {option}` runs a program")));
            }
            if !option.starts_with("--regexp=")
                && !option.starts_with("-e")
                && !option.starts_with("--include=")
            {
                paths::check(arg)?;
            }
            continue;
        } else if pattern_given {
            paths::check(arg)?;
        } else {
            pattern_given = true;
            // A pattern that may turn into an option is no pattern.
            if *arg == Word::Unknown {
                verdict = verdict.with(paths::certainty(arg, name));
            }
            continue;
        }
        verdict = verdict.with(paths::certainty(arg, name));
    }
    Ok(verdict)
}

/// Options whose next argument is certainly a pattern or a number. One that is missing here only makes the check stricter.
fn takes_text(name: &str, option: &str) -> bool {
    let everywhere = matches!(option, "-e" | "--regexp" | "-A" | "-B" | "-C" | "-m" | "--max-count");
    match name {
        "rg" => {
            everywhere
                || matches!(
                    option,
                    "-g" | "--glob"
                        | "--iglob"
                        | "-t"
                        | "--type"
                        | "-T"
                        | "--type-not"
                        | "-r"
                        | "--replace"
                        | "--max-depth"
                )
        }
        "grep" | "egrep" | "fgrep" => {
            everywhere || matches!(option, "--include" | "--exclude" | "--exclude-dir")
        }
        _ => false,
    }
}

fn runs_programs(name: &str, option: &str) -> bool {
    match name {
        "rg" => {
            option.starts_with("--pre")
                || option.starts_with("--hostname-bin")
                || option.starts_with("--search-zip")
        }
        "ag" | "ack" => {
            option.starts_with("--pager") || option.starts_with("--ackrc") || option.starts_with("--output")
        }
        _ => false,
    }
}

/// `sort`, which can write and run a program.
pub(super) fn sort(args: &[Word]) -> Judged {
    let mut verdict = paths::all(args, Class::Inspect, "sort")?;
    for text in args.iter().flat_map(|arg| arg.texts().unwrap_or_default()) {
        verdict = verdict.with(reaching("sort", &Word::known(text)));
        let abbreviates = |long: &str, least: usize| {
            let name = text.split('=').next().unwrap_or(text);
            name.len() >= least && long.starts_with(name)
        };
        if abbreviates("--compress-program", 4) {
            verdict = verdict.with(Verdict::new(Class::Execute, "`sort --compress-program` runs a program"));
        }
        let cluster = text.starts_with('-') && !text.starts_with("--") && text.contains('o');
        if abbreviates("--output", 3) || cluster {
            verdict = verdict.with(Verdict::new(Class::Write, "`sort -o` writes a file"));
        }
    }
    Ok(verdict)
}

/// `uniq` and `xxd`, whose second operand is written to.
pub(super) fn with_output(name: &str, args: &[Word]) -> Judged {
    let verdict = paths::all(args, Class::Inspect, name)?;
    let mut operands = 0;
    let mut number = false;
    for arg in args {
        let text = arg.text().unwrap_or_default();
        match text.strip_prefix('-') {
            Some(option) if !option.is_empty() => {
                number = matches!(option, "f" | "s" | "w" | "c" | "g" | "l" | "o") && option.len() == 1
            }
            _ if number && text.chars().all(|c| c.is_ascii_digit()) => number = false,
            _ => operands += 1,
        }
    }
    if operands > 1 {
        return Ok(
            verdict.with(Verdict::new(Class::Write, format!("`{name}` writes into its second operand")))
        );
    }
    Ok(verdict)
}

/// Programs that write with one option.
pub(super) fn with_write_option(name: &str, args: &[Word]) -> Judged {
    let verdict = paths::all(args, Class::Inspect, name)?;
    let writes: &[&str] = match name {
        "tree" => &["-o", "--output"],
        "file" => &["-C", "--compile"],
        "iconv" => &["-o", "--o"],
        _ => &["-i", "--inplace", "--in-place", "-s", "--split"],
    };
    let does = args.iter().flat_map(|arg| arg.texts().unwrap_or_default()).any(|text| {
        let cluster = !text.starts_with("--") && text.starts_with('-');
        writes.iter().any(|option| {
            text.starts_with(option) || (cluster && option.len() == 2 && text.contains(&option[1..]))
        })
    });
    if does {
        return Ok(
            verdict.with(Verdict::new(Class::Write, format!("`{name}` writes a file with this option")))
        );
    }
    Ok(verdict)
}

/// Tests of `find` whose argument is a pattern or a format.
const PATTERNS: [&str; 11] = [
    "-name",
    "-iname",
    "-path",
    "-ipath",
    "-wholename",
    "-iwholename",
    "-regex",
    "-iregex",
    "-lname",
    "-ilname",
    "-printf",
];

/// `find`: the directories it starts in, and what it does with what it finds.
pub(super) fn find(call: &Call<'_>) -> Judged {
    let mut verdict = Verdict::inspect();
    let mut index = 0;
    let mut before = "";
    while let Some(arg) = call.args.get(index) {
        // A pattern may look like a path, everything else that does is one.
        if !PATTERNS.contains(&before) {
            paths::check(arg)?;
        }
        let Some(text) = arg.text() else {
            verdict = verdict.with(paths::certainty(arg, "find"));
            before = "";
            index += 1;
            continue;
        };
        before = text;
        match text {
            "-exec" | "-execdir" | "-ok" | "-okdir" => {
                let rest = &call.args[index + 1..];
                let end = rest.iter().position(|arg| matches!(arg.text(), Some(";" | "+")));
                let Some(end) = end else {
                    return unjudged(format!("`find {text}` does not end in `;` or `+`"));
                };
                verdict = verdict.with(found(&rest[..end], call)?);
                index += end + 2;
                continue;
            }
            "-delete" => verdict = verdict.with(Verdict::new(Class::Write, "`find -delete` removes files")),
            "-fprint" | "-fprint0" | "-fprintf" | "-fls" => {
                check_next(call.args, index)?;
                verdict = verdict.with(Verdict::new(Class::Write, format!("`find {text}` writes a file")));
            }
            text if text.starts_with("-newer")
                || matches!(text, "-samefile" | "-files0-from" | "-anewer" | "-cnewer") =>
            {
                check_next(call.args, index)?;
                if text == "-files0-from" {
                    verdict =
                        verdict.with(Verdict::new(Class::Execute, "`find -files0-from` starts anywhere"));
                }
            }
            _ => {}
        }
        index += 1;
    }
    Ok(verdict)
}

fn check_next(args: &[Word], index: usize) -> Result<(), Refusal> {
    args.get(index + 1).map_or(Ok(()), paths::check)
}

/// The command that `find` runs on each file it found.
fn found(command: &[Word], call: &Call<'_>) -> Judged {
    let [name, args @ ..] = command else {
        return unjudged("`find -exec` names no program");
    };
    let args: Vec<Word> = args.iter().map(placed).collect();
    let judged = programs::judge(&Call { name, args: &args, feeds: false, ..*call })?;
    Ok(judged.with(Verdict::new(Class::Execute, "`find -exec` runs a program on what it finds")))
}

/// A found file in place of `{}`.
fn placed(arg: &Word) -> Word {
    match arg.text() {
        Some(text) if text.contains("{}") => Word::known(text.replace("{}", "./found")),
        _ => arg.clone(),
    }
}
