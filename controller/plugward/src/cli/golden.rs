//! What commands print, held to files in `golden/`.

/// Compares what was printed with the file of this name.
pub(super) fn check(name: &str, printed: &str) {
    crate::golden::check(&format!("src/cli/golden/{name}"), printed);
}
