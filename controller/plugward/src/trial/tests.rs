use std::collections::BTreeMap;

use jiff::SignedDuration;
use plugward_engine::{ContainerId, Phase};

use super::*;
use crate::recipe::Recipe;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn question(program: Option<Program>) -> Question {
    Question { directory: "/run/p".into(), program }
}

fn image(user: &str, entrypoint: &[&str], command: &[&str]) -> Image {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Image {
        id: "sha256:feed".into(),
        repo_digests: Vec::new(),
        user: user.into(),
        entrypoint: words(entrypoint),
        command: words(command),
    }
}

fn recipe(mlock: bool, command: &[&str]) -> ContainerRecipe {
    let recipe: Recipe = crate::plan::tests::target().recipe.as_ref().clone();
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    ContainerRecipe { command, mlock, ..recipe.container }
}

fn program() -> Program {
    Program::to_look_at(&recipe(true, &[]), &image("65532", &["/plugin"], &[])).unwrap()
}

#[test]
fn what_was_never_tried_is_due_and_what_passed_is_not() {
    let trials = Trials::default();
    assert_eq!(trials.sight(&question(None), now()), TrialSight::Due);
    trials.learn_directory(Path::new("/run/p"), Answer::GOOD);
    assert_eq!(trials.sight(&question(None), now()), TrialSight::Passed);
    assert_eq!(trials.sight(&question(Some(program())), now()), TrialSight::Due);
    trials.learn_program(&program(), Answer { fault: Some(program().cannot_lock()), until: None });
    let sight = trials.sight(&question(Some(program())), now());
    assert_eq!(sight, TrialSight::Failed { fault: program().cannot_lock(), retry_at: Timestamp::MAX });
    assert_eq!(trials.sight(&question(None), now()), TrialSight::Passed);
}

#[test]
fn an_engine_that_comes_back_is_tried_again_where_something_was_in_the_way_and_another_one_anew() {
    let trials = Trials::default();
    trials.meets(&"ENGINE-A".into());
    let fault = Some(TrialFault::Unseen("words".into()));
    trials.learn_directory(Path::new("/run/p"), Answer::GOOD);
    trials.learn_directory(Path::new("/run/q"), Answer { fault, until: Some(now()) });
    trials.meets(&"ENGINE-A".into());
    let other = Question { directory: "/run/q".into(), program: None };
    assert_eq!(trials.sight(&question(None), now()), TrialSight::Passed);
    assert_eq!(trials.sight(&other, now()), TrialSight::Due);
    trials.meets(&"ENGINE-B".into());
    assert_eq!(trials.sight(&question(None), now()), TrialSight::Due);
}

#[test]
fn a_fault_is_told_until_another_trial_has_ended_and_a_doubt_for_its_time() {
    let trials = Trials::default();
    let later = now() + SignedDuration::from_secs(30);
    let fault = TrialFault::Unseen("words".into());
    trials.learn_directory(Path::new("/run/p"), Answer { fault: Some(fault.clone()), until: Some(now()) });
    assert_eq!(trials.sight(&question(None), later), TrialSight::Failed { fault, retry_at: now() });
    trials.learn_directory(Path::new("/run/p"), Answer { fault: None, until: Some(later) });
    assert_eq!(trials.sight(&question(None), now()), TrialSight::Passed);
    assert_eq!(trials.sight(&question(None), later), TrialSight::Due);
}

#[test]
fn what_a_trial_left_is_told_from_the_one_under_way_and_from_what_is_no_trial() {
    let listed = |name: &str, key: &str| Listed {
        id: ContainerId::new(name),
        name: name.into(),
        labels: BTreeMap::from([(key.to_owned(), "true".to_owned())]),
        phase: Phase::Created,
    };
    let trials = Trials::default();
    let containers = [listed("a", label::TRIAL), listed("b", label::TRIAL), listed("c", label::INSTANCE)];
    trials.looks_into(Some("b"));
    assert_eq!(trials.left(&containers), [&containers[0]]);
    trials.looks_into(None);
    assert_eq!(trials.left(&containers), [&containers[0], &containers[1]]);
}

#[test]
fn only_a_program_that_takes_its_files_word_for_it_and_is_known_by_its_path_is_looked_at() {
    let path = |recipe, image| Program::to_look_at(&recipe, &image).map(|program| program.path);
    let somebody = |entrypoint: &[&str], command: &[&str]| image("65532:65532", entrypoint, command);
    assert_eq!(path(recipe(true, &[]), somebody(&["/plugin"], &["x"])), Some("/plugin".into()));
    assert_eq!(path(recipe(true, &[]), somebody(&[], &["/plugin"])), Some("/plugin".into()));
    assert_eq!(path(recipe(true, &["/other"]), somebody(&["/plugin"], &[])), Some("/other".into()));
    assert_eq!(path(recipe(true, &[]), somebody(&["plugin"], &[])), None);
    assert_eq!(path(recipe(true, &[]), somebody(&[], &[])), None);
    assert_eq!(path(recipe(false, &[]), somebody(&["/plugin"], &[])), None);
    for root in ["", "root", "0", "0:0", "root:users"] {
        assert_eq!(path(recipe(true, &[]), image(root, &["/plugin"], &[])), None, "{root}");
    }
}

#[test]
fn a_files_capabilities_are_read_in_each_of_their_versions() {
    let of = |version: u8, length: usize, permitted: u32| {
        let mut bytes = vec![0; length];
        (bytes[0], bytes[3]) = (1, version);
        bytes[4..8].copy_from_slice(&permitted.to_le_bytes());
        bytes
    };
    for (version, length) in [(1, 12), (2, 20), (3, 24)] {
        assert!(may_lock(Some(&of(version, length, 1 << IPC_LOCK))));
        assert!(!may_lock(Some(&of(version, length, 1 << 1))));
    }
    assert!(!may_lock(None));
    assert!(!may_lock(Some(&[1, 0, 0])));
}
