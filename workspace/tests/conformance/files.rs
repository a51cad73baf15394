//! Files: what is read, listed, searched and changed, and what stays as it was.

use crate::on;

on!(input_is_unpacked_with_its_modes: docker local plain fake);
on!(reads_whole_and_in_part: docker local plain fake);
on!(lists_and_walks_in_order: docker local plain fake);
on!(searches_lines: docker local plain fake);
on!(applies_all_or_nothing: docker local plain fake);
on!(keeps_modes_and_replaces_through_links: docker local plain fake);
on!(removes_links_and_trees: docker local plain fake);
on!(huge_files_are_read_by_parts: docker local plain);
on!(deep_trees_are_walked_and_removed: docker local plain);
on!(hostile_names_are_data: docker local plain);
on!(takes_rights_back_from_closed_directories: docker local plain);

mod check {
    use crate::bed::{Bed, write};
    use domain::ops::{Change, EntryKind, Op, OpError, Reply};

    pub(crate) async fn input_is_unpacked_with_its_modes(bed: &mut Bed) {
        for (path, mode, text) in [
            ("hello.txt", 0o644, "hello\n"),
            ("run.sh", 0o755, "#!/bin/sh\necho ran\n"),
            ("locked.txt", 0o444, "locked\n"),
            ("closed/in.txt", 0o644, "in"),
        ] {
            let content = bed.read(path).await.unwrap();
            assert_eq!((content.mode, content.bytes.as_slice()), (mode, text.as_bytes()), "{path}");
        }
        assert_eq!(bed.read("big.bin").await.unwrap().total_bytes, 3 << 20);
        let top = bed.list(".").await.unwrap();
        let find = |name: &str| top.iter().find(|entry| entry.path == name).unwrap().clone();
        assert_eq!((find("empty").kind, find("closed").mode), (EntryKind::Dir, 0o555));
        assert_eq!(find("outward").target.as_deref(), Some("/etc/passwd"));
    }

    pub(crate) async fn reads_whole_and_in_part(bed: &mut Bed) {
        let part = |offset, max_bytes| Op::Read { path: "hello.txt".to_owned(), offset, max_bytes };
        for (offset, max, want) in [(0, 99, "hello\n"), (1, 3, "ell"), (6, 1, ""), (99, 1, ""), (0, 0, "")] {
            let Reply::File(content) = bed.op(part(offset, max)).await else { panic!() };
            assert_eq!((content.bytes.as_slice(), content.total_bytes), (want.as_bytes(), 6));
        }
        assert_eq!(bed.text("inward").await, "one needle\ntwo\nthree needle\n");
        assert_eq!(bed.read("missing").await, Err(OpError::NotFound("missing".to_owned())));
        assert_eq!(bed.read("sub").await, Err(OpError::NotAFile("sub".to_owned())));
        assert_eq!(bed.read("hello.txt/x").await, Err(OpError::NotADirectory("hello.txt/x".to_owned())));
        let paths = ["hello.txt", "missing", "run.sh"].map(str::to_owned).to_vec();
        let Reply::Files(files) = bed.op(Op::ReadMany { paths, max_bytes_each: 4 }).await else { panic!() };
        assert_eq!(files[0].as_ref().unwrap().bytes, b"hell");
        assert_eq!(files[1], Err(OpError::NotFound("missing".to_owned())));
        assert_eq!(files[2].as_ref().unwrap().bytes, b"#!/b");
    }

