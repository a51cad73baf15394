//! Images as we run them: the one a case names with the tool server in one more layer, made once for each image and build. A layer works
//! wherever the engine is; a mount of the host's would need one machine and a path both sides see.

use super::container::{IDLE, SERVER};
use super::engine::{Call, Engine, chain};
use super::labels::Identity;
use crate::contract::OpenError;
use crate::helper;
use crate::wire::BUILD;
use bollard::errors::Error;
use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, ListImagesOptionsBuilder,
    RemoveImageOptions, UploadToContainerOptionsBuilder,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// The repository of images with a server in them.
pub(super) const REPOSITORY: &str = "och/run";

/// On every such image: the build of its server.
const SERVER_LABEL: &str = "och.server";

/// An image with a tool server in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Runnable {
    /// What the engine is to run.
    pub(super) id: String,
    /// Volumes it asks for, which get a small memory file system each: a real volume would outlive its container.
    pub(super) volumes: Vec<String>,
}

/// The images of one worker, each looked up or made once.
#[derive(Debug, Default)]
pub(super) struct Images {
    known: Mutex<HashMap<String, Arc<OnceCell<Runnable>>>>,
}

impl Images {
    /// The runnable form of an image.
    pub(super) async fn runnable(
        &self,
        engine: &Engine,
        identity: &Identity,
        image: &str,
    ) -> Result<Runnable, OpenError> {
        let cell = Arc::clone(self.known().entry(image.to_owned()).or_default());
        cell.get_or_try_init(|| find_or_make(engine, identity, image)).await.cloned()
    }

    /// Looks again next time: the image may be gone from the engine.
    pub(super) fn forget(&self, image: &str) {
        self.known().remove(image);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<Runnable>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find_or_make(engine: &Engine, identity: &Identity, image: &str) -> Result<Runnable, OpenError> {
    let Some((base, _)) = inspect(engine, image).await? else {
        return Err(OpenError::NoSuchImage { image: image.to_owned() });
    };
    let short: String = base.trim_start_matches("sha256:").chars().take(24).collect();
    let (tag, lives) = (format!("{short}-{BUILD}"), IDLE);
    let name = format!("{REPOSITORY}:{tag}");
    if let Some((id, volumes)) = inspect(engine, &name).await? {
        return Ok(Runnable { id, volumes });
    }
    let body = ContainerCreateBody {
        image: Some(base),
        entrypoint: Some(vec![SERVER.to_owned()]),
        cmd: Some(vec!["version".to_owned()]),
        labels: Some(identity.labels(lives, None)),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(&identity.name(None)).build();
    let create = engine.docker().create_container(Some(options), body);
    let container = engine.call(Call::Make, "prepare an image", create).await?.id;
    let made = bake(engine, &container, &tag).await;
    if let Err(why) = engine.remove(&container).await {
        tracing::warn!(%container, %why, "container left to the reaper");
    }
    made?;
    match inspect(engine, &name).await? {
        Some((id, volumes)) => Ok(Runnable { id, volumes }),
        None => Err(OpenError::Engine {
            doing: "prepare an image",
            why: format!("`{name}` was made and is not there"),
        }),
    }
}

async fn bake(engine: &Engine, container: &str, tag: &str) -> Result<(), OpenError> {
    let layer =
        layer().map_err(|error| OpenError::Engine { doing: "prepare an image", why: chain(&error) })?;
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let body = bollard::body_full(layer.into());
    let upload = engine.docker().upload_to_container(container, Some(options), body);
    engine.call(Call::Image, "put the tool server into an image", upload).await?;
    let options = CommitContainerOptionsBuilder::new()
        .container(container)
        .repo(REPOSITORY)
        .tag(tag)
        .pause(false)
        .build();
    // What marks a container as ours must not come with the image.
    let labels = HashMap::from([(SERVER_LABEL.to_owned(), BUILD.to_owned())]);
    let config = ContainerConfig { labels: Some(labels), ..ContainerConfig::default() };
    let commit = engine.docker().commit_container(options, config);
    engine.call(Call::Image, "commit an image", commit).await?;
    Ok(())
}

fn layer() -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, ".och/", std::io::empty())?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(helper::BYTES.len() as u64);
    tar.append_data(&mut header, SERVER.trim_start_matches('/'), helper::BYTES)?;
    tar.into_inner()
}

/// Removes images with a server of another build; one in use stays. Answers their names.
pub(super) async fn remove_old(engine: &Engine) -> Result<Vec<String>, OpenError> {
    let filters = HashMap::from([("label", vec![SERVER_LABEL.to_owned()])]);
    let options = ListImagesOptionsBuilder::new().filters(&filters).build();
    let listing = engine.docker().list_images(Some(options));
    let found = engine.call(Call::Ask, "list images", listing).await?;
    let mut removed = Vec::new();
    for image in found {
        if image.labels.get(SERVER_LABEL).is_some_and(|build| build == BUILD) {
            continue;
        }
        // One that lost its name to a newer one is known by its id alone.
        let name = image.repo_tags.into_iter().next().unwrap_or(image.id);
        let removing = engine.docker().remove_image(&name, None::<RemoveImageOptions>, None);
        match engine.call(Call::Image, "remove an image", removing).await {
            Ok(_) => removed.push(name),
            Err(error) => tracing::debug!(image = %name, %error, "an old image stays"),
        }
    }
    Ok(removed)
}

/// An image's id and volumes; `None` when the engine has no such image.
async fn inspect(engine: &Engine, image: &str) -> Result<Option<(String, Vec<String>)>, OpenError> {
    let asking = async {
        match engine.docker().inspect_image(image).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let found = engine.call(Call::Ask, "look for an image", asking).await?;
    Ok(found.map(|found| {
        let volumes = found.config.and_then(|config| config.volumes).unwrap_or_default();
        (found.id.unwrap_or_else(|| image.to_owned()), volumes)
    }))
}
