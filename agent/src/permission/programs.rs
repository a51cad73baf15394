//! The table of programs: who only looks, who writes, who runs code, who is never allowed. Programs with arguments that matter
//! are judged in files of their own.

use super::assign::{self, Variables};
use super::word::Word;
use super::{Class, Judged, Refusal, Verdict, exec, git, inspect, paths, runners, script, unjudged, wrap};
use std::collections::BTreeSet;

/// A simple command to judge.
pub(super) struct Call<'a> {
    pub(super) name: &'a Word,
    pub(super) args: &'a [Word],
    /// Whether a pipe brings it names of files of the workspace.
    pub(super) feeds: bool,
    pub(super) functions: &'a BTreeSet<String>,
    pub(super) variables: &'a Variables,
    pub(super) depth: usize,
}

/// Programs whose arguments are not paths, or cannot do harm.
const PLAIN: [&str; 32] = [
    ":", "[", "arch", "basename", "break", "cal", "continue", "dirname", "echo", "exit", "expr", "false",
    "free", "groups", "id", "logname", "lscpu", "nproc", "printf", "ps", "pwd", "return", "seq", "shift",
    "sleep", "times", "tput", "true", "tty", "uname", "uptime", "whoami",
];
/// Builtins that only steer the shell itself.
const STEERING: [&str; 9] = ["hash", "jobs", "set", "test", "type", "ulimit", "umask", "wait", "which"];
/// Programs that only read the files they are given.
const READERS: [&str; 56] = [
    "date",
    "b2sum",
    "base32",
    "base64",
    "cat",
    "cksum",
    "cmp",
    "column",
    "comm",
    "csvlook",
    "cut",
    "df",
    "diff",
    "diff3",
    "dir",
    "du",
    "expand",
    "fmt",
    "fold",
    "head",
    "hexdump",
    "hd",
    "jq",
    "join",
    "look",
    "ls",
    "lsof",
    "md5sum",
    "nl",
    "nm",
    "objdump",
    "od",
    "paste",
    "pr",
    "readelf",
    "readlink",
    "realpath",
    "rev",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shellcheck",
    "size",
    "stat",
    "strings",
    "sum",
    "tac",
    "tail",
    "tr",
    "tsort",
    "unexpand",
    "vdir",
    "wc",
    "zcat",
];
/// Programs that change files, and nothing else.
const WRITERS: [&str; 36] = [
    "bunzip2", "bzip2", "chmod", "chgrp", "chown", "copy", "cp", "csplit", "ctags", "dd", "dos2unix", "ed",
    "ex", "gunzip", "gzip", "install", "link", "ln", "mkdir", "mkfifo", "mktemp", "mv", "patch", "rm",
    "rmdir", "shred", "split", "tar", "tee", "touch", "truncate", "unix2dos", "unlink", "unzip", "xz", "zip",
];
/// Programs that speak to the network.
const NETWORK: [&str; 42] = [
    "apk",
    "apt",
    "apt-get",
    "aptitude",
    "aria2c",
    "aws",
    "az",
    "brew",
    "composer",
    "conda",
    "curl",
    "dig",
    "dnf",
    "ftp",
    "gcloud",
    "gem",
    "gh",
    "host",
    "http",
    "iwr",
    "links",
    "lynx",
    "mamba",
    "nc",
    "ncat",
    "netcat",
    "nslookup",
    "pacman",
    "ping",
    "pipx",
    "poetry",
    "rclone",
    "rsync",
    "scp",
    "sftp",
    "snap",
    "socat",
    "ssh",
    "telnet",
    "traceroute",
    "wget",
    "yum",
];
/// Programs that change users, machines or other containers, or hide what they run.
const FORBIDDEN: [&str; 47] = [
    "alias",
    "at",
    "batch",
    "bpftrace",
    "busybox",
    "capsh",
    "chroot",
    "containerd",
    "crontab",
    "ctr",
    "docker",
    "doas",
    "dmsetup",
    "fusermount",
    "gdb",
    "insmod",
    "ip",
    "iptables",
    "kubectl",
    "losetup",
    "ltrace",
    "mknod",
    "modprobe",
    "mount",
    "nerdctl",
    "newgrp",
    "nft",
    "nsenter",
    "passwd",
    "pkexec",
    "podman",
    "reboot",
    "runc",
    "screen",
    "service",
    "setpriv",
    "shutdown",
    "start-stop-daemon",
    "strace",
    "su",
    "sudo",
    "sysctl",
    "systemctl",
    "tmux",
    "umount",
    "unshare",
    "useradd",
];

