//! Which directories a sandbox may read so that the programs on the worker's `PATH` work in it. Owns one rule: the folders of programs and
//! of the installations they belong to, never a home directory, never a folder where tools keep credentials.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// Folders of version managers: all of their programs lie below, and no credentials do.
const MANAGERS: [&str; 12] = [
    ".pyenv",
    ".rbenv",
    ".nodenv",
    ".nvm",
    ".asdf",
    ".volta",
    ".sdkman",
    ".fnm",
    ".rustup",
    "miniconda3",
    "anaconda3",
    "miniforge3",
];

/// Folders whose parent holds more than an installation.
const NEVER: [&str; 4] = [".local", ".cargo", ".config", "home"];

/// Found once per worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Toolchains {
    /// `PATH` for commands.
    pub(super) path: OsString,
    /// Readable besides the system's directories.
    pub(super) readable: Vec<PathBuf>,
    /// Names that are missing on the path, and what they should run.
    pub(super) shims: Vec<(String, PathBuf)>,
}

pub(super) fn find(path: &OsStr) -> Toolchains {
    let mut dirs: Vec<PathBuf> =
        std::env::split_paths(path).filter(|dir| dir.is_absolute() && dir.is_dir()).collect();
    for usual in ["/usr/local/bin", "/usr/bin", "/bin"] {
        if !dirs.iter().any(|dir| dir == Path::new(usual)) {
            dirs.push(usual.into());
        }
    }
    let mut seen = BTreeSet::new();
    dirs.retain(|dir| seen.insert(dir.clone()));
    let mut readable = BTreeSet::new();
    for dir in &dirs {
        readable.extend(installation(dir));
        // Programs are often links into an installation elsewhere.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten().take(4096) {
            if entry.file_type().is_ok_and(|kind| kind.is_symlink())
                && let Ok(target) = entry.path().canonicalize()
                && let Some(above) = target.parent()
            {
                readable.extend(installation(above));
            }
        }
    }
    let program = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|path| path.exists());
    let shims = match (program("python"), program("python3")) {
        (None, Some(python3)) => vec![("python".to_owned(), python3)],
        _ => Vec::new(),
    };
    let readable = readable.into_iter().collect();
    // Joining what was split cannot fail.
    let path = std::env::join_paths(&dirs).unwrap_or_default();
    Toolchains { path, readable, shims }
}

/// What to open for a directory of programs; nothing when the system's directories cover it.
fn installation(dir: &Path) -> Option<PathBuf> {
    if ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/nix"]
        .iter()
        .any(|system| dir.starts_with(system))
    {
        return None;
    }
    // Not a folder of programs but the machine itself.
    if dir.components().count() < 3 {
        return None;
    }
    let mut above = PathBuf::new();
    for component in dir.components() {
        above.push(component);
        let Component::Normal(name) = component else { continue };
        if MANAGERS.iter().any(|manager| name == OsStr::new(manager)) {
            return Some(above);
        }
    }
    let prefix = dir.parent()?;
    let is_bin = dir.file_name().is_some_and(|name| name == "bin");
    let whole = prefix.join("lib").is_dir() || prefix.join("pyvenv.cfg").exists();
    let private = prefix.components().count() < 4
        || prefix.file_name().is_some_and(|name| NEVER.iter().any(|never| name == OsStr::new(never)));
    Some(if is_bin && whole && !private { prefix.to_owned() } else { dir.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dir: &str, expect: Option<&str>) {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("home/someone");
        for made in [
            "tools/python/bin",
            "tools/python/lib",
            ".local/bin",
            ".local/lib",
            ".cargo/bin",
            ".pyenv/shims",
            "bin",
            "lib",
        ] {
            std::fs::create_dir_all(root.join(made)).unwrap();
        }
        assert_eq!(installation(&root.join(dir)), expect.map(|expect| root.join(expect)));
    }

    #[test]
    fn an_installation_is_opened_whole() {
        check("tools/python/bin", Some("tools/python"));
    }

    #[test]
    fn a_version_manager_is_opened_whole() {
        check(".pyenv/shims", Some(".pyenv"));
        check(".nvm/versions/node/v20/bin", Some(".nvm"));
    }

    #[test]
    fn folders_that_hold_more_than_programs_are_not() {
        check(".local/bin", Some(".local/bin"));
        check(".cargo/bin", Some(".cargo/bin"));
    }

    #[test]
    fn the_system_needs_no_opening() {
        assert_eq!(installation(Path::new("/usr/local/bin")), None);
        assert_eq!(installation(Path::new("/root")), None);
    }

    #[test]
    fn a_missing_python_runs_python3() {
        let temp = tempfile::tempdir().unwrap();
        let found = find(temp.path().as_os_str());
        let has = |name: &str| {
            ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(name).exists())
        };
        assert_eq!(!found.shims.is_empty(), has("python3") && !has("python"));
        assert!(found.path.to_str().unwrap().ends_with("/usr/local/bin:/usr/bin:/bin"));
    }
}
