//! What a run is to do: the body of `run.json`.

use crate::id::RunId;
use crate::preset::Preset;
use crate::suite::Suite;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a worker needs to know to run any trial of the run; no secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The run.
    pub run: RunId,
    /// UTC, for people.
    pub created_at: String,
    /// `och 0.1.0`.
    pub tool: String,
    /// The suites, whole.
    pub suites: Vec<Suite>,
    /// The presets, whole.
    pub presets: Vec<Preset>,
    /// Trials of each cell, where the case does not say otherwise.
    pub trials: u32,
    /// Limits of an attempt.
    pub limits: Limits,
    /// What the agent may do.
    pub permissions: Permissions,
    /// Where workspaces live.
    pub sandbox: Sandbox,
    /// Presets that were left out, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedPreset>,
    /// Content of script files of scripted presets: by the path in `Preset::script`, or, for a preset that names none, by the key
    /// of the suite (`<suite stem>.script.json` beside each suite).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, serde_json::Value>,
    /// The run whose errored trials this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
}

/// Limits of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Model calls of an agent round.
    pub max_steps: u32,
    /// Characters of packed context; 0 = none.
    pub context_chars: u32,
    /// Counted attempts before a trial is given up.
    pub max_attempts: u32,
    /// Wall seconds of an attempt, where the case does not say otherwise.
    pub timeout_seconds: u64,
    /// Wall seconds of one verify command, where the case does not say otherwise.
    pub verify_timeout_seconds: u64,
    /// Wall seconds of one shell tool call.
    pub tool_timeout_seconds: u64,
    /// Memory of a workspace.
    pub memory_mib: u64,
    /// Processes of a workspace.
    pub pids: u32,
    /// Writable bytes of a workspace.
    pub disk_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: 8,
            context_chars: 6000,
            max_attempts: 3,
            timeout_seconds: 1800,
            verify_timeout_seconds: 120,
            tool_timeout_seconds: 120,
            memory_mib: 1024,
            pids: 256,
            disk_mib: 1024,
        }
    }
}

/// What the agent may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Permissions {
    /// Whether write tools work.
    pub allow_write: bool,
    /// Whether the shell tool works at all.
    pub allow_shell: bool,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { allow_write: false, allow_shell: true }
    }
}

/// Where workspaces live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Containers.
    Docker,
    /// A confined temporary directory of the worker's machine.
    Local,
}

/// A preset that was asked for and left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPreset {
    /// Its name.
    pub preset: String,
    /// Why: `missing DEEPSEEK_API_KEY`.
    pub reason: String,
}
