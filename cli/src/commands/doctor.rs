//! `och doctor`: what works on this machine, in one screen. Spends nothing.

use crate::exit::Code;
use crate::{config, presets, sandbox, say, stores};
use anyhow::Result;
use domain::run::Sandbox;
use std::path::Path;

/// Checks the machine.
pub(crate) async fn run(store: Option<&str>) -> Result<Code> {
    let mut sound = true;
    let mut line = |ok: bool, what: &str, text: &str| {
        sound &= ok;
        say::data(&format!("{}  {what:<9} {text}", if ok { "ok  " } else { "FAIL" }));
    };
    let asked = store.is_some() || crate::env_vars::read(crate::env_vars::OCH_STORE).is_some();
    if asked || Path::new("eval-runs").is_dir() {
        match stores::open(store, Path::new("eval-runs")) {
            Ok(store) => match store.probe().await {
                Ok(()) => line(true, "store", &format!("{} honours conditional creates", store.url())),
                Err(error) => line(false, "store", &format!("{}: {error}", store.url())),
            },
            Err(error) => line(false, "store", &format!("{error:#}")),
        }
    } else {
        line(true, "store", "eval-runs/ will be made by the first run");
    }
    let host = sandbox::docker_host();
    match workspace::docker_available(&host).await {
        Ok(engine) => {
            let wanted = [workspace::DEFAULT_IMAGE.to_owned()];
            let image = match workspace::missing_images(&host, &wanted).await {
                Ok(missing) if missing.is_empty() => format!("{} is there", workspace::DEFAULT_IMAGE),
                _ => format!("{} is missing: och images build", workspace::DEFAULT_IMAGE),
            };
            line(true, "docker", &format!("engine {} (API {}) answers; {image}", engine.version, engine.api));
        }
        Err(error) => line(true, "docker", &format!("{error}; runs use the local sandbox")),
    }
    match sandbox::make(Sandbox::Local, &crate::plan::incarnation()).await {
        Ok(local) => {
            for text in local.describe() {
                line(true, "local", &text);
            }
        }
        Err(error) => line(false, "local", &format!("{error:#}")),
    }
    match config::load(None).and_then(|config| presets::all(&config)) {
        Ok(all) => {
            let ready: Vec<&str> = all
                .iter()
                .filter(|preset| presets::missing_key(preset).is_none())
                .map(|preset| preset.name.as_str())
                .collect();
            line(true, "presets", &format!("ready: {}", ready.join(" ")));
        }
        Err(error) => line(false, "config", &format!("{error:#}")),
    }
    Ok(if sound { Code::Ok } else { Code::Unusable })
}
