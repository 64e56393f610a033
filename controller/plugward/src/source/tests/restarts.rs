//! Restarts of the controller.

use std::fs;

use super::world::{World, key};

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
