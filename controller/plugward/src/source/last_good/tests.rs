use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn key(name: &str) -> RecordKey {
    RecordKey { kind: Kind::PluginRuntime, name: name.parse().unwrap() }
}

fn keep<'a>(path: &'a ManifestPath, text: &'a str, held: &'a [(RecordKey, u64)]) -> Save<'a> {
    Save::Keep { path, text, held: held.iter().map(|(key, generation)| (key, *generation)).collect() }
}

fn open(directory: &TempDir) -> LastGood {
    LastGood::open(directory.path().join("manifests")).unwrap()
}

fn damage(last_good: &LastGood) -> Vec<String> {
    last_good.damaged().map(|(_, reason)| reason.to_owned()).collect()
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let (a, b) = (ManifestPath::new("/m/a.yaml"), ManifestPath::new("/m/ä \"b\".json"));
    let text = "text with \"quotes\", \t and \u{1f980}\n";
    let held = [(key("x"), 7), (key("y"), 1)];
    let mut last_good = open(&directory);
    last_good.store([keep(&a, text, &held), keep(&b, "", &[])].into_iter()).unwrap();
    let identity = Identity::Born { inode: u64::MAX, seconds: -1, nanoseconds: 999_999_999 };
    let path = PathBuf::from("/m");
    last_good.store_identities(BTreeMap::from([(&path, identity)])).unwrap();

    let (stored, identities) = open(&directory).take();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].path, a);
    assert_eq!(stored[0].text, text);
    assert_eq!(stored[0].held, BTreeMap::from(held));
    assert_eq!(stored[1].path, b);
    assert_eq!(identities, BTreeMap::from([(path, identity)]));

    open(&directory).store([Save::Forget { path: &a }].into_iter()).unwrap();
    assert_eq!(open(&directory).take().0.len(), 1);
}

#[test]
fn nobody_else_can_read_what_is_stored() {
    let directory = TempDir::new().unwrap();
    let path = ManifestPath::new("/m/a.yaml");
    let mut last_good = open(&directory);
    last_good.store(std::iter::once(keep(&path, "secret", &[]))).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let manifests = directory.path().join("manifests");
    assert_eq!(mode(&manifests), 0o700);
    assert_eq!(mode(&manifests.join(file_name(&path))), 0o600);

    let shown = format!("{:?}", open(&directory));
    assert!(shown.contains("/m/a.yaml"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_file_that_cannot_be_understood_is_told_of_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = ManifestPath::new("/m/a.yaml");
    open(&directory).store(std::iter::once(keep(&path, "good", &[]))).unwrap();
    let file = directory.path().join("manifests").join(file_name(&path));
    let good = fs::read_to_string(&file).unwrap();

    for bad in [
        String::new(),
        good[..good.len() - 10].to_owned(),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("\"text\":\"good\"", "\"text\":[\"secret\"]"),
        good.replace("/m/a.yaml", "/m/b.yaml"),
        good.replace("\"held\"", "\"hold\""),
    ] {
        fs::write(&file, &bad).unwrap();
        let mut last_good = open(&directory);
        assert_eq!(damage(&last_good).len(), 1, "{bad}");
        assert!(!damage(&last_good)[0].contains("secret"));
        assert!(last_good.take().0.is_empty(), "{bad}");
        assert_eq!(fs::read_to_string(&file).unwrap(), bad, "left alone");
    }
    let mut last_good = open(&directory);
    last_good.store(std::iter::once(keep(&path, "good", &[]))).unwrap();
    assert!(damage(&last_good).is_empty(), "its manifest is good again");
    assert!(damage(&open(&directory)).is_empty());
}

#[test]
fn damaged_identities_are_told_of_until_they_are_stored_again() {
    let directory = TempDir::new().unwrap();
    open(&directory);
    fs::write(directory.path().join("manifests").join(DIRECTORIES), "{").unwrap();
    let mut last_good = open(&directory);
    assert_eq!(damage(&last_good).len(), 1);
    last_good.store_identities(BTreeMap::new()).unwrap();
    assert!(damage(&last_good).is_empty());
}

#[test]
fn what_crashed_writers_left_is_removed_and_other_files_stay() {
    let directory = TempDir::new().unwrap();
    open(&directory);
    let manifests = directory.path().join("manifests");
    fs::write(manifests.join(".x.json.tmp-1-1"), "half").unwrap();
    fs::write(manifests.join("README"), "a person's").unwrap();
    let last_good = open(&directory);
    assert!(damage(&last_good).is_empty());
    assert!(!manifests.join(".x.json.tmp-1-1").exists());
    assert!(manifests.join("README").exists());
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_with_its_path() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("manifests"), "a file").unwrap();
    let error = LastGood::open(directory.path().join("manifests")).unwrap_err();
    assert!(matches!(&error, LastGoodError::Create { .. }), "{error:?}");
    assert!(error.to_string().contains("manifests"), "{error}");
}
