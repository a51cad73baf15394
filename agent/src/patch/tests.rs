//! Patches as models write them, the defects of the original system by name, and a diff tool as the oracle.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Files before and after: `path=content`, one a row; a missing one is not there.
type Rows<'a> = &'a [(&'a str, &'a str)];

fn apply(before: Rows<'_>, patch: &str) -> Result<(BTreeMap<String, String>, String), Error> {
    let set = parse(patch)?;
    let mut files: BTreeMap<String, Option<File>> =
        set.paths().into_iter().map(|path| (path, None)).collect();
    let mut after: BTreeMap<String, String> = BTreeMap::new();
    for (path, content) in before {
        after.insert((*path).to_owned(), (*content).to_owned());
        if let Some(file) = files.get_mut(*path) {
            *file = Some(File { bytes: content.as_bytes().to_vec(), mode: 0o644 });
        }
    }
    let applied = set.apply(files)?;
    for change in applied.changes {
        match change {
            Change::Write { path, bytes, mode } => {
                let content = String::from_utf8(bytes).unwrap();
                after.insert(
                    path,
                    mode.map_or_else(|| content.clone(), |mode| format!("{content}[{mode:o}]")),
                );
            }
            Change::Delete { path } => {
                after.remove(&path);
            }
            other => panic!("{other:?}"),
        }
    }
    Ok((after, applied.report))
}

#[track_caller]
fn check(before: Rows<'_>, patch: &str, after: Rows<'_>) -> String {
    let (files, report) = apply(before, patch).unwrap_or_else(|error| panic!("{error}"));
    let wanted: BTreeMap<String, String> =
        after.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    assert_eq!(files, wanted);
    report
}

#[track_caller]
fn refused(before: Rows<'_>, patch: &str, part: &str) {
    match apply(before, patch) {
        Ok((files, report)) => panic!("applied: {files:?} {report}"),
        Err(error) => assert!(error.to_string().contains(part), "{error}"),
    }
}

const ABC: &str = "a\nb\nc\n";

#[test]
fn a_plain_patch_applies_and_says_so() {
    let report =
        check(&[("x", ABC)], "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", &[("x", "a\nB\nc\n")]);
    assert_eq!(report, "Patched files:\n- x");
}

#[test]
fn files_are_created_deleted_and_renamed() {
    let report = check(
        &[("old", "1\n2\n"), ("gone", "x\n")],
        "diff --git a/old b/new\nsimilarity index 50%\nrename from old\nrename to new\n--- a/old\n+++ b/new\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n\
         diff --git a/gone b/gone\ndeleted file mode 100644\nindex 1..0\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
         diff --git a/d/run.sh b/d/run.sh\nnew file mode 100755\nindex 0..1\n--- /dev/null\n+++ b/d/run.sh\n@@ -0,0 +1 @@\n+echo\n",
        &[("new", "1\n3\n"), ("d/run.sh", "echo\n[755]")],
    );
    assert_eq!(report, "Patched files:\n- new (renamed from old)\n- gone (deleted)\n- d/run.sh (created)");
}

#[test]
fn pure_renames_modes_copies_and_empty_files() {
    check(
        &[("a b", "1\n")],
        "diff --git a/a b b/c d\nsimilarity index 100%\nrename from a b\nrename to c d\n",
        &[("c d", "1\n")],
    );
    check(&[("x", "1\n")], "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n", &[("x", "1\n[755]")]);
    check(
        &[("x", "1\n")],
        "diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n",
        &[("x", "1\n"), ("y", "1\n")],
    );
    check(&[], "diff --git a/e b/e\nnew file mode 100644\nindex 000..e69\n", &[("e", "")]);
    check(&[("e", "")], "diff --git a/e b/e\ndeleted file mode 100644\nindex e69..000\n", &[]);
    check(&[("e", "")], "--- a/e\n+++ b/e\n@@ -0,0 +1 @@\n+x\n", &[("e", "x\n")]);
    check(&[], "--- a/e\n+++ b/e\n@@ -0,0 +1 @@\n+x\n", &[("e", "x\n")]);
}

