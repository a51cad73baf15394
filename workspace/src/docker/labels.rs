//! What is written on a container so that anybody can tell whose it is and whether that one still lives.

use crate::contract::Owner;
use domain::id::Incarnation;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// On every container of ours.
pub(super) const MANAGED: &str = "och.managed";
/// The life of the worker process it belongs to.
pub(super) const INCARNATION: &str = "och.incarnation";
/// Seconds after which it has ended itself.
pub(super) const LIVES: &str = "och.lives-seconds";
const MACHINE: &str = "och.machine";
const BOOT: &str = "och.boot";
const PID: &str = "och.owner-pid";
const PID_NAMESPACE: &str = "och.owner-pid-namespace";
const STARTED: &str = "och.owner-started";
const RUN: &str = "och.run";
const TRIAL: &str = "och.trial";
const ATTEMPT: &str = "och.attempt";

/// Who a worker process is, in a way that a process on the same machine can check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) incarnation: String,
    machine: String,
    boot: String,
    pid: u32,
    pid_namespace: String,
    started: String,
}

/// Whether the owner of a container lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Lives,
    Dead,
    /// It is on another machine, or its processes cannot be seen from here.
    Unknown,
}

impl Identity {
    pub(super) fn own(incarnation: &Incarnation) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine = [read("/etc/machine-id"), read("/proc/sys/kernel/hostname")].join("/");
        let namespace = std::fs::read_link("/proc/self/ns/pid").map(|path| path.display().to_string());
        let pid = std::process::id();
        Self {
            incarnation: incarnation.to_string(),
            machine,
            boot: read("/proc/sys/kernel/random/boot_id"),
            pid,
            pid_namespace: namespace.unwrap_or_default(),
            started: started(pid).unwrap_or_default(),
        }
    }

    /// A name for a container: for people, who see it in the engine's lists.
    pub(super) fn name(&self, owner: Option<&Owner>) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let whose = owner.map_or_else(
            || "warm".to_owned(),
            |owner| format!("{}.{}.{}", owner.run, owner.trial, owner.attempt),
        );
        format!("och-{whose}-{}-{}-{number}", self.incarnation, self.pid)
    }

    /// The labels of a container of this worker.
    pub(super) fn labels(&self, lives: Duration, owner: Option<&Owner>) -> HashMap<String, String> {
        let mut labels: HashMap<String, String> = [
            (MANAGED, "1".to_owned()),
            (INCARNATION, self.incarnation.clone()),
            (LIVES, lives.as_secs().to_string()),
            (MACHINE, self.machine.clone()),
            (BOOT, self.boot.clone()),
            (PID, self.pid.to_string()),
            (PID_NAMESPACE, self.pid_namespace.clone()),
            (STARTED, self.started.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if let Some(owner) = owner {
            labels.insert(RUN.to_owned(), owner.run.to_string());
            labels.insert(TRIAL.to_owned(), owner.trial.to_string());
            labels.insert(ATTEMPT.to_owned(), owner.attempt.to_string());
        }
        labels
    }

    /// Whether the worker these labels name lives, as far as this process can tell.
    pub(super) fn life_of(&self, labels: &HashMap<String, String>) -> Life {
        let label = |key: &str| labels.get(key).map_or("", String::as_str);
        if label(MACHINE) != self.machine {
            return Life::Unknown;
        }
        if label(BOOT) != self.boot {
            return Life::Dead;
        }
        let Ok(pid) = label(PID).parse::<u32>() else { return Life::Dead };
        if label(PID_NAMESPACE) != self.pid_namespace {
            return Life::Unknown;
        }
        // A number may be given again: only together with its start it names a process.
        match started(pid) {
            Some(started) if started == label(STARTED) => Life::Lives,
            _ => Life::Dead,
        }
    }
}

/// When a process started, in the kernel's ticks; `None` when there is none, or only its remains.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.to_owned();
    (!matches!(state, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut HashMap<String, String>), expect: Life) {
        let own = Identity::own(&Incarnation::new("test").unwrap());
        let mut labels = own.labels(Duration::from_secs(9), None);
        change(&mut labels);
        assert_eq!(own.life_of(&labels), expect, "{labels:?}");
    }

    #[test]
    fn a_living_process_is_known_by_number_and_start() {
        check(|_| {}, Life::Lives);
        check(|labels| drop(labels.insert(STARTED.to_owned(), "1".to_owned())), Life::Dead);
        check(|labels| drop(labels.insert(PID.to_owned(), "4194305".to_owned())), Life::Dead);
        check(|labels| drop(labels.remove(PID)), Life::Dead);
        check(|labels| drop(labels.insert(BOOT.to_owned(), "another".to_owned())), Life::Dead);
    }

    #[test]
    fn what_cannot_be_seen_is_not_judged() {
        check(|labels| drop(labels.insert(MACHINE.to_owned(), "another".to_owned())), Life::Unknown);
        check(|labels| drop(labels.insert(PID_NAMESPACE.to_owned(), "pid:[1]".to_owned())), Life::Unknown);
    }
}
