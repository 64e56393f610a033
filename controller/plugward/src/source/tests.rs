//! The source on a real file system. What only the rules decide is tested at the [ledger](super::ledger).

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::{FileState, Problem, StorageProblem};
use crate::atomic::tests::skipped;

mod world;

use world::{World, key, manifest};

// --- changes and how they are noticed

#[tokio::test]
async fn an_empty_directory_gives_an_empty_listing() {
    let world = World::new();
    let running = world.start().await;
    assert_eq!(running.initial.as_deref(), Some(&[][..]));
    assert!(running.reports.removals_allowed());
    running.stop().await;
}

#[tokio::test]
async fn what_is_there_at_the_start_is_listed() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1), ("y", 2)]);
    world.write(
        "m/b.json",
        r#"{"apiVersion": "plugward.dev/v1alpha1", "kind": "PluginRuntime", "metadata": {"name": "z"}, "spec": {}}"#,
    );
    let mut running = world.start().await;
    // Written so shortly before the start, they may count as being written in the first look.
    running.until("all are in force", |running| running.names() == ["x", "y", "z"]).await;
    let declared = &running.known[&key("y")];
    assert_eq!(declared.file, world.path("m/a.yaml"));
    assert_eq!((declared.place.line, declared.generation), (10, 1));
    running.stop().await;
}

#[tokio::test]
async fn events_alone_tell_of_every_kind_of_change() {
    let world = World::new();
    let mut running = world.start_with(world.events_only(&["m"])).listed().await;

    world.declare("m/a.yaml", &[("x", 1)]);
    running.until_declared("x", 1).await;
    // Truncated and written.
    world.declare("m/a.yaml", &[("x", 2)]);
    running.until_declared("x", 2).await;
    assert_eq!(running.generation("x"), 2);
    // Written elsewhere and renamed.
    world.declare("m/a.yaml.tmp", &[("x", 3)]);
    world.rename("m/a.yaml.tmp", "m/a.yaml");
    running.until_declared("x", 3).await;
    // Appended.
    let mut file = File::options().append(true).open(world.path("m/a.yaml")).unwrap();
    file.write_all(manifest(&[("y", 1)]).as_bytes()).unwrap();
    drop(file);
    running.until_declared("y", 1).await;
    // A symlink.
    world.declare("elsewhere", &[("z", 1)]);
    symlink(world.path("elsewhere"), world.path("m/z.yaml")).unwrap();
    running.until_declared("z", 1).await;
    // A hard link.
    world.declare("linked", &[("w", 1)]);
    fs::hard_link(world.path("linked"), world.path("m/w.yaml")).unwrap();
    running.until_declared("w", 1).await;
    // Gone.
    world.remove("m/a.yaml");
    running.until_deleted("x").await;
    running.until_deleted("y").await;
    assert_eq!(running.names(), ["w", "z"]);
    running.stop().await;
}

#[tokio::test]
async fn a_rescan_finds_what_no_event_tells() {
    let world = World::new();
    fs::create_dir(world.path("elsewhere")).unwrap();
    world.declare("elsewhere/target", &[("x", 1)]);
    symlink(world.path("elsewhere/target"), world.path("m/a.yaml")).unwrap();
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    // inotify watches names, and this one is not in a watched directory.
    world.declare("elsewhere/target", &[("x", 2)]);
    running.until_declared("x", 2).await;
    world.declare("elsewhere/new", &[("x", 3)]);
    world.rename("elsewhere/new", "elsewhere/target");
    running.until_declared("x", 3).await;
    running.stop().await;
}

