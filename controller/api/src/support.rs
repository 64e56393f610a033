//! What this version of plugward does not do yet.
//!
//! Manifests may say all that the schemas have. What has no effect yet is refused by the controller, never ignored;
//! a written default asks for nothing, and is always accepted.

use crate::{PluginInstanceSpec, PluginRuntimeSpec, image::PullPolicy, instance::Attach, runtime::Security};

/// A field whose value asks for what this version does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The field, as a path: `spec.standby`.
    pub field: &'static str,
    /// What is not supported: a sentence for the condition `Accepted`.
    pub message: String,
}

/// What an instance asks for that this version does not do.
pub fn unsupported(spec: &PluginInstanceSpec) -> Vec<Unsupported> {
    let attach = Attach::default();
    let checks = [
        (spec.image.pull_policy != PullPolicy::Never, "spec.image.pullPolicy", "images are not pulled"),
        (!spec.env_from.is_empty(), "spec.envFrom", "environment variables are not read from files"),
        (spec.mlock, "spec.mlock", "plugins cannot lock their memory"),
        (spec.attach != attach, "spec.attach", "hosts cannot attach"),
    ];
    collect(checks)
}

/// What a runtime asks for that this version does not do.
pub fn unsupported_runtime(spec: &PluginRuntimeSpec) -> Vec<Unsupported> {
    let security = Security::default();
    let checks = [
        (!spec.cgroup_parent.is_empty(), "spec.cgroupParent", "the parent cgroup cannot be chosen"),
        (
            spec.security.read_only_root_filesystem != security.read_only_root_filesystem,
            "spec.security.readOnlyRootFilesystem",
            "root file systems are writable",
        ),
        (
            spec.security.no_new_privileges != security.no_new_privileges,
            "spec.security.noNewPrivileges",
            "processes never gain privileges",
        ),
        (
            spec.security.seccomp_profile != security.seccomp_profile,
            "spec.security.seccompProfile",
            "the engine's own profile is always used",
        ),
    ];
    collect(checks)
}

fn collect<const N: usize>(checks: [(bool, &'static str, &str); N]) -> Vec<Unsupported> {
    checks
        .into_iter()
        .filter(|(asked, ..)| *asked)
        .map(|(_, field, limit)| Unsupported {
            field,
            message: format!("{field} is not supported yet: in this version {limit}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
