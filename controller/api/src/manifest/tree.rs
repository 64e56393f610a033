//! What a manifest says, with places, before anything is known about what it means.

use std::collections::HashMap;

use crate::{Place, Problem};

use super::nearest::quoted;

/// One document of a manifest.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) data: Data,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// No value: `null`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file. No key is in it twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

/// A mapping in the making.
#[derive(Debug, Default)]
pub(super) struct MapBuilder {
    entries: Vec<Entry>,
    places: HashMap<String, Place>,
}

// === impl Node ===

impl Node {
    /// The text, if the node is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node that a path of keys leads to.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        let Some((key, rest)) = path.split_first() else { return Some(self) };
        let Data::Map(entries) = &self.data else { return None };
        entries.iter().find(|entry| entry.key == *key)?.value.at(rest)
    }

    /// How many values there are in it, itself included.
    pub(super) fn size(&self) -> usize {
        1 + match &self.data {
            Data::List(items) => items.iter().map(Self::size).sum(),
            Data::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
            _ => 0,
        }
    }

    /// How many lists and mappings are nested in it, itself included.
    pub(super) fn depth(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Data::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

// === impl Data ===

impl Data {
    /// What it is, in words for people. Shows no texts: they may be secret.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "empty".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => format!("the number {}", quoted(number).trim_matches('"')),
            Self::Text(_) => "a text".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

// === impl MapBuilder ===

impl MapBuilder {
    /// Adds an entry, unless its key is there already: then says so.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<(), Problem> {
        if let Some(first) = self.places.get(&entry.key) {
            return Err(Problem::new(format!(
                "the key {} is there twice: first at {first}",
                quoted(&entry.key)
            ))
            .at(entry.key_place)
            .help("keep one of them"));
        }
        self.places.insert(entry.key.clone(), entry.key_place);
        self.entries.push(entry);
        Ok(())
    }

    /// The finished mapping.
    pub(super) fn finish(self) -> Data {
        Data::Map(self.entries)
    }
}
