//! The source at work: when to look, and what follows from a look.
//!
//! The order within a look is what the promises rest on: directories are watched before they are read, what
//! changed is stored before it is told, and the report is right before an event makes someone read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugward_api::RecordKey;
use plugward_api::manifest::{self, Rules};
use plugward_runtime::WatchEvent;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::last_good::LastGood;
use super::ledger::{Change, Ledger, Restored};
use super::looker::{Looker, Orders, looker};
use super::problem::Problem;
use super::publish::publish;
use super::reports::{Report, Reports};
use super::scan::{Limits, Listing, Parser, Scan, Scanner};
use super::watcher::{Inbox, Watcher};
use super::{Declared, Document, Settings, absolute};
use crate::atomic::AtomicError;
use crate::parallel;

/// The events that the source sends.
pub type Event = WatchEvent<RecordKey, Declared>;

/// Watches manifest directories and tells what records they declare.
///
/// See the [module](super) for what it guarantees.
#[derive(Debug)]
pub struct DirectorySource {
    settings: Settings,
    last_good: LastGood,
    reports: watch::Sender<Report>,
    looker: Looker,
    orders: Orders,
}

/// Everything that blocks: lives on the threads for that, one look at a time.
struct Worker {
    watcher: Watcher,
    inbox: Arc<Inbox>,
    scanner: Scanner,
    ledger: Ledger,
    last_good: LastGood,
    reports: watch::Sender<Report>,
    /// Whether a complete state was told.
    told: bool,
}

/// What a look gave.
struct Look {
    events: Vec<Event>,
    /// After how long to look again, if nothing happens before.
    again: Option<Again>,
}

/// Why a look is not the last word.
enum Again {
    /// A removal or a directory waits for a second scan.
    Confirm(Duration),
    /// Something is changing at the moment.
    Unsettled,
}

// === impl DirectorySource ===

impl DirectorySource {
    /// A source of the records in `settings.directories`, which continues where `last_good` was left.
    pub fn new(mut settings: Settings, last_good: LastGood) -> Self {
        for directory in &mut settings.directories {
            *directory = absolute(directory);
        }
        settings.directories.sort();
        settings.directories.dedup();
        let (looker, orders) = looker();
        Self { settings, last_good, reports: watch::Sender::default(), looker, orders }
    }

    /// How it is reached when it runs.
    pub fn looker(&self) -> Looker {
        self.looker.clone()
    }

    /// What people are told of manifests and directories.
    pub fn reports(&self) -> Reports {
        Reports(self.reports.subscribe())
    }

    /// Sends the events of a watch to `output`, until `shutdown` is cancelled or nobody receives them any more.
    ///
    /// # Panics
    ///
    /// When a look panics. What is in force then is not known, and to go on would be to guess.
    pub async fn run(self, output: mpsc::Sender<Event>, shutdown: CancellationToken) {
        // What is awaited below can all be left at any time: a look under way ends by itself.
        let _ = shutdown.run_until_cancelled(self.watch(output)).await;
    }

    async fn watch(self, output: mpsc::Sender<Event>) {
        let Self { settings, last_good, reports, looker: _, mut orders } = self;
        let Settings { rescan, quiet, longest_quiet, .. } = settings;
        // A writer that pauses for longer than a scan interval is read as it is.
        let inbox = Arc::new(Inbox::new(settings.directories.clone(), rescan));
        let events = Arc::clone(&inbox);
        let mut worker = blocking(move || Worker::new(&settings, last_good, reports, inbox)).await;
        let mut hurry = Hurry::new(quiet);
        let began = Instant::now();
        let mut askers = Vec::new();
        loop {
            orders.gather(&mut askers);
            let now = began.elapsed();
            let look;
            (worker, look) = blocking(move || worker.look(now)).await;
            let looked = Instant::now();
            for event in look.events {
                if output.send(event).await.is_err() {
                    return;
                }
            }
            if !matches!(look.again, Some(Again::Unsettled)) {
                for asker in askers.drain(..) {
                    // Who does not want to know any more is not told.
                    let _ = asker.send(());
                }
            }
            let pause = match look.again {
                Some(Again::Unsettled) => hurry.next().min(rescan),
                Some(Again::Confirm(pause)) => {
                    hurry.reset();
                    pause.min(rescan)
                }
                None => {
                    hurry.reset();
                    rescan
                }
            };
            tokio::select! {
                () = events.woken() => debounce(&events, quiet, longest_quiet, looked).await,
                asker = orders.next() => askers.push(asker),
                () = sleep_until(Instant::now() + pause) => {}
            }
        }
    }
}

/// Waits until nothing has happened for `quiet`, at most `longest`. A writer that is done is not kept waiting, if the
/// last look is that long ago: else each of many files would be a look of its own.
async fn debounce(events: &Inbox, quiet: Duration, longest: Duration, looked: Instant) {
    let rested = looked.elapsed() >= longest;
    let end = Instant::now() + longest;
    while Instant::now() < end && !(rested && events.someone_is_done()) {
        if timeout_at(end.min(Instant::now() + quiet), events.woken()).await.is_err() {
            return;
        }
    }
}

