//! Patches of a workspace against its input, and putting files back.

use crate::on;

on!(a_patch_tells_every_kind_of_change: docker local plain fake);
on!(a_patch_applies_with_git: local);
on!(no_change_is_no_patch: docker local plain fake);
on!(protected_files_come_back: docker local plain fake);
on!(protected_files_come_back_from_hostile_places: docker local plain fake);
on!(closed_folders_hide_nothing: docker local plain);
on!(an_overlay_replaces_whatever_is_there: docker local plain fake);

mod check {
    use crate::bed::{Bed, write};
    use domain::ops::{Change, OpError};
    use workspace::{Archive, diff, overlay, restore};

    fn input(bed: &Bed) -> Archive {
        Archive::from(bed.spec.input.clone())
    }

    async fn change_all(bed: &Bed) {
        bed.apply(vec![
            write("hello.txt", "hello\nworld"),
            write("new file.txt", "new\n"),
            write("sub/ü.txt", "quoted\n"),
            write("__pycache__/x.pyc", "skipped"),
            Change::Write { path: "binary".to_owned(), bytes: vec![0, 1, 2], mode: None },
            Change::Write {
                path: "run.sh".to_owned(),
                bytes: b"#!/bin/sh\necho ran\n".to_vec(),
                mode: Some(0o644),
            },
            Change::Delete { path: "locked.txt".to_owned() },
            Change::Delete { path: "outward".to_owned() },
            Change::Link { path: "inward".to_owned(), target: "hello.txt".to_owned() },
            write("sub/deep/file.txt", "one needle\n2\nthree needle\n"),
            Change::Write { path: "big.bin".to_owned(), bytes: vec![8; 3 << 20], mode: None },
        ])
        .await
        .unwrap();
    }

    pub(crate) async fn a_patch_tells_every_kind_of_change(bed: &mut Bed) {
        change_all(bed).await;
        let patch = diff::unified(&input(bed), bed.workspace.as_ref()).await.unwrap();
        let expect = "\
diff --git a/big.bin b/big.bin
Binary files a/big.bin and b/big.bin differ
diff --git a/binary b/binary
new file mode 100644
Binary files /dev/null and b/binary differ
diff --git a/hello.txt b/hello.txt
--- a/hello.txt
+++ b/hello.txt
@@ -1 +1,2 @@
 hello
+world
\\ No newline at end of file
diff --git a/inward b/inward
--- a/inward
+++ b/inward
@@ -1 +1 @@
-sub/deep/file.txt
\\ No newline at end of file
+hello.txt
\\ No newline at end of file
diff --git a/locked.txt b/locked.txt
deleted file mode 100644
--- a/locked.txt
+++ /dev/null
@@ -1 +0,0 @@
-locked
diff --git a/new file.txt b/new file.txt
new file mode 100644
--- /dev/null
+++ b/new file.txt
@@ -0,0 +1 @@
+new
diff --git a/outward b/outward
deleted file mode 120000
--- a/outward
+++ /dev/null
@@ -1 +0,0 @@
-/etc/passwd
\\ No newline at end of file
diff --git a/run.sh b/run.sh
old mode 100755
new mode 100644
diff --git a/sub/deep/file.txt b/sub/deep/file.txt
--- a/sub/deep/file.txt
+++ b/sub/deep/file.txt
@@ -1,3 +1,3 @@
 one needle
-two
+2
 three needle
diff --git \"a/sub/\\303\\274.txt\" \"b/sub/\\303\\274.txt\"
new file mode 100644
--- /dev/null
+++ \"b/sub/\\303\\274.txt\"
@@ -0,0 +1 @@
+quoted
";
        assert_eq!(patch, expect);
    }

    pub(crate) async fn a_patch_applies_with_git(bed: &mut Bed) {
        change_all(bed).await;
        // What git cannot be told in text stays as it was.
        bed.ok("rm binary").await;
        bed.ok("head -c 3145728 /dev/zero | tr '\\000' '\\007' > big.bin").await;
        let patch = diff::unified(&input(bed), bed.workspace.as_ref()).await.unwrap();
        let want = bed.walk(".", &["__pycache__"], 100).await.0;
        bed.reopen(|_| {}).await;
        bed.write("the.patch", &patch).await.unwrap();
        bed.ok("git apply the.patch && rm the.patch").await;
        let shape = |entries: &[domain::ops::Entry]| -> Vec<_> {
            entries
                .iter()
                .map(|e| (e.path.clone(), e.mode & 0o100, e.sha256.clone(), e.target.clone()))
                .collect()
        };
        assert_eq!(shape(&bed.walk(".", &["__pycache__"], 100).await.0), shape(&want));
    }

