//! Proof that a store creates once. Must pass before a run trusts a store: some gateways and old servers accept the condition and
//! ignore it, and some check it and still let two racing writers win.

use crate::once::read;
use crate::store::Store;
use bytes::Bytes;
use domain::{Fault, Retry};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use std::time::Duration;

/// Creates that race for one key.
const RACERS: usize = 8;
/// Races.
const ROUNDS: usize = 4;
/// Tries of a step that got no clear answer.
const TRIES: u32 = 4;
/// Folder of probe objects, beside the runs; no legal run id.
const FOLDER: &str = "_probe";

/// Why a store is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not answer, or says no to us.
    #[error("failed to use the store `{url}`: {step}")]
    Unusable {
        /// The store.
        url: String,
        /// What was tried.
        step: &'static str,
        /// What it said.
        #[source]
        source: StoreError,
    },
    /// It has no conditional create at all.
    #[error("the store `{url}` has no conditional create")]
    NoCreate {
        /// The store.
        url: String,
        /// What it said.
        #[source]
        source: StoreError,
    },
    /// The second create of a key succeeded.
    #[error("the store `{url}` let a second create of the same key succeed: it ignores `If-None-Match: *`")]
    CreatedTwice {
        /// The store.
        url: String,
    },
    /// Several racing creates of a key succeeded.
    #[error("the store `{url}` told {winners} of {RACERS} racing creates of one key that they won")]
    SeveralWon {
        /// The store.
        url: String,
        /// How many.
        winners: usize,
    },
    /// A read after a write found something else.
    #[error("the store `{url}` does not give back what was written: {what}")]
    Inconsistent {
        /// The store.
        url: String,
        /// What was found.
        what: &'static str,
    },
    /// A listing does not show what was written.
    #[error("the store `{url}` does not list what was written: {missing} of {written} keys are missing")]
    NotListed {
        /// The store.
        url: String,
        /// How many are missing.
        missing: usize,
        /// How many there are.
        written: usize,
    },
}

impl Error {
    /// A store that lies lies again; one that does not answer may come back.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unusable { source, .. } if !crate::once::is_permanent(source) => Retry::Backoff,
            _ => Retry::No,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Unusable { .. } => Fault::Infra,
            _ => Fault::User,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unusable { source: StoreError::NotFound { .. }, .. } => {
                "does the bucket or directory exist?"
            }
            Self::Unusable {
                source: StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. },
                ..
            } => "the store refused the credentials of this process's environment",
            Self::Unusable { .. } => "check the endpoint, the network and the credentials",
            _ => {
                "verdicts rest on creating an object at most once: use a local directory, Amazon S3, Google Cloud Storage, \
                 Azure Blob Storage, or a server that honours `If-None-Match: *` also under races, such as a current MinIO"
            }
        }
    }
}

/// What a create said.
enum Said {
    Created,
    Exists,
    Unclear(StoreError),
}

/// Proves that the store creates once, reads what was written and lists it. Costs about forty small requests; leaves nothing where
/// deleting is allowed.
pub(crate) async fn probe(store: &Store) -> Result<(), Error> {
    let probe = Probe { store, nonce: rand::random() };
    let proved = probe.prove().await;
    probe.clean().await;
    proved
}

struct Probe<'a> {
    store: &'a Store,
    nonce: u64,
}

