use std::collections::BTreeMap;

use super::*;

const ORDERS: &str = "\
apiVersion: plugward.dev/v1alpha1
kind: PluginInstance
metadata: { name: orders }
spec:
  plugin: { type: database, name: redis, version: v1.0.0 }
  image: { repository: example/redis }
  runtime: gvisor
  env: { PASSWORD: hunter2 }
  mounts: [{ name: main }]
";

const GVISOR: &str = "\
apiVersion: plugward.dev/v1alpha1
kind: PluginRuntime
metadata: { name: gvisor }
spec: {}
";

/// What is declared, and where.
#[derive(Default)]
struct Known(BTreeMap<RecordKey, Whereabouts>);

impl Knowledge for Known {
    fn whereabouts(&self, key: &RecordKey) -> Option<Whereabouts> {
        self.0.get(key).cloned()
    }

    fn generation(&self, record: &Record) -> u64 {
        if self.0.contains_key(&record.key()) { 8 } else { 1 }
    }

    fn has_runtime(&self, name: &Name) -> bool {
        self.0.contains_key(&RecordKey { kind: Kind::PluginRuntime, name: name.clone() })
    }
}

fn orders() -> RecordKey {
    RecordKey { kind: Kind::PluginInstance, name: "orders".parse().unwrap() }
}

fn look(text: &str, known: &Known) -> Review {
    review(text.as_bytes(), &Rules::default(), Path::new("/m"), known)
}

fn held_by(file: &str, records: usize) -> Known {
    let place = Some(Place { line: 12, column: 1 });
    Known(BTreeMap::from([(orders(), Whereabouts { file: file.into(), place, records })]))
}

#[test]
fn each_record_has_a_file_of_its_own() {
    let review = look(&format!("{GVISOR}---\n{ORDERS}"), &Known::default());
    assert_eq!((review.problems, review.warnings), (vec![], vec![]));
    let file = |record: &Reviewed| (record.file.display().to_string(), record.place.line);
    let files: Vec<_> = review.records.iter().map(file).collect();
    assert_eq!(
        files,
        [("/m/pluginruntime-gvisor.yaml".to_owned(), 1), ("/m/plugininstance-orders.yaml".to_owned(), 6)]
    );
    assert_eq!(review.records[1].generation, 1);
}

#[test]
fn a_runtime_that_nobody_declares_is_a_warning() {
    let review = look(ORDERS, &Known::default());
    assert!(review.problems.is_empty() && review.records.len() == 1);
    assert_eq!(
        review.warnings[0].to_string(),
        "1:1: PluginRuntime \"gvisor\" is not declared: it waits for that (declare it, or name another in spec.runtime)"
    );
}

#[test]
fn a_record_of_another_file_is_not_put_beside_it() {
    let review = look(ORDERS, &held_by("/m/all.yaml", 1));
    assert_eq!(
        review.problems[0].to_string(),
        "1:1: PluginInstance/orders is declared in /m/all.yaml:12:1 (edit that file, or take the record out of it first)"
    );
    let review = look(ORDERS, &held_by("/m/plugininstance-orders.yaml", 2));
    assert!(review.problems[0].message.ends_with("orders.yaml:12:1, with other records"));
}

#[test]
fn a_record_of_its_own_file_is_an_edit() {
    let review = look(ORDERS, &held_by("/m/plugininstance-orders.yaml", 1));
    assert!(review.problems.is_empty());
    assert_eq!(review.records[0].generation, 8);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let bad = ORDERS.replace("mounts", "mount");
    assert!(look(&bad, &Known::default()).problems.iter().any(|problem| problem.field == "spec.mount"));
}

#[test]
fn no_value_of_a_manifest_is_in_the_answer() {
    for text in [ORDERS.to_owned(), ORDERS.replace("mounts", "mount")] {
        let answer = serde_json::to_string(&look(&text, &Known::default())).unwrap();
        assert!(!answer.contains("hunter2"), "{answer}");
    }
}
