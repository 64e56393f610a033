//! The formats of texts, by their names in the schemas.

use crate::{
    Duration, Invalid, LabelKey, LabelValue, Name, Quantity,
    field::{AbsolutePath, EnvName},
    image::{ImageId, Repository, Tag},
    instance::{Account, MethodPath, PluginName, PluginVersion},
    runtime::{CgroupParent, EngineHost, Network, OciRuntime, SeccompProfile},
    text::{Text, verify},
};

/// The format of texts that are not to be shown.
pub(super) const SECRET: &str = "password";

/// What is wrong with a text of a format.
pub(super) type Check = fn(&str) -> Result<(), Invalid>;

/// The formats that are ours, by the type behind each.
const FORMATS: [(&str, Check); 19] = [
    format_of::<AbsolutePath>(),
    format_of::<Account>(),
    format_of::<CgroupParent>(),
    format_of::<Duration>(),
    format_of::<EngineHost>(),
    format_of::<EnvName>(),
    format_of::<ImageId>(),
    format_of::<LabelKey>(),
    format_of::<LabelValue>(),
    format_of::<MethodPath>(),
    format_of::<Name>(),
    format_of::<Network>(),
    format_of::<OciRuntime>(),
    format_of::<PluginName>(),
    format_of::<PluginVersion>(),
    format_of::<Quantity>(),
    format_of::<Repository>(),
    format_of::<SeccompProfile>(),
    format_of::<Tag>(),
];

const fn format_of<T: Text>() -> (&'static str, Check) {
    (T::FORMAT, verify::<T>)
}

/// Whether there is a check for texts of this format.
#[cfg(test)]
pub(crate) fn knows_format(name: &str) -> bool {
    format(name).is_some()
}

/// What checks the texts of a format; nothing for one that is not ours.
pub(super) fn format(name: &str) -> Option<Check> {
    FORMATS.iter().find(|(format, _)| *format == name).map(|(_, check)| *check)
}
