//! The corpus: manifests that are good, manifests that are bad, and what is said about the bad ones.
//!
//! `UPDATE_GOLDEN=1 cargo test -p plugward-api --test corpus` writes the `.problems` files anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use plugward_api::{
    Kind, Placed, Problem, Record,
    manifest::{Format, Rules, parse},
    schema,
};
use serde_json::Value;

/// What a schema cannot say: each file of `bad/` that the schemas accept, and the rule that refuses it.
///
/// This is the one list of such rules. A file that the schemas learn to refuse must leave it.
const BEYOND_THE_SCHEMA: [(&str, &str); 21] = [
    ("backoff.yaml", "initialBackoff is at most maxBackoff"),
    ("cgroup-parent.yaml", "a cgroup does not leave its parent (RE2 has no look-ahead)"),
    ("command.yaml", "the program to run is named; nothing holds a NUL"),
    ("duplicate-records.yaml", "no two records of a file have the same kind and name"),
    ("durations-zero.yaml", "a duration is more than zero, or at least not negative"),
    ("empty.json", "a file declares something"),
    ("empty.yaml", "a file declares something"),
    ("handshake-cookie.yaml", "a variable that plugward sets is no cookie"),
    ("handshake-forbidden.yaml", "only type custom has a handshake of its own"),
    ("handshake-missing.yaml", "type custom has a handshake"),
    ("mounts-none.yaml", "there is a mount, unless attach is enabled"),
    ("mounts-twice.yaml", "no two mounts have the same name"),
    ("only-comments.yaml", "a file declares something"),
    ("pass-env.yaml", "passEnv needs a container per session, and no variable of the protocol"),
    ("priming-forbidden.yaml", "only type custom has a priming of its own"),
    ("priming-twice.yaml", "no two primings have the same method"),
    ("reserved-environment.yaml", "variables that plugward sets are not set by env"),
    ("resources.yaml", "an amount is at least what an engine takes, and bytes are whole"),
    ("socket-path.yaml", "the path of a mount's socket fits into what the kernel has for it"),
    ("standby.yaml", "spare containers do not go with OnDemand"),
    ("version-is-no-tag.yaml", "a version that stands in for the tag is one"),
];

/// What YAML and JSON parsers in general let pass, and ours refuses.
const BEYOND_THE_SYNTAX: [(&str, &str); 3] = [
    ("duplicate-keys.json", "no key of a mapping is there twice"),
    ("merge-key.yaml", "YAML 1.2 has no merge keys"),
    ("tags.yaml", "tags say nothing"),
];

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

/// The manifests of a directory, in the order of their names.
fn manifests(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension != "problems"));
    files.sort();
    files
}

fn read(file: &Path) -> Result<Vec<Placed<Record>>, Vec<Problem>> {
    let rules = Rules { mount_socket_directory: Some("/run/plugward/abcdefgh/mounts".into()) };
    parse(&fs::read(file).unwrap(), Format::of(file), &rules)
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

/// What a program that knows only the schemas says about a file.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// It is neither YAML nor JSON.
    Unreadable,
    /// A document is not of the form that the schema describes.
    Refused,
    Accepted,
}

fn by_schema(file: &Path) -> Verdict {
    let Ok(text) = fs::read_to_string(file) else { return Verdict::Unreadable };
    let mut documents: Vec<Value> = match Format::of(file) {
        Format::Json if text.is_empty() => Vec::new(),
        Format::Json => match serde_json::from_str(&text) {
            Ok(value) => vec![value],
            Err(_) => return Verdict::Unreadable,
        },
        Format::Yaml => match serde_saphyr::from_multiple(&text) {
            Ok(values) => values,
            Err(_) => return Verdict::Unreadable,
        },
    };
    if Format::of(file) == Format::Yaml {
        // A document without a value is none.
        documents.retain(|document| !document.is_null());
    }
    let accepted = documents.iter().all(|document| {
        let kind = document.get("kind").and_then(Value::as_str).and_then(|kind| kind.parse::<Kind>().ok());
        kind.is_some_and(|kind| jsonschema::draft202012::is_valid(&schema::json_schema(kind), document))
    });
    if accepted { Verdict::Accepted } else { Verdict::Refused }
}

#[test]
fn good_manifests_have_no_problems() {
    for file in manifests(&directory("good")) {
        match read(&file) {
            Ok(records) => assert!(!records.is_empty(), "{}", file.display()),
            Err(problems) => {
                let lines: Vec<_> =
                    problems.iter().map(|problem| problem.in_file(&file).to_string()).collect();
                panic!("{}", lines.join("\n"));
            }
        }
    }
}

#[test]
fn the_examples_that_people_start_from_have_no_problems() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    for file in manifests(&examples).iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        if let Err(problems) = read(file) {
            let lines: Vec<_> = problems.iter().map(|problem| problem.in_file(file).to_string()).collect();
            panic!("{}", lines.join("\n"));
        }
    }
}

#[test]
fn the_problems_of_bad_manifests_are_as_written_beside_them() {
    let update = env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    for file in manifests(&directory("bad")) {
        let problems = read(&file).expect_err(&format!("{} has problems", file.display()));
        let lines = problems.iter().map(|problem| format!("{}\n", problem.in_file(Path::new(name(&file)))));
        let actual: String = lines.collect();
        let golden = file.with_added_extension("problems");
        if update {
            fs::write(&golden, actual).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != actual {
            differing.push(format!("{}:\n{actual}", golden.display()));
        }
    }
    assert!(
        differing.is_empty(),
        "the problems changed; if that is meant, set UPDATE_GOLDEN=1 and look at the difference\n{}",
        differing.join("\n")
    );
}

#[test]
fn schemas_and_parser_agree_on_every_manifest_but_for_the_listed_rules() {
    for file in manifests(&directory("good")) {
        assert_eq!(by_schema(&file), Verdict::Accepted, "{}", file.display());
    }
    let listed: BTreeSet<&str> =
        BEYOND_THE_SCHEMA.iter().chain(&BEYOND_THE_SYNTAX).map(|(file, _)| *file).collect();
    let bad = manifests(&directory("bad"));
    let accepted: BTreeSet<&str> =
        bad.iter().filter(|file| by_schema(file) == Verdict::Accepted).map(|file| name(file)).collect();
    assert_eq!(accepted, listed, "accepted by the schemas, and listed as beyond them");
}

#[test]
fn what_was_parsed_is_serialized_so_that_it_parses_to_the_same() {
    for file in manifests(&directory("good")) {
        for record in read(&file).unwrap() {
            let json = serde_json::to_string(&record.value).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record.value, "{}", file.display());
            let again = parse(json.as_bytes(), Format::Json, &Rules::default()).unwrap();
            assert_eq!(again[0].value, record.value, "{}", file.display());
            let yaml = serde_saphyr::to_string(&record.value).unwrap();
            let again = parse(yaml.as_bytes(), Format::Yaml, &Rules::default()).unwrap();
            assert_eq!(again[0].value, record.value, "{}:\n{yaml}", file.display());
        }
    }
}
