//! Directories that come and go.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::atomic::tests::skipped;
use crate::source::Problem;

use super::world::{World, key};

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
