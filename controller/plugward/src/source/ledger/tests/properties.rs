//! Random histories of manifests, directories, scans and restarts, against what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::world::{CONFIRM, Content, Mount, Sim, record};

const DIRECTORIES: [&str; 2] = ["/m", "/n"];
const FILES: [&str; 5] = ["/m/a.yaml", "/m/b.yaml", "/m/c.yaml", "/n/a.yaml", "/n/b.yaml"];
const NAMES: [&str; 4] = ["w", "x", "y", "z"];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Set(usize, Option<Content>),
    Hide(usize),
    Show(usize),
    MountOver(usize, u64),
    Unmount(usize),
    Storing(bool),
    Restart,
    Scan(Duration),
}

/// What one scan showed of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    /// Its directory listed without it.
    Absent,
    /// It can be used and declares these.
    Declares(BTreeSet<String>),
    /// Anything else: nothing may be concluded.
    Nothing,
}

fn content() -> impl Strategy<Value = Content> {
    let records = (prop::sample::subsequence(&NAMES[..], 1..=3), vec(1..3u32, 3), vec(0..2u8, 3)).prop_map(
        |(names, specs, labels)| {
            let records = names.iter().zip(specs).zip(labels).map(|((name, spec), label)| {
                record(name, spec).labelled(if label == 0 { "" } else { "blue" })
            });
            Content::Good(records.collect())
        },
    );
    prop_oneof![6 => records, 2 => Just(Content::Bad), 1 => Just(Content::Busy)]
}

fn step() -> impl Strategy<Value = Step> {
    let scan = prop_oneof![Just(10u64), Just(200), Just(500), Just(700)];
    prop_oneof![
        10 => (0..FILES.len(), content()).prop_map(|(file, content)| Step::Set(file, Some(content))),
        5 => (0..FILES.len()).prop_map(|file| Step::Set(file, None)),
        1 => (0..2usize).prop_map(Step::Hide),
        2 => (0..2usize).prop_map(Step::Show),
        1 => (0..2usize, 10..13u64).prop_map(|(directory, number)| Step::MountOver(directory, number)),
        2 => (0..2usize).prop_map(Step::Unmount),
        1 => Just(Step::Storing(false)),
        2 => Just(Step::Storing(true)),
        2 => Just(Step::Restart),
        20 => scan.prop_map(|millis| Step::Scan(Duration::from_millis(millis))),
    ]
}

/// The simulation, what a reader of its events knows, and what the scans of this run showed.
struct Checked {
    sim: Sim,
    known: BTreeMap<RecordKey, Declared>,
    history: Vec<(Duration, BTreeMap<&'static str, Shown>)>,
    storing: bool,
    /// Directories, by their numbers, that were seen with manifests in them: when they are empty, that is true.
    listed: BTreeSet<u64>,
}

impl Checked {
    fn new() -> Self {
        Self {
            sim: Sim::new(DIRECTORIES),
            known: BTreeMap::new(),
            history: Vec::new(),
            storing: true,
            listed: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Set(file, content) => self.sim.set(FILES[file], content),
            Step::Hide(directory) => self.sim.hide(DIRECTORIES[directory]),
            Step::Show(directory) => self.sim.show(DIRECTORIES[directory]),
            Step::MountOver(directory, number) => self.sim.mount_over(DIRECTORIES[directory], number),
            Step::Unmount(directory) => self.sim.unmount(DIRECTORIES[directory]),
            Step::Storing(works) => {
                self.storing = works;
                self.sim.fail_to_store(!works);
            }
            Step::Restart if self.storing => self.restart(),
            // A restart finds what was stored: with a store that fails, that is not what was told.
            Step::Restart => {}
            Step::Scan(pause) => self.scan(pause),
        }
    }

    fn restart(&mut self) {
        if !self.history.is_empty() {
            // What failed to be stored is stored by the next scan.
            self.scan(Duration::from_millis(1));
        }
        let before: BTreeMap<_, _> = self.sim.ledger().in_force().collect();
        self.sim.restart();
        let after: BTreeMap<_, _> = self.sim.ledger().in_force().collect();
        assert_eq!(before, after, "a restart changed what is in force");
        self.history.clear();
    }

