//! Editors and other tools.

use std::fs;
use std::os::unix::fs::symlink;

use crate::source::FileState;

use super::world::{Running, World};

#[tokio::test]
async fn no_editor_removes_anything() {
    let world = World::new();
    world.declare("m/a.yaml", &[("x", 1)]);
    let mut running = world.start().await;
    running.until_declared("x", 1).await;
    let looked_at = async |running: &mut Running| {
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
