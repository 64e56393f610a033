//! The end of a source.

use std::time::Duration;

use super::world::World;

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let world = World::new();
    let settings = world.settings(&["m"]);
    let last_good = crate::source::LastGood::open(world.path("state/manifests")).unwrap();
    let source = crate::source::DirectorySource::new(settings, last_good);
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