#[test]
fn item_20_a_range_of_no_lines_inserts_after_its_line() {
    check(&[("x", ABC)], "--- a/x\n+++ b/x\n@@ -1,0 +2 @@\n+new\n", &[("x", "a\nnew\nb\nc\n")]);
    check(&[("x", ABC)], "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+new\n", &[("x", "new\na\nb\nc\n")]);
    check(&[("x", ABC)], "--- a/x\n+++ b/x\n@@ -3,0 +4 @@\n+new\n", &[("x", "a\nb\nc\nnew\n")]);
    refused(
        &[("x", ABC)],
        "--- a/x\n+++ b/x\n@@ -9,0 +10 @@\n+new\n",
        "inserts after line 9, but the file has 3 lines",
    );
}

#[test]
fn item_20_deletion_removes_the_file_and_only_when_it_is_whole() {
    check(&[("x", ABC)], "--- a/x\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-a\n-b\n-c\n", &[]);
    refused(
        &[("x", ABC)],
        "--- a/x\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n",
        "does not remove, so it is not deleted",
    );
    refused(&[], "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n", "does not exist");
}

#[test]
fn item_20_crlf_is_kept() {
    let crlf = "a\r\nb\r\nc\r\n";
    check(&[("x", crlf)], "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n", &[("x", "a\r\nB\r\nc\r\n")]);
    check(
        &[("x", crlf)],
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\r\n-b\r\n+B\r\n c\r\n",
        &[("x", "a\r\nB\r\nc\r\n")],
    );
    check(
        &[("x", ABC)],
        "--- a/x\r\n+++ b/x\r\n@@ -1,3 +1,3 @@\r\n a\r\n-b\r\n+B\r\n c\r\n",
        &[("x", "a\nB\nc\n")],
    );
    check(&[("x", crlf)], "--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\r\n+b\n", &[("x", "a\r\nb\nc\r\n")]);
    check(&[("x", "a\nb\r\nc\n")], "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n", &[("x", "A\nb\r\nc\n")]);
}

#[test]
fn item_20_a_missing_final_newline_is_kept() {
    check(&[("x", "a\nb")], "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n", &[("x", "A\nb")]);
    check(&[("x", "a\nb")], "--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\n+B\n", &[("x", "a\nB")]);
    let marked = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+B\n\\ No newline at end of file\n";
    check(&[("x", "a\nb")], marked, &[("x", "a\nB")]);
    check(
        &[("x", "a\nb")],
        "--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\n\\ No newline at end of file\n+b\n",
        &[("x", "a\nb\n")],
    );
    check(
        &[("x", "a\nb\n")],
        "--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\n+b\n\\ No newline at end of file\n",
        &[("x", "a\nb")],
    );
    check(&[("x", "a")], "--- a/x\n+++ b/x\n@@ -1,0 +2 @@\n+b\n", &[("x", "a\nb")]);
    check(&[], "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+b\n\\ No newline at end of file\n", &[("x", "b")]);
}

#[test]
fn item_20_lines_that_look_like_headers_are_lines() {
    check(
        &[("x", "-- a\nb\n")],
        "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- a\n+++ a\n b\n",
        &[("x", "++ a\nb\n")],
    );
    check(
        &[("x", "-- a\n1\n2\n3\n4\n5\n6\nb\n")],
        "--- a/x\n+++ b/x\n@@ -1 +1 @@\n--- a\n+++ a\n@@ -8 +8 @@\n-b\n+c\n",
        &[("x", "++ a\n1\n2\n3\n4\n5\n6\nc\n")],
    );
}

#[test]
fn item_20_blank_context_lines_may_have_lost_their_blank() {
    check(&[("x", "a\n\nb\n")], "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n", &[("x", "a\n\nc\n")]);
    check(&[("x", "a\n\nb\n")], "--- a/x\n+++ b/x\n@@\n a\n\n-b\n+c\n\n", &[("x", "a\n\nc\n")]);
}

#[test]
fn item_20_several_files_are_changed_together_or_not_at_all() {
    let patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-nothing\n+B\n";
    refused(
        &[("x", ABC), ("y", ABC)],
        patch,
        "nothing was applied: hunk 1 of `y` (line 8 of the patch) was not found",
    );
    let patch = patch.replace("-nothing", "-a");
    check(&[("x", ABC), ("y", ABC)], &patch, &[("x", "A\nb\nc\n"), ("y", "B\nb\nc\n")]);
}

#[test]
fn item_20_a_new_file_does_not_go_over_an_existing_one() {
    refused(&[("x", ABC)], "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n", "exists already");
    refused(
        &[("x", ABC), ("y", "1\n")],
        "diff --git a/x b/y\nrename from x\nrename to y\n",
        "exists already",
    );
}

