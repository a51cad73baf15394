//! Statistics of trials. Every function is pure, says where its formula comes from and is checked against published values or a naive
//! second implementation; `docs/metrics.md` explains them for readers of reports.

mod clustered;
mod pairs;
mod passk;
mod rate;
mod special;
mod spread;
#[cfg(test)]
mod tests;

pub use clustered::{ClusteredRate, Clusters};
pub use pairs::{Difference, PairCounts, PairedTrials, holm, mcnemar_exact, newcombe_paired};
pub use passk::{pass_all_k, pass_at_k};
pub use rate::{Interval, Z95, wilson};
pub use spread::Spread;
