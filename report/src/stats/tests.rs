//! Published values, and naive second implementations that follow the definitions.

use super::special::normal_two_sided;
use super::*;
use proptest::prelude::*;

#[track_caller]
fn near(found: f64, expect: f64, within: f64) {
    assert!((found - expect).abs() <= within, "found {found}, expected {expect}");
}

/// Newcombe 1998a, table I, method 3.
#[test]
fn wilson_gives_the_published_intervals() {
    for (passed, count, low, high) in [
        (81.0, 263.0, 0.2553, 0.3662),
        (15.0, 148.0, 0.0624, 0.1605),
        (0.0, 20.0, 0.0, 0.1611),
        (1.0, 29.0, 0.0061, 0.1718),
    ] {
        let found = wilson(passed, count, Z95).unwrap();
        near(found.low, low, 5e-5);
        near(found.high, high, 5e-5);
    }
    assert_eq!(wilson(0.0, 0.0, Z95), None);
}

/// Newcombe 1998b, table II, method 10: 36, 12, 2, 0 of 50 pairs.
#[test]
fn paired_interval_gives_the_published_one() {
    let pairs = PairCounts { both: 36, only_first: 12, only_second: 2, neither: 0 };
    let found = newcombe_paired(&pairs, 1.0, Z95);
    near(found.low, 0.0569, 5e-5);
    near(found.high, 0.3404, 5e-5);
}

#[test]
fn no_disagreement_still_has_an_interval() {
    let mut trials = PairedTrials::default();
    (0..12).for_each(|cluster| trials.add(cluster, true, true));
    let found = trials.difference().unwrap();
    assert!(found.interval.low < -0.1 && found.interval.high > 0.1, "{found:?}");
    assert_eq!((found.estimate, found.p_value, found.mcnemar_p), (0.0, 1.0, 1.0));
}

/// Chen et al. 2021 give the estimator; 1 of 5 and 2 of 10 by hand.
#[test]
fn pass_at_k_by_hand() {
    near(pass_at_k(5, 1, 1).unwrap(), 0.2, 1e-15);
    near(pass_at_k(10, 2, 5).unwrap(), 1.0 - 56.0 / 252.0, 1e-15);
    near(pass_all_k(10, 8, 2).unwrap(), 28.0 / 45.0, 1e-15);
    assert_eq!((pass_at_k(3, 3, 4), pass_all_k(3, 3, 0)), (None, None));
}

#[test]
fn mcnemar_by_hand() {
    near(mcnemar_exact(1, 9), 2.0 * 11.0 / 1024.0, 1e-12);
    near(mcnemar_exact(0, 6), 0.03125, 1e-12);
    near(mcnemar_exact(5, 5), 1.0, 0.0);
    near(mcnemar_exact(0, 0), 1.0, 0.0);
}

/// Holm 1979 on four p-values, as in R's `p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")`.
#[test]
fn holm_steps_down() {
    let found = holm(&[0.01, 0.04, 0.03, 0.005]);
    for (found, expect) in found.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
        near(found, expect, 1e-12);
    }
    assert_eq!(holm(&[]), Vec::<f64>::new());
}

#[test]
fn normal_tails_are_the_tables() {
    for (z, expect) in [(0.0, 1.0), (1.0, 0.317_310_5), (Z95, 0.05), (2.575_829_3, 0.01), (5.0, 5.733e-7)] {
        near(normal_two_sided(z), expect, expect * 1e-5);
    }
}

/// Ten trials of a case that always agree are one observation of it, not ten.
#[test]
fn trials_that_agree_count_once() {
    let mut clusters = Clusters::new(0);
    for cluster in 0..8 {
        (0..10).for_each(|_| clusters.add(cluster, cluster < 4));
    }
    let found = clusters.rate().unwrap();
    // The clustered error of 80 trials in 8 alike clusters is that of about 8 trials.
    near(found.clustered_standard_error, (0.25_f64 / 8.0).sqrt(), 0.002);
    near(found.effective_count, 8.0, 0.2);
    assert!(found.interval.high - found.interval.low > 0.5, "{found:?}");
}

#[test]
fn certainty_is_not_invented_where_all_agree() {
    let mut clusters = Clusters::new(0);
    for cluster in 0..3 {
        (0..10).for_each(|_| clusters.add(cluster, true));
    }
    let found = clusters.rate().unwrap();
    near(found.interval.low, wilson(3.0, 3.0, Z95).unwrap().low, 1e-12);
}

