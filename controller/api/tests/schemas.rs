//! The files in `crd-schemas/` are what the code makes today.

mod generated;

use std::{fs, path::Path};

#[test]
fn the_files_in_crd_schemas_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crd-schemas");
    let files = generated::files().unwrap();
    for (name, text) in &files {
        let written = fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(written == *text, "crd-schemas/{name} is out of date: run hack/generate");
    }
    let mut there: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    let mut wanted: Vec<_> = files.into_iter().map(|(name, _)| name).collect();
    wanted.sort();
    assert_eq!(there, wanted, "crd-schemas/ holds exactly what hack/generate writes");
}