#[tokio::test]
async fn a_mounted_config_map_turns_all_its_files_at_once() {
    let world = World::new();
    let publish = |version: &str, files: &[(&str, &str)]| {
        fs::create_dir(world.path(&format!("m/..{version}"))).unwrap();
        for (name, text) in files {
            world.write(&format!("m/..{version}/{name}"), text);
        }
        symlink(format!("..{version}"), world.path("m/..data_tmp")).unwrap();
        world.rename("m/..data_tmp", "m/..data");
    };
    publish("2026_1", &[("a.yaml", &manifest(&[("x", 1)])), ("b.yaml", &manifest(&[("y", 1)]))]);
    for name in ["a.yaml", "b.yaml"] {
        symlink(format!("..data/{name}"), world.path(&format!("m/{name}"))).unwrap();
    }
    let mut running = world.start_with(world.events_only(&["m"])).listed().await;
    running.until_declared("x", 1).await;
    running.until_declared("y", 1).await;

    publish("2026_2", &[("a.yaml", &manifest(&[("x", 2)])), ("b.yaml", &manifest(&[("y", 2)]))]);
    fs::remove_dir_all(world.path("m/..2026_1")).unwrap();
    running.until_declared("x", 2).await;
    running.until_declared("y", 2).await;

    // A key that goes: first its symlink leads nowhere, then it is removed.
    publish("2026_3", &[("a.yaml", &manifest(&[("x", 3)]))]);
    running.until_declared("x", 3).await;
    running.until_problem(&world.path("m/b.yaml"), "dangling_symlink").await;
    assert_eq!(running.pids("y"), Some(2));
    world.remove("m/b.yaml");
    running.until_deleted("y").await;
    assert_eq!(running.deleted, [key("y")]);
    running.stop().await;
}

// --- files that cannot be used

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
        return run_without_privileges("source::tests::a_file_that_may_not_be_read_keeps_its_records");
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

// --- editors and other tools

#[tokio::test]
async fn no_editor_removes_anything() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    let looked_at = async |running: &mut world::Running| {
        let looks = running.reports.read().looks;
        running.until_report("another look", |report| report.looks > looks).await;
    };

    // vim: tries whether it may create files, keeps a swap file, moves the old file away, writes a new one.
    world.write("m/.a.yaml.swp", "b0VIM");
    world.write("m/4913", "");
    world.remove("m/4913");
    looked_at(&mut running).await;
    world.rename("m/a.yaml", "m/a.yaml~");
    looked_at(&mut running).await;
    world.declare("m/a.yaml", &[("x", 2)]);
    running.until_declared("x", 2).await;
    world.remove("m/a.yaml~");
    world.remove("m/.a.yaml.swp");

    // emacs: a lock that is a symlink to nothing, an auto-save file, a backup.
    symlink("user@host.1:2", world.path("m/.#a.yaml")).unwrap();
    world.write("m/#a.yaml#", "half");
    fs::copy(world.path("m/a.yaml"), world.path("m/a.yaml~")).unwrap();
    looked_at(&mut running).await;
    world.declare("m/a.yaml", &[("x", 3)]);
    running.until_declared("x", 3).await;
    world.remove("m/.#a.yaml");

    // Tools that unlink and create.
    world.remove("m/a.yaml");
    running
        .until_report("it is gone for a moment", |report| {
            report.files.values().any(|file| file.state == FileState::Gone)
        })
        .await;
    world.declare("m/a.yaml", &[("x", 4)]);
    running.until_declared("x", 4).await;

    running.thoroughly_looked_at().await;
    assert_eq!(running.deleted, []);
    assert_eq!(running.generation("x"), 4);
    assert_eq!(running.reports.read().files.len(), 1, "{:?}", running.reports.read().files);
    running.stop().await;
}

// --- directories

