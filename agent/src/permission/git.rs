//! `git`: which of its verbs only read, and which options make a reading verb write, run programs or leave the repository.

use super::word::Word;
use super::{Class, Judged, Refusal, Verdict, paths, unjudged};

const READS: [&str; 34] = [
    "annotate",
    "blame",
    "cat-file",
    "check-attr",
    "check-ignore",
    "cherry",
    "count-objects",
    "describe",
    "diff",
    "diff-files",
    "diff-index",
    "diff-tree",
    "for-each-ref",
    "grep",
    "help",
    "log",
    "ls-files",
    "ls-tree",
    "merge-base",
    "name-rev",
    "range-diff",
    "rev-list",
    "rev-parse",
    "shortlog",
    "show",
    "show-branch",
    "show-ref",
    "status",
    "var",
    "verify-commit",
    "verify-tag",
    "version",
    "whatchanged",
    "--version",
];
const WRITES: [&str; 42] = [
    "add",
    "am",
    "apply",
    "archive",
    "bisect",
    "bundle",
    "checkout",
    "checkout-index",
    "cherry-pick",
    "clean",
    "commit",
    "commit-tree",
    "fast-import",
    "format-patch",
    "fsck",
    "gc",
    "hash-object",
    "init",
    "maintenance",
    "merge",
    "merge-file",
    "mv",
    "notes",
    "pack-refs",
    "prune",
    "read-tree",
    "rebase",
    "repack",
    "replace",
    "rerere",
    "reset",
    "restore",
    "revert",
    "rm",
    "stage",
    "switch",
    "symbolic-ref",
    "update-index",
    "update-ref",
    "write-tree",
    "difftool",
    "mergetool",
];
const NETWORK: [&str; 12] = [
    "clone",
    "fetch",
    "pull",
    "push",
    "ls-remote",
    "submodule",
    "send-email",
    "svn",
    "p4",
    "daemon",
    "instaweb",
    "request-pull",
];

/// Judges `git` with these arguments.
pub(super) fn judge(args: &[Word]) -> Judged {
    let mut rest = args;
    let mut verdict = Verdict::inspect();
    let verb = loop {
        let [first, after @ ..] = rest else {
            return Ok(verdict);
        };
        let Some(text) = first.text() else {
            return unjudged("the git command is known only when it runs");
        };
        rest = after;
        match text {
            "-C" => {
                let Some(directory) = rest.first() else {
                    return Ok(verdict);
                };
                paths::check(directory)?;
                verdict = verdict.with(paths::certainty(directory, "git -C"));
                rest = &rest[1..];
            }
            "--no-pager"
            | "-P"
            | "--no-optional-locks"
            | "--literal-pathspecs"
            | "--glob-pathspecs"
            | "--no-replace-objects" => {}
            "-c" => {
                verdict = verdict.with(Verdict::new(Class::Execute, "`git -c` can make git run any program"));
                rest = rest.get(1..).unwrap_or_default();
            }
            "--version" | "--help" | "-h" | "-v" => return Ok(verdict),
            text if text.starts_with('-') => return Err(Refusal::Forbidden(format!("git {text}"))),
            verb => break verb,
        }
    };
    Ok(verdict.with(by_verb(verb, rest)?))
}

