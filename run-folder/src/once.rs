//! `create_once`, the one primitive that truth rests on. Must not know what it writes.

use bytes::Bytes;
use domain::id::fnv1a;
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload};
use std::time::Duration;

/// Who won a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created<T> {
    /// The object holds what we wrote.
    Mine,
    /// The object was there first, with this content.
    Theirs(T),
}

/// How long to go on when neither yes nor no can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    tries: u32,
    cap: Duration,
}

impl Patience {
    /// About ten seconds: for steps that the caller can take again.
    pub(crate) const SHORT: Self = Self { tries: 9, cap: Duration::from_secs(3) };
    /// About six minutes: for the last steps of an attempt, whose money is spent.
    pub(crate) const LONG: Self = Self { tries: 75, cap: Duration::from_secs(5) };

    /// The pause after a try, from 1: doubling from 50 ms up to the cap, less a share that differs from key to key, so that many
    /// writers do not come back all at once.
    fn pause(self, tried: u32, key: &Path) -> Duration {
        let full =
            Duration::from_millis(50).saturating_mul(1 << tried.min(16).saturating_sub(1)).min(self.cap);
        let share = fnv1a(format!("{key} {tried}").as_bytes()) % 512;
        full - full.mul_f64(f64::from(share) / 1024.0)
    }
}

/// A create that got neither yes nor no.
#[derive(Debug)]
pub(crate) struct Undecided {
    pub(crate) tries: u32,
    pub(crate) source: StoreError,
}

/// Writes `bytes` under `key` unless something is there already. Whatever a failed put says, the key itself is asked: same bytes →
/// mine, other bytes → theirs, nothing there → again after a pause. Safe to call again with the same bytes, also after it failed.
pub(crate) async fn create_once(
    store: &dyn ObjectStore,
    key: &Path,
    bytes: &Bytes,
    patience: Patience,
) -> Result<Created<Bytes>, Undecided> {
    let mut tries = 0;
    loop {
        tries += 1;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let error = match store.put_opts(key, PutPayload::from(bytes.clone()), options).await {
            Ok(_) => return Ok(Created::Mine),
            Err(error) => error,
        };
        // A missing bucket answers like a missing key; a local folder may vanish between two steps. Three times is the bucket.
        let hopeless = is_permanent(&error) || (tries >= 3 && matches!(error, StoreError::NotFound { .. }));
        match read(store, key).await {
            Ok(Some(found)) if found == *bytes => return Ok(Created::Mine),
            Ok(Some(found)) => return Ok(Created::Theirs(found)),
            Ok(None) | Err(_) if hopeless || tries >= patience.tries => {
                return Err(Undecided { tries, source: error });
            }
            Ok(None) => {
                tracing::debug!(%key, tries, %error, "create answered with an error and nothing is there")
            }
            Err(read) => tracing::debug!(%key, tries, %error, %read, "create and read-back both failed"),
        }
        tokio::time::sleep(patience.pause(tries, key)).await;
    }
}

/// The bytes under a key; `None` when there are none.
pub(crate) async fn read(store: &dyn ObjectStore, key: &Path) -> Result<Option<Bytes>, StoreError> {
    match store.get_opts(key, GetOptions::default()).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether doing the same again cannot help. A full disk is not among them: somebody may make room, and a result that is paid for
/// is worth waiting for.
pub(crate) fn is_permanent(error: &StoreError) -> bool {
    use std::io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    if matches!(
        error,
        StoreError::NotImplemented { .. }
            | StoreError::NotSupported { .. }
            | StoreError::PermissionDenied { .. }
            | StoreError::Unauthenticated { .. }
            | StoreError::InvalidPath { .. }
            | StoreError::UnknownConfigurationKey { .. }
    ) {
        return true;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), PermissionDenied | ReadOnlyFilesystem | NotADirectory)
        {
            return true;
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests;