#[tokio::test]
async fn a_directory_that_appears_later_is_noticed_by_events_alone() {
    let world = World::new();
    fs::remove_dir(world.path("m")).unwrap();
    let mut running = world.start_with(world.events_only(&["m"])).listed().await;
    assert!(!running.reports.removals_allowed());
    running.until_directory(&world.path("m"), Some("missing")).await;
    fs::create_dir(world.path("m")).unwrap();
    running.until_directory(&world.path("m"), None).await;
    assert!(running.reports.removals_allowed());
    world.declare("m/a.yaml", &[("x", 1)]);
    running.until_declared("x", 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_disappears_and_comes_back_removes_nothing() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start_with(world.events_only(&["m"])).listed().await;
    running.until_declared("x", 1).await;
    world.rename("m", "away");
    running.until_directory(&world.path("m"), Some("missing")).await;
    world.rename("away", "m");
    running.until_directory(&world.path("m"), None).await;
    world.declare("m/a.yaml", &[("x", 2)]);
    running.until_declared("x", 2).await;
    assert_eq!(running.deleted, []);
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_deleted_and_made_anew_counts_when_it_is_filled() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    world.declare("m/b.yaml", &[("y", 1)]);
    let mut running = world.start().await;
    running.until_declared("y", 1).await;
    world.rename("m", "old");
    fs::create_dir(world.path("m")).unwrap();
    running.until_directory(&world.path("m"), Some("replaced")).await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.names(), ["x", "y"]);
    world.declare("m/a.yaml", &[("x", 2)]);
    running.until_declared("x", 2).await;
    running.until_deleted("y").await;
    running.until_directory(&world.path("m"), None).await;
    assert_eq!(running.deleted, [key("y")]);
    running.stop().await;
}

#[tokio::test]
async fn files_removed_from_the_directory_itself_are_removed() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    world.declare("m/b.yaml", &[("y", 1)]);
    let mut running = world.start().await;
    running.until_declared("y", 1).await;
    world.remove("m/a.yaml");
    world.remove("m/b.yaml");
    running.until_deleted("x").await;
    running.until_deleted("y").await;
    running.stop().await;
    let running = world.start().await;
    assert_eq!(running.names(), [""; 0]);
    running.stop().await;
}

#[tokio::test]
async fn a_symlink_to_a_directory_may_be_turned() {
    let world = World::new();
    fs::create_dir(world.path("v1")).unwrap();
    fs::create_dir(world.path("v2")).unwrap();
    world.declare("v1/a.yaml", &[("x", 1), ("y", 1)]);
    world.declare("v2/a.yaml", &[("x", 2)]);
    symlink("v1", world.path("current")).unwrap();
    let mut running = world.start_with(world.events_only(&["current"])).listed().await;
    running.until_declared("x", 1).await;
    symlink("v2", world.path("next")).unwrap();
    world.rename("next", "current");
    running.until_declared("x", 2).await;
    running.until_deleted("y").await;
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_unmounted_removes_nothing() {
    let world = World::new();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(world.path("m")).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skipped("only root can mount");
    }
    let guard = Unmount(&world);
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;

    // Over it, then under it; and over a restart.
    let over = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(world.path("m")).status().unwrap();
    assert!(over.success());
    let top = Unmount(&world);
    running.until_directory(&world.path("m"), Some("replaced")).await;
    running.thoroughly_looked_at().await;
    drop(top);
    running.until_directory(&world.path("m"), None).await;
    drop(guard);
    running.until_directory(&world.path("m"), Some("replaced")).await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.pids("x"), Some(1));
    assert_eq!(running.deleted, []);
    running.stop().await;

    let mut running = world.start().await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.pids("x"), Some(1));
    assert_eq!(running.deleted, []);
    assert!(!running.reports.removals_allowed());
    running.stop().await;
}

/// Unmounts what is mounted at `m`, whatever becomes of the test.
struct Unmount<'a>(&'a World);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.0.path("m")).status();
        assert!(done.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn several_directories_are_one_set_of_records() {
    let world = World::new();
    fs::create_dir(world.path("n")).unwrap();
    world.declare("m/a.yaml", &[("x", 1)]);
    world.declare("n/a.yaml", &[("y", 1)]);
    let mut running = world.start_over(&["m", "n", "m/"]).await;
    running.until("both are in force", |running| running.names() == ["x", "y"]).await;
    // A file that moves is neither deleted nor created.
    world.rename("m/a.yaml", "n/b.yaml");
    running
        .until_report("it moved", |report| {
            report.files.get(&world.path("n/b.yaml")).is_some_and(|file| file.records == [key("x")])
        })
        .await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.deleted, []);
    assert_eq!(running.generation("x"), 1);
    running.stop().await;
}

