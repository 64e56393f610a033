//! `plugward restart`: new containers for an instance, now.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use plugward_api::{Kind, Name};

use super::wait::{Awaited, Patience, Until};
use super::{Failed, client, completions, format, rights};
use crate::control::renewal::Answer;

#[derive(Debug, Args)]
#[command(after_help = "\
They are replaced as after an edit: in turn, by the update strategy of the record, so that no call fails under Surge. An image
whose tag has moved is taken. What waits after failures starts at once. It is for those who may write manifests, and counts as
no restart.")]
pub(super) struct Arguments {
    /// The name of an instance.
    #[arg(value_name = "INSTANCE", add = completions::instances())]
    name: Name,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    client: client::Which,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let controller = arguments.client.controller()?;
    let (kind, name) = (Kind::PluginInstance, &arguments.name);
    let without = match controller.renew(name, None)? {
        Answer::Renewed { replaced } => replaced,
        Answer::Prove { file } => prove(&controller, name, &file)?,
    };
    format::print(&format!("{}/{name} restarted\n", kind.singular()))?;
    let until = Until::Works { generation: 0, without };
    arguments.patience.wait(&controller, &[Awaited { kind, name: name.clone(), until }])
}

/// Shows the controller that we may write manifests, by a file that it named. It is removed in any case.
fn prove(controller: &client::Controller, name: &Name, file: &Path) -> Result<Vec<String>, Failed> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|source| {
        let next = rights::next_step(&source, file);
        format!(
            "restarting is for those who may write manifests: cannot create {}: {source}: {next}",
            file.display()
        )
    })?;
    let proof = file.file_name().unwrap_or_default().to_string_lossy();
    let answer = controller.renew(name, Some(&proof));
    // The server, or somebody, may have swept it.
    let _ = fs::remove_file(file);
    match answer? {
        Answer::Renewed { replaced } => Ok(replaced),
        Answer::Prove { .. } => Err("the controller takes no proof: is it of another version?".into()),
    }
}
