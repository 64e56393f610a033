//! `plugward host`: what to give a host so that it uses an instance as if that were a plugin's binary.
//!
//! Each host is told in its own words, from what is there: the record as the controller knows it, the launcher on this machine,
//! and where the controller keeps its sockets.

mod catalogue;
mod generic;
mod launcher;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use plugward_api::instance::{Attach, Handshake, Plugin};
use plugward_api::{Kind, Name};
use serde::Deserialize;
use serde_json::Value;

use self::catalogue::Server;
use self::launcher::Launcher;
use super::{Failed, advice, client, completions, format};

/// Where launchers look for the controller, whoever starts them.
const RUN_DIRECTORY: &str = "/run/plugward";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Whom to tell: openbao, vault, or generic for any other program in Go that uses go-plugin.
    #[arg(value_name = "HOST", value_enum)]
    host: Host,

    /// The instance that it is to use.
    #[arg(value_name = "INSTANCE", add = completions::instances())]
    instance: Name,

    /// The launcher [default: plugward-attach beside this program, or in PATH]
    #[arg(long, value_name = "PATH")]
    launcher: Option<PathBuf>,

    /// Where OpenBao or Vault has its plugins: `plugin_directory` of its configuration.
    #[arg(long, value_name = "DIR")]
    plugin_directory: Option<PathBuf>,

    #[command(flatten)]
    client: client::Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Host {
    /// OpenBao, 2.0 and newer.
    Openbao,
    /// Vault, 1.12 and newer.
    Vault,
    /// A program in Go.
    Generic,
}

/// What a host has to know.
struct Known {
    instance: Name,
    plugin: Plugin,
    attach: Attach,
    handshake: Option<Handshake>,
    launcher: Launcher,
    /// How the launcher finds the controller, where it would not by itself.
    place: Vec<String>,
    /// Why the instance cannot serve now.
    cause: Option<String>,
}

/// The part of a record that a host has to know.
#[derive(Deserialize)]
struct Declared {
    plugin: Plugin,
    #[serde(default)]
    attach: Attach,
    handshake: Option<Handshake>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    let object = controller.get(Kind::PluginInstance, &arguments.instance)?;
    let launcher = Launcher::find(arguments.launcher.as_deref())?;
    let place = place(controller.run_directory(), arguments.client.cluster());
    let known = Known::new(&arguments.instance, &object, launcher, place)?;
    let directory = arguments.plugin_directory.as_deref();
    let text = match arguments.host {
        Host::Openbao => Server::OpenBao.told(&known, directory)?,
        Host::Vault => Server::Vault.told(&known, directory)?,
        Host::Generic if directory.is_some() => {
            return Err(
                "--plugin-directory is for openbao and vault: other hosts start the launcher where it is"
                    .into(),
            );
        }
        Host::Generic => generic::told(&known),
    };
    format::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The launcher's arguments before the instance's name.
fn place(run_directory: &Path, cluster: Option<&str>) -> Vec<String> {
    let mut place = Vec::new();
    if run_directory != Path::new(RUN_DIRECTORY) {
        place.extend(["--run-dir".to_owned(), run_directory.display().to_string()]);
    }
    if let Some(cluster) = cluster {
        place.extend(["--cluster-id".to_owned(), cluster.to_owned()]);
    }
    place
}

// === impl Known ===

impl Known {
    fn new(instance: &Name, object: &Value, launcher: Launcher, place: Vec<String>) -> Result<Self, Failed> {
        let Some(spec) = object.get("spec") else {
            return Err(format!("instance {instance} was deleted, and is being cleaned up").into());
        };
        let Declared { plugin, attach, handshake } = serde_json::from_value(spec.clone())?;
        let cause = advice::cause_in_words(object);
        Ok(Self { instance: instance.clone(), plugin, attach, handshake, launcher, place, cause })
    }

    /// The launcher's arguments; none where its own name says enough.
    fn arguments(&self) -> Vec<String> {
        if self.place.is_empty() { Vec::new() } else { self.named_arguments() }
    }

    /// The launcher's arguments, the instance's name among them.
    fn named_arguments(&self) -> Vec<String> {
        let mut arguments = self.place.clone();
        arguments.push(self.instance.to_string());
        arguments
    }

    /// Who may attach.
    fn permitted(&self) -> String {
        permitted(&self.attach)
    }

    /// What is in the way of a host now, each in a sentence.
    fn obstacles(&self) -> Vec<String> {
        let Attach { enabled, users, groups, .. } = &self.attach;
        let mut obstacles = Vec::new();
        if !enabled {
            obstacles.push(
                "the record does not let hosts attach: set spec.attach.enabled to true in it".to_owned(),
            );
        }
        if users.is_empty() && groups.is_empty() {
            obstacles.push(
                "the record names nobody who may attach: put the user that the host runs as into spec.attach.users"
                    .to_owned(),
            );
        }
        if let Some(cause) = &self.cause {
            obstacles.push(format!(
                "the instance cannot serve now ({}); `plugward describe instance {}` says what to do",
                format::printable(cause),
                self.instance
            ));
        }
        obstacles
    }

    /// The same as comments, each after this sign; nothing if nothing is.
    fn warnings(&self, comment: &str) -> String {
        let obstacles = self.obstacles();
        if obstacles.is_empty() {
            return String::new();
        }
        let mut lines = vec![format!("{comment} Mend this first:\n")];
        lines.extend(obstacles.iter().map(|obstacle| format!("{comment} - {obstacle}\n")));
        lines.concat()
    }
}

/// Who may attach, in words.
pub(super) fn permitted(attach: &Attach) -> String {
    let Attach { users, groups, .. } = attach;
    let users = users.iter().map(|user| format!("user {user}"));
    let groups = groups.iter().map(|group| format!("members of group {group}"));
    let all: Vec<String> = users.chain(groups).collect();
    if all.is_empty() { "root and the controller's own user".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests;
