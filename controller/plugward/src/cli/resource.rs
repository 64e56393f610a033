//! What can be listed and watched: records of a kind, and sessions of hosts.

use plugward_api::{Kind, PluginSession};

/// What can be listed and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// Records of a kind.
    Record(Kind),
    /// Hosts that attached.
    Session,
}

// === impl Resource ===

impl Resource {
    /// What a person means by a word: of records, what [`Kind::from_resource`] takes; of sessions, the like.
    pub(super) fn of_word(text: &str) -> Result<Self, String> {
        if let Some(kind) = Kind::from_resource(text) {
            return Ok(Self::Record(kind));
        }
        match text.to_ascii_lowercase().as_str() {
            "session" | "sessions" | "pluginsession" | "pluginsessions" | "ps" => Ok(Self::Session),
            _ => Err("expected instances, runtimes or sessions".to_owned()),
        }
    }

    /// The name of one.
    pub(super) const fn bare(self) -> &'static str {
        match self {
            Self::Record(kind) => kind.bare(),
            Self::Session => "session",
        }
    }

    /// The kind that objects have.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Record(kind) => kind.as_str(),
            Self::Session => PluginSession::KIND,
        }
    }

    /// What the controller is asked for.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Record(Kind::PluginInstance) => "instances",
            Self::Record(Kind::PluginRuntime) => "runtimes",
            Self::Session => "sessions",
        }
    }
}

impl From<Kind> for Resource {
    fn from(kind: Kind) -> Self {
        Self::Record(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_meant_by_the_words_that_records_would_be() {
        for word in ["session", "sessions", "PluginSession", "pluginsessions", "ps"] {
            assert_eq!(Resource::of_word(word), Ok(Resource::Session), "{word}");
        }
        assert_eq!(Resource::of_word("pi"), Ok(Resource::Record(Kind::PluginInstance)));
        assert!(Resource::of_word("hosts").is_err());
    }
}
