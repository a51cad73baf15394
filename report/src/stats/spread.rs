//! Totals, means and medians.

use serde::Serialize;

/// How a quantity is spread over trials.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// Trials.
    pub count: u64,
    /// Sum over them.
    pub total: f64,
    /// `total / count`; `None` without trials.
    pub mean: Option<f64>,
    /// The middle value, or the mean of the two middle ones.
    pub median: Option<f64>,
    /// The value that 90 % of the trials do not exceed (nearest rank).
    pub p90: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl Spread {
    /// Measures values; the order does not matter for any part but the last digits of the sum, so callers keep a fixed one.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        let count = values.len();
        if count == 0 {
            return Self::default();
        }
        let total: f64 = values.iter().sum();
        let pick =
            |values: &mut Vec<f64>, rank: usize| *values.select_nth_unstable_by(rank, f64::total_cmp).1;
        let upper = pick(&mut values, count / 2);
        let lower = if count.is_multiple_of(2) { pick(&mut values, count / 2 - 1) } else { upper };
        let p90 = pick(&mut values, (count * 9).div_ceil(10) - 1);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let mean = total / count as f64;
        Self {
            count: count as u64,
            total,
            mean: Some(mean),
            median: Some(f64::midpoint(lower, upper)),
            p90: Some(p90),
            max: Some(max),
        }
    }
}
