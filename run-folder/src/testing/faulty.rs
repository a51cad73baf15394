//! An object store that loses, lies, dawdles and dies on purpose, always in the same way for the same plan.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What can go wrong with one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Not done, and an error.
    Lost,
    /// Done, and an error all the same.
    AppliedThenError,
    /// Not done, and the answer says that something is there (S3's 409). For anything but a put the same as [`Trouble::Lost`].
    FalseExists,
    /// Done twice; the second answer counts, as when a client tries again by itself after a lost answer.
    Twice,
    /// Done, late.
    Slow(Duration),
    /// Not done, and nothing is ever done again: the process is gone.
    DieBefore,
    /// Done, and nothing is ever done again.
    DieAfter,
}

/// When things go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Never.
    Healthy,
    /// At the operation with this number, from 0; all others are well.
    Nth(u64, Trouble),
    /// So often in a thousand, chosen by the seed. Never deadly.
    Seeded {
        /// The seed.
        seed: u64,
        /// So often in a thousand operations.
        per_mille: u64,
    },
}

/// A store around another one.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Plan,
    stale: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: u64,
    dead: bool,
    log: Vec<String>,
    unlisted: VecDeque<Path>,
}

impl FaultyStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, plan: Plan) -> Self {
        let random = match plan {
            Plan::Seeded { seed, .. } => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            Plan::Healthy | Plan::Nth(..) => 0,
        };
        let state = State { random, dead: false, log: Vec::new(), unlisted: VecDeque::new() };
        Self { inner, plan, stale: 0, state: Arc::new(Mutex::new(state)) }
    }

    /// Makes listings stale: they do not show the last `objects` objects that were put.
    #[must_use]
    pub const fn with_stale_lists(mut self, objects: usize) -> Self {
        self.stale = objects;
        self
    }

    /// Every operation so far: `put <key>`, `get <key>`, `list <prefix>`, `delete <key>`.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Forgets the operations so far; those to come are numbered from 0.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an operation and says what goes wrong with it.
    fn next(&self, kind: &str, key: &str) -> Option<Trouble> {
        let mut state = self.state();
        if state.dead {
            return Some(Trouble::DieBefore);
        }
        let number = state.log.len() as u64;
        state.log.push(format!("{kind} {key}"));
        let trouble = match self.plan {
            Plan::Healthy => None,
            Plan::Nth(nth, trouble) => (nth == number).then_some(trouble),
            Plan::Seeded { per_mille, .. } => {
                let draw = state.draw();
                (draw % 1000 < per_mille).then(|| match (draw >> 32) % 5 {
                    0 => Trouble::Lost,
                    1 => Trouble::AppliedThenError,
                    2 => Trouble::FalseExists,
                    3 => Trouble::Twice,
                    _ => Trouble::Slow(Duration::from_millis(draw >> 40 & 0xff)),
                })
            }
        };
        state.dead = matches!(trouble, Some(Trouble::DieBefore | Trouble::DieAfter));
        trouble
    }

    /// Does an operation with whatever goes wrong with it.
    async fn meddle<T, F: Future<Output = Result<T>>>(
        &self,
        kind: &str,
        key: &Path,
        operation: impl Fn() -> F + Send + Sync,
    ) -> Result<T> {
        let trouble = self.next(kind, key.as_ref());
        let done = operation();
        match trouble {
            None => done.await,
            Some(Trouble::Twice) => match done.await {
                Ok(_) => operation().await,
                error => error,
            },
            Some(Trouble::Slow(pause)) => {
                tokio::time::sleep(pause).await;
                done.await
            }
            Some(Trouble::FalseExists) if kind == "put" => Err(Error::AlreadyExists {
                path: key.to_string(),
                source: "a conflict, says the store".into(),
            }),
            Some(Trouble::Lost | Trouble::FalseExists) => Err(lost()),
            Some(Trouble::AppliedThenError) => done.await.and(Err(lost())),
            Some(Trouble::DieBefore) => Err(dead()),
            Some(Trouble::DieAfter) => done.await.and(Err(dead())),
        }
    }

    /// Drops from a listing what a stale one does not show.
    fn shown(&self, location: &Path) -> bool {
        !self.state().unlisted.contains(location)
    }
}

impl State {
    /// `SplitMix64`.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "the answer was lost".into() }
}

/// Permanent, so that whoever still runs in a process that is gone ends at once.
fn dead() -> Error {
    Error::NotSupported { source: "this process is dead".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.meddle("put", location, || async {
            let put = self.inner.put_opts(location, payload.clone(), options.clone()).await?;
            let mut state = self.state();
            state.unlisted.push_back(location.clone());
            while state.unlisted.len() > self.stale {
                state.unlisted.pop_front();
            }
            Ok(put)
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meddle("multipart", location, || self.inner.put_multipart_opts(location, options.clone())).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.meddle("get", location, || self.inner.get_opts(location, options.clone())).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let delete = || {
                        let one = futures::stream::iter([Ok(location.clone())]).boxed();
                        let mut deleted = store.inner.delete_stream(one);
                        let location = location.clone();
                        async move { deleted.next().await.unwrap_or(Ok(location)) }
                    };
                    store.meddle("delete", &location, delete).await
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let prefix = prefix.cloned().unwrap_or_default();
        futures::stream::once(async move {
            let list = || futures::future::ready(Ok(store.inner.list(Some(&prefix))));
            match store.meddle("list", &prefix, list).await {
                Ok(listed) => listed
                    .filter(move |meta| {
                        let shown = meta.as_ref().map_or(true, |meta| store.shown(&meta.location));
                        futures::future::ready(shown)
                    })
                    .boxed(),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            }
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        let listed = self.meddle("list", &path, || self.inner.list_with_delimiter(prefix)).await?;
        if self.stale == 0 {
            return Ok(listed);
        }
        // A stale listing shows a folder only when it shows something in it.
        let mut shown = ListResult {
            common_prefixes: Vec::new(),
            objects: listed.objects,
            extensions: listed.extensions,
        };
        shown.objects.retain(|meta| self.shown(&meta.location));
        for folder in listed.common_prefixes {
            let mut inside = self.inner.list(Some(&folder));
            while let Some(meta) = inside.next().await {
                if self.shown(&meta?.location) {
                    shown.common_prefixes.push(folder);
                    break;
                }
            }
        }
        Ok(shown)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meddle("copy", to, || self.inner.copy_opts(from, to, options.clone())).await
    }
}
