//! Writes the schemas into a directory: `cargo run -p plugward-api --example generate -- crd-schemas`.
//!
//! `hack/generate` calls it. The texts are made by the same code that the test for drift compares with.

use std::{env, error::Error, fs, path::PathBuf, process::ExitCode};

#[path = "../tests/generated/mod.rs"]
mod generated;

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Box<dyn Error>> {
    let directory: PathBuf = env::args_os().nth(1).ok_or("usage: generate DIRECTORY")?.into();
    for (name, text) in generated::files()? {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
