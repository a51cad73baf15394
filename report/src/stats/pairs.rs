//! The difference of two columns, paired by (case, trial).

use super::rate::{Interval, Z95, wilson};
use super::special::{fair_coin_at_most, normal_two_sided};
use serde::Serialize;
use std::collections::BTreeMap;

/// Pairs by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PairCounts {
    /// Both passed.
    pub both: u64,
    /// Only the first passed.
    pub only_first: u64,
    /// Only the second passed.
    pub only_second: u64,
    /// Neither passed.
    pub neither: u64,
}

impl PairCounts {
    /// All pairs.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }
}

/// Pairs with the clusters they belong to.
#[derive(Debug, Clone, Default)]
pub struct PairedTrials {
    counts: PairCounts,
    /// By cluster: sum of differences, pairs.
    clusters: BTreeMap<u32, (i64, u64)>,
}

/// First minus second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Pairs by how they ended.
    pub pairs: PairCounts,
    /// Difference of the pass rates over the pairs.
    pub estimate: f64,
    /// 95 % interval of it.
    pub interval: Interval,
    /// Clusters among the pairs.
    pub clusters: u64,
    /// Standard error of the difference by cluster.
    pub clustered_standard_error: f64,
    /// Exact two-sided McNemar test over the pairs, as if they were independent.
    pub mcnemar_p: f64,
    /// Exact two-sided sign-flip test over clusters; McNemar's when every cluster is one pair.
    pub p_value: f64,
}

impl PairedTrials {
    /// Adds a pair.
    pub fn add(&mut self, cluster: u32, first: bool, second: bool) {
        match (first, second) {
            (true, true) => self.counts.both += 1,
            (true, false) => self.counts.only_first += 1,
            (false, true) => self.counts.only_second += 1,
            (false, false) => self.counts.neither += 1,
        }
        let (sum, count) = self.clusters.entry(cluster).or_default();
        *sum += i64::from(first) - i64::from(second);
        *count += 1;
    }

    /// The difference; `None` without pairs.
    ///
    /// The interval is Newcombe's for paired proportions; where clusters hold several pairs all counts are scaled to the effective number
    /// of pairs first, as for a single rate.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        let pairs = self.counts;
        if pairs.total() == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let (n, plus, minus) = (pairs.total() as f64, pairs.only_first as f64, pairs.only_second as f64);
        let estimate = (plus - minus) / n;
        let squares = n.mul_add(-estimate * estimate, plus + minus).max(0.0);
        let independent = if n > 1.0 { squares / (n - 1.0) / n } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let by_cluster: f64 =
            self.clusters.values().map(|(sum, count)| (*sum as f64 - *count as f64 * estimate).powi(2)).sum();
        let clustered = (independent + (by_cluster - squares) / (n * n)).max(0.0);
        let repeated = self.clusters.values().any(|(_, count)| *count > 1);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let effective = if !repeated || self.clusters.len() == 1 {
            n
        } else if squares <= 0.0 {
            self.clusters.len() as f64
        } else {
            n / (clustered / independent).max(1.0)
        };
        let sums: Vec<u64> =
            self.clusters.values().map(|(sum, _)| sum.unsigned_abs()).filter(|sum| *sum > 0).collect();
        Some(Difference {
            pairs,
            estimate,
            interval: newcombe_paired(&pairs, effective / n, Z95),
            clusters: self.clusters.len() as u64,
            clustered_standard_error: clustered.sqrt(),
            mcnemar_p: mcnemar_exact(pairs.only_first, pairs.only_second),
            p_value: sign_flip(&sums, pairs.only_first.abs_diff(pairs.only_second)),
        })
    }
}

/// The exact two-sided McNemar test (McNemar 1947; binomial form): the chance of a split of the disagreeing pairs at least this uneven if
/// both were equally good.
#[must_use]
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let throws = only_first + only_second;
    if throws == 0 || only_first == only_second {
        return 1.0;
    }
    (2.0 * fair_coin_at_most(only_first.min(only_second), throws)).min(1.0)
}

