//! Packed inputs on this machine's disk, by digest: fetched once however many attempts want one, kept while in use, and the least
//! recently used removed beyond a bound. Knows nothing of what is in them.

use crate::lair::Lair;
use bytes::Bytes;
use domain::suite::InputDigest;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Why an input cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The folder does not have it, or not as its digest says, or does not answer.
    #[error("failed to fetch input `{}`", digest.0)]
    Fetch {
        /// Which.
        digest: InputDigest,
        /// Why.
        #[source]
        source: run_folder::Error,
    },
    /// The disk does not take it.
    #[error("failed to keep input `{path}`")]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    bytes: OnceCell<u64>,
}

#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<InputDigest, (u64, Arc<Entry>)>,
    uses: u64,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct InputCache {
    lair: Lair,
    limit: u64,
    shelf: Mutex<Shelf>,
}

/// An input that stays in place as long as this lives.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    entry: Arc<Entry>,
}

impl Input {
    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.entry.path.clone()
    }

    /// Its bytes.
    pub(crate) async fn read(&self) -> Result<Bytes, Error> {
        let read = tokio::fs::read(&self.entry.path).await;
        read.map(Bytes::from).map_err(|source| Error::Disk { path: self.path(), source })
    }
}

impl InputCache {
    /// An empty cache.
    pub(crate) fn new(lair: Lair, limit: u64) -> Self {
        Self { lair, limit, shelf: Mutex::default() }
    }

    /// The input, fetched when it is not here. `fetch` returns bytes that were checked against the digest.
    pub(crate) async fn get<'a>(
        &'a self,
        digest: &'a InputDigest,
        fetch: impl FnOnce() -> BoxFuture<'a, Result<Bytes, run_folder::Error>> + Send + 'a,
    ) -> Result<Input, Error> {
        let entry = self.entry(digest);
        entry
            .bytes
            .get_or_try_init(|| async {
                let bytes =
                    fetch().await.map_err(|source| Error::Fetch { digest: digest.clone(), source })?;
                let failed = |source| Error::Disk { path: entry.path.clone(), source };
                // Written beside and renamed: whoever opens the name sees the whole file.
                let staged = entry.path.with_extension("part");
                tokio::fs::write(&staged, &bytes).await.map_err(failed)?;
                tokio::fs::rename(&staged, &entry.path).await.map_err(failed)?;
                Ok(bytes.len() as u64)
            })
            .await?;
        self.evict();
        Ok(Input { entry })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, digest: &InputDigest) -> Arc<Entry> {
        let mut shelf = self.shelf();
        shelf.uses += 1;
        let now = shelf.uses;
        let path = || self.lair.path().join(format!("{}.tar.zst", domain::id::fold(&digest.0)));
        let (used, entry) = shelf
            .entries
            .entry(digest.clone())
            .or_insert_with(|| (now, Arc::new(Entry { path: path(), bytes: OnceCell::new() })));
        *used = now;
        Arc::clone(entry)
    }

    /// Removes the least recently used inputs that nobody holds, until the rest fits.
    fn evict(&self) {
        let mut shelf = self.shelf();
        let size = |entry: &Arc<Entry>| entry.bytes.get().copied().unwrap_or(0);
        let mut total: u64 = shelf.entries.values().map(|(_, entry)| size(entry)).sum();
        while total > self.limit {
            let idle = shelf.entries.iter().filter(|(_, (_, entry))| Arc::strong_count(entry) == 1);
            let Some(digest) = idle.min_by_key(|(_, (used, _))| *used).map(|(digest, _)| digest.clone())
            else {
                return;
            };
            if let Some((_, entry)) = shelf.entries.remove(&digest) {
                total -= size(&entry);
                if let Err(error) = std::fs::remove_file(&entry.path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(path = %entry.path.display(), %error, "could not remove an input");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn cache(limit: u64) -> (tempfile::TempDir, InputCache) {
        let shared = tempfile::tempdir().unwrap();
        let lair = Lair::open(shared.path(), &"i".parse().unwrap()).unwrap();
        (shared, InputCache::new(lair, limit))
    }

    fn digest(text: &str) -> InputDigest {
        InputDigest(text.to_owned())
    }

    async fn fetch(cache: &InputCache, name: &str, bytes: usize, fetched: &AtomicU32) -> Input {
        let digest = digest(name);
        let fetch = || {
            fetched.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Bytes::from(vec![7; bytes])) }.boxed()
        };
        cache.get(&digest, fetch).await.unwrap()
    }

    #[tokio::test]
    async fn many_at_once_fetch_once() {
        let (_shared, cache) = cache(1000);
        let fetched = AtomicU32::new(0);
        let all = (0..20).map(|_| fetch(&cache, "aa", 10, &fetched));
        let inputs = futures::future::join_all(all).await;
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        assert_eq!(inputs[7].read().await.unwrap().len(), 10);
    }

    #[tokio::test]
    async fn what_is_in_use_stays_and_the_rest_is_bounded() {
        let (_shared, cache) = cache(25);
        let fetched = AtomicU32::new(0);
        let held = fetch(&cache, "aa", 10, &fetched).await;
        drop(fetch(&cache, "bb", 10, &fetched).await);
        let third = fetch(&cache, "cc", 10, &fetched).await;
        assert!(held.path().exists() && third.path().exists());
        assert_eq!(cache.shelf().entries.len(), 2, "the idle one made room");
        drop(fetch(&cache, "bb", 10, &fetched).await);
        assert_eq!(fetched.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_failed_fetch_is_tried_again_by_the_next() {
        let (_shared, cache) = cache(25);
        let missing = digest("aa");
        let gone = || async { Err(run_folder::Error::Missing { key: "inputs/aa".to_owned() }) }.boxed();
        assert!(matches!(cache.get(&missing, gone).await, Err(Error::Fetch { .. })));
        let fetched = AtomicU32::new(0);
        fetch(&cache, "aa", 1, &fetched).await;
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
    }
}
