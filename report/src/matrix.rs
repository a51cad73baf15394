//! Case by case, column by column. A page must open however many cases there are: differing rows come first, then those with anything
//! but a pass, then the rest, up to a limit; what is left out is counted.

use crate::compare::{Options, TraceLink};
use crate::table::{End, Sample, Table, Texts};
use crate::text;
use serde::Serialize;

/// The matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    /// Titles of the columns.
    pub columns: Vec<String>,
    /// All rows there are.
    pub cases: u64,
    /// Rows whose columns do not agree.
    pub differing: u64,
    /// Rows that listed no failure, error or missing trial.
    pub passing: u64,
    /// Rows that are not listed below: differing, otherwise not passing, passing.
    pub left_out: [u64; 3],
    /// The listed rows, in the order of the suites.
    pub rows: Vec<MatrixRow>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatrixRow {
    /// Its suite.
    pub suite: String,
    /// Its id.
    pub case: String,
    /// Whether columns do not agree.
    pub differs: bool,
    /// Whether every trial passed.
    pub passes: bool,
    /// One a column.
    pub cells: Vec<Cell>,
}

/// One case of one column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Passed trials.
    pub passed: u64,
    /// Failed trials.
    pub failed: u64,
    /// Trials that could not be measured.
    pub errored: u64,
    /// Trials without verdict.
    pub missing: u64,
    /// The trials one by one, as far as there is room.
    pub trials: Vec<Mark>,
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Which.
    pub trial: u32,
    /// `passed`, `failed` or `errored`.
    pub outcome: &'static str,
    /// Failure type or error reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Model calls.
    pub steps: u32,
    /// Wall seconds.
    pub seconds: f64,
    /// Which limit ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_by: Option<String>,
    /// Annotations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<&'static str>,
    /// What went wrong, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Link to the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

impl Cell {
    /// Decided trials.
    #[must_use]
    pub const fn decided(&self) -> u64 {
        self.passed + self.failed + self.errored
    }
}

/// Cells of a matrix, as long as [`MIN_ROWS`] rows are listed.
const MAX_CELLS: usize = 10_000;
const MIN_ROWS: usize = 50;

/// Longest error text in a mark.
const MAX_MARK_ERROR: usize = 300;

/// Where each column stands while rows are read in order.
struct Cursors(Vec<usize>);

impl Cursors {
    fn new(table: &Table) -> Self {
        Self(table.columns.iter().map(|_| 0).collect())
    }

    /// The samples of a row in each column. Rows must be asked for in order.
    fn row<'a>(&mut self, table: &'a Table, row: u32) -> Vec<(&'a [Sample], &'a [Texts])> {
        let mut found = Vec::with_capacity(self.0.len());
        for (cursor, column) in self.0.iter_mut().zip(&table.columns) {
            while column.samples.get(*cursor).is_some_and(|sample| sample.row < row) {
                *cursor += 1;
            }
            let start = *cursor;
            while column.samples.get(*cursor).is_some_and(|sample| sample.row == row) {
                *cursor += 1;
            }
            let range = start..*cursor;
            found.push((
                column.samples.get(range.clone()).unwrap_or_default(),
                column.texts.get(range).unwrap_or_default(),
            ));
        }
        found
    }
}

fn count(samples: &[Sample], planned: u32) -> Cell {
    let mut cell = Cell { passed: 0, failed: 0, errored: 0, missing: 0, trials: Vec::new() };
    for sample in samples {
        match sample.end {
            End::Passed => cell.passed += 1,
            End::Failed(_) => cell.failed += 1,
            End::Errored(_) => cell.errored += 1,
        }
    }
    cell.missing = u64::from(planned).saturating_sub(cell.decided());
    cell
}