/// Where the exact distribution gives way to the normal one, they agree.
#[test]
fn large_sign_flip_is_normal() {
    let sizes: Vec<u64> = (0..3_000).map(|cluster| 1 + cluster % 2).collect();
    let deviation = 7_500_f64.sqrt();
    for observed in [50_u64, 100, 170, 250] {
        // Sums are even, so the continuous distribution starts half a step before them.
        let z = (f64::from(u32::try_from(observed).unwrap()) - 1.0) / deviation;
        let exact = super::pairs::sign_flip(&sizes, observed);
        near(normal_two_sided(z), exact, exact * 0.01);
    }
    let many = [1, 2].repeat(50_000);
    near(super::pairs::sign_flip(&many, 980), 0.05, 0.001);
}

fn choose(n: u64, k: u64) -> u128 {
    (0..k).fold(1, |product, i| product * u128::from(n - i) / u128::from(i + 1))
}

proptest! {
    /// The ends of the interval are the rates whose normal test just does not reject the observation.
    #[test]
    fn wilson_solves_its_definition(passed in 0u32..200, failed in 0u32..200) {
        prop_assume!(passed + failed > 0);
        let (x, n) = (f64::from(passed), f64::from(passed + failed));
        let found = wilson(x, n, Z95).unwrap();
        let rejected = |rate: f64| (x / n - rate).abs() > Z95 * (rate * (1.0 - rate) / n).sqrt();
        let bisect = |mut inside: f64, mut outside: f64| {
            for _ in 0..200 {
                let middle = f64::midpoint(inside, outside);
                if rejected(middle) { outside = middle } else { inside = middle }
            }
            inside
        };
        prop_assert!((found.low - bisect(x / n, 0.0)).abs() < 1e-9);
        prop_assert!((found.high - bisect(x / n, 1.0)).abs() < 1e-9);
        prop_assert!(found.contains(x / n));
    }

    /// All subsets of k trials, counted.
    #[test]
    fn chances_of_k_count_subsets(outcomes in prop::collection::vec(any::<bool>(), 1..11), k in 1usize..11) {
        let n = outcomes.len();
        let (mut subsets, mut any_pass, mut all_pass) = (0.0, 0.0, 0.0);
        for mask in 0_u32..1 << n {
            if mask.count_ones() as usize == k {
                let picked: Vec<bool> = (0..n).filter(|i| mask & (1 << i) != 0).map(|i| outcomes[i]).collect();
                subsets += 1.0;
                any_pass += f64::from(u8::from(picked.contains(&true)));
                all_pass += f64::from(u8::from(!picked.contains(&false)));
            }
        }
        let passed = u32::try_from(outcomes.iter().filter(|outcome| **outcome).count()).unwrap();
        let (count, k32) = (u32::try_from(n).unwrap(), u32::try_from(k).unwrap());
        if subsets == 0.0 {
            prop_assert_eq!(pass_at_k(count, passed, k32), None);
        } else {
            prop_assert!((pass_at_k(count, passed, k32).unwrap() - any_pass / subsets).abs() < 1e-12);
            prop_assert!((pass_all_k(count, passed, k32).unwrap() - all_pass / subsets).abs() < 1e-12);
        }
    }

    /// Whole binomial coefficients.
    #[test]
    fn mcnemar_counts_coins(b in 0u64..60, c in 0u64..60) {
        let (n, least) = (b + c, b.min(c));
        let tail: u128 = (0..=least).map(|k| choose(n, k)).sum();
        #[expect(clippy::cast_precision_loss, reason = "ratios of coefficients")]
        let expect = (2.0 * tail as f64 / 2f64.powi(i32::try_from(n).unwrap())).min(1.0);
        prop_assert!((mcnemar_exact(b, c) - expect).abs() < 1e-10);
    }

    /// The formulas of Miller 2024 word by word, the double sum included; all sign patterns, one by one.
    #[test]
    fn pairs_agree_with_the_definitions(pairs in prop::collection::vec((0u32..6, any::<bool>(), any::<bool>()), 2..40)) {
        let mut trials = PairedTrials::default();
        pairs.iter().for_each(|(cluster, first, second)| trials.add(*cluster, *first, *second));
        let found = trials.difference().unwrap();
        let n = f64::from(u32::try_from(pairs.len()).unwrap());
        let values: Vec<f64> = pairs.iter().map(|(_, a, b)| f64::from(u8::from(*a)) - f64::from(u8::from(*b))).collect();
        let mean = values.iter().sum::<f64>() / n;
        prop_assert!((found.estimate - mean).abs() < 1e-12);
        let mut variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0) / n;
        for (i, (cluster, _, _)) in pairs.iter().enumerate() {
            for (j, (other, _, _)) in pairs.iter().enumerate() {
                if i != j && cluster == other {
                    variance += (values[i] - mean) * (values[j] - mean) / (n * n);
                }
            }
        }
        prop_assert!((found.clustered_standard_error - variance.max(0.0).sqrt()).abs() < 1e-9);
        prop_assert!(found.interval.low <= found.estimate + 1e-12 && found.estimate <= found.interval.high + 1e-12);
        prop_assert!(found.interval.low >= -1.0 && found.interval.high <= 1.0);

        let sums: Vec<f64> = (0..6).map(|cluster| pairs.iter().zip(&values).filter(|((c, _, _), _)| *c == cluster).map(|(_, v)| v).sum()).collect();
        let observed = sums.iter().sum::<f64>().abs();
        let (mut beyond, mut all) = (0.0, 0.0);
        for mask in 0_u32..64 {
            let sum: f64 = sums.iter().enumerate().map(|(i, s)| if mask & (1 << i) == 0 { *s } else { -s }).sum();
            all += 1.0;
            beyond += f64::from(u8::from(sum.abs() >= observed - 1e-9));
        }
        prop_assert!((found.p_value - beyond / all).abs() < 1e-10, "{} {}", found.p_value, beyond / all);
    }

    /// One pair a cluster: everything falls back to the plain formulas.
    #[test]
    fn single_pairs_are_mcnemar_and_newcombe(pairs in prop::collection::vec((any::<bool>(), any::<bool>()), 1..60)) {
        let mut trials = PairedTrials::default();
        for (cluster, (first, second)) in pairs.iter().enumerate() {
            trials.add(u32::try_from(cluster).unwrap(), *first, *second);
        }
        let found = trials.difference().unwrap();
        prop_assert!((found.p_value - found.mcnemar_p).abs() < 1e-12);
        prop_assert_eq!(found.interval, newcombe_paired(&found.pairs, 1.0, Z95));
    }

    #[test]
    fn clustered_rate_agrees_with_the_definition(trials in prop::collection::vec((0u32..5, any::<bool>()), 2..60)) {
        let mut clusters = Clusters::new(0);
        trials.iter().for_each(|(cluster, passed)| clusters.add(*cluster, *passed));
        let found = clusters.rate().unwrap();
        let n = f64::from(u32::try_from(trials.len()).unwrap());
        let score = |passed: bool| f64::from(u8::from(passed));
        let mean = trials.iter().map(|(_, passed)| score(*passed)).sum::<f64>() / n;
        let independent = trials.iter().map(|(_, p)| (score(*p) - mean).powi(2)).sum::<f64>() / (n - 1.0) / n;
        let mut clustered = independent;
        for (i, (cluster, one)) in trials.iter().enumerate() {
            for (j, (other, two)) in trials.iter().enumerate() {
                if i != j && cluster == other {
                    clustered += (score(*one) - mean) * (score(*two) - mean) / (n * n);
                }
            }
        }
        prop_assert!((found.standard_error - independent.sqrt()).abs() < 1e-9);
        prop_assert!((found.clustered_standard_error - clustered.max(0.0).sqrt()).abs() < 1e-7);
        prop_assert!(found.effective_count <= n + 1e-9 && found.effective_count > 0.0);
        prop_assert!(found.interval.contains(mean));
    }

    #[test]
    fn spread_agrees_with_sorting(values in prop::collection::vec(0.0f64..1e6, 1..80)) {
        let found = Spread::of(values.clone());
        let mut sorted = values;
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let median = if n % 2 == 1 { sorted[n / 2] } else { f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]) };
        prop_assert_eq!(found.median, Some(median));
        prop_assert_eq!(found.max, sorted.last().copied());
        let rank = (1..=n).find(|rank| rank * 10 >= n * 9).unwrap();
        prop_assert_eq!(found.p90, Some(sorted[rank - 1]));
    }
}