    pub(crate) async fn lists_and_walks_in_order(bed: &mut Bed) {
        for path in ["a/b.txt", "a.txt", "a/skip/x", "ab"] {
            bed.write(&format!("order/{path}"), path).await.unwrap();
        }
        let names = |entries: &[domain::ops::Entry]| {
            entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&bed.list("order").await.unwrap()), ["order/a", "order/a.txt", "order/ab"]);
        assert_eq!(names(&bed.list("./order//a/").await.unwrap()), ["order/a/b.txt", "order/a/skip"]);
        assert_eq!(bed.list("hello.txt").await, Err(OpError::NotADirectory("hello.txt".to_owned())));
        let (all, cut) = bed.walk("order", &["skip"], 100).await;
        assert_eq!(names(&all), ["order/a.txt", "order/a/b.txt", "order/ab"]);
        assert!(!cut);
        let (some, cut) = bed.walk(".", &[], 3).await;
        assert_eq!((some.len(), cut), (3, true));
        assert!(names(&some).is_sorted());
        let hello =
            bed.walk(".", &[], 100).await.0.into_iter().find(|entry| entry.path == "hello.txt").unwrap();
        let want = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!((hello.sha256.as_deref(), hello.bytes), (Some(want), 6));
    }

    pub(crate) async fn searches_lines(bed: &mut Bed) {
        bed.write("sub/skipped/no.txt", "needle\n").await.unwrap();
        bed.write("sub/binary", "\0needle\n").await.unwrap();
        bed.write("sub/long", &format!("{} needle ü\nlast needle", "ü".repeat(40))).await.unwrap();
        let found = bed.search("needle", "sub").await.unwrap();
        let seen: Vec<_> =
            found.iter().map(|found| (found.path.as_str(), found.line, found.text.as_str())).collect();
        let long = "ü".repeat(30);
        assert_eq!(
            seen,
            [
                ("sub/deep/file.txt", 1, "one needle"),
                ("sub/deep/file.txt", 3, "three needle"),
                ("sub/long", 1, long.as_str()),
                ("sub/long", 2, "last needle"),
            ]
        );
        assert_eq!(bed.search("needle", "sub/deep/file.txt").await.unwrap().len(), 2);
        assert_eq!(bed.search("needle", "nowhere").await, Err(OpError::NotFound("nowhere".to_owned())));
    }

    pub(crate) async fn applies_all_or_nothing(bed: &mut Bed) {
        let refused = bed
            .apply(vec![
                write("hello.txt", "changed\n"),
                write("new/dir/file", "new\n"),
                Change::Delete { path: "missing".to_owned() },
            ])
            .await;
        assert_eq!(refused, Err(OpError::NotFound("missing".to_owned())));
        assert_eq!(bed.text("hello.txt").await, "hello\n");
        assert_eq!(bed.list("new").await, Err(OpError::NotFound("new".to_owned())));
        let twice = bed.apply(vec![write("x", "1"), write("./x", "2")]).await;
        assert!(matches!(twice, Err(OpError::Io { .. })), "{twice:?}");
        bed.apply(vec![
            write("hello.txt", "changed\n"),
            write("new/dir/file", "new\n"),
            Change::Delete { path: "run.sh".to_owned() },
        ])
        .await
        .unwrap();
        assert_eq!(bed.text("hello.txt").await, "changed\n");
        assert_eq!(bed.text("new/dir/file").await, "new\n");
        assert_eq!(bed.read("run.sh").await, Err(OpError::NotFound("run.sh".to_owned())));
        let hidden: Vec<_> =
            bed.walk(".", &[], 100).await.0.into_iter().filter(|e| e.path.contains(".och")).collect();
        assert_eq!(hidden, []);
    }

    pub(crate) async fn keeps_modes_and_replaces_through_links(bed: &mut Bed) {
        bed.write("run.sh", "#!/bin/sh\necho again\n").await.unwrap();
        assert_eq!(bed.read("run.sh").await.unwrap().mode, 0o755);
        bed.write("inward", "through\n").await.unwrap();
        assert_eq!(bed.text("sub/deep/file.txt").await, "through\n");
        assert_eq!(bed.read("sub/deep/file.txt").await.unwrap().mode, 0o640);
        let mode = Change::Write { path: "hello.txt".to_owned(), bytes: vec![], mode: Some(0o700) };
        bed.apply(vec![mode]).await.unwrap();
        assert_eq!(bed.read("hello.txt").await.unwrap().mode, 0o700);
        assert_eq!(bed.write("sub", "x").await, Err(OpError::NotAFile("sub".to_owned())));
        assert_eq!(bed.write("locked.txt", "unlocked").await, Ok(()));
    }

    pub(crate) async fn removes_links_and_trees(bed: &mut Bed) {
        bed.apply(vec![
            Change::Link { path: "sub/up".to_owned(), target: "../hello.txt".to_owned() },
            Change::Delete { path: "inward".to_owned() },
            Change::RemoveAll { path: "nothing/here".to_owned() },
        ])
        .await
        .unwrap();
        assert_eq!(bed.text("sub/up").await, "hello\n");
        assert_eq!(bed.text("sub/deep/file.txt").await.len(), 28);
        let dir = bed.apply(vec![Change::Delete { path: "sub".to_owned() }]).await;
        assert_eq!(dir, Err(OpError::NotAFile("sub".to_owned())));
        bed.apply(vec![Change::RemoveAll { path: "sub".to_owned() }]).await.unwrap();
        bed.apply(vec![Change::RemoveAll { path: "closed".to_owned() }]).await.unwrap();
        let left: Vec<_> = bed.list(".").await.unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(left, ["big.bin", "empty", "hello.txt", "locked.txt", "outward", "run.sh"]);
    }

    pub(crate) async fn huge_files_are_read_by_parts(bed: &mut Bed) {
        bed.ok("dd if=/dev/zero of=sparse bs=1 count=0 seek=24M 2>/dev/null; printf end >> sparse").await;
        let tail = Op::Read { path: "sparse".to_owned(), offset: 24 << 20, max_bytes: 100 };
        let Reply::File(content) = bed.op(tail).await else { panic!() };
        assert_eq!((content.bytes.as_slice(), content.total_bytes), (&b"end"[..], (24 << 20) + 3));
    }

    pub(crate) async fn deep_trees_are_walked_and_removed(bed: &mut Bed) {
        bed.ok("i=0; while [ $i -lt 300 ]; do mkdir deepdir; cd deepdir; i=$((i+1)); done; echo x > bottom")
            .await;
        let (entries, cut) = bed.walk("deepdir", &[], 100).await;
        assert_eq!((entries.len(), cut), (1, false));
        assert!(entries[0].path.ends_with("deepdir/bottom"));
        assert_eq!(bed.text(&entries[0].path).await, "x\n");
        bed.ok("cd deepdir; i=0; while [ $i -lt 299 ]; do cd deepdir; i=$((i+1)); done; \
                while [ $i -lt 700 ]; do mkdir deepdir; cd deepdir; i=$((i+1)); done")
            .await;
        bed.apply(vec![Change::RemoveAll { path: "deepdir".to_owned() }]).await.unwrap();
        assert_eq!(bed.list("deepdir").await, Err(OpError::NotFound("deepdir".to_owned())));
        let hidden: Vec<_> =
            bed.list(".").await.unwrap().into_iter().filter(|e| e.path.contains(".och")).collect();
        assert_eq!(hidden, []);
    }

    pub(crate) async fn hostile_names_are_data(bed: &mut Bed) {
        bed.ok("mkdir names; cd names; touch \"$(printf 'bad\\377name')\" \"$(printf 'new\\nline')\" -- '-rf' '$(reboot)' ' ' '*' '\"'").await;
        let names: Vec<_> = bed.list("names").await.unwrap().into_iter().map(|entry| entry.path).collect();
        for name in [
            "names/bad\u{fffd}name",
            "names/new\nline",
            "names/-rf",
            "names/$(reboot)",
            "names/ ",
            "names/*",
            "names/\"",
        ] {
            assert!(names.iter().any(|found| found == name), "{name:?} in {names:?}");
        }
        bed.write("names/$(reboot)", "data").await.unwrap();
        assert_eq!(bed.text("names/$(reboot)").await, "data");
        assert!(matches!(bed.read("names/a\0b").await, Err(OpError::Io { .. })));
        let long = "n".repeat(300);
        assert!(matches!(bed.write(&long, "").await, Err(OpError::Io { .. })));
        bed.apply(vec![Change::RemoveAll { path: "names".to_owned() }]).await.unwrap();
    }

    pub(crate) async fn takes_rights_back_from_closed_directories(bed: &mut Bed) {
        bed.ok("chmod 000 sub/deep; chmod 500 sub").await;
        bed.apply(vec![write("sub/deep/file.txt", "restored"), write("sub/new.txt", "new")]).await.unwrap();
        assert_eq!(bed.text("sub/deep/file.txt").await, "restored");
        bed.ok("chmod 000 sub/deep; chmod 000 sub").await;
        bed.apply(vec![Change::RemoveAll { path: "sub".to_owned() }]).await.unwrap();
        assert_eq!(bed.list("sub").await, Err(OpError::NotFound("sub".to_owned())));
    }
}
