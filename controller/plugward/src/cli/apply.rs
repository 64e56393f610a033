//! `plugward apply`: puts records into the controller's directory of manifests, each into a file of its own.
//!
//! The controller says whether they are valid and where they go. The files are written here, with the rights of whoever runs
//! this: who may write manifests is what the file system says.

pub(super) mod input;
pub(super) mod place;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use plugward_api::RecordKey;
use similar::TextDiff;

use self::input::Input;
use self::place::{Outcome, Placed};
use super::wait::{Awaited, Patience, Until};
use super::{Failed, client, format};
use crate::control::review::Review;

#[derive(Debug, Args)]
#[command(after_help = "\
Each record goes into a file of its own, KIND-NAME.yaml, which is written with your rights. The controller checks all of them
first, and nothing is written if any is wrong. A record that another file declares is refused, never moved.")]
pub(super) struct Arguments {
    /// A manifest; - is standard input.
    #[arg(short, long, value_name = "FILE|-")]
    filename: PathBuf,

    /// Check only, and say what would be done.
    #[arg(long, value_enum, value_name = "none|server", default_value = "none", hide_possible_values = true)]
    dry_run: DryRun,

    /// Show what changes in the files. Secrets in them are shown.
    #[arg(long)]
    diff: bool,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    client: client::Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DryRun {
    /// Write.
    None,
    /// Let the controller check, and write nothing.
    Server,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let input = Input::read(&arguments.filename)?;
    let controller = arguments.client.controller()?;
    let review = controller.review(&input.text)?;
    if !review.problems.is_empty() {
        return Err(format!("nothing was applied\n{}", input.told(&review.problems)).into());
    }
    for warning in &review.warnings {
        eprintln!("plugward: warning: {}", warning.in_file(&input.name));
    }
    let placed = plan(&input, &review)?;
    for one in &placed {
        if arguments.diff {
            format::print(&diff(one))?;
        }
        if arguments.dry_run == DryRun::None {
            one.put(&review.reader)?;
        }
        format::print(&line(one, arguments.dry_run))?;
    }
    if arguments.dry_run == DryRun::Server {
        return Ok(ExitCode::SUCCESS);
    }
    let awaited: Vec<Awaited> = review
        .records
        .into_iter()
        .map(|record| Awaited {
            kind: record.kind,
            name: record.name,
            until: Until::Works { generation: record.generation, without: Vec::new() },
        })
        .collect();
    arguments.patience.wait(&controller, &awaited)
}

/// What is to be put where. Nothing is touched yet.
fn plan(input: &Input, review: &Review) -> Result<Vec<Placed>, Failed> {
    let keys: Vec<(RecordKey, usize)> = review
        .records
        .iter()
        .map(|record| (RecordKey { kind: record.kind, name: record.name.clone() }, record.place.line))
        .collect();
    let texts = input.cut(&keys)?;
    keys.into_iter()
        .zip(texts)
        .zip(&review.records)
        .map(|(((key, _), text), record)| Placed::look(key, record.file.clone(), text))
        .collect()
}

/// `plugininstance/orders created (server dry run)`
fn line(placed: &Placed, dry_run: DryRun) -> String {
    let outcome = match placed.outcome() {
        Outcome::Created => "created",
        Outcome::Configured => "configured",
        Outcome::Unchanged => "unchanged",
    };
    let dry = if dry_run == DryRun::Server { " (server dry run)" } else { "" };
    format!("{}/{} {outcome}{dry}\n", placed.key.kind.singular(), placed.key.name)
}

/// A unified diff of the file that is there and the one that is to be; nothing where they are the same.
fn diff(placed: &Placed) -> String {
    let file = placed.file.display().to_string();
    let before = placed.before();
    let old = if before.is_some() { file.as_str() } else { "/dev/null" };
    TextDiff::from_lines(before.unwrap_or_default(), &placed.text)
        .unified_diff()
        .header(old, &file)
        .to_string()
}

#[cfg(test)]
mod tests;
