//! Variables of a host's environment that are passed on to its plugin. Their values may be secrets: they are in no `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Variables that are passed on, by name. Clones share them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passed(Arc<BTreeMap<String, String>>);

impl Passed {
    /// The names and values.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl FromIterator<(String, String)> for Passed {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_shown() {
        let passed: Passed = [("TOKEN".to_owned(), "hidden".to_owned())].into_iter().collect();
        assert_eq!(format!("{passed:?}"), r#"{"TOKEN"}"#);
    }
}
