//! Which sandbox a run gets, and making it. Says aloud what was chosen and what is not enforced.

use crate::args::SandboxChoice;
use crate::exit::Expected;
use crate::suites::Loaded;
use crate::{env_vars, say};
use anyhow::Result;
use domain::id::Incarnation;
use domain::run::Sandbox;
use std::collections::BTreeSet;
use std::sync::Arc;
use workspace::{
    DEFAULT_IMAGE, DockerConfig, DockerSandboxes, Isolation, LocalConfig, LocalSandboxes, Sandboxes,
};

/// The sandbox of a run that other processes will run: `auto` means containers there.
pub(crate) fn wished(choice: SandboxChoice) -> Sandbox {
    match choice {
        SandboxChoice::Local => Sandbox::Local,
        SandboxChoice::Auto | SandboxChoice::Docker => Sandbox::Docker,
    }
}

/// Chooses for a run on this machine: `auto` is Docker where an engine answers and has every image, else local, and says why.
///
/// # Errors
/// When Docker is asked for and cannot be had.
pub(crate) async fn choose(choice: SandboxChoice, loaded: &[Loaded]) -> Result<Sandbox> {
    if choice == SandboxChoice::Local {
        return Ok(Sandbox::Local);
    }
    let mut images: BTreeSet<String> = loaded
        .iter()
        .flat_map(|one| &one.suite.cases)
        .map(|case| case.image.clone().unwrap_or_else(|| DEFAULT_IMAGE.to_owned()))
        .collect();
    if images.is_empty() {
        images.insert(DEFAULT_IMAGE.to_owned());
    }
    let images: Vec<String> = images.into_iter().collect();
    let trouble = match workspace::missing_images(&docker_host(), &images).await {
        Err(error) => Some(format!("no Docker engine answers at {}", error.host)),
        Ok(missing) => {
            (!missing.is_empty()).then(|| format!("the Docker engine has no image {}", missing.join(", ")))
        }
    };
    match (choice, trouble) {
        (_, None) => Ok(Sandbox::Docker),
        (SandboxChoice::Docker, Some(trouble)) => {
            Err(Expected::unusable(format!("the Docker sandbox cannot be used: {trouble}"))
                .hint("`och images build` makes the default image; --sandbox local needs no engine")
                .into())
        }
        (_, Some(trouble)) => {
            say::note(&format!("sandbox: local, because {trouble}"));
            Ok(Sandbox::Local)
        }
    }
}

/// Where the engine listens.
pub(crate) fn docker_host() -> String {
    env_vars::read(env_vars::DOCKER_HOST).unwrap_or_else(|| workspace::DEFAULT_HOST.to_owned())
}

/// Makes the sandboxes of one worker in this process.
///
/// # Errors
/// When they cannot be had.
pub(crate) async fn make(kind: Sandbox, incarnation: &Incarnation) -> Result<Arc<dyn Sandboxes>> {
    Ok(match kind {
        Sandbox::Docker => {
            let mut config = DockerConfig::new(incarnation.clone());
            config.host = docker_host();
            Arc::new(DockerSandboxes::connect(config).await.map_err(|error| {
                let mut expected = Expected::unusable("the Docker sandbox cannot be used");
                for hint in error.hints() {
                    expected = expected.hint(hint);
                }
                anyhow::Error::new(error).context(expected)
            })?)
        }
        Sandbox::Local => {
            let path = env_vars::read("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
            let config = LocalConfig {
                incarnation: incarnation.clone(),
                path: path.into(),
                temp: None,
                isolation: Isolation::default(),
            };
            Arc::new(LocalSandboxes::start(config).await.map_err(|error| {
                anyhow::Error::new(error).context(Expected::unusable("the local sandbox cannot be used"))
            })?)
        }
    })
}