    pub(crate) async fn no_change_is_no_patch(bed: &mut Bed) {
        assert_eq!(diff::unified(&input(bed), bed.workspace.as_ref()).await.unwrap(), "");
        bed.reopen(|spec| spec.input = None).await;
        assert_eq!(diff::unified(&Archive::Empty, bed.workspace.as_ref()).await.unwrap(), "");
        bed.write("a", "x\n").await.unwrap();
        assert!(diff::unified(&Archive::Empty, bed.workspace.as_ref()).await.unwrap().contains("+x"));
    }

    async fn back(bed: &Bed, globs: &[&str]) -> Vec<String> {
        let globs: Vec<_> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        restore(bed.workspace.as_ref(), &input(bed), &globs).await.unwrap()
    }

    pub(crate) async fn protected_files_come_back(bed: &mut Bed) {
        assert_eq!(back(bed, &["**"]).await, Vec::<String>::new());
        bed.apply(vec![
            write("sub/deep/file.txt", "cheated"),
            write("sub/deep/conftest.py", "added"),
            write("hello.txt", "allowed"),
            Change::Delete { path: "run.sh".to_owned() },
            Change::Write { path: "closed/in.txt".to_owned(), bytes: b"in".to_vec(), mode: Some(0o755) },
        ])
        .await
        .unwrap();
        let put = back(bed, &["sub/", "run.sh", "closed/*"]).await;
        assert_eq!(put, ["closed/in.txt", "run.sh", "sub/deep/conftest.py", "sub/deep/file.txt"]);
        assert_eq!(bed.text("sub/deep/file.txt").await, "one needle\ntwo\nthree needle\n");
        assert_eq!(bed.read("run.sh").await.unwrap().mode, 0o755);
        assert_eq!(bed.read("closed/in.txt").await.unwrap().mode, 0o644);
        assert_eq!(
            bed.read("sub/deep/conftest.py").await,
            Err(OpError::NotFound("sub/deep/conftest.py".to_owned()))
        );
        assert_eq!(bed.text("hello.txt").await, "allowed");
        assert_eq!(back(bed, &["sub/", "run.sh", "closed/*"]).await, Vec::<String>::new());
    }

    pub(crate) async fn protected_files_come_back_from_hostile_places(bed: &mut Bed) {
        // The folder of a protected file is a link to another one, a protected file is a folder, another one a link to a third.
        bed.apply(vec![
            Change::RemoveAll { path: "sub".to_owned() },
            Change::RemoveAll { path: "run.sh".to_owned() },
        ])
        .await
        .unwrap();
        bed.apply(vec![
            write("decoy/deep/file.txt", "decoy"),
            write("run.sh/inner", "x"),
            Change::Link { path: "sub".to_owned(), target: "decoy".to_owned() },
            Change::Delete { path: "locked.txt".to_owned() },
        ])
        .await
        .unwrap();
        bed.apply(vec![Change::Link { path: "locked.txt".to_owned(), target: "hello.txt".to_owned() }])
            .await
            .unwrap();
        back(bed, &["sub/**", "run.sh", "locked.txt"]).await;
        assert_eq!(bed.text("sub/deep/file.txt").await, "one needle\ntwo\nthree needle\n");
        assert_eq!(bed.text("decoy/deep/file.txt").await, "decoy");
        assert_eq!(bed.text("run.sh").await, "#!/bin/sh\necho ran\n");
        assert_eq!(bed.text("locked.txt").await, "locked\n");
        assert_eq!(bed.text("hello.txt").await, "hello\n");
    }

    pub(crate) async fn closed_folders_hide_nothing(bed: &mut Bed) {
        bed.ok(
            "echo cheated > sub/deep/file.txt; echo added > sub/deep/more; chmod 000 sub/deep; chmod 100 sub",
        )
        .await;
        assert!(diff::unified(&input(bed), bed.workspace.as_ref()).await.unwrap().contains("sub/deep/more"));
        assert_eq!(
            bed.list(".").await.unwrap().iter().find(|entry| entry.path == "sub").unwrap().mode,
            0o100
        );
        assert_eq!(back(bed, &["sub"]).await, ["sub/deep/file.txt", "sub/deep/more"]);
        assert_eq!(bed.text("sub/deep/file.txt").await, "one needle\ntwo\nthree needle\n");
    }

    pub(crate) async fn an_overlay_replaces_whatever_is_there(bed: &mut Bed) {
        bed.apply(vec![Change::RemoveAll { path: "sub".to_owned() }, write("extra", "stays")]).await.unwrap();
        bed.apply(vec![write("sub", "a file"), write("hello.txt", "changed")]).await.unwrap();
        overlay(bed.workspace.as_ref(), &input(bed)).await.unwrap();
        assert_eq!(bed.text("hello.txt").await, "hello\n");
        assert_eq!(bed.text("sub/deep/file.txt").await, "one needle\ntwo\nthree needle\n");
        assert_eq!(bed.text("extra").await, "stays");
        assert_eq!(bed.read("run.sh").await.unwrap().mode, 0o755);
    }
}
