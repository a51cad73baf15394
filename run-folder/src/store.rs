//! Where run folders live: a directory, a bucket, or memory. Owns URLs and the two handles (plain and fsyncing); knows no keys of a
//! run folder.

use crate::error::Error as FolderError;
use crate::folder::RunFolder;
use crate::layout::Place;
use crate::local::{self, Directory, Io};
use crate::once;
use bytes::Bytes;
use domain::id::RunId;
use domain::{Fault, Retry};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, GetOptions, ObjectStore, RetryConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Reads in flight at a time.
const READS: usize = 64;
/// Threads for file work in a directory.
const THREADS: usize = 2;
/// Threads for file work that waits for the disk.
const FLUSHING_THREADS: usize = 8;
/// Files read by one blocking call.
const BATCH: usize = 512;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that names no store.
    #[error("`{url}` is no store: {why}")]
    Url {
        /// The text, without anything secret.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A directory that cannot be used.
    #[error("failed to open the directory `{path}`")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The environment does not say enough to reach the bucket.
    #[error("failed to configure the store `{url}`")]
    Configuration {
        /// The store.
        url: String,
        /// What is missing.
        #[source]
        source: object_store::Error,
    },
}

impl Error {
    /// Never: the same text and environment give the same answer.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        Retry::No
    }

    /// The person's.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::User
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Url { .. } => {
                "a store is a directory, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`"
            }
            Self::Directory { .. } => "name a directory that this user may write to",
            Self::Configuration { .. } => {
                "credentials come from the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, \
                 AWS_ENDPOINT_URL, AWS_ALLOW_HTTP; GOOGLE_APPLICATION_CREDENTIALS; AZURE_STORAGE_ACCOUNT_NAME, \
                 AZURE_STORAGE_ACCOUNT_KEY"
            }
        }
    }
}

/// Whether objects that decide something survive a power cut. A bucket always keeps what it took; a directory only when told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// `run.json`, epochs, claims, results, verdicts and seals are flushed to the disk; traces and reports are not.
    #[default]
    Decisions,
    /// Nothing is flushed: a power cut may take the last half minute, a crash of any process still takes nothing.
    Nothing,
}

/// A place that holds run folders. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    plain: Arc<dyn ObjectStore>,
    durable: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    directory: Option<(PathBuf, Io)>,
}

