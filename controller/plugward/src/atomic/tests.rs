use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tempfile::TempDir;

use super::*;

/// Says that a test could not run here; fails it where nothing may be skipped.
pub(crate) fn skipped(reason: &str) {
    assert!(std::env::var_os("PLUGWARD_REQUIRE_ALL").is_none_or(|set| set != "1"), "skipped: {reason}");
    eprintln!("SKIPPED: {reason}");
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_created_and_then_replaced_as_a_whole() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.json");
    write(&path, b"a rather long first text", 0o600).unwrap();
    let first = fs::metadata(&path).unwrap().ino();
    write(&path, b"short", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"short");
    assert_ne!(fs::metadata(&path).unwrap().ino(), first, "the old file was written into");
    assert_eq!(names(directory.path()), ["state.json"]);
}

#[test]
fn the_mode_is_exactly_the_one_asked_for() {
    let directory = TempDir::new().unwrap();
    for mode in [0o600, 0o640, 0o666] {
        let path = directory.path().join(format!("{mode:o}"));
        write(&path, b"x", mode).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn many_files_are_written_like_one() {
    let directory = TempDir::new().unwrap();
    for count in [0, 1, FLUSH_TOGETHER - 1, FLUSH_TOGETHER * 3] {
        let files: Vec<_> = (0..count).map(|n| (format!("f{n}"), format!("{count}/{n}"))).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (OsStr::new(name), text.as_bytes())).collect();
        write_all(directory.path(), &files, 0o600).unwrap();
        for (name, bytes) in files {
            assert_eq!(fs::read(directory.path().join(name)).unwrap(), bytes);
        }
    }
    assert!(names(directory.path()).iter().all(|name| !is_temporary(OsStr::new(name))));
}

#[test]
fn a_failed_batch_leaves_the_old_files_and_no_leftovers() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("good");
    write(&path, b"old", 0o600).unwrap();
    let files: [(&OsStr, &[u8]); 2] =
        [(OsStr::new("good"), b"new"), (OsStr::new("missing/directory"), b"new")];
    let error = write_all(directory.path(), &files, 0o600).unwrap_err();
    assert_eq!(error.operation, Operation::Create);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["good"]);
}

#[test]
fn an_error_names_the_operation_and_the_path() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("nowhere/state.json");
    let error = write(&path, b"x", 0o600).unwrap_err();
    assert_eq!(error.operation, Operation::Create);
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("create "), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_target_that_is_a_directory_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.json");
    fs::create_dir(&path).unwrap();
    let error = write(&path, b"x", 0o600).unwrap_err();
    assert_eq!(error.operation, Operation::Rename);
    assert_eq!(names(directory.path()), ["state.json"]);
}

#[test]
fn a_symlink_is_replaced_and_not_followed() {
    let directory = TempDir::new().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "untouched").unwrap();
    let path = directory.path().join("link");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    write(&path, b"x", 0o600).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn leftovers_are_swept_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    for name in [".state.json.tmp-1-0", ".other.tmp-77-3", "state.json", ".hidden", "notes.tmp-1"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    assert_eq!(sweep(directory.path()).unwrap(), 2);
    assert_eq!(names(directory.path()), [".hidden", "notes.tmp-1", "state.json"]);
    assert_eq!(sweep(directory.path()).unwrap(), 0);
}

#[test]
fn removing_says_whether_there_was_something() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.json");
    write(&path, b"x", 0o600).unwrap();
    assert_eq!(remove(&path).unwrap(), Removed::Removed);
    assert_eq!(remove(&path).unwrap(), Removed::WasAbsent);
}

/// Needs a file system that can be filled: a small tmpfs, which only root can mount.
#[test]
fn a_full_disk_leaves_the_old_file_intact() {
    let directory = TempDir::new().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(directory.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        return skipped("only root can mount the small tmpfs that this test fills");
    }
    let path = directory.path().join("state.json");
    let outcome = std::panic::catch_unwind(|| {
        write(&path, b"old", 0o600).unwrap();
        let error = write(&path, &vec![b'x'; 1 << 20], 0o600).unwrap_err();
        assert_eq!(error.operation, Operation::Write);
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["state.json"]);
        write(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    });
    let unmounted = Command::new("umount").arg(directory.path()).status().unwrap();
    assert!(unmounted.success());
    outcome.unwrap();
}

#[test]
fn a_file_belongs_to_the_group_that_is_named_from_the_moment_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    // Others than root can give it to their own groups only.
    let ours = rustix::process::getegid().as_raw();
    let group = if rustix::process::geteuid().is_root() { ours + 54_321 } else { ours };
    write_for(&path, b"new", 0o640, Some(group)).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o777), (group, 0o640));
    assert_eq!(fs::read(&path).unwrap(), b"new");
}
