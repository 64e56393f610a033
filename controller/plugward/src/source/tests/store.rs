//! A store that fails.

use std::fs;
use std::path::Path;

use crate::source::StorageProblem;

use super::world::World;

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
