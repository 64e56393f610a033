//! Errors in full.

use std::error::Error;
use std::fmt::{self, Display};

/// Prints an error and its causes, from the outermost to the innermost.
pub(crate) fn chain(error: &dyn Error) -> impl Display {
    Chain(error)
}

struct Chain<'a>(&'a dyn Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
