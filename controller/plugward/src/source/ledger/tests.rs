use super::*;
use crate::source::{DirectoryProblem, FileState, Problem};

mod properties;
mod world;

use world::{Sim, file, lost, record, runtime};

#[test]
fn a_file_that_parses_is_in_force_at_once() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    assert_eq!(sim.scan(), ["+x@1"]);
    assert_eq!(sim.scan(), lost());
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    assert_eq!(sim.scan(), ["+y@1"]);
}

#[test]
fn the_generation_grows_with_the_spec_and_only_with_it() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 2)]);
    assert_eq!(sim.scan(), ["+x@2"]);
    sim.write("/m/a.yaml", [record("x", 2).labelled("blue")]);
    assert_eq!(sim.scan(), ["+x@2"]);
    sim.write("/m/a.yaml", [record("x", 2).labelled("blue").commented("other text")]);
    assert_eq!(sim.scan(), lost());
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    sim.scan();
    sim.break_file("/m/a.yaml");
    for _ in 0..5 {
        assert_eq!(sim.scan(), lost());
    }
    let view = sim.view("/m/a.yaml").unwrap();
    assert_eq!(view.state, FileState::Bad);
    assert_eq!(view.problems, [Problem::DanglingSymlink]);
    assert!(view.last_good_in_force);
    assert_eq!(view.records, [runtime("x"), runtime("y")]);

    sim.write("/m/a.yaml", [record("x", 2), record("y", 1)]);
    assert_eq!(sim.scan(), ["+x@2"]);
    assert_eq!(sim.view("/m/a.yaml").unwrap().state, FileState::Good);
}

#[test]
fn a_file_that_never_was_good_declares_nothing() {
    let mut sim = Sim::new(["/m"]);
    sim.break_file("/m/a.yaml");
    assert_eq!(sim.scan(), lost());
    assert!(!sim.view("/m/a.yaml").unwrap().last_good_in_force);
    sim.delete("/m/a.yaml");
    sim.scan();
    assert!(sim.view("/m/a.yaml").is_none());
}

#[test]
fn a_file_that_is_being_written_changes_nothing() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.being_written("/m/a.yaml");
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), lost());
}

#[test]
fn a_removal_is_seen_by_two_scans() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.view("/m/a.yaml").unwrap().state, FileState::Gone);
    assert_eq!(sim.scan(), ["-x"]);
    assert!(sim.view("/m/a.yaml").is_none());
    assert!(sim.stored().is_empty());
}

#[test]
fn two_scans_in_quick_succession_are_not_enough_for_a_removal() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    for _ in 0..10 {
        assert_eq!(sim.scan_after(Duration::from_millis(40)), lost());
    }
    // 400 ms have passed since the first of them, of the 500 that are wanted.
    assert_eq!(sim.next_look(), Some(Duration::from_millis(140)));
    assert_eq!(sim.scan_after(Duration::from_millis(140)), ["-x"]);
    assert_eq!(sim.next_look(), None);
}

#[test]
fn a_file_that_comes_back_was_never_gone() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 1)]);
    assert_eq!(sim.scan(), lost());
    sim.delete("/m/a.yaml");
    assert_eq!(sim.scan(), lost(), "the first absence does not count for the second");
}

#[test]
fn a_document_that_goes_is_seen_by_two_scans_and_its_file_waits_as_a_whole() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 2)]);
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.restarted().keys(), [runtime("x"), runtime("y")], "what is stored waits too");
    assert_eq!(sim.scan(), ["+x@2", "-y"]);
}

#[test]
fn a_document_that_goes_and_comes_back_was_never_gone() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.break_file("/m/a.yaml");
    assert_eq!(sim.scan(), lost());
    sim.write("/m/a.yaml", [record("x", 1)]);
    assert_eq!(sim.scan(), lost(), "a bad version in between begins the count anew");
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    assert_eq!(sim.scan(), lost());
}

#[test]
fn further_documents_that_go_begin_the_count_anew() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1), record("z", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 1)]);
    assert_eq!(sim.scan(), lost());
    // One of the two is back: the other has been missing for two scans.
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1), record("w", 1)]);
    assert_eq!(sim.scan(), ["+w@1", "-z"]);
}