#[test]
fn item_20_a_far_off_match_is_not_guessed() {
    let repeated = "x\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nx\nend\n".repeat(3);
    refused(
        &[("f", &repeated)],
        "--- a/f\n+++ b/f\n@@ -90 +90 @@\n-end\n+END\n",
        "fits in 3 places (lines 14, 28, 42)",
    );
    refused(&[("f", &repeated)], "--- a/f\n+++ b/f\n@@\n-end\n+END\n", "fits in 3 places");
    // One place only: taken, and said how far off it was.
    let once = format!("{}only\n", "x\n".repeat(60));
    let (files, report) = apply(&[("f", &once)], "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-only\n+ONLY\n").unwrap();
    assert!(files["f"].ends_with("x\nONLY\n"));
    assert_eq!(report, "Patched files:\n- f (hunk 1: 60 lines further down than it says)");
    // Two places, one of them near.
    let report = check(
        &[("f", "a\nk\nb\nc\nd\ne\nf\nk\n")],
        "--- a/f\n+++ b/f\n@@ -3 +3 @@\n-k\n+K\n",
        &[("f", "a\nK\nb\nc\nd\ne\nf\nk\n")],
    );
    assert_eq!(report, "Patched files:\n- f (hunk 1: 1 lines further up than it says)");
}

#[test]
fn wrong_counts_and_bare_hunks_are_read() {
    for header in [
        "@@ -1,9 +1,9 @@",
        "@@ -1,1 +1,1 @@",
        "@@ -1 +1,3 @@",
        "@@",
        "@@ @@",
        "@@ -1,3 +1,3",
        "@@ -1,3 +1,3 @@ fn main()",
    ] {
        check(&[("x", ABC)], &format!("--- a/x\n+++ b/x\n{header}\n a\n-b\n+B\n c\n"), &[("x", "a\nB\nc\n")]);
    }
    let two =
        "--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n-b\n+B\n--- a/y\n+++ b/y\n@@ -1,9 +1,7 @@\n-a\n+A\n b\n";
    check(&[("x", ABC), ("y", ABC)], two, &[("x", "a\nB\nc\n"), ("y", "A\nb\nc\n")]);
    // Counts too small for a body that a blank line splits: nothing of it is dropped in silence.
    check(&[("x", "a\n\nb\n")], "--- a/x\n+++ b/x\n@@ -1 +1 @@\n a\n\n-b\n+c\n", &[("x", "a\n\nc\n")]);
}

#[test]
fn a_bare_hunk_finds_its_place_by_its_heading() {
    let file = "def f():\n    x = 1\n    return x\ndef g():\n    x = 1\n    return x\n";
    check(
        &[("f.py", file)],
        "--- a/f.py\n+++ b/f.py\n@@ def g():\n-    x = 1\n+    x = 2\n",
        &[("f.py", "def f():\n    x = 1\n    return x\ndef g():\n    x = 2\n    return x\n")],
    );
}

#[test]
fn looseness_is_reported() {
    let report = check(
        &[("x", "a  \nb\nc\n")],
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n",
        &[("x", "a  \nB\nc\n")],
    );
    assert_eq!(report, "Patched files:\n- x (hunk 1: white space at line ends differed)");
    let report = check(
        &[("x", "other\nb\nc\nd\n")],
        "--- a/x\n+++ b/x\n@@ -1,4 +1,4 @@\n a\n b\n-c\n+C\n d\n",
        &[("x", "other\nb\nC\nd\n")],
    );
    assert_eq!(report, "Patched files:\n- x (hunk 1: fuzz 1: 2 outer context lines did not match)");
    refused(
        &[("x", "1\n2\n3\n")],
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n 1\n-two\n+2\n 3\n",
        "line 2 is `2` and the hunk says `two`",
    );
}

