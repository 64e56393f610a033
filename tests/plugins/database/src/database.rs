//! A database, as far as a plugin shows.

use std::collections::BTreeSet;

/// A connection that was made by `Initialize`, and the users behind it.
#[derive(Debug)]
pub(crate) struct Database {
    label: String,
    users: BTreeSet<String>,
    /// How many users were made, deleted ones too.
    made: u64,
}

impl Database {
    /// One without users.
    pub(crate) fn new(label: String) -> Self {
        Self { label, users: BTreeSet::new(), made: 0 }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The same users behind another label, as a connection that is configured anew.
    pub(crate) fn relabel(&mut self, label: String) {
        self.label = label;
    }

    /// Makes a user, and says its name.
    pub(crate) fn make_user(&mut self, process: &str) -> String {
        self.made += 1;
        let name = format!("{}_{}@{process}", self.label, self.made);
        self.users.insert(name.clone());
        name
    }

    pub(crate) fn has_user(&self, name: &str) -> bool {
        self.users.contains(name)
    }

    pub(crate) fn delete_user(&mut self, name: &str) {
        self.users.remove(name);
    }
}
