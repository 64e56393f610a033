use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use plugward_api::manifest::{self, Rules};
use rustix::fs::mkfifoat;
use tempfile::TempDir;

use super::file::{Stamp, Unread};
use super::*;

const GOOD: &str = "{apiVersion: plugward.dev/v1alpha1, kind: PluginRuntime, metadata: {name: x}, spec: {}}";

fn parser() -> Parser {
    Arc::new(|bytes, format| match manifest::parse(bytes, format, &Rules::default()) {
        Ok(records) => Ok(records
            .into_iter()
            .map(|placed| Document { record: Arc::new(placed.value), place: placed.place })
            .collect()),
        Err(mistakes) => Err(mistakes.into_iter().map(Problem::Invalid).collect()),
    })
}

struct Fixture {
    directory: TempDir,
    scanner: Scanner,
}

impl Fixture {
    fn new() -> Self {
        Self::settling(Duration::ZERO)
    }

    fn settling(settle: Duration) -> Self {
        let directory = TempDir::new().unwrap();
        let limits = Limits { bytes: 1000, settle };
        let scanner = Scanner::new(vec![directory.path().to_owned()], limits, parser());
        Self { directory, scanner }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn scan(&mut self) -> BTreeMap<String, Sight> {
        self.scan_with(Writer::Unknown)
    }

    fn scan_with(&mut self, writer: Writer) -> BTreeMap<String, Sight> {
        let mut scan = self.scanner.scan(&|_| writer);
        match scan.directories.pop_first().unwrap().1 {
            Listing::Read { files, .. } => files
                .into_iter()
                .map(|(path, sight)| {
                    (path.as_path().file_name().unwrap().to_str().unwrap().to_owned(), sight)
                })
                .collect(),
            Listing::Unreadable(problem) => panic!("{problem}"),
        }
    }

    fn problem(&mut self) -> Problem {
        match self.scan().pop_first().unwrap().1 {
            Sight::Unusable(mut problems) if problems.len() == 1 => problems.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn seen(&mut self) -> &mut Seen {
        &mut self.scanner.directories[0].seen[0].1
    }
}

#[test]
fn manifests_are_read_and_nothing_else() {
    let mut fixture = Fixture::new();
    for name in ["a.yaml", "b.yml", "c.json"] {
        fixture.write(name, &GOOD.replace('{', "{ "));
    }
    fixture.write(
        "c.json",
        r#"{"apiVersion":"plugward.dev/v1alpha1","kind":"PluginRuntime","metadata":{"name":"y"},"spec":{}}"#,
    );
    for name in [".a.yaml", "a.yaml~", "4913", "#a.yaml#", "a.yaml.tmp", "notes.txt"] {
        fixture.write(name, "not for us");
    }
    fs::create_dir(fixture.path("below")).unwrap();
    fixture.write("below/d.yaml", GOOD);
    let files = fixture.scan();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["a.yaml", "b.yml", "c.json"]);
    for (name, sight) in files {
        assert!(matches!(sight, Sight::Usable { .. }), "{name}: {sight:?}");
    }
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", GOOD);
    fixture.scan();
    // Were it read, its digest would differ from this one.
    fixture.seen().racy = false;
    fixture.seen().digest = [0; 32];
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Unchanged));
}

#[test]
fn a_file_that_was_young_when_it_was_read_is_read_again() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", GOOD);
    fixture.scan();
    assert!(fixture.seen().racy, "the file was written a moment ago");
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Unchanged), "the same bytes are no news");
    fixture.seen().digest = [0; 32];
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Usable { .. }));
}

