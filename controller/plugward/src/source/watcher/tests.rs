use std::fs;

use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind};
use tempfile::TempDir;

use super::*;

fn inbox() -> Inbox {
    Inbox::new(vec![PathBuf::from("/m")], Duration::from_secs(3600))
}

fn event(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(PathBuf::from(path))
}

const CREATED: EventKind = EventKind::Create(CreateKind::File);
const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);
const MOVED_IN: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const TOUCHED: EventKind = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));

#[test]
fn what_may_concern_a_manifest_is_a_reason_to_look() {
    let inbox = inbox();
    for kind in [CREATED, REMOVED, MOVED_IN, TOUCHED, CLOSED] {
        assert!(inbox.note(&event(kind, "/m/a.yaml")), "{kind:?}");
    }
    assert!(inbox.note(&event(MOVED_IN, "/m/..data")), "a ConfigMap turned");
    assert!(inbox.note(&event(CREATED, "/m")), "the directory itself");
    assert!(inbox.note(&Event::new(EventKind::Other).set_flag(Flag::Rescan)), "events were lost");
}

#[test]
fn what_concerns_no_manifest_is_no_reason_to_look() {
    let inbox = inbox();
    assert!(!inbox.note(&event(OPENED, "/m/a.yaml")), "our own reading");
    for name in ["/m/.a.yaml.swp", "/m/4913", "/m/a.yaml~", "/other"] {
        for kind in [CREATED, REMOVED, MOVED_IN, TOUCHED, CLOSED, WRITTEN] {
            assert!(!inbox.note(&event(kind, name)), "{name}: {kind:?}");
        }
    }
}

#[test]
fn a_file_is_being_written_from_the_first_write_to_the_closing() {
    let inbox = inbox();
    assert_eq!(inbox.writer("a.yaml"), Writer::Unknown);
    assert!(!inbox.note(&event(WRITTEN, "/m/a.yaml")), "there is nothing to see yet");
    inbox.note(&event(OPENED, "/m/a.yaml"));
    inbox.note(&event(TOUCHED, "/m/a.yaml"));
    assert_eq!(inbox.writer("a.yaml"), Writer::AtWork);
    assert_eq!(inbox.writer("b.yaml"), Writer::Unknown);
    assert!(!inbox.someone_is_done());
    inbox.note(&event(CLOSED, "/m/a.yaml"));
    assert!(inbox.someone_is_done());
    assert_eq!(inbox.writer("a.yaml"), Writer::Done);
    assert_eq!(inbox.writer("a.yaml"), Writer::Unknown, "who writes next may give no event");
    assert!(!inbox.someone_is_done());
}

#[test]
fn a_file_that_is_replaced_is_no_longer_being_written() {
    for (kind, writer) in [(REMOVED, Writer::Unknown), (MOVED_IN, Writer::Done)] {
        let inbox = inbox();
        inbox.note(&event(WRITTEN, "/m/a.yaml"));
        inbox.note(&event(kind, "/m/a.yaml"));
        assert_eq!(inbox.writer("a.yaml"), writer, "{kind:?}");
    }
}

#[test]
fn a_file_that_is_renamed_to_its_place_is_done() {
    let inbox = inbox();
    // One renaming gives all three.
    inbox.note(&event(EventKind::Modify(ModifyKind::Name(RenameMode::From)), "/m/.a.yaml"));
    inbox.note(&event(MOVED_IN, "/m/a.yaml"));
    let both = event(EventKind::Modify(ModifyKind::Name(RenameMode::Both)), "/m/.a.yaml");
    assert!(!inbox.note(&both.add_path(PathBuf::from("/m/a.yaml"))), "it was told already");
    assert_eq!(inbox.writer("a.yaml"), Writer::Done);
}

#[test]
fn a_file_that_was_closed_and_is_written_to_again_is_not_done() {
    let inbox = inbox();
    inbox.note(&event(CLOSED, "/m/a.yaml"));
    inbox.note(&event(WRITTEN, "/m/a.yaml"));
    assert_eq!(inbox.writer("a.yaml"), Writer::AtWork);
}

#[test]
fn a_writer_that_sleeps_is_not_waited_for_for_ever() {
    let inbox = Inbox::new(vec![PathBuf::from("/m")], Duration::ZERO);
    inbox.note(&event(WRITTEN, "/m/a.yaml"));
    assert_eq!(inbox.writer("a.yaml"), Writer::Unknown);
}

#[test]
fn watches_follow_the_directory_that_is_at_the_path() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("m");
    let inbox = Arc::new(Inbox::new(vec![path.clone()], Duration::ZERO));
    let mut watcher = Watcher::new(vec![path.clone()], inbox);

    assert!(watcher.adjust().is_empty());
    assert_eq!(watcher.watched.keys().collect::<Vec<_>>(), [parent.path()], "until there is one");

    fs::create_dir(&path).unwrap();
    let first = Identity::at(&path).unwrap();
    assert!(watcher.adjust().is_empty());
    assert_eq!(watcher.watched.keys().collect::<Vec<_>>(), [&path]);
    assert!(watcher.is_watched(&path, first));

    fs::rename(&path, parent.path().join("old")).unwrap();
    fs::create_dir(&path).unwrap();
    let second = Identity::at(&path).unwrap();
    assert!(!watcher.is_watched(&path, second));
    assert!(watcher.adjust().is_empty());
    assert!(watcher.is_watched(&path, second));
}
