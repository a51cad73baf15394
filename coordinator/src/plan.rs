//! Which worker gets how many trials of which preset. Pure arithmetic over counts; knows neither trials nor leases.

/// Slots of a worker that wait for trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<W> {
    /// The worker.
    pub worker: W,
    /// How many.
    pub slots: u32,
}

/// What a preset could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Trials that may be granted now.
    pub trials: u32,
    /// Trials in workers' hands already; presets with fewer go first.
    pub in_flight: u32,
}

/// A slice of trials of one preset for one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard<W> {
    /// The worker.
    pub worker: W,
    /// The preset's place in the run.
    pub preset: usize,
    /// How many trials.
    pub trials: u32,
}

/// Cuts shards. At most `largest` trials each, fewer when that lets more workers take part; the preset with the fewest trials in flight
/// and the worker with the most free slots go first. Every slot is used as long as there are trials, and every trial as long as there are
/// slots.
#[must_use]
pub fn shards<W: Copy>(wants: &[Want], offers: &[Offer<W>], largest: u32) -> Vec<Shard<W>> {
    let mut wants = wants.to_vec();
    let mut offers: Vec<Offer<W>> = offers.iter().copied().filter(|offer| offer.slots > 0).collect();
    let trials: u32 = wants.iter().fold(0, |sum, want| sum.saturating_add(want.trials));
    let workers = u32::try_from(offers.len()).unwrap_or(u32::MAX).max(1);
    let size = trials.div_ceil(workers).clamp(1, largest.max(1));
    let mut shards = Vec::new();
    loop {
        let preset = (0..wants.len())
            .filter(|preset| wants[*preset].trials > 0)
            .min_by_key(|preset| wants[*preset].in_flight);
        // The first of the fullest, so that the plan does not depend on how ties fall.
        let offer = (0..offers.len()).max_by_key(|offer| (offers[*offer].slots, std::cmp::Reverse(*offer)));
        let (Some(preset), Some(offer)) = (preset, offer) else { return shards };
        let count = size.min(wants[preset].trials).min(offers[offer].slots);
        if count == 0 {
            return shards;
        }
        wants[preset].trials -= count;
        wants[preset].in_flight += count;
        offers[offer].slots -= count;
        shards.push(Shard { worker: offers[offer].worker, preset, trials: count });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(wants: &[(u32, u32)], slots: &[u32], largest: u32, expect: &[(usize, usize, u32)]) {
        let wants: Vec<Want> =
            wants.iter().map(|(trials, in_flight)| Want { trials: *trials, in_flight: *in_flight }).collect();
        let offers: Vec<Offer<usize>> =
            slots.iter().enumerate().map(|(worker, slots)| Offer { worker, slots: *slots }).collect();
        let got: Vec<_> = shards(&wants, &offers, largest)
            .iter()
            .map(|shard| (shard.worker, shard.preset, shard.trials))
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn shards_are_full_when_there_is_plenty() {
        check(&[(20, 0)], &[8], 4, &[(0, 0, 4), (0, 0, 4)]);
    }

    #[test]
    fn few_trials_are_spread_over_all_workers() {
        check(&[(4, 0)], &[4, 4, 4, 4], 4, &[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)]);
        check(&[(5, 0)], &[4, 4], 4, &[(0, 0, 3), (1, 0, 2)]);
    }

    #[test]
    fn presets_take_turns() {
        check(&[(4, 0), (4, 0)], &[4], 2, &[(0, 0, 2), (0, 1, 2)]);
        check(&[(4, 9), (4, 0)], &[4], 4, &[(0, 1, 4)]);
    }

    #[test]
    fn nothing_is_cut_from_nothing() {
        check(&[(0, 0)], &[4], 4, &[]);
        check(&[(4, 0)], &[0], 4, &[]);
        check(&[], &[4], 4, &[]);
        check(&[(4, 0)], &[1], 0, &[(0, 0, 1)]);
    }

    proptest! {
        #[test]
        fn no_slot_and_no_trial_is_left_while_both_are_there(
            wants in prop::collection::vec((0u32..30, 0u32..9), 0..5),
            slots in prop::collection::vec(0u32..20, 0..6),
            largest in 1u32..9,
        ) {
            let asked: Vec<Want> = wants.iter().map(|(trials, in_flight)| Want { trials: *trials, in_flight: *in_flight }).collect();
            let offers: Vec<Offer<usize>> = slots.iter().enumerate().map(|(worker, slots)| Offer { worker, slots: *slots }).collect();
            let cut = shards(&asked, &offers, largest);
            let granted: u32 = cut.iter().map(|shard| shard.trials).sum();
            prop_assert_eq!(granted, slots.iter().sum::<u32>().min(wants.iter().map(|want| want.0).sum()));
            for (worker, slots) in slots.iter().enumerate() {
                prop_assert!(cut.iter().filter(|shard| shard.worker == worker).map(|shard| shard.trials).sum::<u32>() <= *slots);
            }
            for (preset, want) in wants.iter().enumerate() {
                prop_assert!(cut.iter().filter(|shard| shard.preset == preset).map(|shard| shard.trials).sum::<u32>() <= want.0);
            }
            prop_assert!(cut.iter().all(|shard| shard.trials >= 1 && shard.trials <= largest));
        }
    }
}
