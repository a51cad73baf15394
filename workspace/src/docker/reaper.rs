//! Removing containers whose worker is gone: the last line behind a worker's own removals and a container's own end.

use super::engine::{Call, Engine};
use super::labels::{INCARNATION, Identity, LIVES, Life, MANAGED};
use crate::contract::{OpenError, Reaped};
use bollard::query_parameters::ListContainersOptionsBuilder;
use domain::id::Incarnation;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// On top of twice its own time, before a container whose owner cannot be judged is taken for left behind.
const SLACK: Duration = Duration::from_secs(3600);

pub(super) async fn reap(
    engine: &Engine,
    own: &Identity,
    alive: &HashSet<Incarnation>,
) -> Result<Reaped, OpenError> {
    let filters = HashMap::from([("label", vec![format!("{MANAGED}=1")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let list = engine.docker().list_containers(Some(options));
    let found = engine.call(Call::Ask, "list containers", list).await?;
    let mut reaped = Reaped::default();
    for container in found {
        let (Some(id), labels) = (container.id, container.labels.unwrap_or_default()) else { continue };
        let whose = labels.get(INCARNATION).map_or("", String::as_str);
        if whose == own.incarnation || alive.iter().any(|alive| alive.as_str() == whose) {
            continue;
        }
        let life = own.life_of(&labels);
        let lives = labels.get(LIVES).and_then(|lives| lives.parse().ok()).map_or(SLACK, Duration::from_secs);
        let too_old = || age(container.created) > lives.saturating_mul(2).saturating_add(SLACK);
        if life == Life::Lives || (life == Life::Unknown && !too_old()) {
            continue;
        }
        let name = container.names.into_iter().flatten().next().unwrap_or_else(|| id.clone());
        let name = name.trim_start_matches('/').to_owned();
        match engine.remove(&id).await {
            Ok(()) => reaped.removed.push(name),
            Err(why) => reaped.failed.push((name, why)),
        }
    }
    Ok(reaped)
}

/// How long ago something happened that the engine dates in seconds.
#[expect(clippy::disallowed_methods, reason = "the engine tells a container's age only as a date")]
fn age(created: Option<i64>) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let created = created.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    created.map_or(Duration::ZERO, |created| now.saturating_sub(created))
}
