//! `get --watch`: rows as they change.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use plugward_api::API_VERSION;
use serde_json::{Value, json};

use super::colours::Colours;
use super::format::{Output, text};
use super::records::{self, Column};
use super::resource::Resource;
use super::selector::Selector;
use super::table;

/// What was shown, and how the next line is.
pub(super) struct Lines<'a> {
    resource: Resource,
    output: Output,
    selector: Option<&'a Selector>,
    columns: Vec<&'static Column>,
    titles: Vec<String>,
    widths: Vec<usize>,
    colours: Colours,
    /// What of each object makes it another one than was shown.
    shown: BTreeMap<String, Steady>,
}

/// What of an object makes it another one than was shown.
#[derive(PartialEq, Eq)]
enum Steady {
    /// Its row, without its age.
    Row(Vec<String>),
    /// All of it, as a hash.
    Whole(u64),
}

impl<'a> Lines<'a> {
    /// `first` is what is there when the watch begins: columns are as wide as it needs.
    pub(super) fn new(
        resource: impl Into<Resource>,
        output: Output,
        selector: Option<&'a Selector>,
        first: &[Value],
        colours: Colours,
    ) -> Self {
        let resource = resource.into();
        let columns = records::columns(resource, output == Output::Wide);
        let titles = records::titles(&columns);
        let now = Timestamp::now();
        let mut rows = vec![titles.clone()];
        rows.extend(first.iter().map(|object| records::row(&columns, object, now)));
        let widths = table::widths(&rows);
        Self { resource, output, selector, columns, titles, widths, colours, shown: BTreeMap::new() }
    }

    /// The titles of the table, if it is one.
    pub(super) fn head(&self) -> String {
        match self.output {
            Output::Table | Output::Wide => self.line(&self.titles),
            _ => String::new(),
        }
    }

    /// The line for one change that the controller tells of, if it is to be shown.
    pub(super) fn change(&mut self, change: &Value, now: Timestamp) -> Option<String> {
        let object = change.get("object")?;
        let name = text(object, "/metadata/name");
        let selected = self.selector.is_none_or(|selector| selector.selects(object));
        // What is not selected any more is gone for those who look.
        if text(change, "/type") == "DELETED" || !selected {
            self.shown.remove(name)?;
            return Some(self.gone(name, object));
        }
        let row = records::row(&self.columns, object, now);
        let steady = match self.output {
            Output::Json => Steady::Whole(hash(object)),
            _ => Steady::Row(records::without_age(&self.columns, &row)),
        };
        // Nothing that is shown has changed, or the controller was away and tells all again.
        if self.shown.get(name) == Some(&steady) {
            return None;
        }
        let before = self.shown.insert(name.to_owned(), steady);
        match self.output {
            Output::Json => {
                let kind = if before.is_none() { "ADDED" } else { "MODIFIED" };
                Some(format!("{}\n", json!({ "type": kind, "object": object })))
            }
            Output::Name => Some(format!("{}/{name}\n", self.resource.bare())),
            _ => Some(self.line(&row)),
        }
    }

    /// The lines for what was shown and is not among all that are there.
    pub(super) fn without_gone(&mut self, there: &[Value]) -> String {
        let there: BTreeSet<&str> = there.iter().map(|object| text(object, "/metadata/name")).collect();
        let gone: Vec<String> =
            self.shown.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
        let lines = gone.iter().map(|name| {
            self.shown.remove(name);
            let metadata = json!({ "name": name });
            let object =
                json!({ "apiVersion": API_VERSION, "kind": self.resource.kind(), "metadata": metadata });
            self.gone(name, &object)
        });
        lines.collect()
    }

    fn gone(&self, name: &str, object: &Value) -> String {
        match self.output {
            Output::Json => format!("{}\n", json!({ "type": "DELETED", "object": object })),
            Output::Name => format!("{}/{name} deleted\n", self.resource.bare()),
            _ => self.deleted(name),
        }
    }

