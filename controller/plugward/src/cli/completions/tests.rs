use std::ffi::OsString;
use std::process::Command;

use clap::{CommandFactory, ValueEnum};
use clap_complete::engine;

use super::{Shell, script};

/// What is offered for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let mut command = crate::cli::Arguments::command();
    let words: Vec<OsString> = std::iter::once(&"plugward").chain(words).map(OsString::from).collect();
    let last = words.len() - 1;
    let found = engine::complete(&mut command, words, last, None).unwrap();
    found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
}

#[test]
fn commands_kinds_and_values_are_completed() {
    assert_eq!(offered(&["expl"]), ["explain"]);
    assert_eq!(offered(&["get", "i"]), ["instances"]);
    assert_eq!(offered(&["get", "s"]), ["sessions"]);
    assert_eq!(offered(&["completions", "z"]), ["zsh"]);
    assert_eq!(offered(&["host", "o"]), ["openbao"]);
    assert_eq!(offered(&["describe", "m"]), ["manifests"]);
}

#[test]
fn fields_are_completed_step_by_step() {
    assert_eq!(offered(&["explain", "run"]), ["runtime"]);
    assert_eq!(offered(&["explain", "instance.spec.re"]), ["instance.spec.restart"]);
    assert_eq!(
        offered(&["explain", "runtime.spec.log."]),
        ["runtime.spec.log.maxSize", "runtime.spec.log.maxFiles"]
    );
    assert!(offered(&["explain", "nothing."]).is_empty());
}

#[test]
fn names_without_a_controller_are_no_error() {
    assert!(offered(&["get", "instance", "or"]).is_empty());
}

#[test]
fn every_shell_can_read_its_script() {
    for shell in Shell::value_variants() {
        let script = script(*shell).unwrap();
        assert!(script.contains("PLUGWARD_COMPLETE"), "{script}");
        let name = shell.to_possible_value().unwrap().get_name().to_owned();
        // A shell that is not there cannot complain.
        if let Ok(read) = Command::new(&name).args(["-n", "-c", &script]).output() {
            assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }
}