fn by_verb(verb: &str, args: &[Word]) -> Judged {
    if NETWORK.contains(&verb) {
        return Err(Refusal::Network(format!("git {verb}")));
    }
    let known: Vec<&str> = args.iter().filter_map(Word::text).collect();
    let first = known.first().copied();
    let all = |allowed: &[&str]| known.iter().all(|arg| allowed.contains(arg)) && known.len() == args.len();
    let reads = match verb {
        "branch" => {
            lists(
                &known,
                &[
                    "-a",
                    "-r",
                    "-v",
                    "-vv",
                    "--list",
                    "-l",
                    "--all",
                    "--remotes",
                    "--show-current",
                    "--verbose",
                    "--no-color",
                ],
            ) || matches!(
                first,
                Some("--list" | "-l" | "--contains" | "--merged" | "--no-merged" | "--points-at")
            )
        }
        "tag" => {
            args.is_empty()
                || matches!(first, Some("-l" | "--list" | "-n" | "--contains" | "--points-at" | "--merged"))
        }
        "remote" => match first {
            Some("get-url") | None => true,
            Some("update" | "show" | "prune") => {
                return Err(Refusal::Network(format!("git remote {}", first.unwrap_or_default())));
            }
            _ => all(&["-v", "--verbose"]),
        },
        "stash" => matches!(first, Some("list" | "show")),
        "reflog" => first.is_none_or(|first| first == "show" || first.starts_with('-') || first == "HEAD"),
        "worktree" => first == Some("list"),
        "config" => {
            matches!(first, Some("--get" | "--get-all" | "--get-regexp" | "--list" | "-l" | "get" | "list"))
        }
        "bisect" => matches!(first, Some("log" | "visualize" | "view")) && first == Some("log"),
        "symbolic-ref" => args.len() == 1,
        verb => READS.contains(&verb),
    };
    if reads {
        return reading(verb, args);
    }
    let because = format!("`git {verb}` changes the repository");
    if WRITES.contains(&verb)
        || matches!(verb, "branch" | "tag" | "remote" | "stash" | "reflog" | "worktree" | "config")
    {
        if verb == "archive" && known.iter().any(|arg| arg.starts_with("--rem")) {
            return Err(Refusal::Network("git archive --remote".to_owned()));
        }
        return paths::all(&without_texts(verb, args), Class::Write, &because);
    }
    // Anything else may be an alias of the repository, and an alias can be any command.
    Err(Refusal::Unknown(format!("git {verb}")))
}

fn lists(args: &[&str], allowed: &[&str]) -> bool {
    args.iter().all(|arg| allowed.contains(arg) || arg.starts_with("--format=") || arg.starts_with("--sort="))
}

/// The arguments that may be paths: messages and authors are not.
fn without_texts(verb: &str, args: &[Word]) -> Vec<Word> {
    let mut kept = Vec::new();
    let mut text_follows = false;
    for arg in args {
        let text = arg.text().unwrap_or_default();
        let takes = matches!(verb, "commit" | "tag" | "stash" | "merge" | "notes")
            && (matches!(text, "--message" | "--author" | "--date")
                || (text.starts_with('-') && !text.starts_with("--") && text.ends_with('m')));
        let glued =
            text.starts_with("--message=") || text.starts_with("--author=") || text.starts_with("--date=");
        if !text_follows && !glued {
            kept.push(arg.clone());
        }
        text_follows = takes;
    }
    kept
}

/// A reading verb: its options may still write or run something. Git takes any unique beginning of a long option.
fn reading(verb: &str, args: &[Word]) -> Judged {
    let mut verdict = Verdict::inspect();
    let from_file = args
        .iter()
        .any(|arg| arg.text().is_none_or(|text| text.starts_with("-f") || text.starts_with("--fi")));
    let mut pattern_follows = verb == "grep" && !from_file;
    for arg in args {
        let Some(text) = arg.text() else {
            paths::check(arg)?;
            verdict = verdict.with(paths::certainty(arg, &format!("git {verb}")));
            continue;
        };
        let name = text.split('=').next().unwrap_or(text);
        let abbreviates = |long: &str, least: usize| name.len() >= least && long.starts_with(name);
        if abbreviates("--output", 5) {
            verdict =
                verdict.with(Verdict::new(Class::Write, format!("`git {verb} --output` writes a file")));
        }
        if abbreviates("--no-index", 6) {
            return Err(Refusal::Forbidden(format!("git {verb} --no-index")));
        }
        let pager = verb == "grep" && (text.starts_with("-O") || abbreviates("--open-files-in-pager", 5));
        if abbreviates("--ext-diff", 5)
            || abbreviates("--textconv", 6)
            || abbreviates("--filters", 5)
            || pager
        {
            verdict =
                verdict.with(Verdict::new(Class::Execute, format!("`git {verb} {name}` runs a program")));
        }
        if pattern_follows && !text.starts_with('-') {
            pattern_follows = false;
            continue;
        }
        // `-S/x` and `-G/x` look for a text, `HEAD:path` and `--format=` are no paths of the file system.
        let search = ["-S", "-G", "--grep", "--format", "--pretty", "--author", "--since", "--until"]
            .iter()
            .any(|option| text.starts_with(option));
        if !search {
            paths::check(arg)?;
        }
    }
    Ok(verdict)
}
