//! Finds, reads and checks suite files. Everything that can be known before spending is known here: paths exist and stay inside
//! the allowed root, scripts are there. Writes nothing.

use crate::exit::Expected;
use anyhow::Result;
use domain::suite::{self, Case, Format, Problem, Suite, WorkspaceSource};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A suite and where its files are.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) suite: Suite,
    /// The directory of the suite file; its paths are relative to it.
    pub(crate) folder: PathBuf,
    /// The file itself.
    pub(crate) file: PathBuf,
}

impl Loaded {
    /// The directory of a case's workspace or template.
    pub(crate) fn workspace(&self, case: &Case) -> PathBuf {
        match &case.workspace {
            WorkspaceSource::InPlace { path } | WorkspaceSource::Template { path } => self.folder.join(path),
        }
    }

    /// The default script of a scripted preset: `<suite stem>.script.json` beside the suite.
    pub(crate) fn script(&self) -> PathBuf {
        let stem = self.file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        self.folder.join(format!("{stem}.script.json"))
    }
}

/// Loads suites.
///
/// # Errors
/// A usage error that lists every problem of every file.
pub(crate) fn load(files: &[PathBuf], root: Option<&Path>) -> Result<Vec<Loaded>> {
    let mut loaded: Vec<Loaded> = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    for file in files {
        match load_one(file, root) {
            Ok(one) => {
                if let Some(twin) = loaded.iter().find(|other| other.suite.id == one.suite.id) {
                    problems.push(format!(
                        "{}: the suite's key `{}` is taken by {}; file names of suites in one run must differ",
                        file.display(),
                        one.suite.id,
                        twin.file.display()
                    ));
                }
                loaded.push(one);
            }
            Err(found) => problems.extend(found.iter().map(Problem::to_string)),
        }
    }
    if problems.is_empty() {
        return Ok(loaded);
    }
    let count = problems.len();
    Err(Expected::usage(format!(
        "{}\n{count} problem{} found; nothing was run",
        problems.join("\n"),
        if count == 1 { "" } else { "s" }
    ))
    .hint("suites/README.md describes every key of a suite file")
    .into())
}

/// Loads one suite and checks its paths.
pub(crate) fn load_one(file: &Path, root: Option<&Path>) -> Result<Loaded, Vec<Problem>> {
    let name = file.display().to_string();
    let problem = |case: Option<&Case>, key: Option<&str>, message: String| Problem {
        file: name.clone(),
        case: case.map(|case| format!("`{}`", case.title)),
        key: key.map(str::to_owned),
        message,
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| vec![problem(None, None, format!("cannot be read: {error}"))])?;
    let format = match file.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Format::Toml,
        _ => Format::Json,
    };
    let suite = suite::parse(&text, format, &name)?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let loaded = Loaded { suite, folder, file: file.to_owned() };
    let allowed = allowed_root(&loaded.folder, root).map_err(|message| vec![problem(None, None, message)])?;
    let mut problems = Vec::new();
    for case in &loaded.suite.cases {
        let (key, path) = match &case.workspace {
            WorkspaceSource::InPlace { path } => ("workspace", path),
            WorkspaceSource::Template { path } => ("workspace_template", path),
        };
        if let Err(message) = check_path(&loaded.folder.join(path), path, &allowed, true) {
            problems.push(problem(Some(case), Some(key), message));
        }
        for source in case.verify_files.values() {
            if let Err(message) = check_path(&loaded.folder.join(source), source, &allowed, false) {
                problems.push(problem(Some(case), Some("verify_files"), message));
            }
        }
    }
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

/// The directory that a suite's paths may not leave: `--root`, else the git work tree around the suite, else the current directory
/// when the suite is beneath it, else the suite's own directory.
fn allowed_root(folder: &Path, root: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(root) = root {
        return root.canonicalize().map_err(|error| format!("--root `{}`: {error}", root.display()));
    }
    let folder = folder.canonicalize().map_err(|error| format!("`{}`: {error}", folder.display()))?;
    if let Some(tree) = folder.ancestors().find(|ancestor| ancestor.join(".git").exists()) {
        return Ok(tree.to_owned());
    }
    if let Ok(here) = Path::new(".").canonicalize()
        && folder.starts_with(&here)
    {
        return Ok(here);
    }
    Ok(folder)
}

