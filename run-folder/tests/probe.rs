//! The probe takes good stores and refuses bad ones with a reason.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, also in their helpers")]

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use run_folder::Store;
use run_folder::testing::{FaultyStore, Plan, S3Server, Trouble};
use std::fmt;
use std::sync::Arc;

/// How a store lies.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Takes the condition and ignores it.
    Overwrites,
    /// Checks, waits, writes: right for one writer at a time.
    Races,
    /// Says that it took a second create and keeps the first.
    SaysYes,
    /// Has no conditional create.
    NoCondition,
    /// Takes objects and does not give them back.
    Forgets,
    /// Lists nothing.
    Hides,
}

#[derive(Debug)]
struct Liar {
    inner: InMemory,
    lie: Lie,
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("liar")
    }
}

#[async_trait]
impl ObjectStore for Liar {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let overwrite = PutOptions { mode: PutMode::Overwrite, ..options.clone() };
        match self.lie {
            Lie::Overwrites => self.inner.put_opts(location, payload, overwrite).await,
            Lie::Races => {
                if self.inner.get_opts(location, GetOptions::default()).await.is_ok() {
                    return Err(Error::AlreadyExists { path: location.to_string(), source: "there".into() });
                }
                tokio::task::yield_now().await;
                self.inner.put_opts(location, payload, overwrite).await
            }
            Lie::SaysYes => {
                let put = self.inner.put_opts(location, payload, options).await;
                Ok(put.unwrap_or(PutResult { e_tag: None, version: None, extensions: Default::default() }))
            }
            Lie::NoCondition => {
                Err(Error::NotImplemented { operation: "create".into(), implementer: "liar".into() })
            }
            Lie::Forgets => Ok(PutResult { e_tag: None, version: None, extensions: Default::default() }),
            Lie::Hides => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.lie {
            Lie::Hides => Box::pin(futures::stream::empty()),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The error and its hint, as a person reads them.
async fn refusal(store: &Store) -> String {
    let error = store.probe().await.unwrap_err();
    format!("{error}\nhint: {}", error.hint())
}

async fn refused(lie: Lie) -> String {
    refusal(&Store::new(Arc::new(Liar { inner: InMemory::new(), lie }), "", "s3://bad/evals")).await
}

#[tokio::test]
async fn good_stores_pass_and_keep_nothing() {
    let memory = Store::memory();
    memory.probe().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path().to_str().unwrap()).unwrap().probe().await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the probe cleans up");
}

#[tokio::test]
async fn liars_are_refused_with_a_reason() {
    const HINT: &str = "hint: verdicts rest on creating an object at most once: use a local directory, Amazon S3, \
        Google Cloud Storage, Azure Blob Storage, or a server that honours `If-None-Match: *` also under races, such as a current MinIO";
    let said = [
        (
            Lie::Overwrites,
            "the store `s3://bad/evals` let a second create of the same key succeed: it ignores `If-None-Match: *`",
        ),
        (Lie::Races, "the store `s3://bad/evals` told 8 of 8 racing creates of one key that they won"),
        (
            Lie::SaysYes,
            "the store `s3://bad/evals` let a second create of the same key succeed: it ignores `If-None-Match: *`",
        ),
        (Lie::NoCondition, "the store `s3://bad/evals` has no conditional create"),
        (
            Lie::Forgets,
            "the store `s3://bad/evals` does not give back what was written: nothing, right after a create",
        ),
        (Lie::Hides, "the store `s3://bad/evals` does not list what was written: 5 of 5 keys are missing"),
    ];
    for (lie, text) in said {
        assert_eq!(refused(lie).await, format!("{text}\n{HINT}"), "{lie:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_is_no_lie() {
    for seed in 0..100 {
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), Plan::Seeded { seed, per_mille: 120 });
        let store = Store::new(Arc::new(faulty), "", "s3://shaky");
        if let Err(error) = store.probe().await {
            assert_eq!(error.retry(), domain::Retry::Backoff, "seed {seed}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_store_is_unusable() {
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), Plan::Nth(0, Trouble::DieBefore));
    let error = Store::new(Arc::new(faulty), "", "s3://dead").probe().await.unwrap_err();
    assert!(error.to_string().contains("s3://dead"), "{error}");
}

#[tokio::test]
async fn a_directory_that_nobody_may_write_to_is_unusable() {
    // A file where a folder must be made stands for any refusal; permission bits do not stop root.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("_probe"), "in the way").unwrap();
    let store = Store::open(directory.path().to_str().unwrap()).unwrap();
    let error = store.probe().await.unwrap_err();
    assert!(error.to_string().starts_with("failed to use the store"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_that_ignores_conditions_is_refused() {
    let server = S3Server::s3rver();
    let said = refusal(&server.store("evals")).await;
    assert!(
        said.starts_with("the store `s3://och-test/evals` let a second create of the same key succeed"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_named() {
    let server = S3Server::moto();
    let said = refusal(&server.store_in("nowhere", "evals")).await;
    assert_eq!(
        said,
        "failed to use the store `s3://nowhere/evals`: creating an object\nhint: does the bucket or directory exist?"
    );
}
