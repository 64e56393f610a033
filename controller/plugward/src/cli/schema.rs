//! `plugward schema`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use plugward_api::{Kind, schema};

use super::{Failed, completions, format};
use crate::atomic;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A kind: instance or runtime. Both are printed without it.
    #[arg(value_name = "KIND", value_parser = format::kind, add = completions::kinds())]
    kind: Option<Kind>,

    /// Print the CustomResourceDefinition instead of the JSON Schema.
    #[arg(long)]
    crd: bool,

    /// Write a file KIND.schema.json for each kind into a directory, and print the line by which a manifest names it to
    /// editors.
    #[arg(long, value_name = "DIR", conflicts_with = "crd")]
    write: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let kinds = arguments.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
    if let Some(directory) = &arguments.write {
        format::print(&write(&kinds, directory)?)?;
    } else if arguments.crd {
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

/// Writes the schemas of these kinds. Answers with the lines by which editors find them.
fn write(kinds: &[Kind], directory: &Path) -> Result<String, Failed> {
    let failed = |error: &std::io::Error| {
        format!("cannot make {}: {error}: name a directory that you may write", directory.display())
    };
    fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    // Manifests lie elsewhere.
    let directory = fs::canonicalize(directory).map_err(|error| failed(&error))?;
    let mut lines = String::new();
    for kind in kinds {
        let path = directory.join(format!("{kind}.schema.json"));
        let schema = serde_json::to_string_pretty(&schema::json_schema(*kind))?;
        atomic::write(&path, format!("{schema}\n").as_bytes(), 0o644).map_err(|error| {
            format!("cannot write {}: {}: name a directory that you may write", path.display(), error.source)
        })?;
        let _ = writeln!(lines, "# yaml-language-server: $schema={}", path.display());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn schemas_are_written_for_everybody_and_told_as_editors_read_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/schemas");
        let lines = write(&Kind::ALL, &directory).unwrap();
        let paths: Vec<&str> = lines
            .lines()
            .map(|line| line.strip_prefix("# yaml-language-server: $schema=").unwrap())
            .collect();
        for (kind, path) in Kind::ALL.into_iter().zip(paths) {
            let written = fs::read_to_string(path).unwrap();
            let schema: serde_json::Value = serde_json::from_str(&written).unwrap();
            assert_eq!(schema["title"], kind.as_str());
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
            let committed = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../crd-schemas")
                .join(Path::new(path).file_name().unwrap());
            assert_eq!(written, fs::read_to_string(committed).unwrap(), "the examples name the same");
        }
    }

    #[test]
    fn a_place_for_schemas_that_cannot_be_made_is_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&Kind::ALL, &file.join("schemas")).unwrap_err().to_string();
        assert!(error.contains("file/schemas") && error.contains("name a directory"), "{error}");
    }
}
