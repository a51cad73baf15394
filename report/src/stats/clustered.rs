//! Rates whose observations are not independent: trials of one case, cases of one cluster.

use super::rate::{Interval, Z95, wilson};
use serde::Serialize;

/// Passes by cluster.
#[derive(Debug, Clone, Default)]
pub struct Clusters(Vec<(u64, u64)>);

/// What clustering does to the certainty of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClusteredRate {
    /// Clusters with at least one measured trial.
    pub clusters: u64,
    /// Measured trials.
    pub count: u64,
    /// Standard error as if all trials were independent.
    pub standard_error: f64,
    /// Standard error by cluster.
    pub clustered_standard_error: f64,
    /// Independent trials that would be as certain.
    pub effective_count: f64,
    /// Wilson interval at the effective count.
    pub interval: Interval,
}

impl Clusters {
    /// No observations, room for clusters `0..clusters`.
    #[must_use]
    pub fn new(clusters: usize) -> Self {
        Self(vec![(0, 0); clusters])
    }

    /// Adds one measured trial of a cluster.
    pub fn add(&mut self, cluster: u32, passed: bool) {
        let place = cluster as usize;
        if place >= self.0.len() {
            self.0.resize(place + 1, (0, 0));
        }
        if let Some((passes, count)) = self.0.get_mut(place) {
            *passes += u64::from(passed);
            *count += 1;
        }
    }

    /// Whether any cluster has more than one trial: otherwise all formulas here are the plain ones.
    #[must_use]
    pub fn is_clustered(&self) -> bool {
        self.0.iter().any(|(_, count)| *count > 1)
    }

    /// The clustered standard error of the mean (Miller 2024, "Adding error bars to evals", section 2.2) and what follows from it. `None`
    /// without observations.
    ///
    /// The interval is Wilson's at an effective sample size `n / deff`, `deff` being the squared ratio of the two standard errors and never
    /// below 1 (Korn and Graubard 1998). Where all trials agree there is no spread to measure: several clusters then count one each.
    #[must_use]
    pub fn rate(&self) -> Option<ClusteredRate> {
        let (passes, count) = self.0.iter().fold((0, 0), |(p, n), (passes, count)| (p + passes, n + count));
        let clusters = self.0.iter().filter(|(_, count)| *count > 0).count() as u64;
        if count == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let (n, p, groups) = (count as f64, passes as f64 / count as f64, clusters as f64);
        let squares = n * p * (1.0 - p);
        let independent = if count > 1 { squares / (n - 1.0) / n } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let by_cluster: f64 =
            self.0.iter().map(|(passes, count)| (*passes as f64 - *count as f64 * p).powi(2)).sum();
        let clustered = (independent + (by_cluster - squares) / (n * n)).max(0.0);
        let agree = passes == 0 || passes == count;
        let effective = if !self.is_clustered() || clusters == 1 {
            n
        } else if agree {
            groups
        } else {
            n / (clustered / independent).max(1.0)
        };
        let interval = wilson(p * effective, effective, Z95)?;
        Some(ClusteredRate {
            clusters,
            count,
            standard_error: independent.sqrt(),
            clustered_standard_error: clustered.sqrt(),
            effective_count: effective,
            interval,
        })
    }
}
