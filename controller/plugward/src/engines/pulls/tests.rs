use plugward_engine::simulated::{LAYERS, PIECES, Registry, Script, Settings, SimulatedEngine};
use tokio::sync::mpsc;

use super::*;

const IMAGE: &str = "registry.example/plugin:1";

/// An engine, the pulls of it, and who hears of their ends.
struct Bench {
    engine: SimulatedEngine,
    images: Arc<Images>,
    pulls: Pulls,
    heard: mpsc::UnboundedReceiver<(Name, Result<(), String>)>,
    clock: Clock,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn edit(instance: u64) -> Edit {
    Edit { instance, runtime: 1, renewal: 0 }
}

impl Bench {
    /// Its registry has the image.
    fn new() -> Self {
        let engine = SimulatedEngine::new(Settings::default());
        engine.publish(IMAGE, |_| Script::new());
        let (tell, heard) = mpsc::unbounded_channel();
        let ended = move |instance: &Name, end: &PullEnd| {
            let _ = tell.send((instance.clone(), end.result.clone()));
        };
        let images = Arc::new(Images::default());
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH);
        let pulls = Pulls::new(Arc::new(engine.clone()), images.clone(), clock, Box::new(ended));
        Self { engine, images, pulls, heard, clock }
    }

    fn want(&self, instance: &str, generation: u64) {
        self.pulls.want(&name(instance), edit(generation), &BTreeSet::from([IMAGE.to_owned()]));
    }

    fn want_nothing(&self, instance: &str) {
        self.pulls.want(&name(instance), edit(9), &BTreeSet::new());
    }

    async fn ended(&mut self) -> (String, Result<(), String>) {
        let (instance, result) = self.heard.recv().await.unwrap();
        (instance.to_string(), result)
    }

    fn calls(&self) -> u64 {
        self.engine.calls_of(Operation::Pull)
    }

