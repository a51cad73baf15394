//! Programs that run a project's tests. Running them runs the project's code inside the sandbox, which is what a task is about;
//! options that make them run something else do not count as testing.

use super::word::Word;
use super::{Class, Judged, Refusal, Verdict, paths};

/// Programs that do nothing but test.
const TESTERS: [&str; 16] = [
    "pytest",
    "py.test",
    "pytest-3",
    "nosetests",
    "nose2",
    "jest",
    "vitest",
    "mocha",
    "ava",
    "rspec",
    "phpunit",
    "prove",
    "bats",
    "ctest",
    "busted",
    "tap",
];
/// Options of testers that load, run or write something of the caller's choice, or clear directories.
const STEERING: [&str; 33] = [
    "--basetemp",
    "--bootstrap",
    "--config",
    "--configuration",
    "--confcutdir",
    "--cov-config",
    "--cov-report",
    "--debug",
    "--exec",
    "--executor",
    "--globalSetup",
    "--html",
    "--import",
    "--import-mode",
    "--init",
    "--json-report",
    "--junit",
    "--loader",
    "--log-file",
    "--override-ini",
    "--outputFile",
    "--pastebin",
    "--pdb",
    "--pyargs",
    "--report-log",
    "--require",
    "--resultlog",
    "--rootdir",
    "--runner",
    "--setupFiles",
    "--trace",
    "--transform",
    "--reporter",
];

/// Judges a program that can run tests; `None` when it is not such.
pub(super) fn judge(name: &str, args: &[Word]) -> Option<Judged> {
    if TESTERS.contains(&name) {
        return Some(tester(name, args));
    }
    let judged = match name {
        "python" | "python2" | "python3" | "py" | "pypy3" => python(name, args),
        name if name.starts_with("python3.") => python(name, args),
        "cargo" => cargo(args),
        "go" => go(args),
        "npm" | "pnpm" | "yarn" | "bun" => package_manager(name, args),
        "node" | "nodejs" => node(name, args),
        "make" | "gmake" => make(name, args),
        "ruby" | "perl" | "php" | "lua" | "Rscript" | "julia" => script_runner(name, args),
        "mvn" | "gradle" | "dotnet" | "swift" | "mix" | "stack" | "cabal" | "sbt" | "lein" | "rake"
        | "zig" | "deno" => with_verb(name, args),
        _ => return None,
    };
    Some(judged)
}

fn execute(name: &str, args: &[Word]) -> Judged {
    paths::all(args, Class::Execute, &format!("`{name}` runs code of its caller's choice"))
}

fn text(args: &[Word], index: usize) -> Option<&str> {
    args.get(index).and_then(Word::text)
}

/// A test run with these arguments.
fn tester(name: &str, args: &[Word]) -> Judged {
    let mut verdict = paths::all(args, Class::Test, name)?;
    if name == "unittest" {
        // None of its options loads or writes anything of the caller's choice; its `-p` is a pattern of file names.
        return Ok(verdict);
    }
    let mut plugin = false;
    for arg in args {
        let text = arg.text().unwrap_or_default();
        let option = text.split('=').next().unwrap_or(text);
        let steering =
            STEERING.iter().any(|long| option == *long || (long.starts_with(option) && option.len() > 5))
                || (plugin && !text.starts_with("no:"))
                || (text.starts_with("-p")
                    && text.len() > 2
                    && !text.starts_with("-pno:")
                    && !text.starts_with("--"))
                || (matches!(text, "-c" | "-o" | "-r" | "-I" | "-e" | "-S")
                    && !(name == "pytest" && text == "-r"));
        plugin = text == "-p";
        if steering {
            verdict = verdict
                .with(Verdict::new(Class::Execute, format!("`{name} {option}` can run or write anything")));
        }
    }
    Ok(verdict)
}

/// Whether a path looks like a test script of the project.
fn is_test_script(path: &str) -> bool {
    let path = path.trim_start_matches("./");
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    let in_tests = path
        .split('/')
        .rev()
        .skip(1)
        .any(|part| matches!(part, "test" | "tests" | "spec" | "t" | "__tests__"));
    in_tests
        || matches!(stem, "test" | "tests" | "runtests" | "run_tests" | "run-tests" | "check" | "verify")
        || ["test_", "test-", "run_test", "run-test"].iter().any(|start| stem.starts_with(start))
        || ["_test", "-test", "_tests", "-tests", "_spec"].iter().any(|end| stem.ends_with(end))
        || name.contains(".test.")
        || name.contains(".spec.")
}

