//! The libraries that servers' clients of plugins are in.

use std::path::PathBuf;

use super::super::golang::go_program;

/// Whose SDK a host is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// HashiCorp Vault's.
    Vault,
    /// OpenBao's.
    OpenBao,
}

// === impl Sdk ===

impl Sdk {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vault, Self::OpenBao];

    /// The host in this package that is made with it.
    pub(super) fn program(self, package: &str) -> Option<PathBuf> {
        let module = match self {
            Self::Vault => "hosts",
            Self::OpenBao => "hosts/openbao",
        };
        go_program(module, package)
    }
}