/// 0 differing, 1 otherwise not passing, 2 passing.
fn class(cells: &[Cell]) -> usize {
    let rate = |cell: &Cell| (cell.passed, cell.passed + cell.failed);
    let measured: Vec<(u64, u64)> = cells.iter().map(rate).filter(|(_, count)| *count > 0).collect();
    // Fractions are compared crosswise.
    let differs = measured.windows(2).any(|pair| match pair {
        [(p, n), (q, m)] => p * m != q * n,
        _ => false,
    });
    if differs {
        0
    } else if cells.iter().any(|cell| cell.failed + cell.errored + cell.missing > 0) {
        1
    } else {
        2
    }
}

pub(crate) fn matrix(table: &Table, options: &Options, trace: TraceLink<'_>) -> Matrix {
    let mut cursors = Cursors::new(table);
    let mut classes = Vec::with_capacity(table.rows.len());
    let mut totals = [0_u64; 3];
    for (place, row) in table.rows.iter().enumerate() {
        let cells: Vec<Cell> = cursors
            .row(table, crate::view::count32(place))
            .iter()
            .map(|(samples, _)| count(samples, row.planned))
            .collect();
        let class = class(&cells);
        totals[class] += 1;
        classes.push(class);
    }
    // Wide tables are shorter: the page has room for so many cells.
    let max_rows = options.max_rows.min((MAX_CELLS / table.columns.len().max(1)).max(MIN_ROWS));
    let listed = choose(&classes, totals, max_rows);
    let mut cursors = Cursors::new(table);
    let mut room = options.max_marks;
    let mut rows = Vec::new();
    let mut left_out = [0; 3];
    for (place, row) in table.rows.iter().enumerate() {
        let class = classes.get(place).copied().unwrap_or(2);
        if !listed.get(place).copied().unwrap_or(false) {
            left_out[class] += 1;
            continue;
        }
        let mut cells = Vec::new();
        for (column, (samples, texts)) in
            cursors.row(table, crate::view::count32(place)).into_iter().enumerate()
        {
            let mut cell = count(samples, row.planned);
            let shown = samples.len().min(options.max_marks_in_cell).min(room);
            room -= shown;
            for (sample, texts) in samples.iter().zip(texts).take(shown) {
                cell.trials.push(mark(table, sample, texts, trace(column, sample, texts)));
            }
            cells.push(cell);
        }
        rows.push(MatrixRow {
            suite: table.suites.get(row.suite as usize).cloned().unwrap_or_default(),
            case: row.case.clone(),
            differs: class == 0,
            passes: class == 2,
            cells,
        });
    }
    Matrix {
        columns: table.columns.iter().map(|column| column.title.clone()).collect(),
        cases: table.rows.len() as u64,
        differing: totals[0],
        passing: totals[2],
        left_out,
        rows,
    }
}

/// Which rows fit.
fn choose(classes: &[usize], totals: [u64; 3], max_rows: usize) -> Vec<bool> {
    let mut room = [0; 3];
    let mut left = max_rows as u64;
    for (room, total) in room.iter_mut().zip(totals) {
        *room = total.min(left);
        left -= *room;
    }
    let mut take = |class: &usize| {
        let fits = room[*class] > 0;
        room[*class] -= u64::from(fits);
        fits
    };
    classes.iter().map(&mut take).collect()
}

fn mark(table: &Table, sample: &Sample, texts: &Texts, trace: Option<String>) -> Mark {
    let (outcome, why) = match sample.end {
        End::Passed => ("passed", None),
        End::Failed(word) => ("failed", Some(word)),
        End::Errored(word) => ("errored", Some(word)),
    };
    Mark {
        trial: sample.index,
        outcome,
        why: why.map(|word| table.word_at(word).to_owned()),
        steps: sample.steps,
        seconds: sample.seconds,
        bound_by: texts.bound_by.as_deref().map(str::to_owned),
        notes: sample.notes.words().collect(),
        error: texts.error.as_deref().map(|error| text::brief(error, MAX_MARK_ERROR)),
        trace,
    }
}