/// An interpreter with a script.
pub(super) fn script(name: &str, script: &Word, args: &[Word]) -> Judged {
    let tests = script
        .texts()
        .is_some_and(|texts| !texts.is_empty() && texts.iter().all(|text| is_test_script(text)));
    let class = if tests { Class::Test } else { Class::Execute };
    paths::all(args, class, &format!("`{name}` runs a script"))
}

fn python(name: &str, args: &[Word]) -> Judged {
    let mut index = 0;
    while let Some(option) = text(args, index).filter(|text| text.starts_with('-') && text.len() > 1) {
        match option {
            "-V" | "--version" | "-VV" | "--help" | "-h" => return Ok(Verdict::inspect()),
            "-m" => return module(name, text(args, index + 1), args.get(index + 2..).unwrap_or_default()),
            "-W" | "-X" => index += 2,
            _ if !option.starts_with("--") && option[1..].chars().all(|c| "bBdEIOPqsSuvx".contains(c)) => {
                index += 1
            }
            _ => return execute(name, args),
        }
    }
    match args.get(index) {
        Some(file) => script(name, file, &args[index..]),
        None => Ok(Verdict::new(Class::Execute, format!("`{name}` runs what it is given on its input"))),
    }
}

fn module(name: &str, module: Option<&str>, args: &[Word]) -> Judged {
    match module {
        Some("pytest" | "unittest" | "nose2") => tester(module.unwrap_or_default(), args),
        Some("doctest") => match args.iter().find(|arg| arg.text().is_none_or(|text| !text.starts_with('-')))
        {
            Some(_) => paths::all(args, Class::Test, "doctest"),
            None => execute(name, args),
        },
        Some(
            "pip" | "ensurepip" | "http.server" | "http" | "venv" | "virtualenv" | "pipx" | "webbrowser"
            | "smtplib" | "telnetlib",
        ) => pip(&format!("{name} -m {}", module.unwrap_or_default()), args),
        Some(other) => paths::all(args, Class::Execute, &format!("`{name} -m {other}` runs a module")),
        None => execute(name, args),
    }
}

/// `pip`, of which only looking at what is installed stays off the network.
pub(super) fn pip(name: &str, args: &[Word]) -> Judged {
    match text(args, 0) {
        Some("list" | "show" | "freeze" | "check" | "--version" | "-V") => {
            paths::all(args, Class::Inspect, name)
        }
        _ => Err(Refusal::Network(name.to_owned())),
    }
}

fn cargo(args: &[Word]) -> Judged {
    let args = match text(args, 0) {
        Some(toolchain) if toolchain.starts_with('+') => &args[1..],
        _ => args,
    };
    let before_tests = args.split(|arg| arg.text() == Some("--")).next().unwrap_or_default();
    let steered = before_tests.iter().any(|arg| {
        arg.texts().is_none_or(|texts| {
            texts
                .iter()
                .any(|text| text.starts_with("--config") || text.starts_with("-Z") || text.starts_with("-C"))
        })
    });
    match text(args, 0) {
        Some("test" | "t") if !steered => paths::all(args, Class::Test, "cargo test"),
        Some("nextest") if !steered && matches!(text(args, 1), Some("run" | "list")) => {
            paths::all(args, Class::Test, "cargo nextest")
        }
        Some(
            "--version" | "-V" | "version" | "--list" | "help" | "tree" | "metadata" | "locate-project"
            | "pkgid",
        ) if !steered => paths::all(args, Class::Inspect, "cargo"),
        Some(
            verb @ ("install" | "add" | "fetch" | "update" | "publish" | "search" | "login" | "owner"
            | "yank" | "vendor"),
        ) => Err(Refusal::Network(format!("cargo {verb}"))),
        _ => execute("cargo", args),
    }
}

fn go(args: &[Word]) -> Judged {
    let steered = args.iter().any(|arg| {
        arg.texts().is_none_or(|texts| {
            texts.iter().any(|text| {
                let option = text.trim_start_matches('-');
                text.starts_with('-')
                    && [
                        "exec",
                        "toolexec",
                        "o",
                        "overlay",
                        "modfile",
                        "coverprofile",
                        "cpuprofile",
                        "memprofile",
                        "outputdir",
                        "ldflags",
                        "gcflags",
                    ]
                    .iter()
                    .any(|long| option == *long || option.starts_with(&format!("{long}=")))
            })
        })
    });
    match text(args, 0) {
        Some("test" | "vet") if !steered => paths::all(args, Class::Test, "go test"),
        Some("version" | "env" | "list" | "doc" | "help")
            if !steered && text(args, 1) != Some("-w") && text(args, 1) != Some("-u") =>
        {
            paths::all(args, Class::Inspect, "go")
        }
        Some(verb @ ("get" | "install")) => Err(Refusal::Network(format!("go {verb}"))),
        Some("mod") if matches!(text(args, 1), Some("download" | "tidy")) => {
            Err(Refusal::Network("go mod".to_owned()))
        }
        _ => execute("go", args),
    }
}

