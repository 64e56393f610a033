//! Places in a file, and what is wrong there.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

/// A place in a file, counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Something read from a file, and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// What was read.
    pub value: T,
    /// Where it begins.
    pub place: Place,
    /// In which document of the file, counted from 0.
    pub document: usize,
}

/// Something wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Where; `None` when it is about the file as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The field, as a path: `spec.mounts[0].name`. Empty when it is about no field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A problem with the file it is in, as one line: `FILE:LINE:COLUMN: FIELD: MESSAGE (HELP)`.
#[derive(Clone, Copy, Debug)]
pub struct ProblemIn<'a> {
    file: &'a Path,
    problem: &'a Problem,
}

// === impl Place ===

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

// === impl Problem ===

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { place: None, field: String::new(), message: message.into(), help: None }
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The problem as a line that begins with its file and place, as compilers print them.
    pub fn in_file<'a>(&'a self, file: &'a Path) -> ProblemIn<'a> {
        ProblemIn { file, problem: self }
    }
}

/// Without the file: `LINE:COLUMN: FIELD: MESSAGE (HELP)`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

// === impl ProblemIn ===

impl fmt::Display for ProblemIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.problem.place.is_some() { ":" } else { ": " };
        write!(f, "{}{separator}{}", self.file.display(), self.problem)
    }
}
