use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{Follow, Interruption};
use crate::backoff::Backoff;
use crate::queue::queue;
use crate::store::store;
use crate::watch::WatchEvent::{self, Apply, Init, InitApply, InitDone};

const SECOND: Duration = Duration::from_secs(1);

type Event = WatchEvent<&'static str, u32>;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the connection is gone")]
struct Gone;

fn backoff() -> Backoff {
    Backoff::new(SECOND, 300 * SECOND).unwrap()
}

fn follow(name: &str) -> Follow {
    Follow { name: name.to_owned(), backoff: backoff(), reset_after: 60 * SECOND, seed: Some(3) }
}

/// What a followed source tells: the events passed on, and the waits after interruptions, with their times.
struct Followed {
    events: mpsc::UnboundedReceiver<(Event, Instant)>,
    waits: mpsc::UnboundedReceiver<(Interruption<Gone>, Duration)>,
    _task: JoinHandle<Infallible>,
}

impl Followed {
    fn start<S>(mut open: impl FnMut(usize) -> S + Send + 'static) -> Self
    where
        S: Stream<Item = Result<Event, Gone>> + Send + 'static,
    {
        let (tell_event, events) = mpsc::unbounded_channel();
        let (tell_wait, waits) = mpsc::unbounded_channel();
        let mut count = 0;
        let task = tokio::spawn(follow("test").run(
            move || {
                count += 1;
                open(count - 1)
            },
            move |event| tell_event.send((event, Instant::now())).unwrap(),
            move |interruption, delay| {
                let interruption = match interruption {
                    Interruption::Failed(Gone) => Interruption::Failed(Gone),
                    Interruption::Ended => Interruption::Ended,
                    Interruption::Panicked => Interruption::Panicked,
                };
                tell_wait.send((interruption, delay)).unwrap();
            },
        ));
        Self { events, waits, _task: task }
    }

    async fn event(&mut self) -> (Event, Instant) {
        timeout(3_600 * SECOND, self.events.recv()).await.expect("an event").expect("it is followed for ever")
    }

    /// Asserts that the next wait is the one after so many interruptions in a row.
    async fn expect_wait(&mut self, interruption: Interruption<Gone>, attempt: u32) {
        let (why, delay) =
            timeout(3_600 * SECOND, self.waits.recv()).await.expect("a wait").expect("for ever");
        assert_eq!(why, interruption);
        let ceiling = backoff().ceiling(attempt);
        assert!(
            delay > ceiling.mul_f64(0.49) && delay <= ceiling,
            "attempt {attempt}: {delay:?} of {ceiling:?}"
        );
    }
}

fn connected(events: Vec<Event>) -> impl Stream<Item = Result<Event, Gone>> {
    stream::iter(events).map(Ok).chain(stream::pending())
}

fn lost_after(up: Duration, events: Vec<Event>) -> impl Stream<Item = Result<Event, Gone>> {
    let lost = async move {
        sleep(up).await;
        Err(Gone)
    };
    stream::iter(events).map(Ok).chain(stream::once(lost))
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_reached_is_tried_again_with_growing_waits() {
    let mut followed = Followed::start(|_| stream::iter([Err(Gone)]));
    for attempt in 0..12 {
        followed.expect_wait(Interruption::Failed(Gone), attempt).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_waited_for() {
    let start = Instant::now();
    let mut followed = Followed::start(|count| match count {
        0 => stream::iter([Err(Gone)]).boxed(),
        _ => connected(vec![Init]).boxed(),
    });
    let (_, delay) = followed.waits.recv().await.unwrap();
    let (event, at) = followed.event().await;
    assert_eq!(event, Init);
    assert!(at - start >= delay && at - start <= delay + Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_is_opened_again() {
    let mut followed = Followed::start(|_| stream::iter([Ok(Init), Ok(InitDone)]));
    for attempt in 0..3 {
        followed.expect_wait(Interruption::Ended, attempt).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_opened_again() {
    let mut followed = Followed::start(|count| {
        assert_ne!(count, 0, "when it is opened");
        stream::iter([Ok(Init)]).chain(stream::once(async move {
            assert_ne!(count, 1, "when it is read");
            Err(Gone)
        }))
    });
    followed.expect_wait(Interruption::Panicked, 0).await;
    followed.expect_wait(Interruption::Panicked, 1).await;
    followed.expect_wait(Interruption::Failed(Gone), 2).await;
}

#[tokio::test(start_paused = true)]
async fn only_a_connection_that_lasts_makes_the_backoff_start_anew() {
    let mut followed = Followed::start(|count| match count {
        // Lists and breaks at once: connecting is not yet being well.
        0..3 => lost_after(Duration::ZERO, vec![Init, InitDone]).boxed(),
        // Long connected, and never through with its listing.
        3 => lost_after(600 * SECOND, vec![Init]).boxed(),
        4 => lost_after(59 * SECOND, vec![Init, InitDone]).boxed(),
        5 => lost_after(60 * SECOND, vec![Init, InitDone]).boxed(),
        _ => lost_after(Duration::ZERO, vec![]).boxed(),
    });
    for attempt in [0, 1, 2, 3, 4, 0, 1] {
        followed.expect_wait(Interruption::Failed(Gone), attempt).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_neither_pauses_another_one_nor_is_forgiven_for_its_sake() {
    let healthy = |_| {
        let every_second = stream::iter(0..).then(|value| async move {
            sleep(SECOND).await;
            Ok(Apply("healthy", value))
        });
        stream::iter([Ok(Init), Ok(InitDone)]).chain(every_second)
    };
    let mut failing = Followed::start(|_| stream::iter([Err(Gone)]));
    let start = Instant::now();
    let mut healthy = Followed::start(healthy);
    assert_eq!([healthy.event().await.0, healthy.event().await.0], [Init, InitDone]);
    for value in 0..1_000 {
        let (event, at) = healthy.event().await;
        assert_eq!(event, Apply("healthy", value));
        let due = start + (value + 1) * SECOND;
        assert!(
            at >= due && at <= due + value * Duration::from_millis(1) + SECOND / 10,
            "{event:?} came late"
        );
    }
    for attempt in 0..8 {
        failing.expect_wait(Interruption::Failed(Gone), attempt).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_vanished_while_the_source_was_away_is_asked_for() {
    let (mut writer, store) = store();
    let (queue, requests) = queue::<&str, &str>(());
    let opened = Arc::new(AtomicUsize::new(0));
    let waits = Arc::new(Mutex::new(0));
    let open = {
        let opened = Arc::clone(&opened);
        move || -> BoxStream<'static, Result<Event, Gone>> {
            match opened.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    lost_after(SECOND, vec![Init, InitApply("stays", 1), InitApply("vanishes", 1), InitDone])
                        .boxed()
                }
                _ => connected(vec![Init, InitApply("stays", 1), InitDone]).boxed(),
            }
        }
    };
    let waited = Arc::clone(&waits);
    let source = follow("test").run(
        open,
        move |event| {
            for key in writer.apply(event) {
                queue.add(key, "changed");
            }
        },
        move |_, _| *waited.lock().unwrap() += 1,
    );
    let _source = tokio::spawn(source);

    let mut seen = Vec::new();
    for _ in 0..3 {
        let taken = requests.next().await.unwrap();
        seen.push((taken.key, store.get(&taken.key).is_some()));
        requests.finish(taken, crate::queue::Next::Forget);
    }
    assert_eq!(seen, [("stays", true), ("vanishes", true), ("vanishes", false)]);
    assert_eq!(*waits.lock().unwrap(), 1);
}
