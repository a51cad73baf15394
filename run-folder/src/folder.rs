//! One run's folder: the plan, inputs, reigns, wishes, journal and reports. Attempts, reading, settling and sealing have their own
//! files; keys come from `layout`.

use crate::chunks::sha256;
use crate::derive::{RunFacts, RunState, derive_run};
use crate::error::Error;
use crate::inputs::Packed;
use crate::layout::{self, Place};
use crate::once::{Created, Patience, create_once};
use crate::records::{CancelRecord, EpochRecord, Record, decode, encode};
use crate::store::Store;
use bytes::Bytes;
use domain::id::{Epoch, RunId};
use domain::matrix;
use domain::run::RunSpec;
use domain::suite::InputDigest;
use futures::TryStreamExt as _;
use object_store::{ObjectStoreExt as _, PutOptions, PutPayload};
use std::path::PathBuf;
use std::sync::Arc;

/// The folder of one run. Cheap to clone; holds no state of its own.
#[derive(Debug, Clone)]
pub struct RunFolder {
    store: Store,
    run: Arc<RunId>,
}

impl RunFolder {
    pub(crate) fn new(store: Store, run: RunId) -> Self {
        Self { store, run: Arc::new(run) }
    }

    /// The run.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.run
    }

    /// The store it lies in.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Its directory, when the store is one.
    #[must_use]
    pub fn local_path(&self) -> Option<PathBuf> {
        self.store.local_path().map(|directory| directory.join(self.run.as_str()))
    }

    /// Where an object lies, for people: a path or a URL.
    #[must_use]
    pub fn address(&self, place: &Place) -> String {
        format!("{}/{}", self.store.url(), self.key(place))
    }

    /// Says what the run is to do. Twice with the same bytes is harmless.
    ///
    /// # Errors
    /// When the store does not answer, or the spec is of another run.
    pub async fn plan(&self, spec: &RunSpec) -> Result<Created<RunSpec>, Error> {
        if spec.run != *self.run {
            return Err(Error::Foreign { key: self.key(&Place::Run) });
        }
        self.create_record(&Place::Run, spec).await
    }

    /// What the run is to do.
    ///
    /// # Errors
    /// [`Error::NoSuchRun`] without `run.json`; or when it cannot be read.
    pub async fn spec(&self) -> Result<RunSpec, Error> {
        self.record(&Place::Run).await?.ok_or_else(|| Error::NoSuchRun {
            run: self.run.as_ref().clone(),
            url: self.store.url().to_owned(),
        })
    }

    /// Stores an input under its digest. Storing it again is harmless.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn put_input(&self, packed: &Packed) -> Result<(), Error> {
        let place = Place::Input(packed.digest.clone());
        match self.create(&place, &packed.bytes, Patience::SHORT).await? {
            Created::Mine => Ok(()),
            // The digest says which bytes belong here; anything else was damaged on the way.
            Created::Theirs(found) => self.check_digest(&place, &packed.digest.0, &found),
        }
    }

    /// An input, checked against its digest.
    ///
    /// # Errors
    /// When it is missing or damaged, or the store does not answer.
    pub async fn input(&self, digest: &InputDigest) -> Result<Bytes, Error> {
        let place = Place::Input(digest.clone());
        let bytes = self.read(&place).await?.ok_or_else(|| Error::Missing { key: self.key(&place) })?;
        self.check_digest(&place, &digest.0, &bytes)?;
        Ok(bytes)
    }

    /// Claims the next reign. One incarnation asks one at a time.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reign(&self, who: &EpochRecord) -> Result<Epoch, Error> {
        let bytes = self.encode(&Place::Epoch(Epoch::FIRST), who)?;
        let mut epoch = self.listed_epoch().await?.map_or(Epoch::FIRST, Epoch::next);
        loop {
            // A listing may be stale and another may be faster: both only mean that the number is taken.
            match self.create(&Place::Epoch(epoch), &bytes, Patience::SHORT).await? {
                Created::Mine => return Ok(epoch),
                Created::Theirs(_) => epoch = epoch.next(),
            }
        }
    }

    /// The newest reign.
    ///
    /// # Errors
    /// When the store does not answer or the record cannot be read.
    pub async fn newest_epoch(&self) -> Result<Option<(Epoch, EpochRecord)>, Error> {
        let Some(epoch) = self.listed_epoch().await? else {
            return self.newer_epoch(None).await;
        };
        let record: Option<EpochRecord> = self.record(&Place::Epoch(epoch)).await?;
        let newer = self.newer_epoch(Some(epoch)).await?;
        Ok(newer.or_else(|| record.map(|record| (epoch, record))))
    }

    /// The newest reign after this one, by exact reads: one read when there is none. What a coordinator asks before each grant.
    ///
    /// # Errors
    /// When the store does not answer or the record cannot be read.
    pub async fn newer_epoch(&self, than: Option<Epoch>) -> Result<Option<(Epoch, EpochRecord)>, Error> {
        let mut newest = None;
        let mut epoch = than.map_or(Epoch::FIRST, Epoch::next);
        while let Some(record) = self.record(&Place::Epoch(epoch)).await? {
            newest = Some((epoch, record));
            epoch = epoch.next();
        }
        Ok(newest)
    }

    /// Wishes the run to stop. The first reason stays.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn cancel(&self, reason: &str) -> Result<(), Error> {
        self.create_record(&Place::Cancel, &CancelRecord { reason: reason.to_owned() }).await.map(drop)
    }

    /// Why the run should stop, when somebody wishes so.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn cancelled(&self) -> Result<Option<String>, Error> {
        Ok(self.record::<CancelRecord>(&Place::Cancel).await?.map(|record| record.reason))
    }

    /// Keeps the coordinator's decisions, for people. Never read to decide anything.
    ///
    /// # Errors
    /// When the store does not answer, or that number holds something else.
    pub async fn journal(&self, epoch: Epoch, number: u64, lines: Bytes) -> Result<(), Error> {
        self.create_mine(&Place::Journal(epoch, number), &lines, Patience::SHORT).await
    }

    /// Writes a report under `report/<path>`: derived, and the only thing that may be overwritten.
    ///
    /// # Errors
    /// When the path is not legal or the store does not answer.
    pub async fn put_report(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        let place = Place::Report(path.parse()?);
        let written = self
            .store
            .plain()
            .put_opts(&self.path(&place), PutPayload::from(bytes), PutOptions::default())
            .await;
        written.map(drop).map_err(|source| Error::Write { key: self.key(&place), tries: 1, source })
    }

    /// A report; `None` when there is none.
    ///
    /// # Errors
    /// When the path is not legal or the store does not answer.
    pub async fn report(&self, path: &str) -> Result<Option<Bytes>, Error> {
        self.read(&Place::Report(path.parse()?)).await
    }

    /// Where the run is.
    ///
    /// # Errors
    /// When the store does not answer or `run.json` cannot be read.
    pub async fn state(&self) -> Result<RunState, Error> {
        let spec: Option<RunSpec> = self.record(&Place::Run).await?;
        let Some(spec) = spec else { return Ok(RunState::Absent) };
        if self.read(&Place::Sealed).await?.is_some() {
            return Ok(RunState::Sealed);
        }
        let decided = self.decided().await?;
        let mut facts = RunFacts { planned: true, ..RunFacts::default() };
        for trial in matrix::trials(&spec.suites, &spec.presets, spec.trials) {
            facts.trials += 1;
            facts.decided += usize::from(decided.contains(&trial));
        }
        if facts.decided < facts.trials {
            facts.cancelled = self.cancelled().await?.is_some();
            facts.epoch = self.newest_epoch().await?.map(|(epoch, _)| epoch);
        }
        Ok(derive_run(&facts))
    }

    /// Deletes the whole run, `run.json` first, so that it is invisible before it is gone. An open run goes only when `open_too`.
    /// Returns the number of deleted objects.
    ///
    /// # Errors
    /// [`Error::NotSealed`], or when the store does not answer; calling again goes on.
    pub async fn remove(&self, open_too: bool) -> Result<usize, Error> {
        if !open_too && self.read(&Place::Run).await?.is_some() && self.read(&Place::Sealed).await?.is_none()
        {
            return Err(Error::NotSealed { run: self.run.as_ref().clone() });
        }
        let mut keys = self.store.list(self.run.as_str()).await?;
        keys.sort_by_key(|key| *key != Place::Run.key());
        let mut removed = 0;
        if keys.first().is_some_and(|key| *key == Place::Run.key()) {
            self.delete(&keys.remove(0)).await?;
            removed += 1;
        }
        let deletions = keys.iter().map(|key| Ok(self.delete(key)));
        futures::stream::iter(deletions).try_buffer_unordered(16).try_collect::<Vec<()>>().await?;
        removed += keys.len();
        if let Some(directory) = self.local_path() {
            // What is left are empty folders, staged files of killed writers, and whatever a person put there.
            let removal = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
            if let Ok(Err(error)) = removal
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::debug!(run = %self.run, %error, "could not remove the empty folders of a run");
            }
        }
        Ok(removed)
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let key = format!("{}/{key}", self.run);
        match self.store.plain().delete(&self.store.path(&key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(Error::Delete { key, source }),
        }
    }

    async fn listed_epoch(&self) -> Result<Option<Epoch>, Error> {
        let places = self.list(layout::EPOCHS).await?;
        Ok(places
            .into_iter()
            .filter_map(|place| match place {
                Place::Epoch(epoch) => Some(epoch),
                _ => None,
            })
            .max())
    }

    /// The key with the run in front.
    pub(crate) fn key(&self, place: &Place) -> String {
        format!("{}/{place}", self.run)
    }

    fn path(&self, place: &Place) -> object_store::path::Path {
        self.store.path(&self.key(place))
    }

    fn check_digest(&self, place: &Place, expected: &str, bytes: &[u8]) -> Result<(), Error> {
        let found = sha256(bytes);
        if found == expected {
            return Ok(());
        }
        Err(Error::Digest { key: self.key(place), expected: expected.to_owned(), found })
    }

    /// All objects beneath a folder of the run; what has no place in the layout is left out.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Place>, Error> {
        let keys = self.store.list(&format!("{}/{folder}", self.run)).await?;
        Ok(keys.iter().filter_map(|key| Place::parse(&format!("{folder}/{key}"))).collect())
    }

    pub(crate) async fn read(&self, place: &Place) -> Result<Option<Bytes>, Error> {
        let mut found = self.store.read_many(vec![self.key(place)]).await?;
        Ok(found.pop().flatten())
    }

    pub(crate) async fn read_many(&self, places: &[Place]) -> Result<Vec<Option<Bytes>>, Error> {
        self.store.read_many(places.iter().map(|place| self.key(place)).collect()).await
    }

    pub(crate) async fn record<R: Record>(&self, place: &Place) -> Result<Option<R>, Error> {
        self.read(place).await?.map(|bytes| self.decode(place, &bytes)).transpose()
    }

    pub(crate) fn decode<R: Record>(&self, place: &Place, bytes: &[u8]) -> Result<R, Error> {
        decode(bytes).map_err(|source| Error::Record { key: self.key(place), source })
    }

    pub(crate) fn encode<R: Record>(&self, place: &Place, record: &R) -> Result<Bytes, Error> {
        encode(record).map_err(|source| Error::Record { key: self.key(place), source })
    }

    pub(crate) async fn create(
        &self,
        place: &Place,
        bytes: &Bytes,
        patience: Patience,
    ) -> Result<Created<Bytes>, Error> {
        create_once(self.store.handle(place.is_durable()), &self.path(place), bytes, patience)
            .await
            .map_err(|undecided| Error::undecided(self.key(place), undecided))
    }

    /// Creates an object that nobody but us may write.
    pub(crate) async fn create_mine(
        &self,
        place: &Place,
        bytes: &Bytes,
        patience: Patience,
    ) -> Result<(), Error> {
        match self.create(place, bytes, patience).await? {
            Created::Mine => Ok(()),
            Created::Theirs(_) => Err(Error::Foreign { key: self.key(place) }),
        }
    }

    pub(crate) async fn create_record<R: Record>(
        &self,
        place: &Place,
        record: &R,
    ) -> Result<Created<R>, Error> {
        let bytes = self.encode(place, record)?;
        match self.create(place, &bytes, Patience::SHORT).await? {
            Created::Mine => Ok(Created::Mine),
            Created::Theirs(found) => Ok(Created::Theirs(self.decode(place, &found)?)),
        }
    }
}