fn check_path(path: &Path, as_written: &str, allowed: &Path, directory: bool) -> Result<(), String> {
    let real = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("`{as_written}` does not exist"),
        _ => format!("`{as_written}` cannot be read: {error}"),
    })?;
    if !real.starts_with(allowed) {
        return Err(format!(
            "`{as_written}` lies outside `{}`; move it inside, or name a wider directory with --root",
            allowed.display()
        ));
    }
    match (directory, real.is_dir()) {
        (true, false) => Err(format!("`{as_written}` is not a directory")),
        (false, true) => Err(format!("`{as_written}` is a directory; name files one by one")),
        _ => Ok(()),
    }
}

/// Keeps the cases that were asked for by id or tag.
///
/// # Errors
/// A usage error when a word matches nothing.
pub(crate) fn select(loaded: &mut Vec<Loaded>, words: &[String]) -> Result<()> {
    if words.is_empty() {
        return Ok(());
    }
    let matches = |case: &Case, word: &String| {
        case.title == *word || case.id.as_str() == word || case.tags.contains(word)
    };
    for word in words {
        if !loaded.iter().any(|one| one.suite.cases.iter().any(|case| matches(case, word))) {
            let known: Vec<&str> = loaded
                .iter()
                .flat_map(|one| one.suite.cases.iter().map(|case| case.title.as_str()))
                .collect();
            let hint = domain::text::nearest(word, known.iter().copied()).map_or_else(
                || format!("cases are {}", known.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Expected::usage(format!("--case `{word}` matches no case id and no tag"))
                .hint(hint)
                .into());
        }
    }
    for one in loaded.iter_mut() {
        one.suite.cases.retain(|case| words.iter().any(|word| matches(case, word)));
    }
    loaded.retain(|one| !one.suite.cases.is_empty());
    Ok(())
}

/// Suite files below a path: the path itself, or every `.json`/`.toml` beneath a directory that has a `cases` list.
pub(crate) fn find(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut found: Vec<PathBuf> = ignore::WalkBuilder::new(path)
        .build()
        .filter_map(Result::ok)
        .map(ignore::DirEntry::into_path)
        .filter(|file| looks_like_a_suite(file))
        .collect();
    found.sort();
    found
}

fn looks_like_a_suite(file: &Path) -> bool {
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    if name.ends_with(".json") && !name.ends_with(".script.json") {
        serde_json::from_str::<serde_json::Value>(&text)
            .is_ok_and(|value| value.get("cases").is_some_and(serde_json::Value::is_array))
    } else if name.ends_with(".toml") {
        toml::from_str::<toml::Table>(&text)
            .is_ok_and(|table| table.get("cases").is_some_and(toml::Value::is_array))
    } else {
        false
    }
}

/// Reads the scripts that scripted presets need: by the preset's own path, or beside each suite under the suite's key.
///
/// # Errors
/// A usage error that names the file.
pub(crate) fn scripts(
    loaded: &[Loaded],
    presets: &[domain::preset::Preset],
) -> Result<BTreeMap<String, serde_json::Value>> {
    let mut scripts = BTreeMap::new();
    let read = |path: &Path| -> Result<serde_json::Value> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Expected::usage(format!("cannot read the script `{}`: {error}", path.display()))
        })?;
        Ok(serde_json::from_str(&text).map_err(|error| {
            Expected::usage(format!("the script `{}` is not JSON: {error}", path.display()))
        })?)
    };
    for preset in presets.iter().filter(|preset| preset.provider == domain::preset::ProviderKind::Scripted) {
        match &preset.script {
            Some(path) => {
                scripts.insert(path.clone(), read(Path::new(path))?);
            }
            None => {
                for one in loaded {
                    scripts.insert(one.suite.id.to_string(), read(&one.script())?);
                }
            }
        }
    }
    Ok(scripts)
}
