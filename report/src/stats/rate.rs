//! The rate of one group and its interval.

use serde::Serialize;

/// The 97.5 % point of the normal distribution: two-sided 95 %.
pub const Z95: f64 = 1.959_963_984_540_054;

/// An interval, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value lies inside.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The score interval of a proportion (Wilson 1927, equation 7 of Newcombe 1998a's method 3), without continuity correction. Counts may
/// be fractional, for effective sample sizes. `None` without observations.
#[must_use]
pub fn wilson(successes: f64, count: f64, z: f64) -> Option<Interval> {
    if count.is_nan() || count <= 0.0 {
        return None;
    }
    let rate = (successes / count).clamp(0.0, 1.0);
    let z2 = z * z;
    let center = count.mul_add(rate, z2 / 2.0);
    let half = z * (count * rate).mul_add(1.0 - rate, z2 / 4.0).max(0.0).sqrt();
    // At the ends the formula gives exactly 0 or 1 up to rounding.
    let low = if rate <= 0.0 { 0.0 } else { ((center - half) / (count + z2)).clamp(0.0, rate) };
    let high = if rate >= 1.0 { 1.0 } else { ((center + half) / (count + z2)).clamp(rate, 1.0) };
    Some(Interval { low, high })
}
