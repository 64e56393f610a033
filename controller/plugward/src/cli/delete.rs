//! `plugward delete`: takes away records whose files hold nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use plugward_api::manifest::{self, Format, Rules};
use plugward_api::{Kind, Name, RecordKey};

use super::apply::input::Input;
use super::apply::place::{self, Present};
use super::wait::{Awaited, Patience, Until};
use super::{Failed, client, completions, format, rights};
use crate::atomic;

#[derive(Debug, Args)]
#[command(after_help = "\
Files are removed, with your rights. One that holds anything else, or that is a link, is never touched: it is named, and yours
to edit.")]
pub(super) struct Arguments {
    /// A kind: instance or runtime.
    #[arg(value_name = "KIND", value_parser = format::kind, requires = "name", add = completions::kinds())]
    kind: Option<Kind>,

    /// The name of a record.
    #[arg(value_name = "NAME", add = completions::names())]
    name: Option<Name>,

    /// Delete the records that a manifest declares; - is standard input.
    #[arg(short, long, value_name = "FILE|-", required_unless_present = "kind", conflicts_with = "kind")]
    filename: Option<PathBuf>,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    client: client::Which,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let keys = arguments.keys()?;
    let controller = arguments.client.controller()?;
    // All are looked at before the first is touched.
    let files: Vec<PathBuf> = keys.iter().map(|key| deletable(&controller, key)).collect::<Result<_, _>>()?;
    for (RecordKey { kind, name }, file) in keys.iter().zip(&files) {
        atomic::remove(file).map_err(|error| {
            let next = rights::next_step(&error.source, file);
            format!("cannot remove {}: {}: {next}", file.display(), error.source)
        })?;
        format::print(&format!("{} {:?} deleted\n", kind.singular(), name.as_str()))?;
    }
    let awaited = |RecordKey { kind, name }| Awaited { kind, name, until: Until::Gone };
    let awaited: Vec<Awaited> = keys.into_iter().map(awaited).collect();
    arguments.patience.wait(&controller, &awaited)
}

impl Arguments {
    fn keys(&self) -> Result<Vec<RecordKey>, Failed> {
        if let (Some(kind), Some(name)) = (self.kind, &self.name) {
            return Ok(vec![RecordKey { kind, name: name.clone() }]);
        }
        let Some(filename) = &self.filename else {
            return Err("name a record, or a file of them (-f)".into());
        };
        let input = Input::read(filename)?;
        let records = manifest::parse(input.text.as_bytes(), Format::of(filename), &Rules::default());
        match records {
            Ok(records) => {
                let keys: BTreeSet<RecordKey> = records.iter().map(|placed| placed.value.key()).collect();
                // Runtimes go after those that use them.
                Ok(keys.into_iter().rev().collect())
            }
            Err(problems) => Err(input.told(&problems).into()),
        }
    }
}

/// The file that holds a record, and nothing else.
fn deletable(controller: &client::Controller, key: &RecordKey) -> Result<PathBuf, Failed> {
    let held = controller.whereabouts(key)?;
    let edit = |what: &str| -> Failed {
        let record = format!("{}/{}", key.kind.singular(), key.name);
        format!("{record} is declared in {}, {what}: take it out there by hand", held.told()).into()
    };
    if held.records > 1 {
        return Err(edit("with other records"));
    }
    match place::look(&held.file)? {
        Present::Nothing => Err(gone(&held.file).into()),
        Present::Link(to) => Err(edit(&format!("a link to {}", to.display()))),
        Present::NoFile => Err(edit("which is no regular file")),
        Present::File(file) if file.holds_only(key) => Ok(held.file),
        Present::File(_) => Err(edit("with other records, or ones that cannot be read now")),
    }
}

fn gone(file: &Path) -> String {
    format!(
        "{} is not there: somebody has just removed it, or the controller runs in a container: then run this in it, or \
         work on the directory that is mounted there",
        file.display()
    )
}
