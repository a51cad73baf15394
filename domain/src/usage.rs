//! Tokens and money. What a provider did not report is unknown, never zero.

use serde::{Deserialize, Serialize};

/// What model calls used. Sums keep count of the calls whose usage is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Model calls that were answered.
    pub calls: u32,
    /// How many of them came without usage: the token counts below are then a lower bound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreported: u32,
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Prompt tokens served from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero64")]
    pub cached_input_tokens: u64,
    /// Completion tokens, reasoning included.
    pub output_tokens: u64,
    /// US dollars; `None` when the preset has no prices or a call's usage is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero64(number: &u64) -> bool {
    *number == 0
}

impl Usage {
    /// The usage of one answered call that said nothing about tokens.
    #[must_use]
    pub fn unknown_call() -> Self {
        Self { calls: 1, unreported: 1, ..Self::default() }
    }

    /// The usage of one answered call.
    #[must_use]
    pub fn call(input_tokens: u64, cached_input_tokens: u64, output_tokens: u64) -> Self {
        Self { calls: 1, unreported: 0, input_tokens, cached_input_tokens, output_tokens, cost_usd: None }
    }

    /// All tokens, as far as known.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Adds the usage of later calls. A cost stays known only while every part's cost is known.
    pub fn add(&mut self, other: &Self) {
        self.cost_usd = match (self.calls, other.calls) {
            (0, 0) => None,
            (0, _) => other.cost_usd,
            (_, 0) => self.cost_usd,
            _ => self.cost_usd.zip(other.cost_usd).map(|(a, b)| a + b),
        };
        self.calls = self.calls.saturating_add(other.calls);
        self.unreported = self.unreported.saturating_add(other.unreported);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_input_tokens = self.cached_input_tokens.saturating_add(other.cached_input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// Prices in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens that were not cached.
    pub input: f64,
    /// Prompt tokens served from the cache; the input price when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Completion tokens.
    pub output: f64,
}

impl Price {
    /// What this usage costs; `None` when a call's usage is unknown.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<f64> {
        if usage.unreported > 0 {
            return None;
        }
        let cached = usage.cached_input_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        let cached_price = self.cached_input.unwrap_or(self.input);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let cost = (fresh as f64 * self.input
            + cached as f64 * cached_price
            + usage.output_tokens as f64 * self.output)
            / 1e6;
        Some(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price = Price { input: 1.0, cached_input: Some(0.1), output: 2.0 };
        let cost = price.cost(&Usage::call(1_000_000, 400_000, 500_000)).unwrap();
        assert!((cost - (0.6 + 0.04 + 1.0)).abs() < 1e-9);
        assert_eq!(price.cost(&Usage::unknown_call()), None);
    }

    #[test]
    fn one_unknown_part_makes_the_cost_unknown() {
        let mut sum = Usage::default();
        sum.add(&Usage { cost_usd: Some(0.5), ..Usage::call(1, 0, 1) });
        assert_eq!(sum.cost_usd, Some(0.5));
        sum.add(&Usage::unknown_call());
        assert_eq!((sum.cost_usd, sum.calls, sum.unreported), (None, 2, 1));
    }
}
