//! The applications whose plugins need more than go-plugin itself asks for: Vault and OpenBao.

use crate::Cookie;

/// A kind of Vault or OpenBao plugin. Both hosts use the same cookies, versions and variables.
///
/// Source: `sdk/database/dbplugin/v5`, `sdk/plugin` and `sdk/helper/pluginutil` of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Application {
    /// A database plugin (`dbplugin.v5.Database`).
    Database,
    /// A secrets or auth backend (`pb.Backend`).
    Backend,
}

/// The variable by which a host says that it only wants to know what a plugin is.
const METADATA_MODE: &str = "PLUGIN_METADATA_MODE";

/// A variable's name as OpenBao has it, and as Vault does.
fn spellings(name: &str) -> [String; 2] {
    ["BAO", "VAULT"].map(|prefix| format!("{prefix}_{name}"))
}

impl Application {
    /// The variables by which a host of either says, with `true`, that it only wants to know what a plugin is.
    pub fn metadata_mode() -> [String; 2] {
        spellings(METADATA_MODE)
    }

    /// The cookie that these plugins look for.
    pub fn cookie(self) -> Cookie {
        match self {
            Self::Database => Cookie::known("VAULT_DATABASE_PLUGIN", "926a0820-aea2-be28-51d6-83cdf00e8edb"),
            Self::Backend => Cookie::known("VAULT_BACKEND_PLUGIN", "6669da05-b1c8-4f49-97d9-c8e5bed98e20"),
        }
    }

    /// The protocol versions to offer to plugins that use AutoMTLS. Of a database plugin, 6 is one that
    /// multiplexes; a backend tells that by a service instead.
    pub const fn protocol_versions(self) -> &'static [u32] {
        match self {
            Self::Database => &[5, 6],
            Self::Backend => &[5],
        }
    }

    /// The variables that such a plugin reads beside go-plugin's own, each name once.
    ///
    /// They come in two spellings, `BAO_` for plugins built with OpenBao's SDK and `VAULT_` for the rest.
    /// `version` is the version that the host says it has; plugins built long ago take an empty one for
    /// a host without gRPC. `mlock` asks the plugin to lock its memory: it ends when it can't.
    ///
    /// AutoMTLS is always said to be on: otherwise these plugins wait for their certificate from a Vault
    /// server that is not there.
    pub fn environment(self, version: &str, mlock: bool) -> Vec<(String, String)> {
        let variables = [
            ("PLUGIN_AUTOMTLS_ENABLED", Some("true")),
            (METADATA_MODE, Some("false")),
            ("VERSION", Some(version)),
            ("PLUGIN_MLOCK_ENABLED", mlock.then_some("true")),
        ];
        variables
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .flat_map(|(name, value)| spellings(name).map(|name| (name, value.to_owned())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn its_cookies_are_ones_that_anyone_could_make() {
        for application in [Application::Database, Application::Backend] {
            let cookie = application.cookie();
            assert_eq!(Cookie::new(cookie.key(), cookie.value()), Ok(cookie));
        }
    }

    #[test]
    fn every_variable_is_said_in_both_spellings() {
        let environment = Application::Backend.environment("1.21.0", true);

        let expected = [
            ("BAO_PLUGIN_AUTOMTLS_ENABLED", "true"),
            ("BAO_PLUGIN_METADATA_MODE", "false"),
            ("BAO_PLUGIN_MLOCK_ENABLED", "true"),
            ("BAO_VERSION", "1.21.0"),
            ("VAULT_PLUGIN_AUTOMTLS_ENABLED", "true"),
            ("VAULT_PLUGIN_METADATA_MODE", "false"),
            ("VAULT_PLUGIN_MLOCK_ENABLED", "true"),
            ("VAULT_VERSION", "1.21.0"),
        ];
        assert_eq!(environment.len(), expected.len());
        let environment: BTreeMap<_, _> = environment.into_iter().collect();
        assert_eq!(environment, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn memory_locking_is_asked_for_or_not_mentioned() {
        let environment = Application::Database.environment("1.21.0", false);
        assert!(environment.iter().all(|(name, _)| !name.contains("MLOCK")));
    }
}