#[test]
fn paths_are_read_with_and_without_prefixes_and_stay_inside() {
    for names in [
        "--- x\n+++ x",
        "--- a/x\n+++ x",
        "--- x\n+++ b/x",
        "--- a/x\t2020-01-01\n+++ b/x\t2020-01-01 10:00",
        "--- \"a/x\"\n+++ \"b/x\"",
    ] {
        check(&[("x", ABC)], &format!("{names}\n@@ -1 +1 @@\n-a\n+A\n"), &[("x", "A\nb\nc\n")]);
    }
    check(&[("a/x", ABC)], "--- a/x\n+++ a/x\n@@ -1 +1 @@\n-a\n+A\n", &[("a/x", "A\nb\nc\n")]);
    check(
        &[("ö", ABC)],
        "--- \"a/\\303\\266\"\n+++ \"b/\\303\\266\"\n@@ -1 +1 @@\n-a\n+A\n",
        &[("ö", "A\nb\nc\n")],
    );
    check(&[("x", ABC)], "--- x.orig\n+++ x\n@@ -1 +1 @@\n-a\n+A\n", &[("x", "A\nb\nc\n")]);
    refused(
        &[],
        "--- a/../../etc/passwd\n+++ b/../../etc/passwd\n@@ -1 +1 @@\n-a\n+b\n",
        "leads outside the workspace",
    );
    refused(&[], "--- /dev/null\n+++ /etc/passwd\n@@ -0,0 +1 @@\n+a\n", "outside the workspace");
    refused(&[("x", ABC)], "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "to rename, say");
    refused(&[], "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "`x` does not exist");
}

#[test]
fn what_surrounds_a_patch_is_ignored() {
    check(
        &[("x", ABC)],
        "Here is the patch:\n```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n```\nIt fixes the thing.\n",
        &[("x", "A\nb\nc\n")],
    );
    check(
        &[("x", ABC)],
        "From 1\nSubject: x\n---\n x | 2 +-\n\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n-- \n2.39.0\n",
        &[("x", "A\nb\nc\n")],
    );
}

#[test]
fn what_is_no_patch_is_refused_with_a_hint() {
    refused(&[], "hello", "no file patches found");
    refused(
        &[],
        "*** Begin Patch\n*** Update File: x\n@@\n-a\n+b\n*** End Patch",
        "`*** Begin Patch` form is not understood",
    );
    refused(&[], "@@ -1 +1 @@\n-a\n+b\n", "the `---` and `+++` lines are missing");
    refused(&[], "--- a/x\n+++ b/x\n", "is followed by no `@@` hunk");
    refused(&[], "--- a/x\n+++ b/x\n@@ -1 +1 @@\n", "begins a hunk without lines");
    refused(
        &[("x", ABC)],
        "--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\nb\n-b\n+B\n",
        "line 5 of the patch begins with none of",
    );
    refused(&[], "diff --git a/x b/x\nindex 1..2\nGIT binary patch\nliteral 0\n", "binary patch");
    refused(&[], "--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n", "/dev/null on both sides");
    refused(&[("x", ABC)], "--- a/x\n+++ b/x\n@@ -3 +3 @@\n-c\n+C\n@@ -1 +1 @@\n-a\n+A\n", "was not found");
    refused(&[("x", ABC)], "--- a/x\n+++ b/x\n@@\n+new\n", "without saying where");
}

#[test]
fn several_patches_of_one_file_follow_each_other() {
    let patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+A\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-A\n+AA\n";
    check(&[("x", ABC)], patch, &[("x", "AA\nb\nc\n")]);
    let moved = "diff --git a/x b/y\nrename from x\nrename to y\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+A\n";
    check(&[("x", ABC)], moved, &[("y", "A\nb\nc\n")]);
}

#[test]
fn bytes_that_are_no_utf8_stay_as_they_are() {
    let set = parse("--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\n+B\n").unwrap();
    let file = File { bytes: b"\xff\xfe\nb\n".to_vec(), mode: 0o644 };
    let applied = set.apply(BTreeMap::from([("x".to_owned(), Some(file))])).unwrap();
    assert_eq!(
        applied.changes,
        [Change::Write { path: "x".into(), bytes: b"\xff\xfe\nB\n".to_vec(), mode: None }]
    );
}

fn text() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "",
        "a",
        "b",
        "c",
        "  a",
        "-- x",
        "++ y",
        "@@ -1 +1 @@",
        "\\ z",
        "--- a/x",
        "+++ b/x",
        "d\r",
        "}",
    ]);
    (prop::collection::vec(line, 0..30), any::<bool>()).prop_map(|(lines, ends)| {
        let mut text = lines.join("\n");
        if ends && !text.is_empty() {
            text.push('\n');
        }
        whole_ends(text)
    })
}

/// The text without a carriage return at its very end, which the diff tool takes for a line break.
fn whole_ends(text: String) -> String {
    text.strip_suffix('\r').unwrap_or(&text).to_owned()
}

