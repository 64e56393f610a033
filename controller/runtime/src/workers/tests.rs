use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance, sleep, timeout};

use super::{Action, Failure, Options, Request, Summary, Verdict, run};
use crate::backoff::Backoff;
use crate::observer::{Observer, Outcome};
use crate::queue::{Added, Depth, Queue, Requests, queue};
use crate::store::{WriterDropped, store};
use crate::watch::WatchEvent;

const SECOND: Duration = Duration::from_secs(1);

/// A time no test needs: a wait for a state that fails instead of hanging.
const LONG: Duration = Duration::from_mins(1);

type Name = &'static str;

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("passing")]
    Passing,
    #[error("lasting")]
    Lasting,
}

impl Failure for Broken {
    fn category(&self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Lasting => "lasting",
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Passing => Verdict::Retry,
            Self::Lasting => Verdict::Terminal,
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(SECOND, Duration::from_mins(5)).unwrap()
}

fn options(concurrency: usize) -> Options {
    Options {
        concurrency: concurrency.try_into().unwrap(),
        backoff: backoff(),
        stall: 60 * SECOND,
        grace: 10 * SECOND,
        seed: Some(1),
    }
}

/// Workers in a task of their own, with a reconcile that tells of each run and does what it is told.
struct Rig {
    queue: Queue<Name, Name>,
    stop: oneshot::Sender<()>,
    workers: JoinHandle<Summary<Name>>,
    runs: mpsc::UnboundedReceiver<(Name, u32, Duration)>,
}

impl Rig {
    fn start<F>(concurrency: usize, reconcile: impl Fn(Request<Name>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Action, Broken>> + Send + 'static,
    {
        Self::observed(concurrency, (), reconcile)
    }

    /// Workers whose runs each wait for a permit of a gate.
    fn gated(concurrency: usize) -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let passed = Arc::clone(&gate);
        let rig = Self::start(concurrency, move |_| {
            let gate = Arc::clone(&passed);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Action::done())
            }
        });
        (rig, gate)
    }

    fn observed<F>(
        concurrency: usize,
        observer: impl Observer<Name, Name>,
        reconcile: impl Fn(Request<Name>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Action, Broken>> + Send + 'static,
    {
        let (queue, requests) = queue(observer);
        let (tell, runs) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let start = Instant::now();
        let reconcile = move |request: Request<Name>| {
            tell.send((request.key, request.attempt, start.elapsed())).unwrap();
            reconcile(request)
        };
        let workers = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            run(requests, options(concurrency), ready(Ok::<_, Infallible>(())), reconcile, shutdown)
                .await
                .unwrap_or_else(|never| match never {})
        });
        Self { queue, stop, workers, runs }
    }

    /// The next run: key, attempt, and the time since the start.
    async fn run(&mut self) -> (Name, u32, Duration) {
        timeout(24 * 60 * LONG, self.runs.recv()).await.expect("a run begins").expect("the workers live")
    }

    async fn key(&mut self) -> Name {
        self.run().await.0
    }

    /// Lets everything happen that can happen without time passing.
    async fn settle(&self) {
        settle().await;
    }

    async fn stop(self) -> Summary<Name> {
        let _ = self.stop.send(());
        self.workers.await.unwrap()
    }
}

async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

fn nothing_left() -> Summary<Name> {
    Summary { dropped: Vec::new(), aborted: Vec::new() }
}

// === starting ===

