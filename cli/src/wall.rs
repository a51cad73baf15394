//! Wall time, for people only. No decision of och depends on it.

use jiff::Timestamp;

/// Now in UTC, as traces and records print it.
pub(crate) fn now_utc() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// The sortable head of a run id: `20261120-1745`.
pub(crate) fn run_stamp() -> String {
    Timestamp::now().strftime("%Y%m%d-%H%M").to_string()
}
