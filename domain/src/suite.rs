//! Suites and cases, and the reading of suite files. Owns their keys and meaning; touches no file system: the caller reads the text
//! and later resolves the paths.

mod parse;

use crate::id::{CaseId, SuiteId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use parse::{Format, Problem, parse};

/// A named list of cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// Its key: the stem of its file, folded.
    pub id: SuiteId,
    /// Its name in reports.
    pub name: String,
    /// The file as the person named it.
    pub source: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The cases, in order.
    pub cases: Vec<Case>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Its key: the id in the file, folded where it was not legal.
    pub id: CaseId,
    /// The id in the file, for people.
    pub title: String,
    /// The prompt.
    pub task: String,
    /// Where the workspace comes from.
    pub workspace: WorkspaceSource,
    /// The marker: a case-sensitive part of the final answer. Never empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_contains: Option<String>,
    /// The command that judges the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_command: Option<String>,
    /// Repair rounds after a failed verification.
    pub verify_feedback_attempts: u32,
    /// For selection and reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Trials of this case instead of the run's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<u32>,
    /// Wall seconds of an attempt instead of the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Wall seconds of one verification instead of the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_timeout_seconds: Option<u64>,
    /// Container image instead of the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Network of the workspace.
    pub network: Network,
    /// Environment of every command in the workspace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files put into the workspace only after the agent is done: destination → source beside the suite.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verify_files: BTreeMap<String, String>,
    /// Globs of workspace files that are put back as they were before verification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protected: Vec<String>,
    /// Cases of one cluster are not independent of each other (for clustered errors).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The packed workspace: `inputs/<sha256>.tar.zst`; set when the run is planned, never read from a suite file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputDigest>,
    /// The packed verify files; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_input: Option<InputDigest>,
}

/// Lower-case hex SHA-256 of a packed input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputDigest(pub String);

/// Where a case's workspace comes from. Both are copied into the run; the person's own tree is never edited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum WorkspaceSource {
    /// `workspace`: a directory relative to the suite file, packed as git would see it (`.gitignore` respected).
    InPlace {
        /// The path in the suite file.
        path: String,
    },
    /// `workspace_template`: a fixture relative to the suite file, packed whole.
    Template {
        /// The path in the suite file.
        path: String,
    },
}

/// Network of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Loopback only.
    #[default]
    None,
    /// Whatever the machine has.
    Full,
}
