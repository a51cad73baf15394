//! The checks of `cargo xtask tidy`. Each rule is a function that returns complaints; all complaints are printed.

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of code a file may have, tests apart.
const CEILING: usize = 600;

/// Which of our crates each crate may import (ARCHITECTURE.md, "Who may import whom").
const IMPORTS: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("proto", &["domain"]),
    ("run-folder", &["domain"]),
    ("agent", &["domain"]),
    ("providers", &["domain"]),
    ("workspace", &["domain"]),
    ("report", &["domain"]),
    ("coordinator", &["domain", "proto", "run-folder"]),
    ("worker", &["domain", "proto", "run-folder", "agent", "providers", "workspace"]),
    (
        "cli",
        &[
            "domain",
            "proto",
            "run-folder",
            "agent",
            "providers",
            "workspace",
            "report",
            "coordinator",
            "worker",
        ],
    ),
    ("xtask", &[]),
];

/// Which crates may name a foreign crate (normal dependencies).
const FOREIGN: [(&str, &[&str]); 8] = [
    ("kameo", &["coordinator", "worker"]),
    ("tonic", &["proto", "coordinator", "worker", "cli"]),
    ("prost", &["proto", "coordinator", "worker", "cli"]),
    ("object_store", &["run-folder"]),
    ("bollard", &["workspace"]),
    ("reqwest", &["providers", "run-folder"]),
    ("clap", &["cli", "coordinator", "worker", "xtask"]),
    ("tokio", &["proto", "run-folder", "providers", "workspace", "coordinator", "worker", "cli"]),
];

/// File names that say nothing.
const EMPTY_NAMES: [&str; 5] = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "imp.rs"];

/// Runs every check.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a chore talks to the person at the terminal")]
pub(crate) fn run() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("failed to run cargo metadata")?;
    let root = metadata.workspace_root.as_std_path();
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        imports(package, &mut complaints);
    }
    files(root, &mut complaints)?;
    documents(root, &metadata.workspace_packages(), &mut complaints)?;
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() {
        println!("tidy: imports, file sizes, first lines and documents are in order");
        Ok(())
    } else {
        bail!("{} complaints", complaints.len())
    }
}

fn imports(package: &Package, complaints: &mut Vec<String>) {
    let ours: BTreeMap<&str, &[&str]> = IMPORTS.into_iter().collect();
    let name = package.name.as_str();
    let Some(allowed) = ours.get(name) else {
        complaints.push(format!("{name}: not listed in xtask's IMPORTS; say what it may import"));
        return;
    };
    for dependency in
        package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal)
    {
        let other = dependency.name.as_str();
        if ours.contains_key(other) && !allowed.contains(&other) {
            complaints.push(format!("{name} must not import {other}"));
        }
        if let Some((_, users)) = FOREIGN.iter().find(|(foreign, _)| *foreign == other)
            && !users.contains(&name)
        {
            complaints.push(format!("{name} must not use {other}; only {} may", users.join(", ")));
        }
    }
}

fn files(root: &Path, complaints: &mut Vec<String>) -> Result<()> {
    for file in rust_files(root)? {
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = std::fs::read_to_string(&file).with_context(|| shown.clone())?;
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if EMPTY_NAMES.contains(&name.as_str()) {
            complaints.push(format!("{shown}: the name says nothing; name the idea"));
        }
        if !text.starts_with("//!") {
            complaints.push(format!("{shown}: the first line must say what the file owns (`//! …`)"));
        }
        let is_test = shown.contains("/tests/") || name == "tests.rs" || shown.contains("/testing/");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text).lines().count();
        if !is_test && code > CEILING {
            complaints.push(format!("{shown}: {code} lines of code, the ceiling is {CEILING}"));
        }
    }
    Ok(())
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
        .current_dir(root)
        .output()
        .context("failed to run git ls-files")?;
    let names = String::from_utf8(listed.stdout).context("file names that are not UTF-8")?;
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty() && !name.contains("/testdata/") && !name.contains("fixtures/"))
        .map(|name| root.join(name))
        .filter(|path| path.is_file())
        .collect())
}

/// Documents: every crate has its line in ARCHITECTURE.md, which stays under 300 lines; every link between documents leads somewhere.
fn documents(root: &Path, packages: &[&Package], complaints: &mut Vec<String>) -> Result<()> {
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let lines = architecture.lines().count();
    if lines > 300 {
        complaints.push(format!("ARCHITECTURE.md: {lines} lines, the ceiling is 300"));
    }
    for package in packages {
        if !architecture.contains(&format!("`{}", package.name)) {
            complaints.push(format!("ARCHITECTURE.md does not name the crate `{}`", package.name));
        }
    }
    for document in markdown_files(root)? {
        let text = std::fs::read_to_string(&document)?;
        let folder = document.parent().unwrap_or(root);
        for link in links(&text) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                let shown = document.strip_prefix(root).unwrap_or(&document).display();
                complaints.push(format!("{shown}: the link `{link}` leads nowhere"));
            }
        }
    }
    Ok(())
}

fn markdown_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in [root.to_owned(), root.join("docs"), root.join("suites"), root.join("deploy")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The targets of inline links outside code fences.
fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            found.push(&rest[..end]);
            rest = &rest[end..];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_fences() {
        assert_eq!(links("a [b](c.md) d [e](f#g)\n```\n[x](y)\n```\n"), ["c.md", "f#g"]);
    }
}
