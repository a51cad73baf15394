//! `create_once` against a store that fails in every way; time is paused.

use super::*;
use crate::testing::{FaultyStore, Plan, Trouble};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use std::sync::Arc;

const OURS: &[u8] = b"ours";
const THEIRS: &[u8] = b"theirs";

async fn create(store: &dyn ObjectStore, bytes: &'static [u8]) -> Result<Created<Bytes>, Undecided> {
    create_once(store, &Path::from("key"), &Bytes::from_static(bytes), Patience::SHORT).await
}

#[tokio::test(start_paused = true)]
async fn one_trouble_never_changes_the_answer() {
    for trouble in [
        Trouble::Lost,
        Trouble::AppliedThenError,
        Trouble::FalseExists,
        Trouble::Twice,
        Trouble::Slow(Duration::from_secs(100)),
    ] {
        for taken in [false, true] {
            for operation in 0..3 {
                let inner = Arc::new(InMemory::new());
                if taken {
                    create(inner.as_ref(), THEIRS).await.unwrap();
                }
                let faulty = FaultyStore::new(inner.clone(), Plan::Nth(operation, trouble));
                let said = create(&faulty, OURS).await.unwrap();
                let expected =
                    if taken { Created::Theirs(Bytes::from_static(THEIRS)) } else { Created::Mine };
                assert_eq!(said, expected, "{trouble:?} at {operation}, taken: {taken}");
                let stored = inner.get(&"key".into()).await.unwrap().bytes().await.unwrap();
                assert_eq!(stored, if taken { THEIRS } else { OURS });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn asking_again_after_death_finds_out() {
    for trouble in [Trouble::DieBefore, Trouble::DieAfter] {
        let inner = Arc::new(InMemory::new());
        let dying = FaultyStore::new(inner.clone(), Plan::Nth(0, trouble));
        create(&dying, OURS).await.unwrap_err();
        assert_eq!(create(inner.as_ref(), OURS).await.unwrap(), Created::Mine, "{trouble:?}");
    }
}

/// A store that is down the whole time.
async fn tries(error_source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> (u32, Duration) {
    #[derive(Debug)]
    struct Down(std::sync::Mutex<Option<Box<dyn std::error::Error + Send + Sync>>>);
    impl std::fmt::Display for Down {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("down")
        }
    }
    #[async_trait::async_trait]
    impl ObjectStore for Down {
        async fn put_opts(
            &self,
            _: &Path,
            _: PutPayload,
            _: PutOptions,
        ) -> object_store::Result<object_store::PutResult> {
            let source = self.0.lock().unwrap().take().unwrap_or_else(|| "down".into());
            Err(StoreError::Generic { store: "down", source })
        }
        async fn put_multipart_opts(
            &self,
            _: &Path,
            _: object_store::PutMultipartOptions,
        ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
            unimplemented!()
        }
        async fn get_opts(&self, _: &Path, _: GetOptions) -> object_store::Result<object_store::GetResult> {
            Err(StoreError::Generic { store: "down", source: "down".into() })
        }
        fn delete_stream(
            &self,
            _: futures::stream::BoxStream<'static, object_store::Result<Path>>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
            unimplemented!()
        }
        fn list(
            &self,
            _: Option<&Path>,
        ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
            unimplemented!()
        }
        async fn list_with_delimiter(
            &self,
            _: Option<&Path>,
        ) -> object_store::Result<object_store::ListResult> {
            unimplemented!()
        }
        async fn copy_opts(
            &self,
            _: &Path,
            _: &Path,
            _: object_store::CopyOptions,
        ) -> object_store::Result<()> {
            unimplemented!()
        }
    }
    let start = tokio::time::Instant::now();
    let down = Down(std::sync::Mutex::new(Some(error_source.into())));
    let undecided = create(&down, OURS).await.unwrap_err();
    (undecided.tries, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let (tried, took) = tries("down").await;
    assert_eq!(tried, 9);
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(13), "{took:?}");
    let whole: Duration =
        (1..Patience::LONG.tries).map(|tried| Patience::LONG.pause(tried, &"key".into())).sum();
    assert!(whole > Duration::from_secs(200) && whole < Duration::from_secs(400), "{whole:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waiting_cannot_cure_is_not_waited_for() {
    for kind in [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::PermissionDenied] {
        assert_eq!(tries(std::io::Error::from(kind)).await, (1, Duration::ZERO), "{kind}");
    }
    assert!(!is_permanent(&StoreError::Generic { store: "s", source: "503".into() }));
    // Room can be made; what is paid for waits for it.
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert!(!is_permanent(&StoreError::Generic { store: "s", source: Box::new(full) }));
}

#[test]
fn writers_of_different_keys_do_not_come_back_together() {
    let pauses: std::collections::BTreeSet<_> =
        (0..100).map(|key| Patience::SHORT.pause(5, &Path::from(format!("key-{key}")))).collect();
    assert!(pauses.len() > 50, "{}", pauses.len());
}
