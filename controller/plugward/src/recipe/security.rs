//! What a container may do on the machine.

use plugward_api::runtime::Security;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::files::Files;

/// What a container may do on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityRecipe {
    /// Whether the file system of the image is mounted read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only_root: bool,
    /// Whether processes may gain privileges that their parent did not have.
    #[serde(default, skip_serializing_if = "is_false")]
    pub new_privileges: bool,
    /// What system calls it may make.
    #[serde(default, skip_serializing_if = "SeccompRecipe::is_default")]
    pub seccomp: SeccompRecipe,
}

/// What system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeccompRecipe {
    /// What the engine's own profile allows.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// What this profile allows: the text of its file.
    Profile(String),
}

// === impl SecurityRecipe ===

impl SecurityRecipe {
    /// What a runtime declares. A profile that is a file's is the one that was read.
    pub fn of(declared: &Security, files: &Files) -> Self {
        let seccomp = match (&files.seccomp, declared.seccomp_profile.as_str()) {
            (Some(profile), _) => SeccompRecipe::Profile(profile.clone()),
            (None, "unconfined") => SeccompRecipe::Unconfined,
            (None, _) => SeccompRecipe::Default,
        };
        Self {
            read_only_root: declared.read_only_root_filesystem,
            new_privileges: !declared.no_new_privileges,
            seccomp,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

// === impl SeccompRecipe ===

impl SeccompRecipe {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}
