//! Errors as people read them.

use std::error::Error;

/// An error and its causes, from the outside in: `cannot do this: because of that: and that`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