    fn scan(&mut self, pause: Duration) {
        let held_before = self.holders();
        let outcome = self.sim.look(pause);
        let visible = self.sim.mounts.values().filter(|mount| !mount.hidden).map(Mount::shown);
        self.listed.extend(visible.filter(|shelf| !shelf.files.is_empty()).map(|shelf| shelf.number));
        let shown = self.shown();
        self.history.push((self.sim.now, shown.clone()));

        for change in outcome.changes {
            match change {
                Change::Apply(key, new) => {
                    let old = self.known.get(&key);
                    Self::check_apply(&key, old, &new);
                    self.known.insert(key, new);
                }
                Change::Delete(key) => {
                    self.check_delete(&key, &held_before[&key]);
                    assert!(self.known.remove(&key).is_some(), "{key} was never told");
                }
            }
        }
        // What a reader of the events knows is what is in force, but for moves, which are no events.
        let in_force: BTreeMap<_, _> = self.sim.ledger().in_force().collect();
        assert_eq!(in_force.keys().collect::<Vec<_>>(), self.known.keys().collect::<Vec<_>>());
        for (key, declared) in &in_force {
            assert_eq!(declared.record, self.known[key].record, "{key} changed without an event");
            assert_eq!(declared.generation, self.known[key].generation);
        }
        // A file that cannot be used changes nothing of its own.
        let held_after = self.holders();
        for (key, holder) in &held_before {
            if shown[holder.as_str()] == Shown::Nothing {
                assert_eq!(held_after.get(key), Some(holder), "{holder} lost {key}");
            }
        }
        self.check_views();
    }

    /// The reports agree with what is in force: every name is held by exactly one file.
    fn check_views(&self) {
        let mut told = BTreeMap::new();
        for path in self.sim.ledger().paths() {
            for key in self.sim.ledger().view(path).unwrap().records {
                assert_eq!(told.insert(key, path.as_str().to_owned()), None, "two holders");
            }
        }
        assert_eq!(told, self.holders());
    }

    fn check_apply(key: &RecordKey, old: Option<&Declared>, new: &Declared) {
        let Some(old) = old else {
            assert_eq!(new.generation, 1, "{key} is new");
            return;
        };
        assert_ne!(old.record, new.record, "{key}: an event without a change");
        let edited = !same_spec(&old.record, &new.record);
        assert_eq!(new.generation, old.generation + u64::from(edited), "{key}");
    }

    /// Every scan of the last `CONFIRM`, and one from before it began, found the holder without the name.
    fn check_delete(&self, key: &RecordKey, holder: &str) {
        assert!(self.sim.ledger().complete(), "{key} went before every directory was read");
        let begin = self.sim.now.checked_sub(CONFIRM).unwrap();
        let first = self.history.iter().rposition(|(at, _)| *at <= begin);
        let first = first.expect("two scans before a removal");
        for (at, shown) in &self.history[first..] {
            let missing = match &shown[holder] {
                Shown::Absent => true,
                Shown::Declares(names) => !names.contains(key.name.as_ref()),
                Shown::Nothing => false,
            };
            assert!(missing, "{key} went although {holder} was {:?} at {at:?}", shown[holder]);
        }
    }

    fn holders(&self) -> BTreeMap<RecordKey, String> {
        self.sim.ledger().in_force().map(|(key, d)| (key, d.file.to_str().unwrap().to_owned())).collect()
    }

    fn shown(&self) -> BTreeMap<&'static str, Shown> {
        let shown = FILES.map(|file| {
            let mount = &self.sim.mounts[&PathBuf::from(file).parent().unwrap().to_owned()];
            let visible = mount.shown();
            let shown = match visible.files.get(&ManifestPath::new(file)) {
                _ if mount.hidden => Shown::Nothing,
                Some(Content::Good(records)) => {
                    Shown::Declares(records.iter().map(|record| record.name.clone()).collect())
                }
                Some(_) => Shown::Nothing,
                // An empty directory that never held anything is a mount point without its mount.
                None if visible.files.is_empty() && !self.listed.contains(&visible.number) => Shown::Nothing,
                None => Shown::Absent,
            };
            (file, shown)
        });
        shown.into()
    }

    /// When the operator has mended everything, what the files say is what is in force.
    fn mend_and_check(&mut self) {
        self.apply(Step::Storing(true));
        let mut declared = BTreeSet::new();
        for directory in DIRECTORIES {
            self.sim.show(directory);
            self.sim.unmount(directory);
            let mount = self.sim.mounts.get_mut(&PathBuf::from(directory)).unwrap();
            mount.usual.files.retain(|_, content| matches!(content, Content::Good(_)));
            // So that the directory is believed whatever was mounted over it before.
            let path = ManifestPath::within(directory, "a.yaml");
            mount.usual.files.insert(path, Content::Good(vec![record("w", 1)]));
            for content in mount.usual.files.values() {
                let Content::Good(records) = content else { unreachable!() };
                declared.extend(records.iter().map(|record| record.parse().key()));
            }
        }
        // Three are enough: the directory is believed, the absence is seen, the absence is confirmed.
        for _ in 0..3 {
            self.scan(CONFIRM);
        }
        let in_force: BTreeSet<_> = self.known.keys().cloned().collect();
        assert_eq!(in_force, declared);
        assert_eq!(self.sim.next_look(), None, "nothing is left to wait for");
        self.restart();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(steps in vec(step(), 1..60)) {
        let mut checked = Checked::new();
        for step in steps {
            checked.apply(step);
        }
        checked.mend_and_check();
    }
}
