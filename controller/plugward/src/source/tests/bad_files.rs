//! Files that cannot be used.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::atomic::tests::skipped;
use crate::source::FileState;

use super::world::{World, manifest};

#[tokio::test]
async fn a_half_written_file_never_applies() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1), ("y", 1)]);
    let mut running = world.start_with(world.events_only(&["m"])).listed().await;
    running.until_declared("y", 1).await;

    // Each prefix is a valid manifest, and the writer pauses for several looks.
    let mut file = File::create(world.path("m/a.yaml")).unwrap();
    for (round, part) in (1..).zip([manifest(&[("x", 7)]), manifest(&[("y", 7)]), manifest(&[("z", 7)])]) {
        file.write_all(part.as_bytes()).unwrap();
        for look in 0..3 {
            let other = 100 * round + look;
            world.declare("m/marker.yaml", &[("marker", other)]);
            running.until_declared("marker", other).await;
            assert_eq!((running.pids("x"), running.pids("y"), running.pids("z")), (Some(1), Some(1), None));
        }
    }
    drop(file);
    running.until_declared("x", 7).await;
    running.until_declared("y", 7).await;
    running.until_declared("z", 7).await;
    assert_eq!(running.deleted, []);
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_breaks_keeps_its_last_good_records() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1), ("y", 1)]);
    let mut running = world.start().await;
    running.until_declared("y", 1).await;
    let path = world.path("m/a.yaml");
    let good = manifest(&[("x", 2)]);
    let long = format!("{good}{}", "# much\n".repeat(200_000));
    for bad in ["", "# nothing\n", "a: [", "kind: Other\n", &good.replace("pids", "pidz"), &long] {
        fs::write(&path, bad).unwrap();
        let reason = if bad.len() > 1 << 20 { "too_large" } else { "invalid" };
        running.until_problem(&path, reason).await;
        running.thoroughly_looked_at().await;
        assert_eq!((running.pids("x"), running.pids("y")), (Some(1), Some(1)), "{bad:.20}");
        world.declare("m/a.yaml", &[("x", 1), ("y", 1)]);
        running.until_good(&path).await;
    }
    fs::write(&path, b"kind: \xff\xfe").unwrap();
    running.until_problem(&path, "invalid").await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.names(), ["x", "y"]);
    assert_eq!(running.deleted, []);
    assert_eq!(running.generation("x"), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_mistake_is_told_with_its_place_and_what_is_in_force() {
    let world = World::new();
    world.write("m/a.yaml", &manifest(&[("x", 1)]).replace("pids", "pidz"));
    let mut running = world.start().await;
    let path = world.path("m/a.yaml");
    running.until_problem(&path, "invalid").await;
    {
        let report = running.reports.read();
        let file = &report.files[&path];
        assert_eq!((file.state, file.last_good_in_force), (FileState::Bad, false));
        assert_eq!(file.problems[0].place().map(|place| (place.line, place.column)), Some((8, 5)));
        assert_eq!(report.bad_files().count(), 1);
    }
    let since = running.reports.read().files[&path].since;
    running.thoroughly_looked_at().await;
    assert_eq!(running.reports.read().files[&path].since, since);
    world.declare("m/a.yaml", &[("x", 1)]);
    running.until_declared("x", 1).await;
    running.until_good(&path).await;
    assert_eq!(running.reports.read().bad_files().count(), 0);
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_file_is_told_of_and_holds_nothing_up() {
    let world = World::new();
    world.declare("m/good.yaml", &[("x", 1)]);
    mkfifoat(CWD, world.path("m/fifo.yaml"), Mode::RWXU).unwrap();
    fs::create_dir(world.path("m/directory.yaml")).unwrap();
    let _socket = UnixListener::bind(world.path("m/socket.yaml")).unwrap();
    symlink("/dev/zero", world.path("m/device.yaml")).unwrap();
    symlink("loop.yaml", world.path("m/loop.yaml")).unwrap();
    symlink("nowhere", world.path("m/dangling.yaml")).unwrap();
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    for (name, reason) in [
        ("fifo", "not_a_file"),
        ("directory", "not_a_file"),
        ("socket", "not_a_file"),
        ("device", "not_a_file"),
        ("loop", "symlink_loop"),
        ("dangling", "dangling_symlink"),
    ] {
        running.until_problem(&world.path(&format!("m/{name}.yaml")), reason).await;
    }
    // A file whose place one of them takes is as good as broken.
    world.remove("m/good.yaml");
    mkfifoat(CWD, world.path("m/good.yaml"), Mode::RWXU).unwrap();
    running.until_problem(&world.path("m/good.yaml"), "not_a_file").await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.pids("x"), Some(1));
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_may_not_be_read_keeps_its_records() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let path = world.path("m/a.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        return run_without_privileges(
            "source::tests::bad_files::a_file_that_may_not_be_read_keeps_its_records",
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    for mode in [0o000, 0o200] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        world.declare("m/marker.yaml", &[("marker", mode + 1)]);
        running.until_declared("marker", mode + 1).await;
        running.thoroughly_looked_at().await;
        assert_eq!(running.pids("x"), Some(1));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    running.until_good(&path).await;
    // The same for the directory.
    fs::set_permissions(world.path("m"), fs::Permissions::from_mode(0o000)).unwrap();
    running.until_directory(&world.path("m"), Some("unreadable")).await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.pids("x"), Some(1));
    fs::set_permissions(world.path("m"), fs::Permissions::from_mode(0o700)).unwrap();
    running.until_directory(&world.path("m"), None).await;
    running.stop().await;
}

/// Runs one test of this binary as root without the capabilities that make permissions void.
fn run_without_privileges(test: &str) {
    const AGAIN: &str = "PLUGWARD_TEST_WITHOUT_PRIVILEGES";
    assert!(std::env::var_os(AGAIN).is_none(), "permissions are void without privileges, too");
    let output = Command::new("setpriv")
        .arg("--bounding-set=-dac_override,-dac_read_search")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(AGAIN, "1")
        .output();
    let Ok(output) = output else { return skipped("setpriv is needed: permissions do not stop root") };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
