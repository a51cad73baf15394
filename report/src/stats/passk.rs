//! Chances of a case over several trials.

/// The chance that at least one of `k` trials passes, estimated from `count` trials of which `passed` did: the unbiased estimator
/// `1 - C(n-c, k) / C(n, k)` (Chen et al. 2021, "Evaluating large language models trained on code"). `None` when there are fewer than
/// `k` trials.
#[must_use]
pub fn pass_at_k(count: u32, passed: u32, k: u32) -> Option<f64> {
    if k == 0 || k > count || passed > count {
        return None;
    }
    if count - passed < k {
        return Some(1.0);
    }
    let all_fail: f64 = (0..k).map(|i| f64::from(count - passed - i) / f64::from(count - i)).product();
    Some(1.0 - all_fail)
}

/// The chance that all of `k` trials pass: `C(c, k) / C(n, k)`, unbiased likewise (pass^k of Yao et al. 2024, "τ-bench"). `None` when
/// there are fewer than `k` trials.
#[must_use]
pub fn pass_all_k(count: u32, passed: u32, k: u32) -> Option<f64> {
    if k == 0 || k > count || passed > count {
        return None;
    }
    if passed < k {
        return Some(0.0);
    }
    Some((0..k).map(|i| f64::from(passed - i) / f64::from(count - i)).product())
}
