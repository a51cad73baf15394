//! Verdicts to json, markdown and html; comparison and statistics.
