//! One content of a manifest.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use litemap::LiteMap;
use plugward_api::RecordKey;

use crate::source::Document;

/// One content of a manifest.
pub(super) struct Version {
    pub(super) text: Arc<str>,
    pub(super) records: Records,
}

/// What a version declares. Most declare one record: hence the flat map.
#[derive(Debug)]
pub(super) enum Records {
    Known(LiteMap<RecordKey, Document>),
    /// The text was accepted by an earlier program only: of its records only the held names are known.
    NamesOnly(BTreeSet<RecordKey>),
}

// === impl Version ===

impl Version {
    pub(super) fn is(&self, other: &Self) -> bool {
        self.text == other.text
            && matches!((&self.records, &other.records), (Records::Known(_), Records::Known(_)))
    }
}

/// A manifest may hold secrets: its text is not shown.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("names", &self.records.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

// === impl Records ===

impl Records {
    pub(super) fn known(documents: Vec<Document>) -> Self {
        let mut known = LiteMap::with_capacity(documents.len());
        for document in documents {
            // A name that is twice in one file is the parser's error; the first is as good as any.
            known.try_insert(document.record.key(), document);
        }
        Self::Known(known)
    }

    pub(super) fn contains(&self, key: &RecordKey) -> bool {
        match self {
            Self::Known(documents) => documents.contains_key(key),
            Self::NamesOnly(names) => names.contains(key),
        }
    }

    pub(super) fn get(&self, key: &RecordKey) -> Option<&Document> {
        match self {
            Self::Known(documents) => documents.get(key),
            Self::NamesOnly(_) => None,
        }
    }

    pub(super) fn keys(&self) -> Box<dyn Iterator<Item = &RecordKey> + '_> {
        match self {
            Self::Known(documents) => Box::new(documents.keys()),
            Self::NamesOnly(names) => Box::new(names.iter()),
        }
    }
}
