//! Putting files in place before a verification, whatever a trial left there: links, closed folders, folders where files were.

use super::{Error, Thing, blocking, contents, originals, present, unexpected};
use crate::archive::{Archive, ItemKind};
use crate::contract::Workspace;
use domain::ops::{Change, Op, Reply};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Bytes changed in one request.
const BATCH: usize = 8 << 20;

/// Files and links changed in one request.
const BATCH_COUNT: usize = 512;

/// Puts every file and link of an archive into a workspace, over whatever is there.
///
/// # Errors
/// When the workspace is lost or refuses, or the archive cannot be read.
pub async fn overlay(workspace: &dyn Workspace, archive: &Archive) -> Result<(), Error> {
    let source = archive.clone();
    let wanted = blocking(move || {
        let mut wanted = BTreeMap::new();
        source.each(|item, content| {
            let path = super::clean(&item.path);
            match item.kind {
                ItemKind::Dir { .. } => {}
                ItemKind::Link { target } => {
                    let target = String::from_utf8_lossy(&target).into_owned();
                    wanted.insert(path.clone(), Change::Link { path, target });
                }
                ItemKind::File { mode, .. } => {
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes)?;
                    wanted.insert(path.clone(), Change::Write { path, bytes, mode: Some(mode) });
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(wanted)
    })
    .await?;
    if wanted.is_empty() {
        return Ok(());
    }
    let there = present(workspace, &[]).await?;
    put(workspace, &there, wanted, BTreeSet::new()).await
}

/// Puts back what the globs name as it was in the archive: changed and removed files are written again, added ones are removed.
///
/// A glob without `/` names files and folders at any depth, as in `.gitignore`; one that names a folder names all that is in it.
/// Answers the paths that were not as they had been.
///
/// # Errors
/// When a glob is none, the workspace is lost or refuses, or the archive cannot be read.
pub async fn restore(
    workspace: &dyn Workspace,
    original: &Archive,
    globs: &[String],
) -> Result<Vec<String>, Error> {
    if globs.is_empty() {
        return Ok(Vec::new());
    }
    let protected = compile(globs)?;
    let mut old = originals(original).await?;
    old.retain(|path, _| protected.is_match(path));
    let there = present(workspace, &[]).await?;
    let added: BTreeSet<String> =
        there.keys().filter(|path| protected.is_match(path) && !old.contains_key(*path)).cloned().collect();
    old.retain(|path, thing| there.get(path) != Some(thing));
    let files: Vec<String> = old
        .iter()
        .filter(|(_, thing)| matches!(thing, Thing::File { .. }))
        .map(|(path, _)| path.clone())
        .collect();
    let mut bytes = contents(original, files).await?;
    let wanted: BTreeMap<String, Change> = old
        .into_iter()
        .filter_map(|(path, thing)| {
            let change = match thing {
                Thing::Link { target } => Change::Link { path: path.clone(), target },
                Thing::File { mode, .. } => {
                    let bytes = bytes.remove(&path).unwrap_or_default();
                    Change::Write { path: path.clone(), bytes, mode: Some(mode) }
                }
                Thing::Other => return None,
            };
            Some((path, change))
        })
        .collect();
    let touched = wanted.keys().chain(&added).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    put(workspace, &there, wanted, added).await?;
    Ok(touched)
}

/// First what stands in the way goes, from the top down, so that no name is followed through a link; then the new comes.
async fn put(
    workspace: &dyn Workspace,
    there: &BTreeMap<String, Thing>,
    wanted: BTreeMap<String, Change>,
    added: BTreeSet<String>,
) -> Result<(), Error> {
    // Walked things are never folders: one at the place of a wanted file's folder is an obstacle.
    let obstacles: BTreeSet<&str> = wanted
        .keys()
        .flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]))
        .filter(|above| there.contains_key(*above))
        .collect();
    let remove = |path: &str| Change::RemoveAll { path: path.to_owned() };
    // What was below an obstacle is gone with it, and its path is another place now.
    let below = |path: &str| obstacles.iter().any(|above| path.starts_with(&format!("{above}/")));
    let old =
        added.iter().chain(wanted.keys()).filter(|path| !below(path) && !obstacles.contains(path.as_str()));
    let steps: [Vec<Change>; 3] = [
        obstacles.iter().map(|path| remove(path)).collect(),
        old.map(|path| remove(path)).collect(),
        wanted.into_values().collect(),
    ];
    for changes in steps {
        apply(workspace, changes).await?;
    }
    Ok(())
}

async fn apply(workspace: &dyn Workspace, changes: Vec<Change>) -> Result<(), Error> {
    let mut changes = changes.into_iter().peekable();
    while changes.peek().is_some() {
        let (mut batch, mut size) = (Vec::new(), 0);
        while let Some(change) = changes.next_if(|_| size < BATCH && batch.len() < BATCH_COUNT) {
            if let Change::Write { bytes, .. } = &change {
                size += bytes.len();
            }
            batch.push(change);
        }
        match workspace.run(Op::Apply { changes: batch }).await? {
            Reply::Applied => {}
            Reply::Refused(error) => return Err(Error::Refused(error)),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(())
}

fn compile(globs: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let wrong = |error: globset::Error| Error::Glob { glob: glob.clone(), why: error.to_string() };
        let core = glob.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
        let anywhere = !core.contains('/');
        let mut forms = vec![core.to_owned(), format!("{core}/**")];
        if anywhere {
            forms.extend([format!("**/{core}"), format!("**/{core}/**")]);
        }
        for form in forms {
            set.add(GlobBuilder::new(&form).literal_separator(true).build().map_err(wrong)?);
        }
    }
    set.build().map_err(|error| Error::Glob { glob: globs.join(" "), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(glob: &str, path: &str, expect: bool) {
        assert_eq!(compile(&[glob.to_owned()]).unwrap().is_match(path), expect, "{glob} {path}");
    }

    /// Callers await these in tasks that move between threads.
    #[test]
    fn futures_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let (archive, globs) = (Archive::Empty, ["tests".to_owned()]);
        let check = |workspace: &dyn Workspace| {
            is_send(&restore(workspace, &archive, &globs));
            is_send(&overlay(workspace, &archive));
            is_send(&crate::changes::unified(&archive, workspace));
        };
        let _never_called: &dyn Fn(&dyn Workspace) = &check;
    }

    #[test]
    fn globs_name_files_and_whole_folders() {
        check("tests/**", "tests/a/b.py", true);
        check("tests/", "tests/a/b.py", true);
        check("tests", "tests/a.py", true);
        check("tests", "sub/tests/a.py", true);
        check("test_*.py", "deep/test_x.py", true);
        check("tests/*.py", "tests/a.py", true);
        check("tests/*.py", "tests/sub/a.py", false);
        check("tests/*.py", "sub/tests/a.py", false);
        check("tests", "tests.py", false);
        check("./tests", "tests/a", true);
        assert!(matches!(compile(&["a[".to_owned()]), Err(Error::Glob { .. })));
    }
}