    fn deleted(&self, name: &str) -> String {
        let mut row = vec![String::new(); self.titles.len()];
        for (cell, text) in row.iter_mut().zip([name, "<deleted>"]) {
            text.clone_into(cell);
        }
        self.line(&row)
    }

    fn line(&self, row: &[String]) -> String {
        table::line(&self.titles, row, &self.widths, self.colours)
    }
}

fn hash(object: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use plugward_api::Kind;

    use super::*;

    fn change(kind: &str, name: &str, phase: &str, labels: &Value) -> Value {
        json!({
            "type": kind,
            "object": {
                "metadata": { "name": name, "labels": labels },
                "spec": { "plugin": { "name": "redis" }, "runtime": "gvisor" },
                "status": { "phase": phase },
            },
        })
    }

    fn shown(output: Output, selector: Option<&str>, changes: &[Value]) -> String {
        let selector = selector.map(|text| text.parse().unwrap());
        let first = [changes[0]["object"].clone()];
        let mut lines = Lines::new(Kind::PluginInstance, output, selector.as_ref(), &first, Colours::Off);
        let mut text = lines.head();
        text.extend(changes.iter().filter_map(|change| lines.change(change, Timestamp::now())));
        text
    }

    #[test]
    fn rows_are_shown_when_something_in_them_changes() {
        let none = json!({});
        let changes = [
            change("ADDED", "orders", "Starting", &none),
            change("MODIFIED", "orders", "Starting", &json!({ "team": "x" })),
            change("MODIFIED", "orders", "Ready", &none),
            change("ADDED", "billing", "Ready", &none),
            change("DELETED", "orders", "", &none),
        ];
        assert_eq!(
            shown(Output::Table, None, &changes),
            "NAME     PLUGIN   RUNTIME   PHASE      READY   RESTARTS   AGE\n\
             orders   redis    gvisor    Starting   0/1     0          <unknown>\n\
             orders   redis    gvisor    Ready      0/1     0          <unknown>\n\
             billing   redis    gvisor    Ready      0/1     0          <unknown>\n\
             orders   <deleted>\n"
        );
        assert_eq!(
            shown(Output::Name, None, &changes),
            "instance/orders\ninstance/orders\ninstance/billing\ninstance/orders deleted\n"
        );
        assert_eq!(
            shown(Output::Json, None, &changes).lines().count(),
            5,
            "programs are told of every change"
        );
    }

    #[test]
    fn what_a_controller_tells_again_is_not_shown_again_and_what_went_meanwhile_is() {
        let none = json!({});
        let changes = [change("ADDED", "orders", "Ready", &none), change("ADDED", "billing", "Ready", &none)];
        for (output, gone) in [
            (Output::Table, "orders    <deleted>"),
            (Output::Name, "instance/orders deleted"),
            (Output::Json, r#""type":"DELETED""#),
        ] {
            let first = [changes[0]["object"].clone(), changes[1]["object"].clone()];
            let mut lines = Lines::new(Kind::PluginInstance, output, None, &first, Colours::Off);
            for change in &changes {
                assert!(lines.change(change, Timestamp::now()).is_some());
            }
            for change in &changes {
                assert_eq!(lines.change(change, Timestamp::now()), None, "{output:?}");
            }
            let said = lines.without_gone(&first[1..]);
            assert!(said.lines().count() == 1 && said.contains(gone), "{said}");
            assert_eq!(lines.without_gone(&first[1..]), "");
            assert!(lines.change(&changes[0], Timestamp::now()).is_some(), "it came back");
        }
    }

    #[test]
    fn what_loses_its_label_goes_and_what_never_had_it_does_not_come() {
        let (mine, other) = (json!({ "team": "me" }), json!({}));
        let changes = [
            change("ADDED", "orders", "Ready", &mine),
            change("ADDED", "billing", "Ready", &other),
            change("MODIFIED", "orders", "Ready", &other),
            change("DELETED", "orders", "", &other),
        ];
        let text = shown(Output::Name, Some("team=me"), &changes);
        assert_eq!(text, "instance/orders\ninstance/orders deleted\n");
    }
}
