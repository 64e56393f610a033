//! Programs in Go, of the modules in `tests/` and of those that they pin.
//!
//! They need Go, and for the first time its module proxy. Without Go a test says that it was skipped, or fails with
//! `PLUGWARD_REQUIRE_ALL=1`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::engine::skipped;

/// What this process has built, by module and package.
static BUILT: LazyLock<Mutex<HashMap<(String, String), PathBuf>>> = LazyLock::new(Mutex::default);

/// Builds a program, once for each process: of the module in that directory of `tests/`, from a package in it (`./generic`), or one
/// that it requires. `None` where there is no Go. Hosts are not built again where `PLUGWARD_GO_BUILT` says that they were just now.
///
/// # Panics
/// When it does not build.
pub fn go_program(module: &str, package: &str) -> Option<PathBuf> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (module.to_owned(), package.to_owned());
    if let Some(program) = built.get(&key) {
        return Some(program.clone());
    }
    if Command::new("go").arg("version").output().is_err() {
        skipped("Go is not installed");
        return None;
    }
    let program = build(module, package);
    built.insert(key, program.clone());
    Some(program)
}

fn build(module: &str, package: &str) -> PathBuf {
    let name = package.rsplit('/').next().expect("there is always one");
    // Modules may have packages of the same name.
    let directory = target().join("go-tests").join(module);
    let program = directory.join(name);
    let just_now = module.starts_with("hosts") && std::env::var_os("PLUGWARD_GO_BUILT").is_some();
    if just_now && program.exists() {
        return program;
    }
    std::fs::create_dir_all(&directory).unwrap();
    // Under a name of our own first: another test process may be starting the one that is there.
    let fresh = directory.join(format!(".{name}.{}", std::process::id()));
    // The flags are those of hack/image: what it has compiled is not compiled again.
    let status = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .args([fresh.as_os_str(), package.as_ref()])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(module))
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local")])
        .status();
    assert!(status.unwrap().success(), "go build {package} failed in tests/{module}");
    std::fs::rename(fresh, &program).unwrap();
    program
}

/// Where cargo builds into: tests lie in `PROFILE/deps` there, and programs in `PROFILE`.
pub(super) fn target() -> PathBuf {
    let program = std::env::current_exe().expect("a process has an executable");
    let profile = program.ancestors().skip(1).find(|directory| !directory.ends_with("deps"));
    profile.and_then(Path::parent).expect("cargo has a directory for each profile").to_owned()
}
