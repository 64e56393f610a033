//! What every record has: a name, labels, annotations.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::text::{Invalid, Text, text_type};

text_type! {
    /// The name of a record or of a mount: a DNS-1123 label, as Kubernetes has it.
    ///
    /// 1 to 63 characters, lower-case letters, digits and `-`, with a letter or digit at both ends. It is safe
    /// in file names, container names and metric labels.
    Name
}

text_type! {
    /// The key of a label or annotation, as Kubernetes has it: an optional DNS prefix and `/`, then a name of at
    /// most 63 characters.
    LabelKey
}

text_type! {
    /// The value of a label, as Kubernetes has it: at most 63 characters, possibly none.
    LabelValue
}

/// The name of a record and what its owner wants to remember about it.
///
/// plugward's records have no namespace: a machine holds one set of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Metadata {
    /// The name of the record, unique among the records of its kind. Lower-case letters, digits and `-`, at most
    /// 63 characters.
    pub name: Name,

    /// Labels, as in Kubernetes: short pairs to select and group records by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations, as in Kubernetes: pairs for people and tools. plugward does not read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// The schema of a map whose keys follow a rule.
pub(crate) fn map_of<K: Text>(values: &Schema) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": { "format": K::FORMAT, "pattern": K::PATTERN, "maxLength": K::MAX_LENGTH },
        "additionalProperties": values,
    })
}

fn labels(generator: &mut SchemaGenerator) -> Schema {
    map_of::<LabelKey>(&LabelValue::json_schema(generator))
}

fn annotations(generator: &mut SchemaGenerator) -> Schema {
    map_of::<LabelKey>(&String::json_schema(generator))
}

/// The part of a label key after the slash, and of every label value.
fn is_label_name(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alphanumeric(text.chars().next())
        && alphanumeric(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

// === impl Name ===

impl Text for Name {
    const FORMAT: &'static str = "dns-1123-label";
    const PATTERN: &'static str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
    const MAX_LENGTH: usize = 63;
    const EXAMPLE: &'static str = "orders-db";

    fn check(text: &str) -> Result<(), Invalid> {
        if is_dns_label(text) {
            return Ok(());
        }
        let invalid = Invalid::new(format!("{text:?} is not a name"));
        let mended: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect::<String>()
            .trim_matches('-')
            .to_owned();
        Err(if is_dns_label(&mended) {
            invalid.help(format!(
                "use lower-case letters, digits and '-', with a letter or digit at both ends: {mended:?}"
            ))
        } else {
            invalid.help("use lower-case letters, digits and '-', with a letter or digit at both ends")
        })
    }
}

// === impl LabelKey ===

impl Text for LabelKey {
    const FORMAT: &'static str = "label-key";
    const PATTERN: &'static str = concat!(
        r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?",
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
    );
    const MAX_LENGTH: usize = 253 + 1 + 63;
    const EXAMPLE: &'static str = "example.com/team";

    fn check(text: &str) -> Result<(), Invalid> {
        let (prefix, name) = match text.rsplit_once('/') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, text),
        };
        if prefix.is_some_and(|prefix| prefix.len() > 253 || !prefix.split('.').all(is_dns_label)) {
            return Err(Invalid::new(format!(
                "{text:?} is not a key: what is before the '/' is not a DNS name"
            ))
            .help("use lower-case letters, digits, '-' and '.', like example.com/team"));
        }
        if name.len() > 63 || !is_label_name(name) {
            return Err(Invalid::new(format!("{text:?} is not a key")).help(
                "use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends; a DNS \
                 prefix and '/' may come before",
            ));
        }
        Ok(())
    }
}

// === impl LabelValue ===

impl Text for LabelValue {
    const FORMAT: &'static str = "label-value";
    const PATTERN: &'static str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
    const MAX_LENGTH: usize = 63;
    const EXAMPLE: &'static str = "orders";

    fn check(text: &str) -> Result<(), Invalid> {
        if text.is_empty() || is_label_name(text) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not a label value")).help(
            "use letters, digits, '-', '_' and '.', with a letter or digit at both ends; other text belongs in \
             annotations",
        ))
    }
}

// === impl Metadata ===

impl Metadata {
    /// Metadata with nothing but a name.
    pub fn named(name: Name) -> Self {
        Self { name, labels: BTreeMap::new(), annotations: BTreeMap::new() }
    }
}