#[tokio::test(start_paused = true)]
async fn nothing_runs_before_every_store_is_ready_and_requests_are_merged_meanwhile() {
    let (queue, requests) = queue(());
    let (mut first, first_store) = store::<Name, u32>();
    let (mut second, second_store) = store::<Name, u32>();
    let runs = Arc::new(Mutex::new(Vec::new()));
    let workers = tokio::spawn({
        let runs = Arc::clone(&runs);
        let stores_ready =
            async move { tokio::try_join!(first_store.ready(), second_store.ready()).map(drop) };
        let reconcile = move |request: Request<Name>| {
            runs.lock().unwrap().push(request.key);
            ready(Ok::<_, Broken>(Action::done()))
        };
        run(requests, options(4), stores_ready, reconcile, pending())
    });

    assert!(first.apply(WatchEvent::Init).is_empty());
    assert!(first.apply(WatchEvent::InitDone).is_empty());
    assert_eq!(queue.add("a", ""), Added::New);
    assert_eq!(queue.add("b", ""), Added::New);
    assert_eq!(queue.add("a", ""), Added::Merged);
    for _ in 0..3 {
        settle().await;
        advance(LONG).await;
    }
    settle().await;
    assert!(runs.lock().unwrap().is_empty());

    assert!(second.apply(WatchEvent::Init).is_empty());
    assert!(second.apply(WatchEvent::InitDone).is_empty());
    settle().await;
    assert_eq!(*runs.lock().unwrap(), ["a", "b"]);
    queue.close();
    assert_eq!(workers.await.unwrap(), Ok(nothing_left()));
}