fn edited() -> impl Strategy<Value = (String, String)> {
    let cuts = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0_usize..3,
            prop::sample::select(vec!["", "new\n", "a\n", "-- q\nz\n"]),
        ),
        0..4,
    );
    (text(), cuts, any::<bool>()).prop_map(|(old, cuts, ends)| {
        let mut lines: Vec<String> = old.split_inclusive('\n').map(str::to_owned).collect();
        for (at, remove, insert) in cuts {
            let at = at.index(lines.len() + 1);
            let end = (at + remove).min(lines.len());
            lines.splice(at..end, [insert.to_owned()]);
        }
        let mut new = lines.concat();
        if !ends && new.ends_with('\n') {
            new.pop();
        }
        let new = whole_ends(new);
        let new = if new == old { format!("first\n{new}") } else { new };
        (old, new)
    })
}

proptest! {
    #[test]
    fn what_a_diff_tool_writes_gives_back_the_new_text((old, new) in edited(), radius in 0_usize..4) {
        // In a file of CRLF lines an added line without any sign of its own line end gets CRLF; see the next property.
        let crlf = old.matches("\r\n").count() * 2 > old.matches('\n').count();
        prop_assume!(!crlf);
        let diff = similar::TextDiff::from_lines(&old, &new);
        let patch = diff.unified_diff().context_radius(radius).header("a/x", "b/x").to_string();
        let (files, report) = apply(&[("x", &old)], &patch).map_err(|error| TestCaseError::fail(format!("{error}\n{patch}")))?;
        prop_assert_eq!(&files["x"], &new, "{}", patch);
        prop_assert_eq!(report, "Patched files:\n- x");
    }

    #[test]
    fn a_patch_without_carriage_returns_keeps_a_file_of_crlf_lines((old, new) in edited(), radius in 0_usize..4) {
        let old = format!("first\n{}", old.replace('\r', ""));
        let new = format!("second\n{}", new.replace('\r', ""));
        let diff = similar::TextDiff::from_lines(&old, &new);
        let patch = diff.unified_diff().context_radius(radius).header("a/x", "b/x").to_string();
        let crlf = |text: &str| text.replace('\n', "\r\n");
        let (files, _) = apply(&[("x", &crlf(&old))], &patch).map_err(|error| TestCaseError::fail(format!("{error}\n{patch}")))?;
        prop_assert_eq!(&files["x"], &crlf(&new), "{}", patch);
    }

    #[test]
    fn a_patch_of_a_file_that_moved_down_still_fits((old, new) in edited(), above in 1_usize..30) {
        let old = format!("first\n{}\n", old.replace('\r', "").trim_end());
        let new = format!("first\n{}\nlast\n", new.replace('\r', "").trim_end());
        let diff = similar::TextDiff::from_lines(&old, &new);
        let patch = diff.unified_diff().context_radius(30).header("a/x", "b/x").to_string();
        let padding = "padding\n".repeat(above);
        let (files, _) = apply(&[("x", &format!("{padding}{old}"))], &patch)
            .map_err(|error| TestCaseError::fail(format!("{error}\n{patch}")))?;
        prop_assert_eq!(&files["x"], &format!("{padding}{new}"), "{}", patch);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        if let Ok(set) = parse(&text) {
            let _applied = set.apply(BTreeMap::new());
        }
    }

    #[test]
    fn no_patch_like_text_panics(
        lines in prop::collection::vec(prop::sample::select(vec![
            "--- a/x", "+++ b/x", "--- /dev/null", "+++ /dev/null", "@@ -1 +1 @@", "@@ -0,0 +1,2 @@", "@@ -3,2 +1 @@", "@@", "@@ -1,99999999999 +1 @@",
            " a", "-a", "+a", "", "\\ No newline at end of file", "diff --git a/x b/x", "new file mode 100644", "deleted file mode 100644",
            "rename from x", "rename to y", "new mode 100755", "index 1..2", "b", "-- ", "2.3", "é",
        ]), 0..20),
        content in prop::option::of(text()),
    ) {
        if let Ok(set) = parse(&lines.join("\n")) {
            let file = content.map(|text| File { bytes: text.into_bytes(), mode: 0o644 });
            let _applied = set.apply(BTreeMap::from([("x".to_owned(), file)]));
        }
    }
}