impl Store {
    /// Opens a store: `eval-runs`, `/abs/dir`, `file:///abs/dir`, `s3://bucket/prefix`, `gs://…`, `az://container/prefix`.
    /// A directory is made when it is missing; a bucket is not asked anything yet. Credentials come from the environment.
    ///
    /// # Errors
    /// When the text names no store, the directory cannot be made, or the environment lacks what the bucket needs.
    pub fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(url, Durability::default())
    }

    /// Opens a store and says how much of it must survive a power cut.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(url: &str, durability: Durability) -> Result<Self, Error> {
        match Address::parse(url)? {
            Address::Directory(path) => {
                let failed = |source| Error::Directory { path: path.clone(), source };
                std::fs::create_dir_all(&path).map_err(failed)?;
                Self::directory(&path, durability)
            }
            address => Self::cloud(&address),
        }
    }

    /// Opens a store for reading: unlike [`Store::open`], a directory that does not exist is an error.
    ///
    /// # Errors
    /// As [`Store::open`], and when the directory is missing.
    pub fn open_existing(url: &str) -> Result<Self, Error> {
        match Address::parse(url)? {
            Address::Directory(path) => Self::directory(&path, Durability::default()),
            address => Self::cloud(&address),
        }
    }

    /// An empty store in memory, gone with its last clone.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()), "", "memory:")
    }

    /// A store on any object store. A prefix that is no legal path is encoded.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: &str, url: &str) -> Self {
        let prefix = Path::parse(prefix).unwrap_or_else(|_| Path::from(prefix));
        Self {
            inner: Arc::new(Inner {
                plain: Arc::clone(&inner),
                durable: inner,
                prefix,
                url: url.to_owned(),
                directory: None,
            }),
        }
    }

    fn directory(path: &std::path::Path, durability: Durability) -> Result<Self, Error> {
        let failed = |source| Error::Directory { path: path.to_owned(), source };
        let directory = std::fs::canonicalize(path).map_err(failed)?;
        if !directory.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        let open = |io: &Io, flush| {
            Directory::new(&directory, io.clone(), flush)
                .map_err(|source| Error::Configuration { url: directory.display().to_string(), source })
        };
        let io = Io::new(THREADS);
        let plain: Arc<dyn ObjectStore> = Arc::new(open(&io, false)?);
        let durable: Arc<dyn ObjectStore> = match durability {
            Durability::Nothing => Arc::clone(&plain),
            Durability::Decisions => Arc::new(open(&Io::new(FLUSHING_THREADS), true)?),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                plain,
                durable,
                prefix: Path::default(),
                url: directory.display().to_string(),
                directory: Some((directory, io)),
            }),
        })
    }

    fn cloud(address: &Address) -> Result<Self, Error> {
        // The HTTP client is built without a TLS provider of its own. Whoever installed one before us is right: not an error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = address.to_string();
        let configured = |source| Error::Configuration { url: url.clone(), source };
        // `create_once` reads back and tries again by itself: the client's own tries only bridge short trouble.
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 4,
            retry_timeout: Duration::from_secs(45),
        };
        let (store, prefix): (Arc<dyn ObjectStore>, &str) = match address {
            Address::S3 { bucket, prefix } => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
                (Arc::new(builder.build().map_err(configured)?), prefix)
            }
            Address::Google { bucket, prefix } => {
                let builder =
                    GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry);
                (Arc::new(builder.build().map_err(configured)?), prefix)
            }
            Address::Azure { container, prefix } => {
                let builder =
                    MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry);
                (Arc::new(builder.build().map_err(configured)?), prefix)
            }
            Address::Directory(path) => return Self::directory(path, Durability::default()),
        };
        Ok(Self::new(store, prefix, &url))
    }

    /// Its canonical name: an absolute path, or a URL. Never holds credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The directory it lies in, when it lies in one.
    #[must_use]
    pub fn local_path(&self) -> Option<&std::path::Path> {
        self.inner.directory.as_ref().map(|(directory, _)| directory.as_path())
    }

    /// Proves that the store creates once, also when many race; see [`crate::probe`].
    ///
    /// # Errors
    /// When it does not, or cannot be reached.
    pub async fn probe(&self) -> Result<(), crate::probe::Error> {
        crate::probe::probe(self).await
    }

    /// All runs: folders with a `run.json`, newest last.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list_runs(&self) -> Result<Vec<RunId>, FolderError> {
        let names = self.folders("").await?;
        let runs: Vec<RunId> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let keys: Vec<String> = runs.iter().map(|run| format!("{run}/{}", Place::Run)).collect();
        let exist = self.exist(keys).await?;
        Ok(runs.into_iter().zip(exist).filter_map(|(run, exists)| exists.then_some(run)).collect())
    }

    /// The folder of a run, whether it exists or not.
    #[must_use]
    pub fn run(&self, run: &RunId) -> RunFolder {
        RunFolder::new(self.clone(), run.clone())
    }

    pub(crate) fn plain(&self) -> &dyn ObjectStore {
        self.inner.plain.as_ref()
    }

    pub(crate) fn handle(&self, durable: bool) -> &dyn ObjectStore {
        if durable { self.inner.durable.as_ref() } else { self.inner.plain.as_ref() }
    }

    /// The full path of a key, which is made of legal characters only.
    pub(crate) fn path(&self, key: &str) -> Path {
        let prefix = &self.inner.prefix;
        let full = match (prefix.as_ref(), key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        };
        Path::parse(&full).unwrap_or_else(|_| Path::from(full))
    }

    /// The content of many objects, in order; `None` for those that do not exist.
    pub(crate) async fn read_many(&self, keys: Vec<String>) -> Result<Vec<Option<Bytes>>, FolderError> {
        let failed = |key: &str, source| FolderError::Read { key: key.to_owned(), source };
        let Some((directory, io)) = &self.inner.directory else {
            return futures::stream::iter(keys)
                .map(|key| async move {
                    once::read(self.plain(), &self.path(&key)).await.map_err(|source| failed(&key, source))
                })
                .buffered(READS)
                .try_collect()
                .await;
        };
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let paths = batch.iter().map(|key| directory.join(key)).collect();
            let read = local::read(io, paths).await;
            found.extend(read.map_err(|source| failed(&batch[0], generic(source)))?);
        }
        Ok(found)
    }

    /// Which of many objects exist, in order.
    async fn exist(&self, keys: Vec<String>) -> Result<Vec<bool>, FolderError> {
        if let Some((directory, io)) = &self.inner.directory {
            let paths = keys.iter().map(|key| directory.join(key)).collect();
            let failed =
                |source| FolderError::List { prefix: self.url().to_owned(), source: generic(source) };
            return local::exist(io, paths).await.map_err(failed);
        }
        futures::stream::iter(keys)
            .map(|key| async move {
                let options = GetOptions { head: true, ..GetOptions::default() };
                match self.plain().get_opts(&self.path(&key), options).await {
                    Ok(_) => Ok(true),
                    Err(object_store::Error::NotFound { .. }) => Ok(false),
                    Err(source) => Err(FolderError::Read { key, source }),
                }
            })
            .buffered(READS)
            .try_collect()
            .await
    }

    /// The keys of all objects beneath a folder, relative to it, sorted.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, FolderError> {
        let failed = |source| FolderError::List { prefix: folder.to_owned(), source };
        if let Some((directory, io)) = &self.inner.directory {
            return local::list(io, directory.join(folder)).await.map_err(|source| failed(generic(source)));
        }
        let prefix = self.path(folder);
        let mut keys: Vec<String> = self
            .plain()
            .list(Some(&prefix))
            .try_filter_map(|meta| {
                let key = meta.location.as_ref().strip_prefix(prefix.as_ref());
                let key = key.map(|key| key.trim_start_matches('/').to_owned());
                futures::future::ready(Ok(key.filter(|key| !key.is_empty())))
            })
            .try_collect()
            .await
            .map_err(failed)?;
        keys.sort_unstable();
        Ok(keys)
    }

    /// The names of the folders directly in a folder, sorted.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>, FolderError> {
        let failed = |source| FolderError::List { prefix: folder.to_owned(), source };
        if let Some((directory, io)) = &self.inner.directory {
            return local::folders(io, directory.join(folder))
                .await
                .map_err(|source| failed(generic(source)));
        }
        let prefix = self.path(folder);
        let listed = self.plain().list_with_delimiter(Some(&prefix)).await.map_err(failed)?;
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        Ok(names)
    }
}