/// The interval of a difference of paired proportions (Newcombe 1998b, method 10): square-and-add of two Wilson intervals with a
/// correlation corrected for continuity. `scale` shrinks all counts to an effective number of pairs.
#[must_use]
pub fn newcombe_paired(pairs: &PairCounts, scale: f64, z: f64) -> Interval {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let scaled = |count: u64| count as f64 * scale;
    let (a, b, c, d) =
        (scaled(pairs.both), scaled(pairs.only_first), scaled(pairs.only_second), scaled(pairs.neither));
    let n = a + b + c + d;
    let (first, second) = ((a + b) / n, (a + c) / n);
    let whole = Interval { low: -1.0, high: 1.0 };
    let (Some(one), Some(two)) = (wilson(a + b, n, z), wilson(a + c, n, z)) else { return whole };
    let margins = (a + b) * (c + d) * (a + c) * (b + d);
    let cross = a * d - b * c;
    let phi = if margins <= 0.0 {
        0.0
    } else if cross > 0.0 {
        (cross - n / 2.0).max(0.0) / margins.sqrt()
    } else {
        cross / margins.sqrt()
    };
    let reach = |x: f64, y: f64| (x * x - 2.0 * phi * x * y + y * y).max(0.0).sqrt();
    let below = reach(first - one.low, two.high - second);
    let above = reach(one.high - first, second - two.low);
    let estimate = first - second;
    Interval { low: (estimate - below).max(-1.0), high: (estimate + above).min(1.0) }
}

/// Cells of the exact distribution beyond which the normal approximation is indistinguishable from it.
const EXACT_CELLS: u64 = 20_000_000;

/// The chance that a sum of `sizes` with random signs is at least `observed` away from 0.
pub(super) fn sign_flip(sizes: &[u64], observed: u64) -> f64 {
    if observed == 0 || sizes.is_empty() {
        return 1.0;
    }
    let total: u64 = sizes.iter().sum();
    let count = sizes.len() as u64;
    if let [size, rest @ ..] = sizes
        && rest.iter().all(|other| other == size)
    {
        // All steps are alike: a fair coin. `observed` is `size * |heads - tails|`.
        let tails = (count - observed / size) / 2;
        return (2.0 * fair_coin_at_most(tails, count)).min(1.0);
    }
    if count.saturating_mul(total) > EXACT_CELLS {
        #[expect(clippy::cast_precision_loss, reason = "sums are far below 2^52")]
        let (variance, sum) = (sizes.iter().map(|s| (*s as f64).powi(2)).sum::<f64>(), observed as f64);
        return normal_two_sided(sum / variance.sqrt());
    }
    // chances[s] is the chance of a sum s - total, where sums differ from total by an even number.
    let width = usize::try_from(total).unwrap_or(usize::MAX);
    let mut chances = vec![0.0; width + 1];
    chances[0] = 1.0;
    let mut reached = 0;
    for size in sizes {
        // Number of points that carry a plus sign grows by `size` or stays.
        let step = usize::try_from(*size).unwrap_or(usize::MAX);
        for plus in (0..=reached).rev() {
            let half = chances[plus] / 2.0;
            chances[plus] = half;
            chances[plus + step] += half;
        }
        reached += step;
    }
    let beyond = |plus: usize| (2 * plus as u64).abs_diff(total) >= observed;
    chances
        .iter()
        .enumerate()
        .filter(|(plus, _)| beyond(*plus))
        .map(|(_, chance)| chance)
        .sum::<f64>()
        .min(1.0)
}

/// Holm's step-down correction (1979) of several p-values, in their order.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![1.0; p_values.len()];
    let mut floor: f64 = 0.0;
    for (rank, place) in order.into_iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a handful of columns")]
        let factor = (p_values.len() - rank) as f64;
        floor = floor.max((p_values[place] * factor).min(1.0));
        corrected[place] = floor;
    }
    corrected
}
