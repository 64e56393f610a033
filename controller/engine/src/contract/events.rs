use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::{Bench, LABEL};
use crate::container::ContainerId;
use crate::error::EngineError;
use crate::event::{Event, EventKind};

type Events = BoxStream<'static, Result<Event, EngineError>>;

async fn events(bench: &Bench, since: Timestamp) -> Events {
    bench.engine.events(&bench.labels(), since).await.unwrap()
}

async fn now(bench: &Bench) -> Timestamp {
    bench.engine.info().await.unwrap().time
}

/// The next event of a container. Other cases may touch images at the same time.
async fn next(events: &mut Events) -> (Timestamp, ContainerId, BTreeMap<String, String>, String) {
    loop {
        let event = events.next().await.expect("the stream goes on").unwrap();
        if let EventKind::Container { id, labels, action } = event.kind {
            return (event.at, id, labels, action);
        }
    }
}

pub(super) async fn a_life_is_told_in_order_with_its_labels(bench: Bench) {
    let begun = now(&bench).await;
    let mut events = events(&bench, begun).await;
    let mut spec = bench.spec(&["sleep"]);
    spec.labels.insert("dev.plugward.part".to_owned(), "some".to_owned());
    let id = bench.create("one", &spec).await;
    bench.engine.start(&id).await.unwrap();
    bench.engine.kill(&id).await.unwrap();
    bench.exit(&id).await;
    bench.engine.remove(&id).await.unwrap();
    let mut last = begun;
    for expected in ["create", "start", "die", "destroy"] {
        let (at, of, labels, action) = next(&mut events).await;
        assert_eq!((action.as_str(), of), (expected, id.clone()));
        assert_eq!(labels, spec.labels, "{action}");
        assert!(at > last, "{action}");
        last = at;
    }
}

pub(super) async fn what_happened_since_a_time_is_told_first(bench: Bench) {
    bench.create("before", &bench.spec(&["sleep"])).await;
    let begun = now(&bench).await;
    let id = bench.started("one", &["sleep"]).await;
    let mut events = events(&bench, begun).await;
    for expected in ["create", "start"] {
        let (_, of, _, action) = next(&mut events).await;
        assert_eq!((action.as_str(), of), (expected, id.clone()));
    }
    bench.engine.kill(&id).await.unwrap();
    assert_eq!(next(&mut events).await.3, "die");
}

pub(super) async fn what_happens_after_the_call_and_before_the_first_poll_is_told(bench: Bench) {
    let mut events = events(&bench, now(&bench).await).await;
    let id = bench.started("one", &["exit", "0"]).await;
    bench.exit(&id).await;
    for expected in ["create", "start", "die"] {
        assert_eq!(next(&mut events).await.3, expected);
    }
}

pub(super) async fn others_are_not_told_of(bench: Bench) {
    let begun = now(&bench).await;
    let mut events = events(&bench, begun).await;
    let mut other = bench.spec(&["sleep"]);
    other.labels.insert(LABEL.to_owned(), bench.name("other"));
    let other = bench.create("other", &other).await;
    bench.engine.remove(&other).await.unwrap();
    let id = bench.create("one", &bench.spec(&["sleep"])).await;
    let (_, of, _, action) = next(&mut events).await;
    assert_eq!((action.as_str(), of), ("create", id));
}

pub(super) async fn images_are_told_of_whatever_the_labels(bench: Bench) {
    let image = bench.engine.inspect_image(bench.harness.image()).await.unwrap().unwrap();
    let mut events = events(&bench, now(&bench).await).await;
    bench.harness.tag_and_untag(&bench.name("image")).await;
    for expected in ["tag", "untag"] {
        let found = async {
            loop {
                let event = events.next().await.expect("the stream goes on").unwrap();
                if let EventKind::Image { reference, action } = event.kind
                    && action == expected
                {
                    return reference;
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_mins(1), found).await.as_deref(), Ok(&*image.id));
    }
}
