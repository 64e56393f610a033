//! Selecting records by their labels, as `kubectl -l` does.

use std::str::FromStr;

use plugward_api::{LabelKey, LabelValue};
use serde_json::Value;

/// What all of a record's labels must be: `team=orders,tier!=test,owner,!legacy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    /// It is something else, or is not there.
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    /// Whether an object is meant.
    pub(super) fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object.get("metadata")?.get("labels")?.get(key)?.as_str();
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => label(key) == Some(value),
            Term::IsNot(key, value) => label(key) != Some(value),
            Term::Has(key) => label(key).is_some(),
            Term::HasNot(key) => label(key).is_none(),
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|term| self::term(term.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn term(text: &str) -> Result<Term, String> {
    let wrong = |what: String| format!("{text:?} {what} (use KEY=VALUE, KEY!=VALUE, KEY or !KEY)");
    let key = |key: &str| {
        let key = key.trim();
        key.parse::<LabelKey>()
            .map(|_| key.to_owned())
            .map_err(|error| wrong(format!("has no label key: {error}")))
    };
    let value = |value: &str| {
        let value = value.trim();
        value
            .parse::<LabelValue>()
            .map(|_| value.to_owned())
            .map_err(|error| wrong(format!("has no label value: {error}")))
    };
    if let Some((left, right)) = text.split_once("!=") {
        return Ok(Term::IsNot(key(left)?, value(right)?));
    }
    if let Some((left, right)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Term::Is(key(left)?, value(right)?));
    }
    match text.strip_prefix('!') {
        Some(absent) => key(absent).map(Term::HasNot),
        None => key(text).map(Term::Has),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: &Value) -> bool {
        let object = json!({ "metadata": { "name": "orders", "labels": labels } });
        selector.parse::<Selector>().unwrap().selects(&object)
    }

    #[test]
    fn all_terms_must_hold() {
        let labels = json!({ "team": "orders", "example.com/tier": "" });
        assert!(selects("team=orders", &labels));
        assert!(selects("team==orders, example.com/tier", &labels));
        assert!(selects("example.com/tier=,!legacy,owner!=me", &labels));
        assert!(!selects("team=orders,owner", &labels));
        assert!(!selects("team!=orders", &labels));
        assert!(!selects("!team", &labels));
    }

    #[test]
    fn a_record_without_labels_has_none() {
        let object = json!({ "metadata": { "name": "orders" } });
        assert!("!team".parse::<Selector>().unwrap().selects(&object));
        assert!(!"team".parse::<Selector>().unwrap().selects(&object));
    }

    #[test]
    fn what_is_no_selector_is_told_with_what_is_one() {
        for wrong in ["", "team=a=b", "=orders", "a b", "team in (a)"] {
            let error = wrong.parse::<Selector>().unwrap_err();
            assert!(error.contains("use KEY=VALUE, KEY!=VALUE, KEY or !KEY"), "{error}");
        }
    }
}
