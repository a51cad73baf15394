//! The phases of a run here and the one table of legal steps between them.

/// Where a coordinator is with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The epoch is claimed; workers of an earlier reign may still announce what they hold. Nothing is granted.
    Opening,
    /// Trials are granted.
    Reigning,
    /// The run is cancelled: nothing is granted, what is in flight is revoked, the rest is decided as cancelled.
    Cancelling,
    /// Every trial is decided; the seal is being written.
    Settled,
    /// The end: closed.
    Sealed,
    /// The end: a newer epoch reigns.
    Fenced,
}

/// What moves a run from phase to phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// The wait for workers of an earlier reign is over.
    WaitOver,
    /// Somebody cancelled the run.
    Cancel,
    /// The last trial was decided.
    AllDecided,
    /// The folder lacks verdicts that were announced.
    VerdictsMissing,
    /// The seal exists.
    Sealed,
    /// A newer epoch exists.
    NewerEpoch,
}

/// A step that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no step from {from:?} on {turn:?}")]
pub struct Illegal {
    /// The phase.
    pub from: Phase,
    /// What happened.
    pub turn: Turn,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Opening, Self::Reigning, Self::Cancelling, Self::Settled, Self::Sealed, Self::Fenced];

    /// The table.
    ///
    /// # Errors
    /// When there is no such step.
    pub const fn step(self, turn: Turn) -> Result<Self, Illegal> {
        Ok(match (self, turn) {
            (Self::Opening, Turn::WaitOver) => Self::Reigning,
            (Self::Opening | Self::Reigning, Turn::Cancel) => Self::Cancelling,
            (Self::Opening | Self::Reigning | Self::Cancelling, Turn::AllDecided) => Self::Settled,
            (Self::Settled, Turn::VerdictsMissing) => Self::Reigning,
            (Self::Settled, Turn::Sealed) => Self::Sealed,
            (Self::Opening | Self::Reigning | Self::Cancelling | Self::Settled, Turn::NewerEpoch) => {
                Self::Fenced
            }
            (from, turn) => return Err(Illegal { from, turn }),
        })
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Sealed | Self::Fenced)
    }
}

impl Turn {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WaitOver,
        Self::Cancel,
        Self::AllDecided,
        Self::VerdictsMissing,
        Self::Sealed,
        Self::NewerEpoch,
    ];
}

/// The table as Markdown, for the documents.
#[must_use]
pub fn table() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| phase |");
    for turn in Turn::ALL {
        // Writing to a string cannot fail.
        let _ = write!(text, " {turn:?} |");
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(Turn::ALL.len()));
    for phase in Phase::ALL {
        let _ = write!(text, "\n| {phase:?} |");
        for turn in Turn::ALL {
            let _ = match phase.step(turn) {
                Ok(next) => write!(text, " {next:?} |"),
                Err(_) => write!(text, " – |"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_show_this_table() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(&table()), "put this table into docs/protocol.md:\n{}", table());
    }

    #[test]
    fn ends_have_no_way_out_and_everything_else_reaches_one() {
        for phase in Phase::ALL {
            let next: Vec<Phase> = Turn::ALL.iter().filter_map(|turn| phase.step(*turn).ok()).collect();
            assert_eq!(next.is_empty(), phase.is_end(), "{phase:?}");
            assert!(phase.is_end() || next.contains(&Phase::Fenced), "{phase:?}");
        }
    }
}
