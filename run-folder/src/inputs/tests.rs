//! Packing is deterministic and complete; unpacking never leaves its directory.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tar::{EntryType, Header};

/// A directory with these files; a path that ends in `/` is a folder.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let target = root.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, content).unwrap();
        }
    }
    root
}

fn names(packed: &Packed) -> Vec<String> {
    entries(&packed.bytes)
        .unwrap()
        .iter()
        .filter(|(_, entry)| !matches!(entry, Entry::Folder { .. }))
        .map(|(path, _)| path.to_str().unwrap().to_owned())
        .collect()
}

fn limit() -> Limit {
    Limit::default()
}

#[test]
fn templates_are_packed_whole_and_come_back() {
    let root = tree(&[
        ("src/main.py", "print(1)\n"),
        (".hidden", "h"),
        (".gitignore", "ignored\n"),
        ("ignored", "still part of the fixture"),
        ("empty/", ""),
        ("bin/run.sh", "#!/bin/sh\n"),
    ]);
    fs::set_permissions(root.path().join("bin/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join(".hidden"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("src/main.py", root.path().join("link")).unwrap();
    symlink("../src", root.path().join("bin/up")).unwrap();
    symlink("not/there/yet", root.path().join("dangling")).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    fs::create_dir(root.path().join("d".repeat(120))).unwrap();
    fs::write(root.path().join(&long), "long").unwrap();
    fs::write(root.path().join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), [0_u8, 255]).unwrap();

    let packed = pack_template(root.path(), &limit()).unwrap();
    assert_eq!(packed.files, 10);
    let into = tempfile::tempdir().unwrap();
    let target = into.path().join("made/when/missing");
    unpack(&packed.bytes, &target).unwrap();
    let again = pack_template(&target, &limit()).unwrap();
    assert_eq!(again, packed, "what comes out packs to the same bytes");
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/run.sh"), mode(".hidden")), (0o755, 0o600));
    assert_eq!(fs::read_link(target.join("bin/up")).unwrap(), Path::new("../src"));
    assert!(target.join("empty").is_dir());
    assert_eq!(fs::read(target.join(&long)).unwrap(), b"long");
}

#[test]
fn the_same_files_give_the_same_bytes_whenever_and_in_whatever_order_they_were_made() {
    let one = tree(&[("a", "1"), ("b/c", "2"), ("b.d", "3")]);
    let two = tree(&[("b.d", "3"), ("b/c", "2"), ("a", "1")]);
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(two.path().join("a")).unwrap().set_modified(old).unwrap();
    let pack = |root: &tempfile::TempDir| pack_template(root.path(), &limit()).unwrap();
    assert_eq!(pack(&one), pack(&two));
    fs::write(two.path().join("a"), "2").unwrap();
    assert_ne!(pack(&one).digest, pack(&two).digest);
    assert_eq!(pack(&one).digest.0, crate::chunks::sha256(&pack(&one).bytes));
    // Pinned: a change of level, library or header would orphan every stored digest and must be seen.
    for mode_of in ["a", "b/c", "b.d"] {
        fs::set_permissions(one.path().join(mode_of), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(one.path().join("b"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(pack(&one).digest.0, "fd3b68e714363087e18a705b43c96470570634ea60b89638b4b9e15dc361f690");
}

#[test]
fn working_trees_are_packed_as_git_would_see_them() {
    let outer = tree(&[
        (".gitignore", "*.log\n"),
        ("repo/.gitignore", "secret.env\nbuild/\n!keep.log\n"),
        ("repo/main.py", ""),
        ("repo/.editorconfig", ""),
        ("repo/debug.log", "ignored from above"),
        ("repo/keep.log", "taken back"),
        ("repo/secret.env", "KEY=canary"),
        ("repo/build/out", ""),
        ("repo/sub/.gitignore", "local\n"),
        ("repo/sub/local", ""),
        ("repo/sub/kept", ""),
        ("repo/.git/config", ""),
        ("repo/.git/info/exclude", "excluded\n"),
        ("repo/excluded", ""),
        ("repo/eval-runs/run/run.json", ""),
        ("repo/node_modules/x/index.js", ""),
        ("repo/pkg/__pycache__/m.pyc", ""),
        ("repo/venv/pyvenv.cfg", ""),
        ("repo/venv/bin/python", ""),
        ("repo/Cargo.toml", ""),
        ("repo/target/debug/app", ""),
        ("repo/docs/target/is-only-a-name", ""),
        ("repo/submodule/.git", "gitdir: ../.git/modules/x"),
        ("repo/submodule/file", ""),
    ]);
    let packed = pack_in_place(&outer.path().join("repo"), &limit()).unwrap();
    assert_eq!(
        names(&packed),
        [
            ".editorconfig",
            ".gitignore",
            "Cargo.toml",
            "docs/target/is-only-a-name",
            "keep.log",
            "main.py",
            "sub/.gitignore",
            "sub/kept",
            "submodule/file"
        ]
    );
}

#[test]
fn single_files_and_folders_get_the_names_they_shall_have() {
    let root = tree(&[("hidden/test_a.py", "a"), ("hidden/data/x", "x")]);
    let source = |path: &str| root.path().join(path);
    let map: BTreeMap<String, PathBuf> = [
        ("tests/test_a.py".to_owned(), source("hidden/test_a.py")),
        ("tests/data".to_owned(), source("hidden/data")),
    ]
    .into();
    let packed = pack_files(&map, &limit()).unwrap();
    assert_eq!(names(&packed), ["tests/data/x", "tests/test_a.py"]);
    for destination in ["", "/abs", "../x", "a/../b", "a\0b", "."] {
        let map = [(destination.to_owned(), source("hidden/test_a.py"))].into();
        assert!(matches!(pack_files(&map, &limit()), Err(Error::Destination { .. })), "{destination:?}");
    }
    let clash =
        [("a".to_owned(), source("hidden/test_a.py")), ("a/b".to_owned(), source("hidden/test_a.py"))];
    assert!(matches!(pack_files(&clash.into(), &limit()), Err(Error::Destination { .. })));
    let missing = [("a".to_owned(), source("nowhere"))].into();
    assert!(matches!(pack_files(&missing, &limit()), Err(Error::Io { .. })));
}

#[test]
fn links_out_and_special_files_are_refused_by_name() {
    let outside = tempfile::tempdir().unwrap();
    let refused = |make: &dyn Fn(&Path)| {
        let root = tree(&[("dir/file", "")]);
        make(root.path());
        let template = pack_template(root.path(), &limit()).unwrap_err().to_string();
        let in_place = pack_in_place(root.path(), &limit()).unwrap_err().to_string();
        assert_eq!(template, in_place);
        template
            .replace(root.path().to_str().unwrap(), "ROOT")
            .replace(outside.path().to_str().unwrap(), "OUTSIDE")
    };
    assert_eq!(
        refused(&|root| symlink("/etc/passwd", root.join("link")).unwrap()),
        "`ROOT/link` is a link to `/etc/passwd`, which is outside of what is packed"
    );
    assert_eq!(
        refused(&|root| symlink("../../x", root.join("dir/link")).unwrap()),
        "`ROOT/dir/link` is a link to `../../x`, which is outside of what is packed"
    );
    // By its names it stays inside; where `dir/up` leads it does not.
    let sneaky = refused(&|root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a/b", root.join("short")).unwrap();
        symlink("short/../../../../../../etc", root.join("sneaky")).unwrap();
    });
    assert!(sneaky.starts_with("`ROOT/sneaky` is a link"), "{sneaky}");
    assert_eq!(
        refused(&|root| drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap())),
        "`ROOT/socket` is a socket: only files, folders and links can be packed"
    );
}

#[test]
fn a_link_that_climbs_out_through_another_link_is_refused() {
    let outer = tree(&[("root/a/b/file", ""), ("secret/key", "canary")]);
    let root = outer.path().join("root");
    // Counted by names, `x/y/../../secret` stays inside; `x/y` being a link to `a`, it does not.
    fs::create_dir_all(root.join("x")).unwrap();
    symlink("../a", root.join("x/y")).unwrap();
    symlink("x/y/../../secret", root.join("out")).unwrap();
    let error = pack_template(&root, &limit()).unwrap_err();
    assert!(matches!(&error, Error::LinkOut { path, .. } if path.ends_with("out")), "{error}");
}

#[test]
fn too_much_is_refused_with_the_names_of_the_biggest() {
    let root = tree(&[
        ("small", "x"),
        ("data/big.bin", &"x".repeat(3 << 20)),
        ("data/bigger.bin", &"x".repeat(5 << 20)),
    ]);
    let small = Limit { bytes: 1 << 20, ..limit() };
    let error = pack_template(root.path(), &small).unwrap_err();
    assert_eq!(
        error.to_string().replace(root.path().to_str().unwrap(), "ROOT"),
        "`ROOT` holds 8.0 MiB of files, more than the limit of 1.0 MiB; the biggest: \
         `data/bigger.bin` (5.0 MiB), `data/big.bin` (3.0 MiB), `small` (0.0 MiB)"
    );
    assert!(error.hint().is_some());
    let few = Limit { entries: 3, ..limit() };
    let error = pack_template(root.path(), &few).unwrap_err().to_string();
    assert!(error.contains("more than 3 files; the fullest folders: "), "{error}");
    let missing = pack_template(&root.path().join("nowhere"), &limit()).unwrap_err();
    assert_eq!(missing.fault(), Fault::Infra);
    assert!(pack_template(&root.path().join("small"), &limit()).is_err(), "a file is no template");
}

/// An archive made by somebody who does not mean well: names are written as they are.
fn hostile_archive(entries: &[(&[u8], EntryType, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6777);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        header.set_size(if is_link { 0 } else { content.len() as u64 });
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        if is_link {
            header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content);
        }
        header.set_cksum();
        archive.append(&header, if is_link { &[][..] } else { content }).unwrap();
    }
    zstd::encode_all(archive.into_inner().unwrap().as_slice(), 1).unwrap()
}

#[test]
fn hostile_archives_write_nothing_outside() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    type Entries<'a> = &'a [(&'a [u8], EntryType, &'a [u8])];
    let hostile: &[Entries<'_>] = &[
        &[(b"../evil", Regular, b"x")],
        &[(b"/tmp/och-evil", Regular, b"x")],
        &[(b"a/../../evil", Regular, b"x")],
        &[(b"..", Directory, b"")],
        &[(b"link", Symlink, b"/etc")],
        &[(b"link", Symlink, b"../..")],
        &[(b"link", Symlink, b"")],
        &[(b"inner", Symlink, b"."), (b"inner/file", Regular, b"x")],
        &[(b"dir", Directory, b""), (b"way", Symlink, b"dir"), (b"way/file", Regular, b"x")],
        &[(b"way", Symlink, b"dir"), (b"way", Regular, b"x")],
        &[(b"file", Regular, b"x"), (b"file/below", Regular, b"x")],
        &[(b"file", Regular, b"x"), (b"file", Regular, b"y")],
        &[(b"file", Regular, b"x"), (b"hard", Link, b"file")],
        &[(b"hard", Link, b"/etc/passwd")],
        &[(b"char", Char, b"")],
        &[(b"block", Block, b"")],
        &[(b"pipe", Fifo, b"")],
    ];
    for entries in hostile {
        let outer = tempfile::tempdir().unwrap();
        let into = outer.path().join("workspace");
        let archive = hostile_archive(entries);
        let name = String::from_utf8_lossy(entries.last().unwrap().0).into_owned();
        assert!(unpack(&archive, &into).is_err(), "{name}");
        assert!(super::entries(&archive).is_err(), "{name}");
        let left: Vec<_> =
            fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["workspace"], "{name}");
    }
}

