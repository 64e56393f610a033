//! `plugward schema`.

use std::process::ExitCode;

use clap::Args;
use plugward_api::{Kind, schema};

use super::{Failed, completions, format};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A kind: instance or runtime. Both are printed without it.
    #[arg(value_name = "KIND", value_parser = format::kind, add = completions::kinds())]
    kind: Option<Kind>,

    /// Print the CustomResourceDefinition instead of the JSON Schema.
    #[arg(long)]
    crd: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let kinds = arguments.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
    if arguments.crd {
        let mut documents = Vec::new();
        for kind in kinds {
            documents.push(serde_saphyr::to_string(&schema::custom_resource_definition(kind))?);
        }
        format::print(&documents.join("---\n"))?;
    } else {
        let schemas: Vec<_> = kinds.iter().map(|kind| schema::json_schema(*kind)).collect();
        let value = match schemas.as_slice() {
            [only] => only.clone(),
            several => serde_json::Value::Array(several.to_vec()),
        };
        format::print(&format!("{}\n", serde_json::to_string_pretty(&value)?))?;
    }
    Ok(ExitCode::SUCCESS)
}
