//! Strings with rules: each is a type that can't hold a bad value.

use std::borrow::Cow;

/// Why a text is not a value of the type it was meant for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    message: String,
    help: Option<String>,
}

/// A string type with rules of its own.
///
/// The two sides of a rule live together here: [`Text::PATTERN`] for those who only have the schema, and
/// [`Text::check`] for a message that says what to do. Tests hold them to the same verdict.
pub(crate) trait Text: Sized {
    /// The `format` keyword of the schema, by which the manifest parser finds [`Text::check`].
    const FORMAT: &'static str;
    /// The regular expression in the schema (ECMA 262, also valid in RE2: Kubernetes uses that).
    const PATTERN: &'static str;
    /// The greatest length, in characters.
    const MAX_LENGTH: usize;
    /// A valid value.
    const EXAMPLE: &'static str;

    /// Says what is wrong with `text`, if anything is but its length.
    fn check(text: &str) -> Result<(), Invalid>;

    /// The form that is kept, where several spellings mean the same.
    fn normalise(text: &str) -> Cow<'_, str> {
        Cow::Borrowed(text)
    }
}

/// Defines a newtype over shared text for a [`Text`]: names are copied to wherever something is known of a record.
macro_rules! text_type {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::text::verify::<Self>(text)?;
                Ok(Self(<Self as $crate::text::Text>::normalise(text).into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text::Invalid;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.as_str().to_owned()
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::text::schema_of::<Self>()
            }
        }
    };
}
pub(crate) use text_type;

/// The schema of a [`Text`].
pub(crate) fn schema_of<T: Text>() -> schemars::Schema {
    schemars::json_schema!({
        "type": "string",
        "format": T::FORMAT,
        "pattern": T::PATTERN,
        "maxLength": T::MAX_LENGTH,
        "examples": [T::EXAMPLE],
    })
}

/// Says what is wrong with `text` as a `T`, its length included.
pub(crate) fn verify<T: Text>(text: &str) -> Result<(), Invalid> {
    let length = text.chars().count();
    if length > T::MAX_LENGTH {
        return Err(Invalid::new(format!("has {length} characters, at most {} are allowed", T::MAX_LENGTH)));
    }
    T::check(text)
}

// === impl Invalid ===

impl Invalid {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What is wrong: a clause that follows the name of the field.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn mend(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

#[cfg(test)]
mod tests;
