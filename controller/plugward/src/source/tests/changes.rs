//! Changes and how they are noticed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::world::{World, key, manifest};

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