fn generic(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "directory", source: source.into() }
}

/// What a store's name means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Directory(PathBuf),
    S3 { bucket: String, prefix: String },
    Google { bucket: String, prefix: String },
    Azure { container: String, prefix: String },
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, bucket, prefix) = match self {
            Self::Directory(path) => return write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } => ("s3", bucket, prefix),
            Self::Google { bucket, prefix } => ("gs", bucket, prefix),
            Self::Azure { container, prefix } => ("az", container, prefix),
        };
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{bucket}{slash}{prefix}")
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |url: &str, why: &str| Error::Url { url: url.to_owned(), why: why.to_owned() };
        if text.trim().is_empty() {
            return Err(wrong(text, "it is empty"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Directory(PathBuf::from(text)));
        };
        if scheme == "file" {
            let path = percent_decode(rest).filter(|path| path.starts_with('/') && !path.contains('\0'));
            return path
                .map(|path| Self::Directory(path.into()))
                .ok_or_else(|| wrong(text, "a file URL is `file:///absolute/path`"));
        }
        if rest.contains('@') {
            // What stands before the `@` may be a key: it is not repeated.
            return Err(wrong(
                &format!("{scheme}://…"),
                "credentials belong into the environment, not into the URL",
            ));
        }
        if rest.contains(['?', '#']) {
            let bare = rest.split(['?', '#']).next().unwrap_or_default();
            return Err(wrong(&format!("{scheme}://{bare}"), "it has a query or fragment"));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if bucket.is_empty() || !bucket.bytes().all(legal) {
            return Err(wrong(text, "it names no bucket"));
        }
        let prefix = prefix.trim_end_matches('/');
        let prefix = Path::parse(prefix).map_err(|error| wrong(text, &error.to_string()))?.to_string();
        let bucket = bucket.to_owned();
        match scheme {
            "s3" | "s3a" => Ok(Self::S3 { bucket, prefix }),
            "gs" => Ok(Self::Google { bucket, prefix }),
            "az" | "azure" => Ok(Self::Azure { container: bucket, prefix }),
            _ => Err(wrong(text, "its scheme is not known")),
        }
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
