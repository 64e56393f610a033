use crate::{
    Record,
    manifest::{Format, Rules, parse},
};

use super::*;

fn records(manifest: &str) -> Vec<Record> {
    let parsed = parse(manifest.as_bytes(), Format::Yaml, &Rules::default()).unwrap();
    parsed.into_iter().map(|placed| placed.value).collect()
}

fn fields(record: &Record) -> Vec<&'static str> {
    let unsupported = match record {
        Record::Runtime(_) => Vec::new(),
        Record::Instance(instance) => unsupported(&instance.spec),
    };
    unsupported.into_iter().map(|unsupported| unsupported.field).collect()
}

#[test]
fn a_written_default_asks_for_nothing() {
    for record in records(include_str!("../../tests/corpus/good/defaults-written.yaml")) {
        assert_eq!(fields(&record), [""; 0], "{}", record.key());
    }
}

#[test]
fn everything_that_has_no_effect_yet_is_named() {
    let records = records(include_str!("../../tests/corpus/good/complete.yaml"));
    assert_eq!(fields(&records[1]), ["spec.attach"]);
}

#[test]
fn what_has_its_effect_is_supported() {
    let manifest = r"
apiVersion: plugward.dev/v1alpha1
kind: PluginRuntime
metadata: { name: all }
spec:
  ociRuntime: crun
  engine: { host: tcp://localhost:2375, socketDirectory: /run/user/1000/plugward }
  rootless: true
  resources: { cpu: 1, memory: 64Mi, pids: 10 }
  network: none
  log: { maxSize: 1Mi, maxFiles: 1 }
---
apiVersion: plugward.dev/v1alpha1
kind: PluginInstance
metadata: { name: all, labels: { a: b }, annotations: { c: d } }
spec:
  plugin: { type: custom, name: counter, version: v1 }
  image:
    repository: counter
    tag: latest
    pullPolicy: IfNotPresent
    sha256: 4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945
  runtime: all
  command: [/counter]
  args: [serve]
  env: { A: b }
  handshake: { cookieKey: C, cookieValue: d, protocolVersions: [1] }
  startTimeout: 5s
  mounts: [{ name: main }, { name: other }]
  multiplexing: Disabled
  activation: { mode: OnDemand, idleTimeout: 1m }
  update: { strategy: Recreate, drainTimeout: 5s }
  probe: { period: 1s, timeout: 2s, failureThreshold: 1 }
  hold: { timeout: 5s, maxRequests: 8, maxBytes: 64Ki }
  priming: [{ method: /a.B/Configure, until: /a.B/Close }]
  restart: { initialBackoff: 1s, maxBackoff: 2s, resetAfter: 3s }
";
    for record in records(manifest) {
        assert_eq!(fields(&record), [""; 0], "{}", record.key());
    }
}

#[test]
fn the_message_says_what_and_why() {
    let records = records(
        "{ apiVersion: plugward.dev/v1alpha1, kind: PluginInstance, metadata: { name: a }, spec: { attach: { enabled: true }, \
         plugin: { type: auth, name: a, version: v1 }, image: { repository: a }, mounts: [{ name: a }] } }",
    );
    let Record::Instance(instance) = &records[0] else { panic!("{records:?}") };
    let expected = "spec.attach is not supported yet: in this version hosts cannot attach";
    assert_eq!(unsupported(&instance.spec)[0].message, expected);
}
