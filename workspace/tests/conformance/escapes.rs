//! No path leads outside: not by `..`, not as absolute, not through links, not in a race.

use crate::on;

on!(paths_outside_are_refused: docker local plain fake);
on!(links_outside_are_refused: docker local plain fake);
on!(a_race_of_links_never_leads_outside: docker local plain);

mod check {
    use crate::bed::{Bed, write};
    use domain::ops::{Change, ExecSpec, Op, OpError, Reply};
    use std::time::Duration;

    pub(crate) async fn paths_outside_are_refused(bed: &mut Bed) {
        for path in ["/etc/passwd", "../x", "sub/../../x", "/", "..", "sub/deep/../../../etc"] {
            let escapes = OpError::Escapes(path.to_owned());
            assert_eq!(bed.read(path).await, Err(escapes.clone()), "read {path}");
            assert_eq!(bed.list(path).await, Err(escapes.clone()), "list {path}");
            assert_eq!(bed.write(path, "x").await, Err(escapes.clone()), "write {path}");
            assert_eq!(bed.search("x", path).await, Err(escapes.clone()), "search {path}");
            let mut spec = ExecSpec::shell("pwd", Duration::from_secs(5));
            spec.cwd = path.to_owned();
            assert_eq!(bed.op(Op::Exec(spec)).await, Reply::Refused(escapes), "exec in {path}");
            for change in
                [Change::Delete { path: path.to_owned() }, Change::RemoveAll { path: path.to_owned() }]
            {
                assert!(bed.apply(vec![change]).await.is_err(), "remove {path}");
            }
        }
        assert_eq!(bed.text("sub/../hello.txt").await, "hello\n");
    }

    pub(crate) async fn links_outside_are_refused(bed: &mut Bed) {
        let link =
            |path: &str, target: &str| Change::Link { path: path.to_owned(), target: target.to_owned() };
        bed.apply(vec![
            link("out", "/etc"),
            link("up", ".."),
            link("sub/two", "../up/x"),
            link("loop", "loop"),
        ])
        .await
        .unwrap();
        for path in ["outward", "out/passwd", "up/x", "sub/two"] {
            assert_eq!(bed.read(path).await, Err(OpError::Escapes(path.to_owned())), "{path}");
            assert_eq!(bed.write(path, "x").await, Err(OpError::Escapes(path.to_owned())), "{path}");
        }
        assert!(matches!(bed.read("loop").await, Err(OpError::Io { .. })));
        // A link itself can be replaced by another one, or removed, wherever it leads.
        bed.apply(vec![link("out", "sub"), Change::Delete { path: "up".to_owned() }]).await.unwrap();
        assert_eq!(bed.list("out").await.unwrap().len(), 2);
        let walked: Vec<_> = bed.walk(".", &[], 100).await.0.into_iter().map(|entry| entry.path).collect();
        assert!(!walked.iter().any(|path| path.starts_with("out/")), "{walked:?}");
    }

    pub(crate) async fn a_race_of_links_never_leads_outside(bed: &mut Bed) {
        bed.ok("mkdir flip other; echo inside > flip/passwd; \
                (while :; do mv flip gone; ln -s /etc flip; rm flip; mv gone flip; done) >/dev/null 2>&1 &")
            .await;
        for round in 0..400 {
            match bed.read("flip/passwd").await {
                Ok(content) => assert_eq!(content.bytes, b"inside\n", "round {round}"),
                Err(OpError::Escapes(_) | OpError::NotFound(_) | OpError::NotADirectory(_)) => {}
                Err(other) => panic!("{other}"),
            }
            let _whatever = bed.apply(vec![write("flip/new", "x")]).await;
        }
        assert!(matches!(bed.op(Op::KillAll).await, Reply::Killed(1..)));
        assert_eq!(bed.sh("test -e /etc/new").await.end, domain::ops::ExecEnd::Exited(1));
    }
}
