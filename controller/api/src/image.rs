//! The image of a plugin: which one, and how sure to be of it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Invalid, Text, text_type};

text_type! {
    /// The name of an image without its tag: `hashicorp/vault-plugin-database-redis`, `registry:5000/team/plugin`.
    Repository
}

text_type! {
    /// The tag of an image: `0.5.0`.
    Tag
}

text_type! {
    /// The ID of an image: `sha256:` and 64 hexadecimal digits. It can be read without `sha256:`, and is kept with it,
    /// in lower case, as engines print it.
    ImageId
}

/// The image that the containers of a plugin are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Image {
    /// The name of the image, without a tag: `hashicorp/vault-plugin-database-redis`.
    pub repository: Repository,

    /// The tag of the image. Default: the version of the plugin without its leading `v`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,

    /// The ID that the image must have, or the digest of its manifest in a registry; with or without `sha256:`. When it is given,
    /// containers are made from the image that was found to have it, and none is made while the named image has another one.
    /// `docker image inspect --format {{.Id}}` prints the ID, which is another one in each of Docker's two image stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<ImageId>,

    /// Whether the engine is told to pull the image, and when. A changed policy replaces no container.
    #[serde(default)]
    pub pull_policy: PullPolicy,
}

/// Whether an engine is told to pull an image, and when. Credentials for registries are those of Docker's configuration: `config.json` in
/// `DOCKER_CONFIG` or `~/.docker` of plugward's user, with the credential helpers that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum PullPolicy {
    /// The image is on the engine already, put there by someone who decided to trust it.
    #[default]
    Never,
    /// It is pulled when the engine has none of that name.
    IfNotPresent,
    /// It is pulled before every start of a container, unless `sha256` is given and the engine has that image. A start does not fail
    /// for want of a registry: if the pull fails, or takes more than a few seconds while a plugin is to come back, the image that the
    /// engine has is used, and the condition `ImageOutdated` is `Unknown`. A running container is never touched.
    Always,
}

/// One part of a repository between slashes: lower-case letters and digits, joined by `.`, `_`, `__` or dashes.
fn is_path_component(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let joints = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|s| !s.is_empty());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && joints
            .into_iter()
            .all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

/// The first part of a repository when it names a registry: a host name with a dot or a port in it. (Docker reads
/// anything else as a path; `localhost` is valid as that too.)
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains(['.', ':'])
        && host.split('.').all(label)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// A repository and the tag that was written with it. A colon before the last slash is a registry's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let path = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[path..].split_once(':') {
        Some((_, tag)) => (&text[..text.len() - tag.len() - 1], Some(tag)),
        None => (text, None),
    }
}

// === impl Image ===

impl Image {
    /// The tag: the given one, else `version` without its leading `v`.
    pub fn tag_for<'a>(&'a self, version: &'a str) -> &'a str {
        match &self.tag {
            Some(tag) => tag,
            None => version.strip_prefix('v').unwrap_or(version),
        }
    }
}

// === impl Repository ===

impl Text for Repository {
    const FORMAT: &'static str = "image-repository";
    const PATTERN: &'static str = concat!(
        r"^(([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)+(:[0-9]+)?|[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?:[0-9]+)/)?",
        r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$"
    );
    const MAX_LENGTH: usize = 255;
    const EXAMPLE: &'static str = "hashicorp/vault-plugin-database-redis";

    fn check(text: &str) -> Result<(), Invalid> {
        if let Some((name, digest)) = text.split_once('@') {
            let (repository, tag) = split_tag(name);
            let tag = tag.map(|tag| format!(", {tag:?} under tag,")).unwrap_or_default();
            return Err(Invalid::new(format!("holds a digest, {digest:?}"))
                .help(format!("write {repository:?} here{tag} and {digest:?} under sha256")));
        }
        if let (repository, Some(tag)) = split_tag(text) {
            return Err(Invalid::new(format!("holds a tag, {tag:?}"))
                .help(format!("write {repository:?} here and the tag under tag")));
        }
        let components: Vec<&str> = text.split('/').collect();
        let valid = match components.as_slice() {
            [first, rest @ ..] if !rest.is_empty() => {
                (is_path_component(first) || is_registry(first))
                    && rest.iter().all(|part| is_path_component(part))
            }
            parts => parts.iter().all(|part| is_path_component(part)),
        };
        if valid {
            return Ok(());
        }
        let invalid = Invalid::new(format!("{text:?} is not the name of an image"));
        Err(
            if text.contains(|c: char| c.is_ascii_uppercase())
                && Self::check(&text.to_ascii_lowercase()).is_ok()
            {
                invalid.help(format!("image names are lower-case: {:?}", text.to_ascii_lowercase()))
            } else {
                invalid.help(
                    "write it as docker does: plugin, team/plugin or registry.example.com:5000/team/plugin",
                )
            },
        )
    }
}

// === impl Tag ===

impl Text for Tag {
    const FORMAT: &'static str = "image-tag";
    const PATTERN: &'static str = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$";
    const MAX_LENGTH: usize = 128;
    const EXAMPLE: &'static str = "0.5.0";

    fn check(text: &str) -> Result<(), Invalid> {
        if let Some((tag, digest)) = text.split_once('@') {
            return Err(Invalid::new(format!("holds a digest, {digest:?}"))
                .help(format!("write {tag:?} here and {digest:?} under sha256")));
        }
        if text.starts_with("sha256:") {
            return Err(Invalid::new("is an ID, not a tag").help("write it under sha256"));
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !text.is_empty() && !text.starts_with(['.', '-']) && text.chars().all(valid) {
            return Ok(());
        }
        Err(Invalid::new(format!("{text:?} is not a tag"))
            .help("use letters, digits, '_', '.' and '-', and begin with none of '.' and '-'"))
    }
}

// === impl ImageId ===

impl Text for ImageId {
    const FORMAT: &'static str = "image-id";
    const PATTERN: &'static str = r"^(sha256:)?[0-9A-Fa-f]{64}$";
    const MAX_LENGTH: usize = 71;
    const EXAMPLE: &'static str = "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945";

    fn check(text: &str) -> Result<(), Invalid> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Invalid::new(format!("{text:?} is not the ID of an image"))
                .help("write 64 hexadecimal digits, with or without sha256: before them"));
        }
        if digits.len() != 64 {
            return Err(Invalid::new(format!("has {} hexadecimal digits, an image ID has 64", digits.len()))
                .help("docker image inspect --format {{.Id}} prints the whole ID"));
        }
        Ok(())
    }

    fn normalise(text: &str) -> Cow<'_, str> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        Cow::Owned(format!("sha256:{}", digits.to_ascii_lowercase()))
    }
}