    async fn has_image(&self) -> bool {
        self.images.inspect(&self.engine, IMAGE).await.unwrap().is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_want_an_image_share_one_pull_and_hear_of_its_end() {
    let mut bench = Bench::new();
    for instance in ["a", "b", "c"] {
        bench.want(instance, 1);
    }
    assert_eq!(bench.pulls.sight(IMAGE), PullSight::None);
    assert_eq!(bench.pulls.begin(IMAGE, 0), Begun::Begun);
    assert_eq!(bench.pulls.begin(IMAGE, 0), Begun::UnderWay);
    assert!(matches!(bench.pulls.sight(IMAGE), PullSight::Running { .. }));
    // One who comes later, too.
    bench.want("d", 1);
    for instance in ["a", "b", "c", "d"] {
        assert_eq!(bench.ended().await, (instance.to_owned(), Ok(())));
    }
    assert!(matches!(bench.pulls.sight(IMAGE), PullSight::Done { .. }));
    assert!(bench.has_image().await);
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn how_far_a_pull_is_can_be_seen() {
    let mut bench = Bench::new();
    bench.engine.set_registry(Registry::Up { pace: Duration::from_secs(10) });
    bench.want("a", 1);
    assert_eq!(bench.pulls.status(&name("a")), None);
    bench.pulls.begin(IMAGE, 0);
    tokio::time::sleep(Duration::from_secs(55)).await;
    let status = bench.pulls.status(&name("a")).unwrap();
    assert_eq!((status.image.as_str(), status.layers, status.layers_done), (IMAGE, LAYERS, 5 / PIECES));
    assert!(status.bytes > 0 && status.bytes < status.total_bytes && status.error.is_none(), "{status:?}");
    assert_eq!(bench.pulls.status(&name("b")), None);
    bench.ended().await.1.unwrap();
    assert_eq!(bench.pulls.status(&name("a")), None);
}

#[tokio::test(start_paused = true)]
async fn failures_say_why_and_delay_the_next_try_longer_each_time() {
    let mut bench = Bench::new();
    bench.want("a", 1);
    let mut delays = Vec::new();
    for (condition, words) in [
        (Registry::Down, "connection refused"),
        (Registry::Denies, "unauthorized"),
        (Registry::BreaksOff, "unexpected EOF"),
        (Registry::FallsSilent, "has sent nothing for"),
    ] {
        bench.engine.set_registry(condition);
        assert_eq!(bench.pulls.begin(IMAGE, 7), Begun::Begun);
        let message = bench.ended().await.1.unwrap_err();
        assert!(message.contains(words) && message.contains(IMAGE), "{message}");
        let PullSight::Failed { retry_at, .. } = bench.pulls.sight(IMAGE) else { panic!("it failed") };
        delays.push(retry_at.duration_since(bench.clock.now()));
        let status = bench.pulls.status(&name("a")).unwrap();
        assert_eq!((status.error, status.retry_at), (Some(message), Some(retry_at)));
        assert_eq!(status.failures as usize, delays.len());
    }
    assert!(delays.windows(2).all(|two| two[0] < two[1]), "{delays:?}");
    bench.engine.set_registry(Registry::Up { pace: Duration::ZERO });
    bench.pulls.begin(IMAGE, 7);
    bench.ended().await.1.unwrap();
    assert_eq!(bench.pulls.status(&name("a")), None);
}

#[tokio::test(start_paused = true)]
async fn an_edit_shortens_a_delay_and_the_engines_return_ends_it() {
    let mut bench = Bench::new();
    bench.engine.set_registry(Registry::Down);
    bench.want("a", 1);
    for _ in 0..4 {
        bench.pulls.begin(IMAGE, 0);
        bench.ended().await.1.unwrap_err();
    }
    let left = |bench: &Bench| match bench.pulls.sight(IMAGE) {
        PullSight::Failed { retry_at, .. } => bench.clock.until(retry_at),
        other => panic!("{other:?}"),
    };
    // No newcomer, and nobody who looks again.
    bench.want("a", 1);
    bench.want("b", 1);
    assert!(left(&bench) > DELAYS.0);
    bench.want("b", 2);
    assert_eq!(left(&bench), DELAYS.0);
    assert_eq!(bench.pulls.status(&name("a")).unwrap().failures, 0);
    bench.pulls.forget_failures();
    assert_eq!(bench.pulls.sight(IMAGE), PullSight::None);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_any_more_is_given_up() {
    let mut bench = Bench::new();
    bench.engine.set_registry(Registry::FallsSilent);
    bench.want("a", 1);
    bench.want("b", 1);
    bench.pulls.begin(IMAGE, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.want_nothing("a");
    assert!(matches!(bench.pulls.sight(IMAGE), PullSight::Running { .. }));
    bench.want_nothing("b");
    assert_eq!(bench.pulls.sight(IMAGE), PullSight::None);

    // Its successor is not concluded by it.
    bench.engine.set_registry(Registry::Up { pace: Duration::from_secs(1) });
    bench.want("c", 1);
    bench.pulls.begin(IMAGE, 0);
    assert_eq!(bench.ended().await, ("c".to_owned(), Ok(())));
    assert!(bench.heard.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn few_pulls_are_under_way_at_once() {
    let mut bench = Bench::new();
    let images: Vec<String> = (0..3 * AT_ONCE).map(|number| format!("registry.example/{number}:1")).collect();
    for image in &images {
        bench.engine.publish(image, |_| Script::new());
        bench.pulls.want(&name(&format!("of-{}", bench.calls())), edit(1), &images.iter().cloned().collect());
        bench.pulls.begin(image, 0);
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.calls(), AT_ONCE as u64);
    for _ in &images {
        bench.ended().await.1.unwrap();
    }
    assert_eq!(bench.calls(), images.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn with_their_link_pulls_end() {
    let bench = Bench::new();
    bench.engine.set_registry(Registry::FallsSilent);
    bench.want("a", 1);
    bench.pulls.begin(IMAGE, 0);
    let Bench { pulls, mut heard, .. } = bench;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shared = Arc::downgrade(&pulls.shared);
    drop(pulls);
    // The task was what held on to it, and to who hears.
    assert!(heard.recv().await.is_none());
    assert!(shared.upgrade().is_none());
}
