//! Texts held to golden files. `UPDATE_GOLDEN=1 cargo test -p plugward --lib` writes them anew.

use std::path::Path;
use std::{env, fs};

/// Compares a text with the file at this path from the crate's directory.
pub(crate) fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(text, golden, "differs from {}: UPDATE_GOLDEN=1 writes it anew", path.display());
}
