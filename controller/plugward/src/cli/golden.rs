//! What commands print, held to files in `golden/`. `UPDATE_GOLDEN=1 cargo test -p plugward --lib cli` writes them anew.

use std::path::Path;
use std::{env, fs};

/// Compares what was printed with the file of this name.
pub(super) fn check(name: &str, printed: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, printed).unwrap();
        return;
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(printed, golden, "differs from {}: UPDATE_GOLDEN=1 writes it anew", file.display());
}