#[test]
fn a_directory_that_vanishes_removes_nothing() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.hide("/m");
    for _ in 0..5 {
        assert_eq!(sim.scan(), lost());
    }
    assert_eq!(sim.directory_problem("/m"), Some(DirectoryProblem::Missing));
    sim.delete("/m/a.yaml");
    sim.show("/m");
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), ["-x"]);
}

#[test]
fn an_absence_is_forgotten_when_the_directory_vanishes() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    sim.scan();
    sim.hide("/m");
    sim.scan();
    sim.show("/m");
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), ["-x"]);
}

#[test]
fn an_empty_directory_in_place_of_the_usual_one_removes_nothing() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.mount_over("/m", 7);
    for _ in 0..5 {
        assert_eq!(sim.scan(), lost());
    }
    assert_eq!(sim.directory_problem("/m"), Some(DirectoryProblem::Replaced));
    sim.unmount("/m");
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.directory_problem("/m"), None);
}

#[test]
fn the_usual_directory_may_be_emptied() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.write("/m/b.yaml", [record("y", 1)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    sim.delete("/m/b.yaml");
    sim.scan();
    assert_eq!(sim.scan(), ["-x", "-y"]);
}

#[test]
fn another_directory_counts_when_it_has_been_filled() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.write("/m/b.yaml", [record("y", 1)]);
    sim.scan();
    sim.mount_over("/m", 7);
    sim.write("/m/b.yaml", [record("y", 2)]);
    assert_eq!(sim.scan(), ["+y@2"], "what it holds is in force at once");
    assert_eq!(sim.directory_problem("/m"), Some(DirectoryProblem::Settling));
    sim.write("/m/c.yaml", [record("z", 1)]);
    assert_eq!(sim.scan(), ["+z@1"], "it still changes");
    assert_eq!(sim.scan(), lost(), "now it is the usual one, and x is missing for the first time");
    assert_eq!(sim.directory_problem("/m"), None);
    assert_eq!(sim.scan(), ["-x"]);
}

#[test]
fn nothing_is_removed_before_every_directory_was_read_once() {
    let mut sim = Sim::new(["/m", "/n"]);
    sim.write("/m/a.yaml", [record("x", 1), record("y", 1)]);
    sim.write("/m/b.yaml", [record("z", 1)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    sim.write("/m/b.yaml", [record("w", 1)]);
    sim.hide("/n");
    sim.restart();
    for _ in 0..5 {
        assert_eq!(sim.scan(), lost());
        assert!(!sim.ledger().complete());
    }
    assert_eq!(sim.next_look(), None, "there is nothing to wait for but the directory");
    sim.show("/n");
    assert_eq!(sim.scan(), ["+w@1", "-x", "-y", "-z"]);
    assert!(sim.ledger().complete());
}

#[test]
fn a_file_that_moves_to_another_directory_is_an_edit() {
    let mut sim = Sim::new(["/m", "/n"]);
    sim.write("/n/b.yaml", [record("x", 1)]);
    sim.scan();
    sim.delete("/n/b.yaml");
    sim.write("/m/a.yaml", [record("x", 2)]);
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.view("/m/a.yaml").unwrap().problems, [], "the holder is going: no reason to complain");
    assert_eq!(sim.scan(), ["+x@2"]);
}

#[test]
fn a_directory_that_is_no_longer_configured_declares_nothing() {
    let mut sim = Sim::new(["/m", "/n"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.write("/n/b.yaml", [record("y", 1)]);
    sim.scan();
    sim.configure(["/m"]);
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), ["-y"]);
}

#[test]
fn a_name_declared_twice_stays_with_its_holder() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/b.yaml", [record("x", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 2), record("y", 1)]);
    assert_eq!(sim.scan(), ["+y@1"], "the rest of the file is in force");
    let told = sim.view("/m/a.yaml").unwrap();
    assert_eq!(told.state, FileState::Bad);
    assert_eq!(told.problems.len(), 1);
    assert!(
        matches!(&told.problems[0], Problem::DeclaredTwice { key, holder, holder_place: Some(_), .. }
            if *key == runtime("x") && holder.to_str() == Some("/m/b.yaml")),
        "{told:?}"
    );
    assert_eq!(sim.view("/m/b.yaml").unwrap().state, FileState::Good);
    sim.restart();
    assert_eq!(sim.scan(), lost(), "the holder is remembered");
    assert_eq!(sim.file_of("x"), "/m/b.yaml");
}

