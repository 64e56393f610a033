//! Programs in Go, of the module in this directory and of those that it pins.
//!
//! They need Go, and for the first time its module proxy. Without Go nothing is tested, which is said on standard error, and is
//! a failure with `PLUGWARD_REQUIRE_ALL=1`.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// Builds a program from a package. `None` where there is no Go.
pub(crate) fn build(package: &str, name: &str) -> Option<PathBuf> {
    if Command::new("go").arg("version").output().is_err() {
        assert!(env::var_os("PLUGWARD_REQUIRE_ALL").is_none_or(|all| all != "1"), "Go is not installed");
        // Not by a macro: the output of a test that passes is not shown.
        let skipped = format!("\nSKIPPED: Go is not installed, so that {name} was not tried\n");
        io::stderr().write_all(skipped.as_bytes()).unwrap();
        return None;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(package)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golang"))
        .env("CGO_ENABLED", "0")
        .status()
        .unwrap();
    assert!(built.success(), "go build {package} failed");
    Some(program)
}
