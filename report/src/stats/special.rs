//! The few special functions that the tests need.

/// `ln(n!)`: exact sums below 256, then Stirling's series, good to 1e-13.
pub(super) fn ln_factorial(n: u64) -> f64 {
    if n < 256 {
        #[expect(clippy::cast_precision_loss, reason = "below 256")]
        return (2..=n).map(|i| (i as f64).ln()).sum();
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let x = n as f64;
    let half_ln_tau = 0.918_938_533_204_672_8;
    (x + 0.5) * x.ln() - x + half_ln_tau + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

/// The chance that a standard normal value lies further from 0 than `z`: the rational approximation of erfc by Numerical Recipes
/// (Press et al., section 6.2), relative error below 1.2e-7.
pub(super) fn normal_two_sided(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    let series = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = series.iter().rev().fold(0.0, |sum, term| sum * t + term);
    (t * (-x * x + sum).exp()).clamp(0.0, 1.0)
}

/// The chance of at most `limit` heads in `throws` throws of a fair coin.
pub(super) fn fair_coin_at_most(limit: u64, throws: u64) -> f64 {
    let limit = limit.min(throws);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let ln_chance = ln_factorial(throws)
        - ln_factorial(limit)
        - ln_factorial(throws - limit)
        - throws as f64 * std::f64::consts::LN_2;
    // Terms shrink towards 0 heads while `limit` is in the lower half, where all callers are.
    let mut term = 1.0;
    let mut sum = 1.0;
    for heads in (0..limit).rev() {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let ratio = (heads + 1) as f64 / (throws - heads) as f64;
        term *= ratio;
        sum += term;
        if term < sum * 1e-18 {
            break;
        }
    }
    (ln_chance + sum.ln()).exp().min(1.0)
}
