//! What this version of plugward does not do yet.
//!
//! Manifests may say all that the schemas have. What has no effect yet is refused by the controller, never ignored;
//! a written default asks for nothing, and is always accepted.

use crate::PluginInstanceSpec;

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
    let _ = spec;
    Vec::new()
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