#[test]
fn of_two_new_files_the_first_by_path_holds_the_name() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/b.yaml", [record("x", 2)]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    assert_eq!(sim.scan(), ["+x@1"]);
    assert_eq!(sim.file_of("x"), "/m/a.yaml");
}

#[test]
fn the_other_takes_over_when_the_holder_goes() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.write("/m/b.yaml", [record("x", 2)]);
    sim.write("/m/c.yaml", [record("x", 2)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), ["+x@2"]);
    assert_eq!(sim.file_of("x"), "/m/b.yaml");
    // Equal to the last one in everything: no event.
    sim.delete("/m/b.yaml");
    sim.scan();
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.file_of("x"), "/m/c.yaml");
    assert_eq!(sim.restarted().keys(), [runtime("x")]);
    assert_eq!(sim.view("/m/c.yaml").unwrap().problems, []);
}

#[test]
fn a_file_that_cannot_be_used_still_holds_its_names() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.break_file("/m/a.yaml");
    sim.write("/m/b.yaml", [record("x", 2)]);
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.view("/m/b.yaml").unwrap().problems.len(), 1);
}

#[test]
fn a_crash_in_the_middle_of_a_takeover_leaves_one_holder() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.write("/m/b.yaml", [record("x", 2)]);
    sim.scan();
    let before = sim.stored().clone();
    sim.delete("/m/a.yaml");
    sim.scan();
    sim.scan();
    // The new holder was stored, and the old one not removed yet.
    let old = before.into_iter().find(|(path, _)| path.as_str() == "/m/a.yaml").unwrap();
    sim.stored().insert(old.0, old.1);
    sim.restart();
    assert_eq!(sim.file_of("x"), "/m/b.yaml");
    assert_eq!(sim.generation_of("x"), 2);
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.stored().len(), 1);
}

#[test]
fn a_name_that_comes_back_after_its_removal_begins_anew() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.write("/m/a.yaml", [record("x", 2)]);
    sim.scan();
    sim.delete("/m/a.yaml");
    sim.scan();
    assert_eq!(sim.scan(), ["-x"]);
    sim.write("/m/a.yaml", [record("x", 2)]);
    assert_eq!(sim.scan(), ["+x@1"]);
}

#[test]
fn a_stored_version_that_is_no_longer_accepted_keeps_its_names() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.write("/m/b.yaml", [record("x", 1)]);
    sim.scan();
    sim.refuse_everything_stored_in("/m/a.yaml");
    sim.break_file("/m/a.yaml");
    sim.restart();
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), lost(), "the other file does not get the name");
    assert_eq!(sim.ledger().names_only().collect::<Vec<_>>(), [&runtime("x")]);
    assert_eq!(sim.ledger().in_force().count(), 0);
    let view = sim.view("/m/a.yaml").unwrap();
    assert!(view.problems.contains(&Problem::NoLongerAccepted { records: vec![runtime("x")] }), "{view:?}");

    sim.write("/m/a.yaml", [record("x", 1)]);
    assert_eq!(sim.scan(), ["+x@2"], "whether it changed is not known: an edit");
    assert_eq!(sim.ledger().names_only().count(), 0);
}

#[test]
fn names_of_which_no_more_is_known_go_like_others() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.scan();
    sim.refuse_everything_stored_in("/m/a.yaml");
    sim.delete("/m/a.yaml");
    sim.restart();
    assert_eq!(sim.scan(), lost());
    assert_eq!(sim.scan(), ["-x"]);
    assert!(sim.stored().is_empty());
}

#[test]
fn what_failed_to_be_stored_is_stored_later() {
    let mut sim = Sim::new(["/m"]);
    sim.write("/m/a.yaml", [record("x", 1)]);
    sim.fail_to_store(true);
    assert_eq!(sim.scan(), ["+x@1"], "it is in force all the same");
    assert!(sim.stored().is_empty());
    sim.fail_to_store(false);
    sim.scan();
    assert_eq!(sim.restarted().keys(), [runtime("x")]);
}

#[test]
fn a_path_says_which_file_it_is() {
    assert_eq!(file("/m/a.yaml").to_string(), "/m/a.yaml");
}