#[tokio::test]
async fn one_file_reached_by_two_paths_is_declared_twice() {
    let world = World::new();
    fs::create_dir(world.path("n")).unwrap();
    world.declare("m/a.yaml", &[("x", 1)]);
    symlink(world.path("m/a.yaml"), world.path("n/b.yaml")).unwrap();
    let mut running = world.start_over(&["m", "n"]).await;
    running.until_declared("x", 1).await;
    running.until_problem(&world.path("n/b.yaml"), "declared_twice").await;
    {
        let report = running.reports.read();
        let problem = report.files[&world.path("n/b.yaml")].problems[0].clone();
        let Problem::DeclaredTwice { holder, holder_place, .. } = problem else { panic!("{problem:?}") };
        assert_eq!(holder, world.path("m/a.yaml"));
        assert!(holder_place.is_some());
    }
    // The one that remains takes over: the same record, so nobody need be told.
    world.remove("n/b.yaml");
    fs::hard_link(world.path("m/a.yaml"), world.path("n/b.yaml")).unwrap();
    world.remove("m/a.yaml");
    running
        .until_report("the other took over", |report| {
            report.files.get(&world.path("n/b.yaml")).is_some_and(|file| file.records == [key("x")])
        })
        .await;
    assert_eq!(running.deleted, []);
    assert_eq!(running.generation("x"), 1);
    running.stop().await;
}

// --- restarts of the controller

#[tokio::test]
async fn a_restart_changes_nothing() {
    let world = World::new();
    world.declare("m/b.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    world.declare("m/b.yaml", &[("x", 2)]);
    running.until_declared("x", 2).await;
    world.declare("m/a.yaml", &[("x", 5), ("y", 1)]);
    running.until_declared("y", 1).await;
    let before = running.known.clone();
    running.stop().await;

    let mut running = world.start().await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.known, before, "neither holder nor generation");
    assert_eq!(running.initial, Some(vec![key("x"), key("y")]));
    assert!(running.reports.removals_allowed());
    running.stop().await;
}

#[tokio::test]
async fn a_start_with_a_broken_file_keeps_its_last_good_records() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1), ("y", 1)]);
    let mut running = world.start().await;
    running.until_declared("y", 1).await;
    running.stop().await;

    world.write("m/a.yaml", "kind: [");
    let mut running = world.start().await;
    assert_eq!(running.initial, Some(vec![key("x"), key("y")]));
    running.until_problem(&world.path("m/a.yaml"), "invalid").await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.names(), ["x", "y"]);
    assert!(running.reports.read().files[&world.path("m/a.yaml")].last_good_in_force);
    // Over another restart as well; and then it is mended.
    running.stop().await;
    let mut running = world.start().await;
    assert_eq!(running.names(), ["x", "y"]);
    world.declare("m/a.yaml", &[("x", 1)]);
    running.until_deleted("y").await;
    assert_eq!(running.generation("x"), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_start_without_a_directory_keeps_its_last_good_records() {
    let world = World::new();
    fs::create_dir(world.path("n")).unwrap();
    world.declare("m/a.yaml", &[("x", 1)]);
    world.declare("n/b.yaml", &[("y", 1)]);
    let mut running = world.start_over(&["m", "n"]).await;
    running.until("both are in force", |running| running.names() == ["x", "y"]).await;
    running.stop().await;

    world.rename("m", "away");
    world.remove("n/b.yaml");
    let mut running = world.start_over(&["m", "n"]).await;
    assert_eq!(running.initial, Some(vec![key("x"), key("y")]));
    running.until_directory(&world.path("m"), Some("missing")).await;
    world.declare("n/c.yaml", &[("z", 1)]);
    running.until_declared("z", 1).await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.names(), ["x", "y", "z"], "others work, and nothing is removed");
    assert!(!running.reports.removals_allowed());
    assert!(!running.reports.read().may_remove(&key("unheard-of")));

    world.rename("away", "m");
    running.until_deleted("y").await;
    assert!(running.reports.removals_allowed());
    assert!(running.reports.read().may_remove(&key("unheard-of")));
    assert_eq!(running.names(), ["x", "z"]);
    running.stop().await;
}