#[test]
fn privileged_bits_do_not_come_out() {
    let into = tempfile::tempdir().unwrap();
    unpack(&hostile_archive(&[(b"tool", EntryType::Regular, b"x")]), into.path()).unwrap();
    let mode = fs::metadata(into.path().join("tool")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o777);
}

#[test]
fn folders_that_may_not_be_written_to_come_back_filled() {
    let root = tree(&[("locked/inner/file", "x")]);
    for folder in ["locked/inner", "locked"] {
        fs::set_permissions(root.path().join(folder), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let packed = pack_template(root.path(), &limit()).unwrap();
    let into = tempfile::tempdir().unwrap();
    unpack(&packed.bytes, into.path()).unwrap();
    let mode = fs::metadata(into.path().join("locked")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o555);
    for root in [root.path(), into.path()] {
        for folder in ["locked", "locked/inner"] {
            fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

#[test]
fn cut_or_changed_archives_are_damaged() {
    let root = tree(&[("a", &"some text ".repeat(500)), ("b", "x")]);
    let packed = pack_template(root.path(), &limit()).unwrap();
    for cut in [0, 1, packed.bytes.len() / 2, packed.bytes.len() - 1] {
        let into = tempfile::tempdir().unwrap();
        assert!(unpack(&packed.bytes[..cut], into.path()).is_err(), "cut at {cut}");
    }
    assert!(entries(b"no archive at all").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_packed_comes_back(
        files in proptest::collection::btree_map("[a-zA-Z0-9_]{1,8}(/[a-zA-Z0-9_.-]{1,8}x){0,3}", proptest::collection::vec(any::<u8>(), 0..2000), 0..12),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut made = 0;
        for (path, content) in &files {
            let target = root.path().join(path);
            // Two generated names may ask for a file and a folder of one name.
            if fs::create_dir_all(target.parent().unwrap()).is_ok() && fs::write(&target, content).is_ok() {
                made += 1;
            }
        }
        let packed = pack_template(root.path(), &limit()).unwrap();
        prop_assert_eq!(packed.files, made);
        let into = tempfile::tempdir().unwrap();
        unpack(&packed.bytes, into.path()).unwrap();
        prop_assert_eq!(pack_template(into.path(), &limit()).unwrap(), packed);
    }

    #[test]
    fn no_bytes_panic_the_unpacker(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let archive = zstd::encode_all(bytes.as_slice(), 1).unwrap();
        let outcome = entries(&archive);
        prop_assert!(outcome.is_err() || outcome.unwrap().is_empty());
    }
}
