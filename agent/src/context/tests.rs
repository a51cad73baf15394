//! The map and the pack, scanned from a workspace of rows `path: content`.

use super::*;
use std::collections::BTreeMap;

fn scan(files: &[(&str, &str)]) -> Repository {
    let contents: BTreeMap<&str, &str> = files.iter().copied().collect();
    let entries = files
        .iter()
        .map(|(path, content)| Entry {
            path: (*path).to_owned(),
            kind: EntryKind::File,
            bytes: content.len() as u64,
            mode: 0o644,
            sha256: None,
            target: None,
        })
        .collect();
    let (mut scan, op) = Scan::start();
    assert!(matches!(op, Op::Walk { .. }));
    let mut reply = Reply::Entries { entries, truncated: false };
    loop {
        match scan.resume(reply) {
            Scanned::Done(repository) => return repository,
            Scanned::Refused(error) => panic!("{error}"),
            Scanned::Ask(Op::ReadMany { paths, .. }) => {
                let read = |path: &String| FileContent {
                    bytes: contents[path.as_str()].as_bytes().to_vec(),
                    total_bytes: contents[path.as_str()].len() as u64,
                    mode: 0o644,
                };
                reply = Reply::Files(paths.iter().map(|path| Ok(read(path))).collect());
            }
            Scanned::Ask(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_map_lists_files_with_lines_and_symbols() {
    let map = scan(&[
        ("src/b.py", "import x\nclass B:\n    async def run(self):\n        pass\ndef helper():\n    pass\n"),
        ("README.md", "# Title\ntext\n## Part\n```\n# no heading\n```\n"),
        ("lib.rs", "pub(crate) struct S;\npub async fn go() {}\nimpl S { fn inner() {} }\n"),
        ("a.ts", "export class A {}\nexport const f = 1\nfunction g() {}\n"),
        ("data.bin", "\0\0"),
        ("go.go", "type T struct {}\nfunc (t T) Do() {}\nfunc Run() {}\n"),
    ])
    .map();
    assert_eq!(
        map,
        "Repository map\nFiles: 6\n- a.ts (typescript, 3 lines): A, g, f\n- data.bin (binary, 0 lines)\n- go.go (go, 3 lines): T, Do, Run\n\
         - lib.rs (rust, 3 lines): S, go\n- README.md (markdown, 6 lines): Title, Part\n- src/b.py (python, 6 lines): B, run, helper"
    );
}

#[test]
fn runs_builds_and_dependencies_are_left_out() {
    let repository = scan(&[
        ("eval-runs/r/case.jsonl", "x\n"),
        ("target/debug/a.rs", "x\n"),
        ("sub/node_modules/a.js", "x\n"),
        ("build/out.js", "x\n"),
        (".tox/a.py", "x\n"),
        ("Cargo.lock", "x\n"),
        ("a.min.js", "x\n"),
        ("src/builder.rs", "x\n"),
    ]);
    assert_eq!(repository.map(), "Repository map\nFiles: 1\n- src/builder.rs (rust, 1 lines)");
}

#[test]
fn large_files_are_listed_and_not_read() {
    let big = "x\n".repeat(200_000);
    assert_eq!(scan(&[("big.txt", &big)]).map(), "Repository map\nFiles: 1\n- big.txt (text, 0 lines)");
}

#[test]
fn long_maps_are_cut_with_a_count() {
    let names: Vec<String> = (0..100).map(|index| format!("f{index:03}.txt")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x\n")).collect();
    let map = scan(&files).map();
    assert_eq!(map.lines().count(), 83);
    assert!(map.ends_with("- f079.txt (text, 1 lines)\n... 20 more files"));
}

#[test]
fn relevant_files_come_by_score() {
    let repository = scan(&[
        ("src/parser.py", "def parse_line():\n    pass\n"),
        ("src/zeta.py", "def other():\n    pass\n"),
        ("README.md", "# About\n"),
        ("tests/test_parser.py", "def test_parse_line():\n    pass\n    pass\n"),
    ]);
    let pack = repository.pack("Fix the parser: parse_line fails", 6000);
    let relevant = pack.split("Likely relevant files:\n").nth(1).unwrap();
    assert_eq!(
        relevant,
        "- src/parser.py: parse_line\n- tests/test_parser.py: test_parse_line\n- README.md: About"
    );
}

#[test]
fn a_small_limit_leaves_room_for_relevant_files() {
    let names: Vec<String> =
        (0..60).map(|index| format!("docs/a-rather-long-name-of-a-page-{index:03}.md")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "# Heading\n")).collect();
    files.push(("src/wanted.py", "def wanted():\n    pass\n"));
    let repository = scan(&files);
    for limit in [200, 400, 1000, 3000] {
        let pack = repository.pack("where is wanted", limit);
        assert!(pack.chars().count() <= limit, "{limit}");
        assert!(pack.contains("- src/wanted.py: wanted"), "{limit}: {pack}");
    }
    assert!(repository.pack("wanted", 3).chars().count() <= 3);
}

#[test]
fn terms_of_every_script_count() {
    let terms: Vec<String> = pack::terms("修复 calculator 的加法, fix it: парсер ab").into_iter().collect();
    assert_eq!(terms, ["calculator", "fix", "парсер", "修复", "加法", "的加"]);
    let repository =
        scan(&[("文档/加法.md", "# 说明\n"), ("a.md", "# x\n"), ("b.md", "# y\n"), ("c.md", "# z\n")]);
    assert!(repository.pack("请修复加法", 6000).contains("Likely relevant files:\n- 文档/加法.md"));
}

#[test]
fn an_empty_workspace_has_an_empty_map() {
    assert_eq!(scan(&[]).pack("anything", 6000), "Repository map\nFiles: 0");
}

mod any_repository {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packs_keep_their_limit(
            files in prop::collection::btree_map("[a-z]{1,8}(/[a-zé]{1,8})?\\.(py|md|rs|txt)", "\\PC{0,40}\n(def f\\(\\):\n)?(# h\n)?", 0..40),
            query in "\\PC{0,30}",
            limit in 0_usize..2000,
        ) {
            let rows: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let repository = scan(&rows);
            prop_assert!(repository.pack(&query, limit).chars().count() <= limit);
        }
    }
}
