//! What a hostile command may try, and what it must not bring down.

use crate::on;

on!(a_fork_bomb_is_contained: docker local);
on!(a_memory_hog_dies_alone: docker local plain);
on!(a_disk_filler_meets_the_end_of_the_disk: docker local);
on!(the_server_cannot_be_killed_or_spoken_for: docker local);
on!(the_machine_is_out_of_reach: docker local);
on!(the_deadline_ends_everything: docker local plain);

mod check {
    use crate::bed::Bed;
    use domain::ops::{ExecEnd, ExecSpec, Op, Reply};
    use std::time::Duration;

    pub(crate) async fn a_fork_bomb_is_contained(bed: &mut Bed) {
        let line = "bomb() { bomb | bomb & }; bomb; sleep 600";
        let out = bed.exec(ExecSpec::shell(line, Duration::from_secs(2))).await;
        assert_eq!(out.end, ExecEnd::TimedOut);
        assert_eq!(bed.op(Op::KillAll).await, Reply::Killed(0));
        assert_eq!(bed.ok("echo fine").await, "fine\n");
    }

    pub(crate) async fn a_memory_hog_dies_alone(bed: &mut Bed) {
        // awk doubles a string until it may not have more.
        let hog = "awk 'BEGIN { s = \"0123456789abcdef\"; while (length(s) < 2000000000) s = s s; print length(s) }'";
        let out = bed.sh(hog).await;
        assert_ne!(out.end, ExecEnd::Exited(0), "{out:?}");
        assert_ne!(out.end, ExecEnd::TimedOut);
        assert_eq!(bed.ok("echo fine").await, "fine\n");
    }

    pub(crate) async fn a_disk_filler_meets_the_end_of_the_disk(bed: &mut Bed) {
        let out =
            bed.sh("dd if=/dev/zero of=fill1 bs=1M count=20; dd if=/dev/zero of=fill2 bs=1M count=20").await;
        assert_eq!(out.end, ExecEnd::Exited(1), "{out:?}");
        assert!(matches!(
            bed.write("more.txt", &"x".repeat(4 << 20)).await,
            Err(domain::ops::OpError::Io { .. })
        ));
        bed.ok("rm fill1 fill2").await;
        bed.write("more.txt", "room again").await.unwrap();
        assert_ne!(bed.sh("dd if=/dev/zero of=/tmp/fill bs=1M count=200").await.end, ExecEnd::Exited(0));
    }

    pub(crate) async fn the_server_cannot_be_killed_or_spoken_for(bed: &mut Bed) {
        bed.sh("kill -9 1; kill -TERM 1; kill -STOP 1").await;
        assert_ne!(bed.sh("printf forged > /proc/1/fd/1").await.end, ExecEnd::Exited(0));
        assert_ne!(bed.sh("cat /proc/1/environ").await.end, ExecEnd::Exited(0));
        assert_ne!(bed.sh("cat < /proc/1/fd/0").await.end, ExecEnd::Exited(0));
        assert_eq!(bed.ok("echo fine").await, "fine\n");
    }

    pub(crate) async fn the_machine_is_out_of_reach(bed: &mut Bed) {
        for path in ["/", "/usr", "/etc", "/bin", "/var", "/root", "/home", "/dev", "/proc/sys/kernel"] {
            let line = format!("test -d {path} || exit 1; touch {path}/och-test-escape 2>/dev/null");
            assert_ne!(bed.sh(&line).await.end, ExecEnd::Exited(0), "{path}");
        }
        for line in [
            "mount -t tmpfs none /workspace",
            "cat /etc/shadow",
            "ls /proc/2/root",
            "echo 1 > /proc/sysrq-trigger",
            "chroot / true",
        ] {
            assert_ne!(bed.sh(line).await.end, ExecEnd::Exited(0), "{line}");
        }
        let status = bed.ok("cat /proc/self/status").await;
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        bed.ok("echo x > /tmp/here && test \"$(cat /tmp/here)\" = x").await;
    }

    pub(crate) async fn the_deadline_ends_everything(bed: &mut Bed) {
        bed.reopen(|spec| spec.deadline = Duration::from_millis(1500)).await;
        bed.ok("echo begun").await;
        let lost = bed.lost(Op::Exec(ExecSpec::shell("sleep 600", Duration::from_secs(600)))).await;
        assert!(lost.counts && lost.reason.contains("deadline"), "{lost}");
        assert_eq!(bed.lost(Op::KillAll).await, lost);
    }
}
