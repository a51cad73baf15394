//! Files of a case in a workspace: the patch against the original, protected files back, verify files in and out again.

use crate::inputs::Input;
use domain::ops::{Change, FileContent, Op, Reply};
use run_folder::inputs::{Entry, entries};
use workspace::{Archive, ChangesError, Lost, Workspace};

/// The biggest file that is kept aside while a verify file lies in its place; a bigger one is not given back.
const MOST_COVERED: u64 = 16 << 20;
/// Files asked for by one operation.
const BATCH: usize = 64;

/// What was at a path before a verify file was put there.
#[derive(Debug)]
pub(crate) struct Covered {
    path: String,
    former: Option<FileContent>,
}

fn archive(input: Option<&Input>) -> Archive {
    input.map(Input::path).into()
}

/// A refusal is about what the agent left, and is told; anything else means that the workspace cannot go on.
fn told<T>(outcome: Result<T, ChangesError>) -> Result<Result<T, String>, Lost> {
    match outcome {
        Ok(done) => Ok(Ok(done)),
        Err(ChangesError::Lost(lost)) => Err(lost),
        Err(error @ ChangesError::Archive { .. }) => Err(Lost::engine(error.to_string())),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// The patch of the workspace against its original.
pub(crate) async fn patch(workspace: &dyn Workspace, original: Option<&Input>) -> Result<String, String> {
    let original = archive(original);
    workspace::diff::unified(&original, workspace).await.map_err(|error| crate::chain(&error))
}

/// Puts protected files back as they were; says which differed, or why it cannot be done on what the agent left.
pub(crate) async fn restore(
    workspace: &dyn Workspace,
    original: Option<&Input>,
    globs: &[String],
) -> Result<Result<Vec<String>, String>, Lost> {
    let original = archive(original);
    told(workspace::restore(workspace, &original, globs).await)
}

/// Puts verify files in, whatever the agent left in their way, and says what they cover.
pub(crate) async fn cover(
    workspace: &dyn Workspace,
    files: &Input,
) -> Result<Result<Vec<Covered>, String>, Lost> {
    let bytes = files.read().await.map_err(|error| Lost::engine(crate::chain(&error)))?;
    let entries = entries(&bytes).map_err(|error| Lost::engine(crate::chain(&error)))?;
    let paths: Vec<String> = entries
        .into_iter()
        .filter(|(_, entry)| !matches!(entry, Entry::Folder { .. }))
        .filter_map(|(path, _)| path.to_str().map(str::to_owned))
        .collect();
    let covered = look_beneath(workspace, &paths).await?;
    let archive = Archive::Bytes(bytes);
    let placed = workspace::overlay(workspace, &archive).await;
    Ok(told(placed)?.map(|()| covered))
}

/// Puts back what verify files covered, and takes away those that covered nothing.
pub(crate) async fn put_back(workspace: &dyn Workspace, covered: Vec<Covered>) -> Result<(), Lost> {
    let removals = covered.iter().map(|covered| Change::RemoveAll { path: covered.path.clone() }).collect();
    let formers = covered.into_iter().filter_map(|covered| {
        let former = covered.former?;
        Some(Change::Write { path: covered.path, bytes: former.bytes, mode: Some(former.mode) })
    });
    // One operation names a path once.
    for changes in [removals, formers.collect()] {
        if let Reply::Refused(error) = workspace.run(Op::Apply { changes }).await? {
            // The command itself may have changed what is there; the next verification starts from the archive again.
            tracing::debug!(%error, "could not put back what a verify file covered");
        }
    }
    Ok(())
}

async fn look_beneath(workspace: &dyn Workspace, paths: &[String]) -> Result<Vec<Covered>, Lost> {
    let mut covered = Vec::with_capacity(paths.len());
    for some in paths.chunks(BATCH) {
        let op = Op::ReadMany { paths: some.to_vec(), max_bytes_each: MOST_COVERED };
        let Reply::Files(found) = workspace.run(op).await? else {
            return Err(Lost::engine("an answer of another kind than was asked for"));
        };
        for (path, found) in some.iter().zip(found) {
            let former = found.ok().filter(|file| file.bytes.len() as u64 == file.total_bytes);
            covered.push(Covered { path: path.clone(), former });
        }
    }
    Ok(covered)
}