#[test]
fn a_file_that_is_as_the_last_run_left_it_is_not_parsed() {
    let mut fixture = Fixture::new();
    for (name, text) in [("a.yaml", "old text"), ("b.yaml", GOOD), ("c.yaml", GOOD)] {
        fixture.scanner.remember(&ManifestPath::new(fixture.path(name).to_str().unwrap()), text);
    }
    fixture.scanner.remember(&ManifestPath::new("/elsewhere/a.yaml"), GOOD);
    fixture.write("a.yaml", GOOD);
    fixture.write("b.yaml", GOOD);
    let files = fixture.scan();
    assert_eq!(files.len(), 2);
    assert!(matches!(files["a.yaml"], Sight::Usable { .. }));
    assert!(matches!(files["b.yaml"], Sight::AsRemembered));
    assert!(matches!(fixture.scan()["b.yaml"], Sight::Unchanged));
    fixture.write("b.yaml", "{");
    assert!(matches!(fixture.scan()["b.yaml"], Sight::Unusable(_)));
    fixture.write("b.yaml", GOOD);
    assert!(matches!(fixture.scan()["b.yaml"], Sight::Usable { .. }), "told anew");
}

#[test]
fn every_change_of_a_file_is_seen() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", GOOD);
    fixture.scan();
    // The same size, and within one tick of most clocks.
    for name in ["y", "z", "v", "w"] {
        fixture.write("a.yaml", &GOOD.replace("name: x", &format!("name: {name}")));
        match &fixture.scan()["a.yaml"] {
            Sight::Usable { documents, .. } => assert_eq!(documents[0].record.name().as_ref(), name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_changed_a_moment_ago_is_not_read_yet() {
    let mut fixture = Fixture::settling(Duration::from_secs(3600));
    fixture.write("a.yaml", GOOD);
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Unsettled));
    fixture.scanner.reader.limits.settle = Duration::ZERO;
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Usable { .. }));
}

#[test]
fn a_file_that_is_being_written_is_not_read() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", GOOD);
    assert!(matches!(fixture.scan_with(Writer::AtWork)["a.yaml"], Sight::BeingWritten));
}

#[test]
fn a_young_file_whose_writer_is_done_is_read_at_once() {
    let mut fixture = Fixture::settling(Duration::from_secs(3600));
    fixture.write("a.yaml", GOOD);
    assert!(matches!(fixture.scan_with(Writer::Done)["a.yaml"], Sight::Usable { .. }));
}

#[test]
fn a_time_in_the_future_delays_nothing() {
    let mut fixture = Fixture::settling(Duration::from_millis(1));
    fixture.write("a.yaml", GOOD);
    let future = SystemTime::now() + Duration::from_secs(24 * 3600);
    File::options().write(true).open(fixture.path("a.yaml")).unwrap().set_modified(future).unwrap();
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Usable { .. }));
    assert!(fixture.seen().racy, "such a clock proves nothing about later changes");
}

#[test]
fn what_is_no_file_is_never_opened() {
    let mut fixture = Fixture::new();
    let path = fixture.path("a.yaml");
    mkfifoat(CWD, &path, Mode::RWXU).unwrap();
    assert_eq!(fixture.problem(), Problem::NotAFile { kind: "a FIFO" });
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    assert_eq!(fixture.problem(), Problem::NotAFile { kind: "a directory" });
    fs::remove_dir(&path).unwrap();

    let _socket = UnixListener::bind(&path).unwrap();
    assert_eq!(fixture.problem(), Problem::NotAFile { kind: "a socket" });
    fs::remove_file(&path).unwrap();

    symlink("/dev/zero", &path).unwrap();
    assert_eq!(fixture.problem(), Problem::NotAFile { kind: "a device" });
}

#[test]
fn a_fifo_in_the_place_of_a_file_does_not_block() {
    let fixture = Fixture::new();
    mkfifoat(CWD, fixture.path("a.yaml"), Mode::RWXU).unwrap();
    let directory = openat(CWD, fixture.directory.path(), OFlags::PATH, Mode::empty()).unwrap();
    // As if it had been a file when it was looked at.
    let stamp = Stamp { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) };
    let read = fixture.scanner.reader.read(directory.as_fd(), "a.yaml", stamp);
    assert!(matches!(read, Err(Unread::Moving)));
}

