//! A source on a real file system, and what a reader of its events knows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugward_api::manifest::Rules;
use plugward_api::{Kind, RecordKey};
use plugward_runtime::{Pulse, WatchEvent};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::source::{Declared, DirectorySource, Event, LastGood, Looker, Report, Reports, Settings};

/// Long enough for the slowest machine; reached only when a test fails.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Directories of a test, which outlive the sources that are run over them.
pub(super) struct World {
    temporary: TempDir,
}

/// A running source.
pub(super) struct Running {
    events: mpsc::Receiver<Event>,
    pub(super) reports: Reports,
    pub(super) looker: Looker,
    pub(super) pulse: Pulse,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    pub(super) known: BTreeMap<RecordKey, Declared>,
    /// Every name that was ever deleted.
    pub(super) deleted: Vec<RecordKey>,
    /// What the listing held, once it is complete.
    pub(super) initial: Option<Vec<RecordKey>>,
}

pub(super) fn key(name: &str) -> RecordKey {
    RecordKey { kind: Kind::PluginRuntime, name: name.parse().unwrap() }
}

/// A manifest of one document per record; the number is a field of its spec.
pub(super) fn manifest(records: &[(&str, u32)]) -> String {
    let mut text = String::new();
    for (name, pids) in records {
        writeln!(
            text,
            "---\napiVersion: plugward.dev/v1alpha1\nkind: PluginRuntime\nmetadata:\n  name: {name}\nspec:\n  \
             resources:\n    pids: {pids}",
        )
        .unwrap();
    }
    text
}

// === impl World ===

impl World {
    /// With an empty directory `m`.
    pub(super) fn new() -> Self {
        let world = Self { temporary: TempDir::new().unwrap() };
        fs::create_dir(world.path("m")).unwrap();
        world
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn declare(&self, name: &str, records: &[(&str, u32)]) {
        self.write(name, &manifest(records));
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// The usual settings of tests: looks often and confirms soon.
    pub(super) fn settings(&self, directories: &[&str]) -> Settings {
        let directories = directories.iter().map(|name| self.path(name));
        Settings {
            rescan: Duration::from_millis(100),
            confirm: Duration::from_millis(50),
            ..Settings::new(directories, Rules::default())
        }
    }

    /// Settings under which nothing but an event makes the source look.
    pub(super) fn events_only(&self, directories: &[&str]) -> Settings {
        Settings { rescan: Duration::from_secs(24 * 3600), ..self.settings(directories) }
    }

    pub(super) fn start_with(&self, settings: Settings) -> Running {
        let last_good = LastGood::open(self.path("state/manifests")).unwrap();
        let source = DirectorySource::new(settings, last_good);
        let (reports, looker) = (source.reports(), source.looker());
        // Narrow, so that sending waits for us now and then.
        let (output, events) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(source.run(output, shutdown.clone()));
        let (known, deleted, initial) = (BTreeMap::new(), Vec::new(), None);
        Running { events, reports, pulse: looker.pulse(), looker, shutdown, task, known, deleted, initial }
    }

    /// Runs a source over `m` and waits until it has listed everything.
    pub(super) async fn start(&self) -> Running {
        self.start_over(&["m"]).await
    }

    pub(super) async fn start_over(&self, directories: &[&str]) -> Running {
        self.start_with(self.settings(directories)).listed().await
    }
}

// === impl Running ===

impl Running {
    pub(super) async fn listed(mut self) -> Self {
        self.until("everything is listed", |running| running.initial.is_some()).await;
        self
    }

    /// How many events wait to be taken in.
    pub(super) fn waiting(&self) -> usize {
        self.events.len()
    }

    fn take_in(&mut self, event: Event) {
        match event {
            WatchEvent::Init => assert!(self.known.is_empty() && self.initial.is_none(), "one listing"),
            WatchEvent::InitDone => self.initial = Some(self.known.keys().cloned().collect()),
            WatchEvent::InitApply(key, declared) => {
                assert!(self.initial.is_none());
                self.known.insert(key, declared);
            }
            WatchEvent::Apply(key, declared) => {
                assert!(self.initial.is_some(), "the listing comes first");
                self.known.insert(key, declared);
            }
            WatchEvent::Delete(key) => {
                assert!(self.initial.is_some(), "the listing comes first");
                self.known.remove(&key);
                self.deleted.push(key);
            }
        }
    }

    /// Waits until the state is as wanted.
    pub(super) async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.take_in(event);
            }
            if wanted(self) {
                return;
            }
            assert!(!self.task.is_finished(), "the source ended before {what}");
            assert!(
                Instant::now() < end,
                "not reached: {what}\nknown: {:#?}\ndeleted: {:?}\n{:#?}",
                self.known,
                self.deleted,
                *self.reports.read()
            );
            sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn until_report(&mut self, what: &str, mut wanted: impl FnMut(&Report) -> bool) {
        self.until(what, |running| wanted(&running.reports.read())).await;
    }

    /// Waits until a record is in force with this number in its spec.
    pub(super) async fn until_declared(&mut self, name: &str, pids: u32) {
        self.until(&format!("{name} has {pids}"), |running| running.pids(name) == Some(pids)).await;
    }

    pub(super) async fn until_deleted(&mut self, name: &str) {
        self.until(&format!("{name} is deleted"), |running| running.pids(name).is_none()).await;
    }

    /// Waits until what there is now was looked at often enough for a removal to be confirmed.
    pub(super) async fn thoroughly_looked_at(&mut self) {
        // Looks without an event are at least as far apart as confirming needs. The first may have begun before what
        // the caller did, and that may have given an event or two.
        let enough = self.reports.read().looks + 8;
        self.until_report("eight more looks", |report| report.looks >= enough).await;
    }

    pub(super) async fn until_problem(&mut self, path: &Path, reason: &str) {
        self.until_report(&format!("{} is {reason}", path.display()), |report| {
            report
                .files
                .get(path)
                .is_some_and(|file| file.problems.iter().any(|problem| problem.as_str() == reason))
        })
        .await;
    }

    pub(super) async fn until_good(&mut self, path: &Path) {
        self.until_report(&format!("{} is good", path.display()), |report| {
            report.files.get(path).is_some_and(|file| file.state == crate::source::FileState::Good)
        })
        .await;
    }

    pub(super) async fn until_directory(&mut self, path: &Path, reason: Option<&str>) {
        self.until_report(&format!("{} is {reason:?}", path.display()), |report| {
            let problem = report.directories.get(path).map(|directory| directory.problem.as_ref());
            problem.is_some_and(|problem| problem.map(crate::source::DirectoryProblem::as_str) == reason)
        })
        .await;
    }

    pub(super) fn pids(&self, name: &str) -> Option<u32> {
        let value = serde_json::to_value(&*self.known.get(&key(name))?.record).unwrap();
        value["spec"]["resources"]["pids"].as_u64().and_then(|pids| u32::try_from(pids).ok())
    }

    pub(super) fn generation(&self, name: &str) -> u64 {
        self.known[&key(name)].generation
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.known.keys().map(|key| key.name.as_ref()).collect()
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        timeout(LIMIT, self.task).await.expect("the source ends").unwrap();
    }
}
