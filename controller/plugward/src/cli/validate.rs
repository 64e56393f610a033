//! `plugward validate`: every error of every manifest, before a controller sees it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use plugward_api::manifest::{self, Format, Rules};
use plugward_api::{Place, RecordKey};

use super::{Failed, format};
use crate::directories::{RunDirectory, Surroundings};
use crate::names::ClusterId;
use crate::source;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Manifest files, and directories of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The run directory in which the sockets of mounts will be made: their paths must fit [default: as for run]
    #[arg(long, value_name = "DIR", env = "PLUGWARD_RUN_DIR")]
    run_dir: Option<PathBuf>,

    /// The cluster id that will be part of these paths [default: one of eight characters]
    #[arg(long, value_name = "ID", env = "PLUGWARD_CLUSTER_ID")]
    cluster_id: Option<ClusterId>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let run_directory = arguments.run_dir.clone().or_else(|| Surroundings::of_process().run_directory().ok());
    let cluster = arguments.cluster_id.clone().unwrap_or_else(|| ClusterId::from_random([0; 10]));
    let mount_socket_directory =
        run_directory.map(|directory| RunDirectory::new(&directory, &cluster).mounts());
    let mut check = Check { rules: Rules { mount_socket_directory }, ..Check::default() };
    for path in &arguments.paths {
        check.path(path);
    }
    let records = check.holders.len();
    if check.problems.is_empty() {
        let files = check.files;
        format::print(&format!("{records} records in {files} files are valid\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = check.problems.join("\n");
    text.push('\n');
    format::print(&text)?;
    eprintln!("plugward: {} problems in {} files", check.problems.len(), check.files);
    Ok(ExitCode::FAILURE)
}

#[derive(Default)]
struct Check {
    rules: Rules,
    files: usize,
    problems: Vec<String>,
    holders: BTreeMap<RecordKey, (PathBuf, Place)>,
}

impl Check {
    fn path(&mut self, path: &Path) {
        if !path.is_dir() {
            self.file(path);
            return;
        }
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
                files.retain(|file| {
                    file.file_name().is_some_and(|name| source::is_manifest(name.as_encoded_bytes()))
                });
                files.sort();
                if files.is_empty() {
                    self.problems
                        .push(format!("{}: no manifests (*.yaml, *.yml, *.json) in it", path.display()));
                }
                for file in files {
                    self.file(&file);
                }
            }
            Err(error) => self.problems.push(format!("{}: cannot be read: {error}", path.display())),
        }
    }

    fn file(&mut self, path: &Path) {
        self.files += 1;
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(message) => {
                self.problems.push(format!("{}: {message}", path.display()));
                return;
            }
        };
        match manifest::parse(&bytes, Format::of(path), &self.rules) {
            Ok(records) => {
                for placed in records {
                    self.declare(placed.value.key(), path, placed.place);
                }
            }
            Err(problems) => {
                self.problems.extend(problems.iter().map(|problem| problem.in_file(path).to_string()));
            }
        }
    }

    fn declare(&mut self, key: RecordKey, path: &Path, place: Place) {
        if let Some((holder, at)) = self.holders.get(&key) {
            self.problems.push(format!(
                "{}:{place}: {key} is declared already, in {}:{at}: remove one of the two",
                path.display(),
                holder.display()
            ));
        } else {
            self.holders.insert(key, (path.to_owned(), place));
        }
    }
}

/// Reads a manifest. One that is too large is read as far as it takes to be refused.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // A FIFO would keep us waiting for a writer.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(manifest::MAX_BYTES).unwrap_or(u64::MAX);
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