#[test]
fn symlinks_are_followed_as_far_as_they_lead() {
    let mut fixture = Fixture::new();
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("target");
    symlink(&target, fixture.path("a.yaml")).unwrap();
    assert_eq!(fixture.problem(), Problem::DanglingSymlink);
    fs::write(&target, GOOD).unwrap();
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Usable { .. }));
    fs::write(&target, GOOD.replace("name: x", "name: yy")).unwrap();
    assert!(matches!(fixture.scan()["a.yaml"], Sight::Usable { .. }), "the file behind it changed");

    fs::remove_file(fixture.path("a.yaml")).unwrap();
    symlink("a.yaml", fixture.path("a.yaml")).unwrap();
    assert_eq!(fixture.problem(), Problem::SymlinkLoop);
}

#[test]
fn a_file_is_bad_for_every_reason_there_is() {
    let mut fixture = Fixture::new();
    fixture.write("a.yaml", &"x".repeat(1001));
    assert_eq!(fixture.problem(), Problem::TooLarge { size: 1001, limit: 1000 });
    for content in [&b""[..], b"# nothing", b"{", b"\xff\xfe", b"kind: Other", b"{apiVersion: 1, x: [}"] {
        fs::write(fixture.path("a.yaml"), content).unwrap();
        match &fixture.scan()["a.yaml"] {
            Sight::Unusable(problems) => {
                assert!(problems.iter().all(|problem| problem.as_str() == "invalid"), "{problems:?}");
            }
            other => panic!("{content:?}: {other:?}"),
        }
    }
}

#[test]
fn a_file_whose_name_is_no_text_is_told_of_and_not_read() {
    use std::os::unix::ffi::OsStrExt as _;

    let mut fixture = Fixture::new();
    let name = std::ffi::OsStr::from_bytes(b"a\xff.yaml");
    fs::write(fixture.directory.path().join(name), GOOD).unwrap();
    assert_eq!(fixture.problem(), Problem::PathNotUtf8);
}

#[test]
fn a_parser_that_panics_costs_one_file() {
    let mut fixture = Fixture::new();
    let real = parser();
    fixture.scanner.reader.parser = Arc::new(move |bytes, format| {
        assert!(!bytes.starts_with(b"boom"));
        real(bytes, format)
    });
    fixture.write("a.yaml", "boom");
    fixture.write("b.yaml", GOOD);
    let files = fixture.scan();
    assert!(matches!(&files["a.yaml"], Sight::Unusable(problems) if *problems == [Problem::ParserFailed]));
    assert!(matches!(files["b.yaml"], Sight::Usable { .. }));
}

#[test]
fn a_directory_that_cannot_be_read_says_why() {
    let parent = TempDir::new().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let cases =
        [(parent.path().join("missing"), DirectoryProblem::Missing), (file, DirectoryProblem::NotADirectory)];
    for (path, expected) in cases {
        let limits = Limits { bytes: 1000, settle: Duration::ZERO };
        let mut scanner = Scanner::new(vec![path], limits, parser());
        let scan = scanner.scan(&|_| Writer::Unknown);
        let listing = scan.directories.into_values().next();
        assert!(matches!(listing, Some(Listing::Unreadable(problem)) if problem == expected));
    }
}

#[test]
fn a_directory_made_anew_has_another_identity() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("m");
    fs::create_dir(&path).unwrap();
    let first = Identity::at(&path).unwrap();
    assert_eq!(Identity::at(&path).unwrap(), first);
    fs::write(path.join("a.yaml"), GOOD).unwrap();
    assert_eq!(Identity::at(&path).unwrap(), first, "its content is not its identity");
    fs::rename(&path, parent.path().join("n")).unwrap();
    fs::create_dir(&path).unwrap();
    assert_ne!(Identity::at(&path).unwrap(), first);
    assert_eq!(Identity::at(&parent.path().join("n")).unwrap(), first, "nor is its path");
}