fn package_manager(name: &str, args: &[Word]) -> Judged {
    let verb = text(args, 0);
    let script = text(args, 1).unwrap_or_default();
    // Options of the package manager itself, such as `--script-shell`, come before `--`.
    let own = args.split(|arg| arg.text() == Some("--")).next().unwrap_or_default();
    let steered = own
        .iter()
        .any(|arg| arg.text().is_none_or(|text| text.starts_with('-') && !matches!(text, "--silent" | "-s")));
    match verb {
        Some("test" | "t" | "tst" | "run" | "run-script") if steered => execute(name, args),
        Some("test" | "t" | "tst") => paths::all(args, Class::Test, name),
        Some("run" | "run-script")
            if script == "test" || script.starts_with("test:") || script.ends_with(":test") =>
        {
            paths::all(args, Class::Test, name)
        }
        Some("--version" | "-v" | "ls" | "list" | "root" | "prefix" | "bin") => {
            paths::all(args, Class::Inspect, name)
        }
        Some("run" | "run-script" | "exec" | "start" | "build" | "pack") => execute(name, args),
        _ => Err(Refusal::Network(format!("{name} {}", verb.unwrap_or("install")))),
    }
}

fn node(name: &str, args: &[Word]) -> Judged {
    match text(args, 0) {
        Some("--version" | "-v" | "--help") => Ok(Verdict::inspect()),
        Some("--check" | "-c") => paths::all(args, Class::Inspect, name),
        Some("--test") => {
            let plain = args.iter().all(|arg| {
                arg.text().is_some_and(|text| !text.starts_with('-') || text.starts_with("--test"))
            });
            let reporter =
                args.iter().any(|arg| arg.text().is_some_and(|text| text.starts_with("--test-reporter")));
            paths::all(args, if plain && !reporter { Class::Test } else { Class::Execute }, "node --test")
        }
        Some(option) if option.starts_with('-') => execute(name, args),
        Some(_) => script(name, &args[0], args),
        None => execute(name, args),
    }
}

fn make(name: &str, args: &[Word]) -> Judged {
    let mut targets = 0;
    let mut plain = true;
    let mut value_next = false;
    for arg in args {
        let Some(text) = arg.text() else {
            plain = false;
            continue;
        };
        if value_next {
            value_next = false;
            continue;
        }
        match text {
            "-C" => value_next = true,
            "-j" | "-s" | "-k" | "--silent" | "--keep-going" | "--no-print-directory" | "-B" => {}
            "-n" | "--dry-run" => plain = false,
            "test" | "tests" | "check" | "verify" | "unittest" | "unit-test" | "test-unit" => targets += 1,
            text if text.starts_with("-j") && text[2..].chars().all(|c| c.is_ascii_digit()) => {}
            text if text.starts_with("test-") || text.starts_with("test_") => targets += 1,
            "--version" => return Ok(Verdict::inspect()),
            _ => plain = false,
        }
    }
    let class = if plain && targets > 0 { Class::Test } else { Class::Execute };
    paths::all(args, class, &format!("`{name}` runs what its makefile says"))
}

fn script_runner(name: &str, args: &[Word]) -> Judged {
    match text(args, 0) {
        Some("--version" | "-v" | "--help") => Ok(Verdict::inspect()),
        Some(option) if option.starts_with('-') => execute(name, args),
        Some(_) => script(name, &args[0], args),
        None => execute(name, args),
    }
}

fn with_verb(name: &str, args: &[Word]) -> Judged {
    let verbs: Vec<&str> = args.iter().filter_map(Word::text).filter(|text| !text.starts_with('-')).collect();
    let tests = match name {
        "zig" => verbs.first() == Some(&"test") || verbs == ["build", "test"],
        "rake" => verbs == ["test"] || verbs == ["spec"],
        _ => verbs.first().is_some_and(|verb| matches!(*verb, "test" | "check")),
    };
    let only_tests = match name {
        // These take several goals, each of which runs.
        "mvn" | "gradle" | "sbt" | "lein" => verbs.iter().all(|verb| matches!(*verb, "test" | "check")),
        _ => true,
    };
    let known = args
        .iter()
        .all(|arg| arg.text().is_some_and(|text| !text.contains('=') || text.starts_with("--filter=")));
    let class = if tests && only_tests && known { Class::Test } else { Class::Execute };
    paths::all(args, class, &format!("`{name}` runs what the project says"))
}
