//! The records: what a manifest declares.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Metadata, Name, instance::PluginInstanceSpec, runtime::PluginRuntimeSpec};

/// The API version of every record.
pub const API_VERSION: &str = "plugward.dev/v1alpha1";

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// How containers are run.
    PluginRuntime,
    /// One plugin with the mounts it serves.
    PluginInstance,
}

/// What names a record: no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// The kind of the record.
    pub kind: Kind,
    /// The name of the record.
    pub name: Name,
}

/// How containers of plugins are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginRuntime {
    /// Name, labels, annotations.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: PluginRuntimeSpec,
}

/// One plugin with the mounts it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInstance {
    /// Name, labels, annotations.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: PluginInstanceSpec,
}

/// A declared object, defaults filled in.
///
/// Serialized as its owner would write it, with `apiVersion` and `kind`; what was serialized deserializes to the same
/// record. Deserializing checks each field, but not the rules across fields: the manifest parser does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every record is an instance")]
pub enum Record {
    /// How containers of plugins are run.
    Runtime(PluginRuntime),
    /// One plugin with the mounts it serves.
    Instance(PluginInstance),
}

/// A record on its way out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a, S> {
    api_version: &'static str,
    kind: Kind,
    metadata: &'a Metadata,
    spec: &'a S,
}

/// A record on its way in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Read<S> {
    api_version: String,
    kind: Kind,
    metadata: Metadata,
    spec: S,
}

// === impl Kind ===

impl Kind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::PluginRuntime, Self::PluginInstance];

    /// As it is written in a manifest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PluginRuntime => "PluginRuntime",
            Self::PluginInstance => "PluginInstance",
        }
    }

    /// The name of one as a Kubernetes resource.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::PluginRuntime => "pluginruntime",
            Self::PluginInstance => "plugininstance",
        }
    }

    /// The name of one where all kinds are plugward's.
    pub const fn bare(self) -> &'static str {
        match self {
            Self::PluginRuntime => "runtime",
            Self::PluginInstance => "instance",
        }
    }

    /// The name of many as a Kubernetes resource.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::PluginRuntime => "pluginruntimes",
            Self::PluginInstance => "plugininstances",
        }
    }

    /// The short names of the resource, for command lines.
    pub const fn short_names(self) -> [&'static str; 1] {
        match self {
            Self::PluginRuntime => ["pr"],
            Self::PluginInstance => ["pi"],
        }
    }

    /// The kind that a person means on a command line: `PluginInstance`, `plugininstances`, `instance`, `pi`,
    /// `plugininstances.plugward.dev`, in upper or lower case.
    pub fn from_resource(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let text = text.strip_suffix(".plugward.dev").unwrap_or(&text);
        Self::ALL.into_iter().find(|kind| {
            let names = [kind.singular(), kind.plural()];
            let bare = names.map(|name| name.strip_prefix("plugin").unwrap_or(name));
            names.contains(&text) || bare.contains(&text) || kind.short_names().contains(&text)
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A kind that plugward does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind {0:?}")]
pub struct UnknownKind(String);

// === impl RecordKey ===

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

// === impl PluginRuntime ===

impl PluginRuntime {
    /// The runtime `default` that is there when no record declares it.
    pub fn built_in() -> Self {
        Self {
            metadata: Metadata::named(crate::instance::default_runtime()),
            spec: PluginRuntimeSpec::default(),
        }
    }
}

impl Serialize for PluginRuntime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(Kind::PluginRuntime, &self.metadata, &self.spec, serializer)
    }
}

impl<'de> Deserialize<'de> for PluginRuntime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Kind::PluginRuntime, deserializer).map(|(metadata, spec)| Self { metadata, spec })
    }
}

impl JsonSchema for PluginRuntime {
    fn schema_name() -> Cow<'static, str> {
        Kind::PluginRuntime.as_str().into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        object_schema::<PluginRuntimeSpec>(
            Kind::PluginRuntime,
            "How the containers of plugins are run: on which engine, by which OCI runtime, within which limits.",
            generator,
        )
    }
}

// === impl PluginInstance ===

impl Serialize for PluginInstance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write(Kind::PluginInstance, &self.metadata, &self.spec, serializer)
    }
}

impl<'de> Deserialize<'de> for PluginInstance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Kind::PluginInstance, deserializer).map(|(metadata, spec)| Self { metadata, spec })
    }
}

impl JsonSchema for PluginInstance {
    fn schema_name() -> Cow<'static, str> {
        Kind::PluginInstance.as_str().into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        object_schema::<PluginInstanceSpec>(
            Kind::PluginInstance,
            "One plugin and the mounts it serves.",
            generator,
        )
    }
}

fn write<T: Serialize, S: Serializer>(
    kind: Kind,
    metadata: &Metadata,
    spec: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    Written { api_version: API_VERSION, kind, metadata, spec }.serialize(serializer)
}

fn read<'de, T, D>(kind: Kind, deserializer: D) -> Result<(Metadata, T), D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let read = Read::<T>::deserialize(deserializer)?;
    if read.api_version != API_VERSION {
        return Err(de::Error::custom(format_args!("there is no API version {:?}", read.api_version)));
    }
    if read.kind != kind {
        return Err(de::Error::custom(format_args!("a {} is wanted, this is a {}", kind, read.kind)));
    }
    Ok((read.metadata, read.spec))
}

fn object_schema<S: JsonSchema>(kind: Kind, description: &str, generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": {
                "description": "The API version of the record.",
                "type": "string",
                "enum": [API_VERSION],
            },
            "kind": {
                "description": "The kind of the record.",
                "type": "string",
                "enum": [kind.as_str()],
            },
            "metadata": generator.subschema_for::<Metadata>(),
            "spec": generator.subschema_for::<S>(),
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
    })
}

// === impl Record ===

impl Record {
    /// The kind of the record.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Runtime(_) => Kind::PluginRuntime,
            Self::Instance(_) => Kind::PluginInstance,
        }
    }

    /// Name, labels, annotations.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Runtime(runtime) => &runtime.metadata,
            Self::Instance(instance) => &instance.metadata,
        }
    }

    /// The name of the record.
    pub fn name(&self) -> &Name {
        &self.metadata().name
    }

    /// What names the record.
    pub fn key(&self) -> RecordKey {
        RecordKey { kind: self.kind(), name: self.name().clone() }
    }
}

impl From<PluginRuntime> for Record {
    fn from(runtime: PluginRuntime) -> Self {
        Self::Runtime(runtime)
    }
}

impl From<PluginInstance> for Record {
    fn from(instance: PluginInstance) -> Self {
        Self::Instance(instance)
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Runtime(runtime) => runtime.serialize(serializer),
            Self::Instance(instance) => instance.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let kind = value.get("kind").cloned().ok_or_else(|| de::Error::missing_field("kind"))?;
        match serde_json::from_value(kind).map_err(de::Error::custom)? {
            Kind::PluginRuntime => serde_json::from_value(value).map(Self::Runtime),
            Kind::PluginInstance => serde_json::from_value(value).map(Self::Instance),
        }
        .map_err(de::Error::custom)
    }
}
