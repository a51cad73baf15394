//! When a preset rests: its provider is away, or answers with another model. Pure; knows no trial but the one that probes.

use crate::lease::TrialNo;
use domain::env::Moment;
use domain::outcome::ErrorReason;
use std::time::Duration;

/// How patient a coordinator is with providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The first pause; each failed probe doubles it.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// After so long without a good answer the preset's trials are given up.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            limit: Duration::from_secs(300),
        }
    }
}

/// Why a preset rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The provider stayed away after all retries.
    Outage,
    /// The server answered with another model than the one asked for.
    WrongModel,
}

impl Trouble {
    /// What trials that are given up because of it end with.
    #[must_use]
    pub const fn reason(self) -> ErrorReason {
        match self {
            Self::Outage => ErrorReason::ProviderUnavailable,
            Self::WrongModel => ErrorReason::ProviderRejected,
        }
    }
}

/// A resting preset. When the pause is over one trial is granted to see how things are: the probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub trouble: Trouble,
    /// For people.
    pub text: String,
    /// When it began.
    since: Moment,
    /// No probe before.
    until: Moment,
    /// Failed probes in a row.
    failed: u32,
    /// The trial that probes.
    probe: Option<TrialNo>,
}

impl Pause {
    /// The first sign of trouble.
    #[must_use]
    pub fn begin(now: Moment, trouble: Trouble, text: String, patience: Patience) -> Self {
        Self { trouble, text, since: now, until: now + patience.first, failed: 0, probe: None }
    }

    /// Another sign of trouble, from this trial. Only the probe's counts: the others began before the pause.
    pub fn again(&mut self, now: Moment, trial: TrialNo, trouble: Trouble, text: String, patience: Patience) {
        if self.probe != Some(trial) {
            return;
        }
        self.probe = None;
        self.trouble = trouble;
        self.text = text;
        self.failed = self.failed.saturating_add(1);
        let pause = patience
            .first
            .saturating_mul(1_u32.checked_shl(self.failed).unwrap_or(u32::MAX))
            .min(patience.longest);
        self.until = now + pause;
    }

    /// Whether a probe may go out.
    #[must_use]
    pub fn may_probe(&self, now: Moment) -> bool {
        self.probe.is_none() && now >= self.until
    }

    /// This trial probes.
    pub fn probe_with(&mut self, trial: TrialNo) {
        self.probe = Some(trial);
    }

    /// This trial ended without saying anything about the provider.
    pub fn forget(&mut self, trial: TrialNo) {
        if self.probe == Some(trial) {
            self.probe = None;
        }
    }

    /// Whether patience is at its end.
    #[must_use]
    pub fn is_hopeless(&self, now: Moment, patience: Patience) -> bool {
        self.probe.is_none() && self.failed > 0 && now.since(self.since) >= patience.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    #[test]
    fn probes_go_out_one_at_a_time_and_ever_more_rarely() {
        let patience = Patience::default();
        let mut pause = Pause::begin(at(0), Trouble::Outage, "503".to_owned(), patience);
        let mut now = at(0);
        let mut gaps = Vec::new();
        for number in 0..7 {
            let from = now;
            while !pause.may_probe(now) {
                now = now + Duration::from_secs(1);
            }
            gaps.push(now.since(from).as_secs());
            pause.probe_with(TrialNo(number));
            assert!(!pause.may_probe(now + Duration::from_secs(999)), "one probe at a time");
            pause.again(now, TrialNo(99), Trouble::Outage, "late".to_owned(), patience);
            assert!(
                !pause.may_probe(now + Duration::from_secs(999)),
                "an earlier trial's trouble says nothing new"
            );
            pause.again(now, TrialNo(number), Trouble::Outage, "503".to_owned(), patience);
        }
        assert_eq!(gaps, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn patience_ends_only_after_a_failed_probe() {
        let patience = Patience::default();
        let mut pause = Pause::begin(at(0), Trouble::Outage, String::new(), patience);
        assert!(!pause.is_hopeless(at(1000), patience), "nobody has looked yet");
        pause.probe_with(TrialNo(1));
        pause.again(at(1000), TrialNo(1), Trouble::Outage, String::new(), patience);
        assert!(pause.is_hopeless(at(1000), patience));
        pause.probe_with(TrialNo(2));
        assert!(!pause.is_hopeless(at(1000), patience), "the probe may yet succeed");
        pause.forget(TrialNo(2));
        assert!(pause.is_hopeless(at(1000), patience));
    }
}
