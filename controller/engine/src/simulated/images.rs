//! The images of a simulated engine.

use std::collections::BTreeMap;

use super::script::Behaviour;

/// Images by ID, and the names that point at them.
#[derive(Default)]
pub(super) struct Images {
    by_id: BTreeMap<String, Behaviour>,
    names: BTreeMap<String, String>,
}

impl Images {
    pub(super) fn add(&mut self, id: String, behaviour: Behaviour) {
        self.by_id.insert(id, behaviour);
    }

    /// Points a name at an image; it may have pointed elsewhere before.
    pub(super) fn name(&mut self, name: &str, id: &str) {
        self.names.insert(with_tag(name), id.to_owned());
    }

    /// The ID that a reference names.
    pub(super) fn find(&self, reference: &str) -> Option<&str> {
        let id = self.names.get(&with_tag(reference)).map_or(reference, String::as_str);
        self.by_id.get_key_value(id).map(|(id, _)| id.as_str())
    }

    pub(super) fn behaviour(&self, id: &str) -> Option<&Behaviour> {
        self.by_id.get(id)
    }

    /// Takes a name away; the image goes with its last one. Returns its ID and whether it is gone.
    pub(super) fn remove_name(&mut self, name: &str) -> Option<(String, bool)> {
        let id = self.names.remove(&with_tag(name))?;
        let gone = !self.names.values().any(|other| *other == id);
        if gone {
            self.by_id.remove(&id);
        }
        Some((id, gone))
    }
}

/// `redis` means `redis:latest`. A colon before the last slash is a registry's port.
pub(super) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}