/// Runs `work` where it may block, and goes down with it when it panics.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program is ending, and with it whoever polls this.
            Err(_) => std::future::pending().await,
        },
    }
}

/// How soon to look again at what keeps changing: at once, then ever less often.
#[derive(Debug)]
struct Hurry {
    first: Duration,
    next: Duration,
}

// === impl Hurry ===

impl Hurry {
    const LONGEST: Duration = Duration::from_secs(1);

    fn new(first: Duration) -> Self {
        let first = first.clamp(Duration::from_millis(1), Self::LONGEST);
        Self { first, next: first }
    }

    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (self.next * 2).min(Self::LONGEST);
        now
    }

    fn reset(&mut self) {
        self.next = self.first;
    }
}

// === impl Worker ===

impl Worker {
    fn new(
        settings: &Settings,
        mut last_good: LastGood,
        reports: watch::Sender<Report>,
        inbox: Arc<Inbox>,
    ) -> Self {
        let parser = parser(settings.rules.clone());
        let directories = settings.directories.clone();
        let limits = Limits { bytes: manifest::MAX_BYTES as u64, settle: settings.quiet };
        let mut scanner = Scanner::new(directories.clone(), limits, Arc::clone(&parser));
        let (stored, identities) = last_good.take();
        let restored = parallel::map(stored, |stored| {
            let documents = parser(stored.text.as_bytes(), stored.path.format()).ok();
            Restored { path: stored.path, text: stored.text.into(), held: stored.held, documents }
        });
        for manifest in restored.iter().filter(|manifest| manifest.documents.is_some()) {
            scanner.remember(&manifest.path, &manifest.text);
        }
        let ledger = Ledger::new(directories.clone(), settings.confirm, restored, identities);
        let watched = if settings.events { directories.clone() } else { Vec::new() };
        Self {
            watcher: Watcher::new(watched, Arc::clone(&inbox)),
            inbox,
            scanner,
            ledger,
            last_good,
            reports,
            told: false,
        }
    }

    /// Looks at everything, at `now`.
    fn look(mut self, now: Duration) -> (Self, Look) {
        // The first look opens every file, and each opening would be an event. So it goes without watches, and the
        // next one follows at once.
        let first = !self.told;
        let unwatched = if first { BTreeMap::new() } else { self.watcher.adjust() };
        let scan = self.scanner.scan(&|name| self.inbox.writer(name));
        let exchanged = self.exchanged(&scan);
        let outcome = self.ledger.observe(scan, now);
        let stored = self.store();
        publish(&self.reports, &self.ledger, &outcome.touched, &self.last_good, &unwatched, stored);
        let again = if outcome.unsettled || exchanged || first {
            Some(Again::Unsettled)
        } else {
            self.ledger.next_look(now).map(Again::Confirm)
        };
        let events = self.events(outcome.changes);
        (self, Look { events, again })
    }

    /// Whether a directory came to its place after the watch was put there: what changes in it gives no event yet.
    fn exchanged(&self, scan: &Scan) -> bool {
        scan.directories.iter().any(|(path, listing)| match listing {
            Listing::Read { identity, .. } => !self.watcher.is_watched(path, *identity),
            Listing::Unreadable(_) => false,
        })
    }

    /// Stores what changed. What fails is kept for the next look: what is in force does not depend on it, only what
    /// a restart would find.
    fn store(&mut self) -> Result<(), AtomicError> {
        self.last_good.store(self.ledger.unsaved())?;
        if let Some(identities) = self.ledger.unsaved_identities() {
            self.last_good.store_identities(identities)?;
        }
        self.ledger.saved();
        Ok(())
    }

    /// The complete state the first time, then what changed.
    fn events(&mut self, changes: Vec<Change>) -> Vec<Event> {
        if self.told {
            let event = |change| match change {
                Change::Apply(key, declared) => Event::Apply(key, declared),
                Change::Delete(key) => Event::Delete(key),
            };
            return changes.into_iter().map(event).collect();
        }
        self.told = true;
        let all = self.ledger.in_force().map(|(key, declared)| Event::InitApply(key, declared));
        std::iter::once(Event::Init).chain(all).chain(std::iter::once(Event::InitDone)).collect()
    }
}

fn parser(rules: Rules) -> Parser {
    Arc::new(move |bytes, format| match manifest::parse(bytes, format, &rules) {
        Ok(records) => Ok(records
            .into_iter()
            .map(|placed| Document { record: Arc::new(placed.value), place: placed.place })
            .collect()),
        Err(mistakes) => Err(mistakes.into_iter().map(Problem::Invalid).collect()),
    })
}
