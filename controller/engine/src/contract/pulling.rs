use futures::StreamExt as _;

use super::Bench;
use crate::Progress;
use crate::error::ErrorKind;

pub(super) async fn what_no_registry_has_cannot_be_pulled(bench: Bench) {
    let Some(name) = bench.harness.publish(&bench.tag).await else { return };
    let absent = format!("{name}-absent");
    let error = match bench.engine.pull(&absent).await {
        Err(error) => error,
        Ok(mut items) => items.next().await.unwrap().unwrap_err(),
    };
    assert_eq!((error.kind, &error.subject), (ErrorKind::NoSuchImage, &absent), "{error}");
    assert_eq!(bench.engine.inspect_image(&absent).await, Ok(None));
}

pub(super) async fn a_registry_that_is_not_there_is_the_engines_trouble(bench: Bench) {
    // The port of nobody: discard, on loopback.
    let name = "127.0.0.1:9/plugward-contract:1";
    if bench.harness.publish(&bench.tag).await.is_none() {
        return;
    }
    let error = match bench.engine.pull(name).await {
        Err(error) => error,
        Ok(mut items) => items.next().await.unwrap().unwrap_err(),
    };
    assert!(matches!(error.kind, ErrorKind::Internal | ErrorKind::NoSuchImage), "{error:?}");
}

pub(super) async fn a_pull_tells_how_far_it_is_and_brings_the_image(bench: Bench) {
    let Some(name) = bench.harness.publish(&bench.tag).await else { return };
    assert_eq!(
        bench.engine.inspect_image(&name).await,
        Ok(None),
        "it was published, and taken from the engine"
    );
    let told: Vec<Progress> = bench.engine.pull(&name).await.unwrap().map(Result::unwrap).collect().await;
    assert!(!told.is_empty() && told.windows(2).all(|two| two[0].bytes <= two[1].bytes), "{told:?}");
    let last = told.last().unwrap();
    assert!(last.layers > 0 && last.layers_done == last.layers, "{told:?}");
    assert!(last.bytes == last.total_bytes, "{told:?}");
    let image = bench.engine.inspect_image(&name).await.unwrap().expect("it was pulled");
    // Again: it is there already, and the same.
    let again: Vec<_> = bench.engine.pull(&name).await.unwrap().collect().await;
    assert!(again.iter().all(Result::is_ok), "{again:?}");
    assert_eq!(bench.engine.inspect_image(&name).await.unwrap(), Some(image));
    bench.harness.unpublish(&name).await;
}
