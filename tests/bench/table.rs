//! Figures, and how they are shown.

use std::fmt::Write as _;
use std::time::Duration;

/// One line of the table.
pub(crate) struct Row {
    /// What was done.
    pub(crate) work: String,
    /// What came out.
    pub(crate) seen: String,
    /// What it is compared with.
    pub(crate) against: String,
    /// What should come out.
    pub(crate) goal: String,
    /// Whether it did; `None` where there is no goal.
    pub(crate) met: Option<bool>,
}

/// Two kinds of durations, taken in turns.
#[derive(Default)]
pub(crate) struct Pairs {
    /// Ours.
    ours: Vec<Duration>,
    /// What they are compared with.
    raw: Vec<Duration>,
}

/// A ratio that should be reached, or not be passed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Of what is the better the more it is.
    AtLeast(f64),
    /// Of what is the better the less it is.
    AtMost(f64),
}

/// The row that compares figures of rounds: the median of the ratios of each round, beside the medians of both. `show` says a figure
/// with its unit.
pub(crate) fn compare(
    work: String,
    ours: &[f64],
    against: &str,
    others: &[f64],
    show: impl Fn(f64) -> String,
    goal: Option<Goal>,
) -> Row {
    let ratios: Vec<f64> = ours.iter().zip(others).map(|(ours, other)| ours / other).collect();
    let ratio = middle(&ratios);
    Row {
        work,
        seen: format!("{ratio:.2} ×  ({})", show(middle(ours))),
        against: format!("{against} ({})", show(middle(others))),
        goal: Goal::told(goal),
        met: goal.map(|goal| goal.is_met_by(ratio)),
    }
}

/// The one in the middle.
fn middle(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

// === impl Goal ===

impl Goal {
    fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }

    fn told(goal: Option<Self>) -> String {
        match goal {
            None => "–".to_owned(),
            Some(Self::AtLeast(least)) => format!("≥ {least:.2} ×"),
            Some(Self::AtMost(most)) => format!("≤ {most:.2} ×"),
        }
    }
}

// === impl Pairs ===

impl Pairs {
    /// Takes ours, and what it is compared with.
    pub(crate) fn push(&mut self, ours: Duration, raw: Duration) {
        self.ours.push(ours);
        self.raw.push(raw);
    }

    /// The row that compares the medians. `at_most` is the ratio that should not be passed, if there is one.
    pub(crate) fn row(&self, work: String, against: &str, at_most: Option<f64>) -> Row {
        let (ours, raw) = (median(&self.ours), median(&self.raw));
        let goal = at_most.map(Goal::AtMost);
        let ratio = ours.as_secs_f64() / raw.as_secs_f64();
        Row {
            work,
            seen: format!("{ratio:.2} ×  ({})", whole_millis(ours)),
            against: format!("{against} ({})", whole_millis(raw)),
            goal: Goal::told(goal),
            met: goal.map(|goal| goal.is_met_by(ratio)),
        }
    }
}

/// The middle one.
fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// The time that so many of a hundred took at most.
pub(crate) fn percentile(durations: &[Duration], percent: usize) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

/// A time in milliseconds, with one place: for what takes a few of them.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn whole_millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// Bytes as people read them.
pub(crate) fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded to one place")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.1} MiB")
}

/// The rows as a table of Markdown.
pub(crate) fn render(rows: &[Row]) -> String {
    let head = ["work", "seen", "against", "goal", ""].map(ToOwned::to_owned);
    let verdict = |met| match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let lines: Vec<[String; 5]> = std::iter::once(head)
        .chain(rows.iter().map(|row| {
            let Row { work, seen, against, goal, met } = row;
            [work.clone(), seen.clone(), against.clone(), goal.clone(), verdict(*met).to_owned()]
        }))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "| {} ", "-".repeat((*width).max(3)));
            }
            text.push_str("|\n");
        }
    }
    text
}
