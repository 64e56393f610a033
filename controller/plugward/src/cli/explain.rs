//! `plugward explain`: the fields of records, from the schema that manifests are held to.

mod field;
mod page;

use std::process::ExitCode;

use clap::Args;

use self::field::Field;
use super::{Failed, completions, format};

pub(super) use field::continuations;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A kind, and a field of it: instance, runtime.spec.resources, instance.status.phase.
    #[arg(value_name = "KIND[.FIELD.PATH]", value_parser = Field::find, add = completions::fields())]
    field: Field,

    /// List the fields of all fields, without what they mean.
    #[arg(long)]
    recursive: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    format::print(&page::write(&arguments.field, arguments.recursive))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
