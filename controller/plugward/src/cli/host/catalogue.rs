//! What OpenBao and Vault are told: a launcher in their directory of plugins, an entry in their catalogue of plugins, and a use of it.
//!
//! Both start nothing but files of that directory whose SHA-256 they know, and follow symbolic links before they look where a
//! file is. The text is a script for a shell; what is for a file is in comments.

use std::path::Path;

use plugward_api::PluginType;

use super::{Failed, Known};
use crate::cli::host::launcher::Launcher;

/// Stands for the directory of plugins where it is not known.
const PLUGIN_DIRECTORY: &str = "PLUGIN_DIRECTORY";

/// A server with a catalogue of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    OpenBao,
    Vault,
}

// === impl Server ===

impl Server {
    const fn name(self) -> &'static str {
        match self {
            Self::OpenBao => "OpenBao",
            Self::Vault => "Vault",
        }
    }

    /// Its command line.
    const fn command(self) -> &'static str {
        match self {
            Self::OpenBao => "bao",
            Self::Vault => "vault",
        }
    }

    /// The whole text.
    pub(super) fn told(self, known: &Known, directory: Option<&Path>) -> Result<String, Failed> {
        if known.plugin.plugin_type == PluginType::Custom {
            let Known { instance, .. } = known;
            let server = self.name();
            return Err(format!(
                "instance {instance} is of type custom, which {server} does not have: `plugward host generic {instance}` is for other hosts"
            )
            .into());
        }
        let parts = [
            self.head(known),
            self.launcher(known, directory),
            self.register(known),
            self.declare(known),
            self.usage(known),
        ];
        Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"))
    }

    fn head(self, known: &Known) -> String {
        let Known { instance, plugin, .. } = known;
        format!(
            "# {server} uses instance {instance} ({of_type} plugin {name} {version}) by starting the launcher as its binary.\n\
             # May attach: {permitted}. {server} must run as such a user, on this machine.\n\
             {warnings}",
            server = self.name(),
            of_type = plugin.plugin_type,
            name = plugin.name,
            version = plugin.version,
            permitted = known.permitted(),
            warnings = known.warnings("#"),
        )
    }

    fn launcher(self, known: &Known, directory: Option<&Path>) -> String {
        let Known { instance, launcher, .. } = known;
        let target = directory.map_or_else(
            || format!("{PLUGIN_DIRECTORY}/{instance}"),
            |directory| directory.join(instance.as_str()).display().to_string(),
        );
        let mut text = format!(
            "# 1. The launcher, in {server}'s directory of plugins (plugin_directory of its configuration), under the instance's name.\n\
             # A hard link will do, a symbolic one will not.\n",
            server = self.name()
        );
        if directory.is_none() {
            text.push_str("# --plugin-directory fills in where that is.\n");
        }
        let there = directory.map(|directory| Launcher::at(&directory.join(instance.as_str())));
        match there {
            Some(Ok(there)) if there.sha256 == launcher.sha256 => {
                text.push_str("# It is there already:\n# ");
            }
            Some(Ok(_)) => text.push_str("# What is there now is another file:\n"),
            _ => {}
        }
        let source = quoted(&launcher.path.display().to_string());
        text + &format!("install -m 0755 {source} {}\n", quoted(&target))
    }

    fn register(self, known: &Known) -> String {
        let Known { instance, plugin, launcher, .. } = known;
        let mut arguments = String::new();
        for argument in known.arguments() {
            arguments.push(' ');
            arguments.push_str(&quoted(&format!("-args={argument}")));
        }
        format!(
            "# 2. Registered. {server} starts it once, to ask for its version.\n\
             {command} plugin register -sha256={sha256} \\\n    -command={instance}{arguments} -version={version} \\\n    {of_type} {name}\n",
            server = self.name(),
            command = self.command(),
            sha256 = launcher.sha256,
            version = quoted(&plugin.version),
            of_type = plugin.plugin_type,
            name = quoted(&plugin.name),
        )
    }

    /// What stands in the server's configuration instead.
    fn declare(self, known: &Known) -> String {
        if self == Self::Vault {
            return String::new();
        }
        let Known { instance, plugin, launcher, .. } = known;
        let list: Vec<String> = known.arguments().iter().map(|argument| format!("{argument:?}")).collect();
        let arguments =
            if list.is_empty() { String::new() } else { format!("#   args      = [{}]\n", list.join(", ")) };
        format!(
            "# Or, from 2.5 on, in OpenBao's configuration with plugin_auto_register = true:\n\
             #\n\
             # plugin \"{of_type}\" \"{name}\" {{\n\
             #   command   = \"{instance}\"\n\
             {arguments}\
             #   version   = \"{version}\"\n\
             #   sha256sum = \"{sha256}\"\n\
             # }}\n",
            of_type = plugin.plugin_type,
            name = plugin.name,
            version = plugin.version,
            sha256 = launcher.sha256,
        )
    }

    fn usage(self, known: &Known) -> String {
        let Known { instance, plugin, .. } = known;
        let command = self.command();
        let (name, version) = (quoted(&plugin.name), quoted(&plugin.version));
        let lines = match plugin.plugin_type {
            PluginType::Database => format!(
                "{command} secrets enable database    # unless it is\n\
                 # Add allowed_roles, and what the plugin asks for: an address, a user, a password.\n\
                 {command} write database/config/{instance} plugin_name={name} plugin_version={version}\n"
            ),
            PluginType::Auth => {
                format!("{command} auth enable -path={instance} -plugin-version={version} {name}\n")
            }
            PluginType::Secret | PluginType::Custom => {
                format!("{command} secrets enable -path={instance} -plugin-version={version} {name}\n")
            }
        };
        format!(
            "# 3. Used. Without its version, a plugin of the same name that is built in would be.\n{lines}"
        )
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_them_otherwise() {
        assert_eq!(quoted("/run/plugward"), "/run/plugward");
        assert_eq!(quoted("/srv/my plugins"), "'/srv/my plugins'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
