//! Commands: how they end, what they print, what they see, and what they leave behind.

use crate::on;

on!(exit_codes_and_signals: docker local plain);
on!(streams_are_apart_and_raw: docker local plain);
on!(the_environment_is_small: docker local plain);
on!(stdin_is_empty: docker local plain);
on!(a_time_limit_ends_the_whole_tree: docker local plain);
on!(output_is_capped_in_the_middle: docker local plain);
on!(a_process_left_behind_does_not_hold_the_command: docker local plain);
on!(orphans_are_reaped: docker local plain);
on!(network_is_loopback_only: docker local);
on!(python_has_both_names: local plain);

mod check {
    use crate::bed::Bed;
    use domain::ops::{ExecEnd, ExecSpec, Op, Reply};
    use std::time::Duration;

    pub(crate) async fn exit_codes_and_signals(bed: &mut Bed) {
        for (line, end) in [
            ("true", ExecEnd::Exited(0)),
            ("exit 7", ExecEnd::Exited(7)),
            ("no-such-program", ExecEnd::Exited(127)),
            ("kill -TERM $$", ExecEnd::Signaled(15)),
            ("kill -KILL $$", ExecEnd::Signaled(9)),
        ] {
            assert_eq!(bed.sh(line).await.end, end, "{line}");
        }
        assert_eq!(bed.argv(&["./run.sh"]).await.stdout, b"ran\n");
        assert!(matches!(bed.argv(&["no-such-program"]).await.end, ExecEnd::NotStarted(_)));
        assert!(matches!(bed.argv(&["./hello.txt"]).await.end, ExecEnd::NotStarted(_)));
        assert!(matches!(bed.argv(&[]).await.end, ExecEnd::NotStarted(_)));
        assert_eq!(bed.argv(&["echo", "$HOME; *", ""]).await.stdout, b"$HOME; * \n");
        let mut spec = ExecSpec::shell("pwd", Duration::from_secs(5));
        spec.cwd = "sub/deep".to_owned();
        let out = String::from_utf8(bed.exec(spec).await.stdout).unwrap();
        assert!(out.ends_with("/sub/deep\n"), "{out}");
    }

    pub(crate) async fn streams_are_apart_and_raw(bed: &mut Bed) {
        let out = bed.sh("printf 'a\\000\\377\\n'; printf 'b\\376' >&2").await;
        assert_eq!((out.stdout.as_slice(), out.stderr.as_slice()), (&b"a\0\xff\n"[..], &b"b\xfe"[..]));
        assert_eq!((out.stdout_dropped, out.stderr_dropped), (0, 0));
    }

    pub(crate) async fn the_environment_is_small(bed: &mut Bed) {
        let mut spec = ExecSpec::shell("env", Duration::from_secs(5));
        spec.env.insert("ASKED".to_owned(), "for\nthis".to_owned());
        let out = String::from_utf8(bed.exec(spec).await.stdout).unwrap();
        for want in
            ["CASE=yes", "ASKED=for\nthis", "LANG=C.UTF-8", "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1", "HOME=/"]
        {
            assert!(out.contains(want), "{want} in {out}");
        }
        for never in ["CARGO", "RUST", "USER=", "SSH"] {
            assert!(!out.contains(never), "{never} in {out}");
        }
        assert_eq!(bed.ok("cd \"$HOME\" && cat hello.txt").await, "hello\n");
        assert_eq!(bed.ok("id -u").await, "10001\n");
    }

    pub(crate) async fn stdin_is_empty(bed: &mut Bed) {
        assert_eq!(bed.ok("cat | wc -c | tr -d ' '").await, "0\n");
    }

    pub(crate) async fn a_time_limit_ends_the_whole_tree(bed: &mut Bed) {
        // A daemon that leaves its session and group, and ignores what can be ignored.
        let line = "echo before; (setsid sh -c 'trap \"\" TERM HUP INT; while :; do echo alive > beat; sleep 0.05; done' >/dev/null 2>&1 &); sleep 600";
        let out = bed.exec(ExecSpec::shell(line, Duration::from_millis(700))).await;
        assert_eq!((&out.end, out.stdout.as_slice()), (&ExecEnd::TimedOut, &b"before\n"[..]));
        assert!(out.millis >= 700, "{}", out.millis);
        assert_eq!(bed.ok("cat beat").await, "alive\n");
        bed.ok("rm beat; sleep 0.5; test ! -e beat").await;
        assert_eq!(bed.op(Op::KillAll).await, Reply::Killed(0));
    }

    pub(crate) async fn output_is_capped_in_the_middle(bed: &mut Bed) {
        let mut spec =
            ExecSpec::shell("echo head; yes | head -c 3000000; echo tail; yes >&2", Duration::from_secs(2));
        spec.output_cap = 1000;
        let out = bed.exec(spec).await;
        assert_eq!((out.stdout.len(), out.stderr.len()), (1000, 1000));
        assert!(out.stdout.starts_with(b"head\ny\n") && out.stdout.ends_with(b"y\ntail\n"));
        assert_eq!(out.stdout_dropped, 3_000_000 + 10 - 1000);
        assert!(out.stderr_dropped > 1_000_000);
    }

    pub(crate) async fn a_process_left_behind_does_not_hold_the_command(bed: &mut Bed) {
        let out = bed.sh("sleep 300 & echo started").await;
        assert_eq!((&out.end, out.stdout.as_slice()), (&ExecEnd::Exited(0), &b"started\n"[..]));
        assert!(out.millis < 5_000, "{}", out.millis);
        bed.ok("sleep 301 >/dev/null 2>&1 &").await;
        assert_eq!(bed.op(Op::KillAll).await, Reply::Killed(2));
        assert_eq!(bed.op(Op::KillAll).await, Reply::Killed(0));
    }

    pub(crate) async fn orphans_are_reaped(bed: &mut Bed) {
        // More than the limit on processes allows, were they to stay.
        for _ in 0..4 {
            bed.ok("i=0; while [ $i -lt 40 ]; do (true &); i=$((i+1)); done").await;
        }
        let zombies = bed.ok("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true").await;
        assert!(zombies.trim().parse::<u32>().unwrap() < 10 || bed.kind == "plain", "{zombies}");
    }

    pub(crate) async fn python_has_both_names(bed: &mut Bed) {
        let python3 = bed.sh("python3 -c 'print(6 * 7)'").await;
        let python = bed.sh("python -c 'print(6 * 7)'").await;
        assert_eq!((&python.end, &python.stdout), (&python3.end, &python3.stdout));
        assert_eq!(python3.stdout, b"42\n", "the tests' machine has a python3: {python3:?}");
    }

    pub(crate) async fn network_is_loopback_only(bed: &mut Bed) {
        let devices = bed.ok("cat /proc/net/dev").await;
        let names: Vec<_> =
            devices.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
        assert_eq!(names, ["lo"]);
        // It is up: somebody can listen on it and be reached.
        let line = r#"if command -v python3 >/dev/null; then
            python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); socket.create_connection(s.getsockname())'
        else
            nc -l -p 8765 >/dev/null 2>&1 &
            until nc 127.0.0.1 8765 </dev/null; do :; done
        fi"#;
        assert_eq!(bed.sh(line).await.end, ExecEnd::Exited(0));
    }
}
