//! Creating files: staged under `<name>#<n>`, then linked to their name, which only one of many writers in any processes can do.
//! Everything else is left to `object_store`.

use super::Io;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};

/// A directory as object store.
#[derive(Debug)]
pub(crate) struct Directory {
    inner: LocalFileSystem,
    root: PathBuf,
    io: Io,
    flush: bool,
}

impl Directory {
    /// `root` must exist and be absolute. With `flush`, what is written survives a power cut.
    pub(crate) fn new(root: &FilePath, io: Io, flush: bool) -> Result<Self> {
        let inner = LocalFileSystem::new_with_prefix(root)?.with_fsync(flush);
        Ok(Self { inner, root: root.to_owned(), io, flush })
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "directory {}", self.root.display())
    }
}

#[async_trait::async_trait]
impl ObjectStore for Directory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return self.inner.put_opts(location, payload, options).await;
        }
        let path = self.root.join(location.as_ref());
        let flush = self.flush;
        let created = self.io.run(move || create(&path, &payload, flush)).await;
        match created {
            Ok(()) => Ok(PutResult { e_tag: None, version: None, extensions: Default::default() }),
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::AlreadyExists { path: location.to_string(), source: source.into() })
            }
            Err(source) => Err(Error::Generic { store: "directory", source: source.into() }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn create(path: &FilePath, payload: &PutPayload, flush: bool) -> io::Result<()> {
    let (mut file, staged) = stage(path, flush)?;
    let linked = payload
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| if flush { file.sync_all() } else { Ok(()) })
        .and_then(|()| std::fs::hard_link(&staged, path));
    drop(file);
    // Left behind it does no harm: nobody reads a name with `#` in it.
    if let Err(error) = std::fs::remove_file(&staged) {
        tracing::debug!(path = %staged.display(), %error, "could not remove a staged file");
    }
    linked.and_then(|()| if flush { flush_parent(path) } else { Ok(()) })
}

/// Opens a file beside the one to be, under a name that nobody else has.
fn stage(path: &FilePath, flush: bool) -> io::Result<(File, PathBuf)> {
    let mut number = 1;
    loop {
        let mut staged = path.as_os_str().to_owned();
        staged.push(format!("#{number}"));
        let staged = PathBuf::from(staged);
        match File::create_new(&staged) {
            Ok(file) => return Ok((file, staged)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(folder) => make_folder(folder, flush)?,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Makes a folder and those above it; each is flushed into its parent.
fn make_folder(folder: &FilePath, flush: bool) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) if flush => flush_parent(folder),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match folder.parent() {
            Some(parent) => make_folder(parent, flush).and_then(|()| make_folder(folder, flush)),
            None => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        Err(error) => Err(error),
    }
}

fn flush_parent(path: &FilePath) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
