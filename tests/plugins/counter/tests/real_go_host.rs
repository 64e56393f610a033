//! The plugin under a host made with the real go-plugin library.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../../../../controller/go-plugin/tests/golang/mod.rs"]
mod golang;

use std::process::Command;

const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../go");

#[test]
fn a_go_host_finds_nothing_unusual() {
    let Some(host) = golang::build(MODULE, "./host", "go-host") else { return };

    let ran = Command::new(host)
        .args(["COUNTER_PLUGIN", "counter", "good day"])
        .args([env!("CARGO_BIN_EXE_counter-plugin"), "--greeting", "good day"])
        .output()
        .unwrap();

    let (said, log) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!(said, "version 1\nhealthy\noutput\nended exit status 0\n", "{log}");
}