#[tokio::test]
async fn a_start_with_an_empty_directory_in_place_of_the_usual_one_removes_nothing() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    running.stop().await;

    world.rename("m", "away");
    fs::create_dir(world.path("m")).unwrap();
    let mut running = world.start().await;
    assert_eq!(running.initial, Some(vec![key("x")]));
    running.until_directory(&world.path("m"), Some("replaced")).await;
    running.thoroughly_looked_at().await;
    assert_eq!(running.names(), ["x"]);
    assert!(!running.reports.removals_allowed());
    // What the report advises.
    world.write("m/removed-on-purpose.yaml", "");
    running.until_deleted("x").await;
    assert!(running.reports.removals_allowed());
    running.stop().await;
}

#[tokio::test]
async fn what_was_removed_while_the_controller_was_down_goes() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    world.declare("m/b.yaml", &[("y", 1), ("z", 1)]);
    let mut running = world.start().await;
    running.until("all are in force", |running| running.names() == ["x", "y", "z"]).await;
    running.stop().await;
    world.remove("m/a.yaml");
    world.declare("m/b.yaml", &[("y", 1)]);
    let mut running = world.start().await;
    assert_eq!(running.initial, Some(vec![key("x"), key("y"), key("z")]), "one look is not enough");
    running.until("both are gone", |running| running.names() == ["y"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_directory_that_was_emptied_while_the_controller_was_down_is_empty() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    running.stop().await;
    world.remove("m/a.yaml");
    let mut running = world.start().await;
    running.until_deleted("x").await;
    running.until_directory(&world.path("m"), None).await;
    running.stop().await;
}

// --- the store

#[tokio::test]
async fn a_store_that_fails_is_told_of_and_stops_nothing() {
    let world = World::new();
    let mut running = world.start().await;
    let manifests = world.path("state/manifests");
    fs::remove_dir_all(&manifests).unwrap();
    world.declare("m/a.yaml", &[("x", 1)]);
    running.until_declared("x", 1).await;
    running
        .until_report("the failure is told", |report| {
            matches!(&report.storage[..], [StorageProblem::NotStored { error }] if error.contains("No such file"))
        })
        .await;
    fs::create_dir(&manifests).unwrap();
    running.until_report("it works again", |report| report.storage.is_empty()).await;
    running.stop().await;
    world.write("m/a.yaml", "");
    let running = world.start().await;
    assert_eq!(running.names(), ["x"]);
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_store_forbids_removals_until_it_is_whole() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    running.stop().await;
    for stored in stored_manifests(&world.path("state/manifests")) {
        fs::write(stored, "{").unwrap();
    }
    world.write("m/a.yaml", "kind: [");
    let mut running = world.start().await;
    running.until_problem(&world.path("m/a.yaml"), "invalid").await;
    running.thoroughly_looked_at().await;
    assert!(!running.reports.removals_allowed(), "what was in force is not known");
    assert!(matches!(running.reports.read().storage[..], [StorageProblem::Damaged { .. }]));
    world.declare("m/a.yaml", &[("x", 1)]);
    running.until_declared("x", 1).await;
    running.until_report("everything is known again", |report| report.removals_allowed).await;
    assert!(running.reports.read().storage.is_empty());
    running.stop().await;
}

fn stored_manifests(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().is_some_and(|name| name != "directories.json")).collect()
}

// --- the end

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let world = World::new();
    let settings = world.settings(&["m"]);
    let last_good = super::LastGood::open(world.path("state/manifests")).unwrap();
    let source = super::DirectorySource::new(settings, last_good);
    let (output, events) = tokio::sync::mpsc::channel(1);
    drop(events);
    let ended = source.run(output, tokio_util::sync::CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the source ends");
}

#[tokio::test]
async fn a_shutdown_ends_the_source_even_when_nobody_takes_its_events() {
    let world = World::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        world.declare(&format!("m/{name}.yaml"), &[(name, 1)]);
    }
    let mut running = world.start_with(world.settings(&["m"]));
    running.until_report("it has looked", |report| report.looks > 0).await;
    running.stop().await;
}