impl Probe<'_> {
    fn folder(&self) -> String {
        format!("{FOLDER}/{:016x}", self.nonce)
    }

    fn path(&self, name: &str) -> Path {
        self.store.path(&format!("{}/{name}", self.folder()))
    }

    fn url(&self) -> String {
        self.store.url().to_owned()
    }

    fn unusable(&self, step: &'static str) -> impl FnOnce(StoreError) -> Error {
        let url = self.url();
        move |source| match source {
            StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
                Error::NoCreate { url, source }
            }
            source => Error::Unusable { url, step, source },
        }
    }

    fn inconsistent(&self, what: &'static str) -> Error {
        Error::Inconsistent { url: self.url(), what }
    }

    async fn create(&self, key: &Path, bytes: &Bytes) -> Said {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.handle(true).put_opts(key, PutPayload::from(bytes.clone()), options).await {
            Ok(_) => Said::Created,
            Err(StoreError::AlreadyExists { .. }) => Said::Exists,
            Err(error) => Said::Unclear(error),
        }
    }

    async fn read(&self, key: &Path) -> Result<Option<Bytes>, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            match read(self.store.plain(), key).await {
                Ok(found) => return Ok(found),
                Err(error) if tries >= TRIES || crate::once::is_permanent(&error) => {
                    return Err(self.unusable("reading an object")(error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn prove(&self) -> Result<(), Error> {
        self.second_create_fails().await?;
        for round in 0..ROUNDS {
            self.one_of_many_wins(round).await?;
        }
        self.listing_shows_all().await
    }

    async fn second_create_fails(&self) -> Result<(), Error> {
        let key = self.path("twice");
        let (first, second) = (Bytes::from_static(b"first\n"), Bytes::from_static(b"second\n"));
        let mut tries = 0;
        loop {
            tries += 1;
            let said = self.create(&key, &first).await;
            if let (Said::Unclear(error), true) = (&said, tries == 1)
                && crate::once::is_permanent(error)
            {
                let Said::Unclear(error) = said else { continue };
                return Err(self.unusable("creating an object")(error));
            }
            match self.read(&key).await? {
                Some(found) if found == first => break,
                Some(_) => return Err(self.inconsistent("other bytes than the ones created")),
                None => match said {
                    Said::Created => return Err(self.inconsistent("nothing, right after a create")),
                    Said::Unclear(error) if tries >= TRIES => {
                        return Err(self.unusable("creating an object")(error));
                    }
                    Said::Exists if tries >= TRIES => {
                        return Err(self.inconsistent("nothing, where a create said that something exists"));
                    }
                    Said::Exists | Said::Unclear(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
            }
        }
        // Asked more than once, because a store that forgets the condition may do so only now and then.
        for _ in 0..2 {
            if let Said::Created = self.create(&key, &second).await {
                return Err(Error::CreatedTwice { url: self.url() });
            }
        }
        match self.read(&key).await? {
            Some(found) if found == first => Ok(()),
            Some(found) if found == second => Err(Error::CreatedTwice { url: self.url() }),
            _ => Err(self.inconsistent("neither of two creates")),
        }
    }

    async fn one_of_many_wins(&self, round: usize) -> Result<(), Error> {
        let key = self.path(&format!("race-{round}"));
        let bytes: Vec<Bytes> =
            (0..RACERS).map(|racer| format!("racer {racer} of round {round}\n").into()).collect();
        let said = futures::future::join_all(bytes.iter().map(|bytes| self.create(&key, bytes))).await;
        let winners: Vec<usize> = (0..RACERS).filter(|racer| matches!(said[*racer], Said::Created)).collect();
        if winners.len() > 1 {
            return Err(Error::SeveralWon { url: self.url(), winners: winners.len() });
        }
        let found = self.read(&key).await?;
        match (winners.first(), found) {
            (Some(winner), Some(found)) if found == bytes[*winner] => Ok(()),
            (Some(_), _) => Err(self.inconsistent("other bytes than the winner's after a race")),
            // No winner was told, as after lost answers: then any racer's bytes may stand, or none.
            (None, Some(found)) if !bytes.contains(&found) => {
                Err(self.inconsistent("bytes that nobody wrote after a race"))
            }
            (None, _) => Ok(()),
        }
    }

    async fn listing_shows_all(&self) -> Result<(), Error> {
        let mut written = vec!["twice".to_owned()];
        for round in 0..ROUNDS {
            let name = format!("race-{round}");
            if self.read(&self.path(&name)).await?.is_some() {
                written.push(name);
            }
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store.list(&self.folder()).await {
                Ok(listed) => {
                    let missing = written.iter().filter(|name| !listed.contains(*name)).count();
                    if missing == 0 {
                        return Ok(());
                    }
                    return Err(Error::NotListed { url: self.url(), missing, written: written.len() });
                }
                Err(crate::Error::List { source, .. })
                    if tries >= TRIES || crate::once::is_permanent(&source) =>
                {
                    return Err(self.unusable("listing objects")(source));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Best effort: a worker may lack the right to delete, and what stays is small and outside of every run.
    async fn clean(&self) {
        let names = (0..ROUNDS).map(|round| format!("race-{round}")).chain(["twice".to_owned()]);
        for name in names {
            if let Err(error) = self.store.plain().delete(&self.path(&name)).await {
                tracing::debug!(%error, "could not delete a probe object");
            }
        }
        if let Some(directory) = self.store.local_path() {
            let folder = directory.join(self.folder());
            // Other probes may run: the outer folder goes with the last of them.
            let _ = std::fs::remove_dir(&folder);
            let _ = std::fs::remove_dir(directory.join(FOLDER));
        }
    }
}
