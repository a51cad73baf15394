//! Giving root file systems to an engine as images.

use super::ConnectError;
use super::engine::{Call, Engine, connect};
use crate::contract::OpenError;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use futures::{Stream, TryStreamExt};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// How long the engine may take to unpack an image before it answers.
const IMPORT: Duration = Duration::from_secs(900);

/// An engine that takes images.
#[derive(Debug)]
pub(crate) struct Importer {
    engine: Engine,
    docker: Docker,
}

impl Importer {
    pub(crate) async fn connect(host: &str) -> Result<Self, ConnectError> {
        let (docker, _) = connect(host).await?;
        let engine = Engine::new(docker.clone(), 1, 1);
        Ok(Self { engine, docker: docker.with_timeout(IMPORT) })
    }

    /// Imports a tar that is being written.
    pub(crate) async fn import_stream(
        &self,
        image: &str,
        settings: &str,
        tar: impl AsyncRead + Send + 'static,
    ) -> Result<(), OpenError> {
        let body = bollard::body_try_stream(ReaderStream::with_capacity(tar, 256 << 10));
        self.finish(self.docker.create_image(Some(options(image, settings)), Some(body), None)).await
    }

    /// Imports a tar.
    pub(crate) async fn import_bytes(
        &self,
        image: &str,
        settings: &str,
        tar: Vec<u8>,
    ) -> Result<(), OpenError> {
        let body = bollard::body_full(tar.into());
        self.finish(self.docker.create_image(Some(options(image, settings)), Some(body), None)).await
    }

    async fn finish(
        &self,
        importing: impl Stream<Item = Result<CreateImageInfo, Error>>,
    ) -> Result<(), OpenError> {
        let done = importing.try_for_each(|_| std::future::ready(Ok(())));
        self.engine.call(Call::Image, "import an image", done).await
    }
}

fn options(image: &str, settings: &str) -> CreateImageOptions {
    let (repo, tag) = image.split_once(':').unwrap_or((image, "latest"));
    let changes = vec![settings.to_owned()];
    CreateImageOptionsBuilder::new().from_src("-").repo(repo).tag(tag).changes(changes).build()
}