#[tokio::test(start_paused = true)]
async fn when_the_stores_never_become_ready_nothing_runs_and_what_waits_is_reported() {
    let told = Arc::new(Told::default());
    let (queue, requests) = queue(Arc::clone(&told));
    let (writer, store) = store::<Name, u32>();
    queue.add("a", "");
    drop(writer);
    let reconcile = |request: Request<Name>| async move {
        panic!("{} ran", request.key);
        #[expect(unreachable_code, reason = "gives the block its type")]
        Ok::<_, Broken>(Action::done())
    };
    let ended = run(requests, options(1), store.ready(), reconcile, pending()).await;
    assert_eq!(ended, Err(WriterDropped));
    assert_eq!(told.take(), ["queued a", "dropped a"]);
    assert_eq!(queue.add("b", ""), Added::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_before_the_stores_are_ready_reports_what_waits() {
    let (queue, requests) = queue(());
    queue.add("a", "");
    let never = pending::<Result<(), Infallible>>();
    let reconcile = |_: Request<Name>| ready(Ok::<_, Broken>(Action::done()));
    let ended = run(requests, options(1), never, reconcile, sleep(SECOND)).await;
    assert_eq!(ended, Ok(Summary { dropped: vec!["a"], aborted: Vec::new() }));
}

// === running ===

#[tokio::test(start_paused = true)]
async fn as_many_keys_run_at_once_as_there_is_room_for_and_no_more() {
    let (mut rig, gate) = Rig::gated(3);
    for key in ["a", "b", "c", "d", "e"] {
        rig.queue.add(key, "");
    }
    rig.settle().await;
    assert_eq!(rig.queue.depth(), Depth { due: 2, delayed: 0, running: 3 });
    gate.add_permits(1);
    rig.settle().await;
    assert_eq!(rig.queue.depth(), Depth { due: 1, delayed: 0, running: 3 });
    gate.add_permits(4);
    rig.settle().await;
    assert_eq!(rig.queue.depth(), Depth::default());
    assert_eq!([rig.key().await, rig.key().await, rig.key().await], ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_hangs_holds_up_only_itself() {
    let mut rig = Rig::start(2, |request| async move {
        if request.key == "hangs" {
            pending::<()>().await;
        }
        Ok(Action::done())
    });
    rig.queue.add("hangs", "");
    assert_eq!(rig.key().await, "hangs");
    rig.queue.add("hangs", "again");
    for key in ["a", "b", "c"] {
        rig.queue.add(key, "");
        assert_eq!(rig.key().await, key);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_repeated_with_a_backoff_of_its_own() {
    let mut rig = Rig::start(1, |request| async move {
        match request.key {
            "fails" => Err(Broken::Passing),
            _ => Ok(Action::done()),
        }
    });
    rig.queue.add("fails", "");
    let mut last = rig.run().await.2;
    for attempt in 1..12 {
        let (key, counted, at) = rig.run().await;
        assert_eq!((key, counted), ("fails", attempt));
        let (waited, ceiling) = (at.abs_diff(last), backoff().ceiling(attempt - 1));
        // tokio's timers round up to whole milliseconds.
        let rounding = Duration::from_millis(2);
        assert!(
            waited + rounding >= ceiling / 2 && waited <= ceiling + rounding,
            "{waited:?} of {ceiling:?}"
        );
        last = at;

        let before = Instant::now();
        rig.queue.add("works", "");
        assert_eq!(rig.run().await.0, "works");
        assert_eq!(before.elapsed(), Duration::ZERO, "another key waits with it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_forgets_the_failures() {
    let runs = AtomicUsize::new(0);
    let mut rig = Rig::start(1, move |_| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        ready(if run == 2 { Ok(Action::after(SECOND)) } else { Err(Broken::Passing) })
    });
    rig.queue.add("a", "");
    let mut attempts = Vec::new();
    for _ in 0..5 {
        attempts.push(rig.run().await.1);
    }
    assert_eq!(attempts, [0, 1, 2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_terminal_error_is_not_retried_and_leaves_no_attempts_behind() {
    let mut rig = Rig::start(1, |_| ready(Err(Broken::Lasting)));
    rig.queue.add("a", "");
    assert_eq!(rig.run().await.1, 0);
    advance(100 * LONG).await;
    rig.settle().await;
    assert_eq!(rig.queue.depth(), Depth::default());
    rig.queue.add("a", "changed");
    assert_eq!(rig.run().await.1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_comes_after_its_time_or_when_something_happens_before() {
    let mut rig = Rig::start(1, |_| ready(Ok(Action::after(LONG))));
    rig.queue.add("a", "");
    assert_eq!(rig.run().await.2, Duration::ZERO);
    let at = rig.run().await.2;
    assert!(at >= LONG && at < LONG + SECOND);
    rig.queue.add_after("a", SECOND, "changed");
    assert!(rig.run().await.2 < at + 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_run_and_the_loop_goes_on() {
    let told = Arc::new(Told::default());
    let mut rig = Rig::observed(1, Arc::clone(&told), |request| {
        assert_ne!((request.key, request.attempt), ("panics", 0), "before the first await");
        async move {
            yield_now().await;
            assert_ne!((request.key, request.attempt), ("panics", 1), "after an await");
            Ok(Action::done())
        }
    });
    rig.queue.add("panics", "");
    rig.queue.add("works", "");
    let runs = [rig.run().await, rig.run().await, rig.run().await, rig.run().await];
    let runs = runs.map(|(key, attempt, _)| (key, attempt));
    assert_eq!(runs, [("panics", 0), ("works", 0), ("panics", 1), ("panics", 2)]);
    assert_eq!(rig.stop().await, nothing_left());
    let panics = told.take().into_iter().filter(|told| told == "finished panics panic").count();
    assert_eq!(panics, 2);
}

/// Requeues of a whole fleet must not fill a buffer that the loop itself has to empty.
#[tokio::test(start_paused = true)]
async fn five_thousand_keys_that_ask_for_more_from_within_their_run_do_not_block_the_loop() {
    const KEYS: u32 = 5_000;
    let (queue, requests) = queue::<u32, Name>(());
    let finished = Arc::new(AtomicUsize::new(0));
    let reconcile = {
        let (queue, finished) = (queue.clone(), Arc::clone(&finished));
        move |request: Request<u32>| {
            let (queue, finished) = (queue.clone(), Arc::clone(&finished));
            async move {
                if finished.fetch_add(1, Ordering::Relaxed) < KEYS as usize {
                    queue.add(request.key, "again");
                    queue.add((request.key + 1) % KEYS, "neighbour");
                    return Ok::<_, Broken>(Action::after(Duration::ZERO));
                }
                Ok(Action::done())
            }
        }
    };
    for key in 0..KEYS {
        queue.add(key, "start");
    }
    let all_done = async {
        while queue.depth() != Depth::default() {
            sleep(SECOND).await;
        }
    };
    let ended = run(requests, options(1), ready(Ok::<_, Infallible>(())), reconcile, async {
        timeout(LONG, all_done).await.expect("the loop does not block");
    })
    .await;
    assert_eq!(ended, Ok(Summary { dropped: Vec::new(), aborted: Vec::new() }));
    assert!(finished.load(Ordering::Relaxed) >= 2 * KEYS as usize);
}

#[tokio::test(start_paused = true)]
async fn idle_workers_wake_up_for_nothing() {
    let (queue, requests) = queue::<Name, Name>(());
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    tokio::spawn(async move {
        let reconcile = |_: Request<Name>| ready(Ok::<_, Broken>(Action::after(100 * LONG)));
        let workers = run(requests, options(2), ready(Ok::<_, Infallible>(())), reconcile, pending());
        let mut workers = pin!(workers);
        poll_fn(|context| {
            counted.fetch_add(1, Ordering::Relaxed);
            workers.as_mut().poll(context)
        })
        .await
    });
    queue.add("a", "");
    queue.add("b", "");
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    for _ in 0..99 {
        advance(LONG).await;
    }
    settle().await;
    assert_eq!(polls.load(Ordering::Relaxed), before);
    advance(2 * LONG).await;
    settle().await;
    assert!(polls.load(Ordering::Relaxed) > before, "the count counts");
}

// === the pulse ===

#[tokio::test(start_paused = true)]
async fn the_pulse_is_felt_while_nothing_is_to_be_done_and_while_all_workers_are_busy() {
    let (mut rig, gate) = Rig::gated(1);
    let pulse = rig.queue.pulse();
    pulse.felt().await;
    rig.queue.add("a", "asked for");
    rig.queue.add("b", "asked for");
    rig.key().await;
    pulse.felt().await;
    gate.add_permits(2);
    rig.key().await;
    pulse.felt().await;
    assert_eq!(rig.stop().await, nothing_left());
}

#[tokio::test(start_paused = true)]
async fn workers_of_whose_runs_none_ends_have_no_pulse_until_one_does() {
    let (mut rig, gate) = Rig::gated(2);
    let pulse = rig.queue.pulse();
    rig.queue.add("a", "asked for");
    rig.key().await;
    advance(2 * options(1).stall).await;
    pulse.felt().await;
    rig.queue.add("b", "asked for");
    rig.key().await;
    advance(2 * options(1).stall).await;
    // What was waited for before that time was over is answered once.
    pulse.felt().await;
    let mut felt = pin!(pulse.felt());
    assert!(timeout(24 * 60 * LONG, felt.as_mut()).await.is_err(), "both workers are lost");
    gate.add_permits(1);
    felt.await;
    gate.add_permits(1);
    rig.settle().await;
    assert_eq!(rig.stop().await, nothing_left());
}

/// Holds up whoever tells it that a run begins: the one task that starts all runs.
struct HoldsUp {
    reached: mpsc::UnboundedSender<()>,
    release: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Observer<Name, Name> for HoldsUp {
    fn started(&self, _: &Name, _: Duration) {
        self.reached.send(()).unwrap();
        self.release.lock().unwrap().recv().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_loop_that_blocks_its_thread_has_no_pulse() {
    let (reached, mut is_reached) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel();
    let observer = HoldsUp { reached, release: Mutex::new(released) };
    let rig = Rig::observed(2, observer, |_| async { Ok(Action::done()) });
    let pulse = rig.queue.pulse();
    pulse.felt().await;
    rig.queue.add("a", "asked for");
    is_reached.recv().await.unwrap();
    let felt = tokio::spawn(async move { pulse.felt().await });
    settle().await;
    assert!(!felt.is_finished(), "the loop is held up");
    release.send(()).unwrap();
    timeout(LONG, felt).await.expect("the loop comes round again").unwrap();
    assert_eq!(rig.stop().await, nothing_left());
}

// === stopping ===

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_runs_finish_and_starts_no_more() {
    let mut rig = Rig::start(1, |_| async {
        sleep(5 * SECOND).await;
        Ok(Action::done())
    });
    rig.queue.add("a", "");
    assert_eq!(rig.key().await, "a");
    rig.queue.add("b", "");
    rig.queue.add_after("c", LONG, "");
    let before = Instant::now();
    rig.stop.send(()).unwrap();
    settle().await;
    assert_eq!(rig.queue.depth().running, 1);
    assert_eq!(rig.queue.add("d", ""), Added::Closed);
    assert_eq!(rig.workers.await.unwrap(), Summary { dropped: vec!["b", "c"], aborted: Vec::new() });
    assert!(before.elapsed() < 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn closing_the_queue_is_a_shutdown_even_when_there_is_no_room() {
    let mut rig = Rig::start(1, |_| pending());
    rig.queue.add("hangs", "");
    assert_eq!(rig.key().await, "hangs");
    rig.queue.close();
    let ended = timeout(LONG, rig.workers).await.expect("the grace is over").unwrap();
    assert_eq!(ended, Summary { dropped: Vec::new(), aborted: vec!["hangs"] });
}

#[tokio::test(start_paused = true)]
async fn what_runs_longer_than_the_grace_is_aborted_and_said() {
    let told = Arc::new(Told::default());
    let ended = Arc::new(AtomicBool::new(false));
    let mut rig = Rig::observed(2, Arc::clone(&told), {
        let ended = Arc::clone(&ended);
        move |request| {
            let ended = Arc::clone(&ended);
            async move {
                sleep(if request.key == "long" { 60 * SECOND } else { 9 * SECOND }).await;
                ended.store(request.key == "long", Ordering::Relaxed);
                Ok(Action::done())
            }
        }
    });
    rig.queue.add("long", "");
    rig.queue.add("short", "");
    assert_eq!([rig.key().await, rig.key().await], ["long", "short"]);
    rig.queue.add("long", "asked for again");
    let before = Instant::now();
    let summary = rig.stop().await;
    assert_eq!(summary, Summary { dropped: vec!["long"], aborted: vec!["long"] });
    assert!(before.elapsed() < 11 * SECOND, "it was left behind and not ended");
    advance(100 * LONG).await;
    assert!(!ended.load(Ordering::Relaxed));
    let told = told.take();
    assert_eq!(told[told.len() - 3..], ["finished short success", "finished long aborted", "dropped long"]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_or_requeues_during_a_shutdown_is_reported_as_dropped() {
    let mut rig = Rig::start(3, |request| async move {
        sleep(SECOND).await;
        match request.key {
            "fails" => Err(Broken::Passing),
            "panics" => panic!("during shutdown"),
            _ => Ok(Action::after(SECOND)),
        }
    });
    for key in ["fails", "panics", "requeues"] {
        rig.queue.add(key, "");
    }
    for _ in 0..3 {
        rig.key().await;
    }
    let mut summary = rig.stop().await;
    summary.dropped.sort_unstable();
    assert_eq!(summary, Summary { dropped: vec!["fails", "panics", "requeues"], aborted: Vec::new() });
}

/// A runner may check whether it is done before it takes in the last request, and so lose it.
#[tokio::test(start_paused = true)]
async fn a_request_accepted_in_the_moment_of_shutdown_is_run_or_reported() {
    for delay in 0..8 {
        for delay_of_run in 0..4 {
            let (queue, requests) = queue::<Name, Name>(());
            let ran = Arc::new(Mutex::new(Vec::new()));
            let reconcile = {
                let ran = Arc::clone(&ran);
                move |request: Request<Name>| {
                    let ran = Arc::clone(&ran);
                    async move {
                        for _ in 0..delay_of_run {
                            yield_now().await;
                        }
                        ran.lock().unwrap().push(request.key);
                        Ok::<_, Broken>(Action::done())
                    }
                }
            };
            queue.add("first", "");
            let shutdown = async {
                for _ in 0..delay {
                    yield_now().await;
                }
                assert_eq!(queue.add("last", ""), Added::New);
            };
            let opened = ready(Ok::<_, Infallible>(()));
            let Ok(summary) = run(requests, options(2), opened, reconcile, shutdown).await;
            let mut known = [ran.lock().unwrap().clone(), summary.dropped].concat();
            known.sort_unstable();
            assert_eq!(known, ["first", "last"], "after {delay} and {delay_of_run}");
            assert!(summary.aborted.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_workers_aborts_at_once_and_reports_what_waits() {
    let told = Arc::new(Told::default());
    let (queue, requests) = queue(Arc::clone(&told));
    queue.add("running", "");
    queue.add("waiting", "");
    let alive = Arc::new(());
    let reconcile = {
        let alive = Arc::downgrade(&alive);
        move |_: Request<Name>| {
            let alive = alive.upgrade();
            async move {
                sleep(LONG).await;
                drop(alive);
                Ok::<_, Broken>(Action::done())
            }
        }
    };
    let workers = run(requests, options(1), ready(Ok::<_, Infallible>(())), reconcile, pending());
    assert!(timeout(SECOND, workers).await.is_err());
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 1, "the run is gone");
    assert_eq!(told.take(), ["queued running", "queued waiting", "started running", "dropped waiting"]);
    assert_eq!(queue.add("late", ""), Added::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_blocks_its_thread_does_not_block_the_shutdown() {
    let released = Arc::new(AtomicBool::new(false));
    let (queue, requests) = queue::<Name, Name>(());
    let blocks = Arc::new(Notify::new());
    let reconcile = {
        let (released, blocks) = (Arc::clone(&released), Arc::clone(&blocks));
        move |_: Request<Name>| {
            blocks.notify_one();
            while !released.load(Ordering::Acquire) {
                thread::yield_now();
            }
            ready(Ok::<_, Broken>(Action::done()))
        }
    };
    queue.add("blocks", "");
    let options = Options { grace: Duration::ZERO, ..options(1) };
    let workers = run(requests, options, ready(Ok::<_, Infallible>(())), reconcile, blocks.notified());
    let ended = timeout(LONG, workers).await.expect("it does not wait for the thread");
    released.store(true, Ordering::Release);
    assert_eq!(ended, Ok(Summary { dropped: Vec::new(), aborted: vec!["blocks"] }));
}

// === observing ===

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn tell(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer<Name, Name> for Told {
    fn queued(&self, key: &Name, _: &Name, _: crate::Priority) {
        self.tell(format!("queued {key}"));
    }

    fn started(&self, key: &Name, _: Duration) {
        self.tell(format!("started {key}"));
    }

    fn finished(&self, key: &Name, outcome: Outcome, _: Duration) {
        self.tell(format!("finished {key} {}", outcome.as_str()));
    }

    fn retried(&self, key: &Name, attempt: u32, _: Duration) {
        self.tell(format!("retried {key} {attempt}"));
    }

    fn dropped(&self, key: &Name, _: &Name) {
        self.tell(format!("dropped {key}"));
    }
}

#[derive(Default)]
struct Times(Mutex<Vec<(Duration, Option<Duration>)>>);

impl Observer<Name, Name> for Times {
    fn started(&self, _: &Name, waited: Duration) {
        self.0.lock().unwrap().push((waited, None));
    }

    fn finished(&self, _: &Name, _: Outcome, took: Duration) {
        self.0.lock().unwrap().last_mut().unwrap().1 = Some(took);
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_every_step_in_order() {
    let told = Arc::new(Told::default());
    let mut rig = Rig::observed(1, Arc::clone(&told), |request| {
        ready(match (request.key, request.attempt) {
            ("fails", 0) => Err(Broken::Passing),
            ("lasts", _) => Err(Broken::Lasting),
            ("requeues", _) => Ok(Action::after(LONG)),
            _ => Ok(Action::done()),
        })
    });
    for key in ["fails", "lasts", "requeues"] {
        rig.queue.add(key, "");
        rig.queue.add(key, "merged");
    }
    for _ in 0..4 {
        rig.key().await;
    }
    rig.settle().await;
    assert_eq!(rig.stop().await, Summary { dropped: vec!["requeues"], aborted: Vec::new() });
    let expected = [
        "queued fails",
        "queued lasts",
        "queued requeues",
        "started fails",
        "finished fails error",
        "retried fails 1",
        "started lasts",
        "finished lasts terminal_error",
        "started requeues",
        "finished requeues requeue_after",
        "started fails",
        "finished fails success",
        "dropped requeues",
    ];
    assert_eq!(told.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_how_long_a_key_waited_after_it_was_due_and_how_long_it_ran() {
    let times = Arc::new(Times::default());
    let mut rig = Rig::observed(1, Arc::clone(&times), |_| async {
        sleep(2 * SECOND).await;
        Ok(Action::done())
    });
    rig.queue.add("a", "");
    rig.queue.add_after("b", SECOND, "");
    rig.key().await;
    rig.key().await;
    assert_eq!(rig.stop().await, nothing_left());
    let expected = [(Duration::ZERO, Some(2 * SECOND)), (SECOND, Some(2 * SECOND))];
    assert_eq!(*times.0.lock().unwrap(), expected);
}

// === in real time, on several threads ===

struct Subject {
    /// What is to be noticed: it rises before each request.
    version: AtomicU64,
    noticed: AtomicU64,
    running: AtomicBool,
}

/// Whatever the interleaving: a key is never run twice at once, and the last change of every key is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_stress_no_key_runs_twice_at_once_and_no_change_goes_unnoticed() {
    const KEYS: usize = 40;
    const CHANGES: usize = 4_000;
    let subjects: Arc<Vec<Subject>> = Arc::new(
        (0..KEYS).map(|_| Subject { version: 0.into(), noticed: 0.into(), running: false.into() }).collect(),
    );
    let (queue, requests) = queue::<usize, Name>(());
    let runs = Arc::new(AtomicUsize::new(0));
    let reconcile = {
        let (subjects, runs) = (Arc::clone(&subjects), Arc::clone(&runs));
        move |request: Request<usize>| {
            let (subjects, run) = (Arc::clone(&subjects), runs.fetch_add(1, Ordering::Relaxed));
            async move {
                let subject = &subjects[request.key];
                let alone = !subject.running.swap(true, Ordering::SeqCst);
                let version = subject.version.load(Ordering::SeqCst);
                yield_now().await;
                subject.running.store(false, Ordering::SeqCst);
                if !alone {
                    // Seen below: a panic would be taken for a failed run.
                    subject.noticed.store(u64::MAX, Ordering::SeqCst);
                    return Ok(Action::done());
                }
                match run % 7 {
                    0 => panic!("on purpose"),
                    1 => Err(Broken::Passing),
                    outcome => {
                        subject.noticed.fetch_max(version, Ordering::SeqCst);
                        Ok(if outcome == 2 { Action::after(SECOND / 1_000) } else { Action::done() })
                    }
                }
            }
        }
    };
    let backoff = Backoff::new(Backoff::SHORTEST, 5 * Backoff::SHORTEST).unwrap();
    let options = Options { backoff, ..options(8) };
    let workers = tokio::spawn(run(requests, options, ready(Ok::<_, Infallible>(())), reconcile, pending()));

    let mut sources = Vec::new();
    for source in 0..4_usize {
        let (queue, subjects) = (queue.clone(), Arc::clone(&subjects));
        sources.push(tokio::spawn(async move {
            for change in 0..CHANGES {
                let key = (change * 7 + source * 13) % KEYS;
                subjects[key].version.fetch_add(1, Ordering::SeqCst);
                match change % 3 {
                    0 => queue.add(key, "fresh"),
                    1 => queue.add_background(key, "background"),
                    _ => queue.add_after(key, SECOND / 1_000, "delayed"),
                };
                if change % 50 == 0 {
                    yield_now().await;
                }
            }
        }));
    }
    for source in sources {
        source.await.unwrap();
    }
    let unnoticed = || {
        let behind = |subject: &&Subject| {
            subject.noticed.load(Ordering::SeqCst) != subject.version.load(Ordering::SeqCst)
        };
        subjects.iter().filter(behind).count()
    };
    let noticed = async {
        while unnoticed() > 0 {
            sleep(SECOND / 100).await;
        }
    };
    assert!(timeout(LONG, noticed).await.is_ok(), "{} keys", unnoticed());
    queue.close();
    assert!(workers.await.unwrap().is_ok());
    assert!(subjects.iter().all(|subject| subject.noticed.load(Ordering::SeqCst) != u64::MAX));
}

/// Whatever the interleaving of requests and shutdown: what is accepted is run, or dropped, or aborted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_stress_every_request_accepted_before_a_shutdown_is_accounted_for() {
    for round in 0..200_u32 {
        let (queue, requests) = queue::<u32, Name>(());
        let ran = Arc::new(Mutex::new(BTreeSet::new()));
        let reconcile = {
            let ran = Arc::clone(&ran);
            move |request: Request<u32>| {
                let ran = Arc::clone(&ran);
                async move {
                    yield_now().await;
                    ran.lock().unwrap().insert(request.key);
                    Ok::<_, Broken>(Action::done())
                }
            }
        };
        let stop = Arc::new(Notify::new());
        let shutdown = {
            let stop = Arc::clone(&stop);
            async move { stop.notified().await }
        };
        let workers =
            tokio::spawn(run(requests, options(4), ready(Ok::<_, Infallible>(())), reconcile, shutdown));
        let sources: Vec<JoinHandle<Vec<u32>>> = (0..3)
            .map(|source| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    // Every key is asked for once, so it is in one place at the end.
                    let keys = (0..).map(|count| count * 3 + source);
                    let mut accepted = Vec::new();
                    for key in keys {
                        match queue.add(key, "") {
                            Added::Closed => break,
                            _ => accepted.push(key),
                        }
                        yield_now().await;
                    }
                    accepted
                })
            })
            .collect();
        for _ in 0..round {
            yield_now().await;
        }
        stop.notify_one();
        let Ok(Summary { dropped, aborted }) = workers.await.unwrap();
        let mut accepted = BTreeMap::new();
        for source in sources {
            accepted.extend(source.await.unwrap().into_iter().map(|key| (key, 0)));
        }
        for key in ran.lock().unwrap().iter().chain(&dropped) {
            *accepted.entry(*key).or_insert(100) += 1;
        }
        assert!(aborted.is_empty());
        assert!(accepted.values().all(|times| *times == 1), "round {round}: {accepted:?}");
    }
}

#[test]
fn the_workers_can_be_moved_between_threads() {
    fn sendable<T: Send>(_: T) {}
    let (_queue, requests): (_, Requests<Name, Name>) = queue(());
    let reconcile = |_: Request<Name>| ready(Ok::<_, Broken>(Action::done()));
    sendable(run(requests, options(1), ready(Ok::<_, Infallible>(())), reconcile, pending()));
}