/// Judges a simple command.
pub(super) fn judge(call: &Call<'_>) -> Judged {
    let name = match call.name {
        Word::Text { text, glob } if !glob || text == "[" => text,
        Word::Text { text, .. } if text == "[[" => return unjudged("`[[` is not plain sh; use `[`"),
        _ => return unjudged("the name of a program is known only when it runs"),
    };
    let args = call.args;
    if call.functions.contains(name) {
        // The body is judged where it stands; a function named like a program is judged as that as well.
        let as_program = Call { functions: &BTreeSet::new(), ..*call };
        return match judge(&as_program) {
            Err(Refusal::Unknown(_)) => Ok(Verdict::inspect()),
            judged => judged,
        };
    }
    if name.contains('/') {
        return by_path(name, args);
    }
    match name.as_str() {
        name if PLAIN.contains(&name) || STEERING.contains(&name) => Ok(Verdict::inspect()),
        name if READERS.contains(&name) => inspect::reader(name, args),
        name if WRITERS.contains(&name) => writer(name, args),
        name if NETWORK.contains(&name) => Err(Refusal::Network(name.to_owned())),
        name if FORBIDDEN.contains(&name) => Err(Refusal::Forbidden(name.to_owned())),
        "cd" => change_directory(args),
        "env" | "printenv" | "command" | "builtin" | "exec" | "time" | "timeout" | "nice" | "nohup"
        | "setsid" | "stdbuf" | "ionice" | "xargs" => wrap::judge(name, call),
        "eval" => wrap::eval(call),
        "trap" => wrap::trap(call),
        "sh" | "bash" | "dash" | "ash" | "ksh" | "zsh" => wrap::shell(name, call),
        "." | "source" => paths::all(args, Class::Execute, &format!("`{name}` runs a script")),
        "export" | "readonly" | "local" | "unset" | "read" | "getopts" => settings(args),
        "kill" | "pkill" | "killall" => Ok(Verdict::new(Class::Execute, format!("`{name}` ends processes"))),
        "git" => git::judge(args),
        "find" => inspect::find(call),
        "grep" | "egrep" | "fgrep" | "rg" | "ag" | "ack" => inspect::grep(name, args),
        "sort" => inspect::sort(args),
        "uniq" | "xxd" => inspect::with_output(name, args),
        "tree" | "file" | "iconv" | "yq" => inspect::with_write_option(name, args),
        "sed" => script::sed(args),
        "awk" | "gawk" | "mawk" | "nawk" => script::awk(name, args),
        _ => match runners::judge(name, args) {
            Some(judged) => judged,
            None => exec::judge(name, args),
        },
    }
}

fn by_path(name: &str, args: &[Word]) -> Judged {
    if paths::leads_out(name, false) || name.starts_with('/') {
        return Err(Refusal::Forbidden(format!("{name}: programs outside the workspace, by path")));
    }
    paths::all(args, Class::Execute, &format!("`{name}` runs a program of the workspace"))
}

fn writer(name: &str, args: &[Word]) -> Judged {
    let because = format!("`{name}` changes files");
    // `dd of=/x` and the like.
    for text in args.iter().flat_map(|arg| arg.texts().unwrap_or_default()) {
        if let Some((key, path)) = text.split_once('=')
            && key.chars().all(|c| c.is_ascii_lowercase())
            && paths::leads_out(path, false)
        {
            return Err(Refusal::Outside(path.to_owned()));
        }
    }
    // What a pattern or a script means inside of these is not read.
    let runs = match name {
        "tar" => args.iter().any(|arg| {
            arg.texts().is_none_or(|texts| {
                texts.iter().any(|text| {
                    [
                        "--checkpoint-action",
                        "--to-command",
                        "--use-compress-program",
                        "--rsh-command",
                        "--info-script",
                        "-I",
                        "-F",
                    ]
                    .iter()
                    .any(|option| text.starts_with(option))
                })
            })
        }),
        "ed" | "ex" | "split" | "install" | "zip" => true,
        _ => false,
    };
    paths::all(args, if runs { Class::Execute } else { Class::Write }, &because)
}

/// `cd` into the workspace; where it leads only when it runs, everything after it is anywhere.
fn change_directory(args: &[Word]) -> Judged {
    match args {
        [word @ (Word::Text { .. } | Word::OneOf(_))]
            if word.texts().is_some_and(|texts| !texts.contains(&"-") && !texts.contains(&"")) =>
        {
            paths::all(args, Class::Inspect, "cd")
        }
        [] => Err(Refusal::Outside("~".to_owned())),
        [Word::Text { text, .. }, ..] if text == "-" => unjudged("`cd -` goes where the line does not say"),
        _ => Ok(Verdict::new(Class::Execute, "`cd` goes where only the run will tell")),
    }
}

/// `export NAME=value` and its relatives.
fn settings(args: &[Word]) -> Judged {
    let mut verdict = Verdict::inspect();
    for arg in args {
        let Some(texts) = arg.texts() else {
            // The name is in the word even where the value is not known.
            verdict = verdict
                .with(Verdict::new(Class::Execute, "a variable is set to what is known only when it runs"));
            continue;
        };
        for text in texts {
            match text.split_once('=') {
                Some((name, value)) => verdict = verdict.with(assign::judge(name, &Word::known(value))?),
                None if text.starts_with('-') => {}
                None => verdict = verdict.with(assign::judge(text, &Word::known(""))?),
            }
        }
    }
    Ok(verdict)
}
