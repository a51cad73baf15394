//! Trials as a table of columns (presets or report files) and rows (cases), small enough for a million of them. The one shape that
//! summaries, comparisons and pages work on, whether it came from a run folder or from report files.

use domain::id::AttemptNo;
use domain::outcome::Note;
use domain::usage::Usage;

/// How a trial ended; the number names a word of [`Table::words`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed(u16),
    Errored(u16),
}

impl End {
    /// Whether it says something about the model.
    pub(crate) const fn is_measured(self) -> bool {
        !matches!(self, Self::Errored(_))
    }

    pub(crate) const fn passed(self) -> bool {
        matches!(self, Self::Passed)
    }
}

/// A set of [`Note`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Notes(u8);

/// All notes with the words of reports, in their order.
pub(crate) const NOTES: [(Note, &str); 4] = [
    (Note::RecoveredToolFailure, "recovered_tool_failure"),
    (Note::Contested, "contested"),
    (Note::Truncated, "truncated"),
    (Note::RepairedAfterFeedback, "repaired_after_feedback"),
];

impl Notes {
    pub(crate) fn insert(&mut self, note: Note) {
        for (bit, (known, _)) in NOTES.iter().enumerate() {
            if *known == note {
                self.0 |= 1 << bit;
            }
        }
    }

    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        NOTES.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, (_, word))| *word)
    }
}

/// One decided trial.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) row: u32,
    pub(crate) index: u32,
    pub(crate) end: End,
    pub(crate) finished: bool,
    pub(crate) notes: Notes,
    pub(crate) steps: u32,
    /// `None` where a foreign report does not say.
    pub(crate) tools: Option<Tools>,
    /// `None` where a foreign report does not say.
    pub(crate) usage: Option<Usage>,
    pub(crate) seconds: f64,
    pub(crate) attempt: Option<AttemptNo>,
}

/// Tool calls of a trial.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tools {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
}

/// What a trial said; parallel to the samples of its column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    pub(crate) summary: Box<str>,
    pub(crate) error: Option<Box<str>>,
    pub(crate) bound_by: Option<Box<str>>,
    /// Path of the trace in a loaded report.
    pub(crate) trace: Option<Box<str>>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Index into [`Table::suites`].
    pub(crate) suite: u32,
    /// The id in the suite file.
    pub(crate) case: String,
    /// Cases of one cluster share a number; every other case has its own.
    pub(crate) cluster: u32,
    /// Trials that each column was to have; 0 where only files know.
    pub(crate) planned: u32,
}

/// One preset, or one report file.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) preset: Option<String>,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) started_at: String,
    /// The report file, as the person named it.
    pub(crate) source: Option<String>,
    /// Sorted by row, then index.
    pub(crate) samples: Vec<Sample>,
    pub(crate) texts: Vec<Texts>,
    /// The suite of a report file that speaks of one suite only.
    pub(crate) suite: Option<u32>,
    /// Trials that were planned and are not among the samples, where a file says so.
    pub(crate) missing: u64,
    /// Trials that a file counts without listing them: (passed, failed).
    pub(crate) unlisted: (u64, u64),
}

/// Columns over rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Labels of suites; never two alike.
    pub(crate) suites: Vec<String>,
    /// Sorted by suite; the order of the suite file inside.
    pub(crate) rows: Vec<Row>,
    pub(crate) columns: Vec<Column>,
    pub(crate) words: Vec<String>,
}

impl Table {
    pub(crate) fn word(&mut self, word: &str) -> u16 {
        let found = self.words.iter().position(|known| known == word);
        let place = found.unwrap_or_else(|| {
            // A hostile file may hold any number of words; beyond the last number they all share one.
            if self.words.len() < usize::from(u16::MAX) {
                self.words.push(word.to_owned());
            }
            self.words.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    pub(crate) fn word_at(&self, number: u16) -> &str {
        self.words.get(usize::from(number)).map_or("unknown", String::as_str)
    }
}
