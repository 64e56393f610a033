//! Sessions that outlive their controller, and those that must not.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Controller, Launcher, PROGRAM, Peer, accept, comes};
use plugward_attach::{FromController, FromLauncher};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);

fn state(text: &str) -> File {
    let mut state = tempfile::tempfile().unwrap();
    state.write_all(text.as_bytes()).unwrap();
    state
}

fn text_of(state: OwnedFd) -> String {
    let mut state = File::from(state);
    state.rewind().unwrap();
    let mut text = String::new();
    state.read_to_string(&mut text).unwrap();
    text
}

/// What a launcher comes back with: the state, and its listener.
fn hear_resuming(peer: &Peer) -> (String, OwnedFd) {
    let (message, descriptors) = peer.hear();
    assert!(
        matches!(message, FromLauncher::Hello { resumes: true, ref instance, .. } if instance == "redis")
    );
    let [state, listener, _directory] = descriptors.try_into().unwrap();
    (text_of(state), listener)
}

/// A session with its socket.
fn attached(controller: &Controller) -> (Launcher, Peer, PathBuf) {
    let (mut launcher, peer) = controller.attach();
    let (path, ..) = peer.listen(0);
    peer.say(&FromController::Print { line: "the handshake line".into() });
    assert_eq!(launcher.line(), "the handshake line\n");
    (launcher, peer, path)
}

#[test]
fn who_has_no_handshake_line_yet_begins_anew_with_the_next_controller() {
    let mut controller = Controller::start();
    let (launcher, peer) = controller.attach();
    let (path, ..) = peer.listen(0);
    controller.go(true);
    drop(peer);
    controller.come();
    let peer = controller.accept();
    let (message, descriptors) = peer.hear();
    assert!(matches!(message, FromLauncher::Hello { resumes: false, .. }) && descriptors.is_empty());
    assert!(!path.exists(), "what was made for the first is gone");
    peer.say(&FromController::Refuse { message: "not today".into() });
    launcher.end().failed_with(&["not today"]);
}

#[test]
fn a_session_outlives_its_controller_and_hosts_wait_in_its_queue() {
    let mut controller = Controller::start();
    let (launcher, peer, path) = attached(&controller);
    let (other, ..) = peer.listen(1);
    peer.keep(state("old"), Duration::ZERO);
    peer.keep(state("sealed"), LONG);
    // What was said before the end is done before it.
    peer.listen(2);
    controller.go(false);
    drop(peer);

    let mut host = UnixStream::connect(&path).unwrap();
    controller.come();
    let peer = controller.accept();
    let (kept, listener) = hear_resuming(&peer);
    assert_eq!(kept, "sealed");
    assert!(!other.exists(), "what others were offered went with the controller");
    assert_eq!(controller.host_files(), [path.as_path()]);
    peer.say(&FromController::Resumed);
    comes(&listener, "the host");
    UnixStream::from(accept(&listener)).write_all(b"served").unwrap();
    let mut answer = String::new();
    host.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");

    peer.listen(1);
    peer.say(&FromController::Exit { code: 0, message: None });
    let end = launcher.end();
    assert_eq!((end.code, end.stdout.as_str(), end.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_session_outlives_one_controller_after_the_other() {
    let mut controller = Controller::start();
    let (_launcher, mut peer, path) = attached(&controller);
    peer.keep(state("first"), LONG);
    peer.listen(7);
    for (resumed, next) in [(true, "second"), (false, "not said"), (true, "third"), (true, "fourth")] {
        controller.go(true);
        drop(peer);
        std::fs::remove_file(controller.socket()).unwrap();
        controller.come();
        peer = controller.accept();
        let (kept, _) = hear_resuming(&peer);
        let expected = match next {
            "second" => "first",
            "not said" | "third" => "second",
            _ => "third",
        };
        assert_eq!(kept, expected);
        if resumed {
            peer.say(&FromController::Resumed);
            peer.keep(state(next), LONG);
            peer.listen(7);
        }
    }
    assert!(path.exists());
}

#[test]
fn without_a_kept_state_a_session_ends_with_its_controller() {
    let controller = Controller::start();
    let (launcher, peer, _) = attached(&controller);
    drop(peer);
    launcher.end().failed_with(&["the controller has gone", "start the plugin again"]);
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_to_be_forgotten_is_not_kept() {
    let controller = Controller::start();
    let (launcher, peer, _) = attached(&controller);
    peer.keep(state("sealed"), LONG);
    peer.say(&FromController::Forget);
    drop(peer);
    launcher.end().failed_with(&["the controller has gone"]);
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_session_without_its_socket_does_not_look_alive() {
    let controller = Controller::start();
    let (launcher, peer, _) = attached(&controller);
    peer.keep(state("sealed"), LONG);
    peer.say(&FromController::Unlisten { id: 0 });
    drop(peer);
    launcher.end().failed_with(&["the controller has gone"]);
}

#[test]
fn patience_ends_and_is_counted_from_the_loss() {
    let mut controller = Controller::start();
    let (launcher, peer, _) = attached(&controller);
    peer.keep(state("sealed"), Duration::from_millis(300));
    peer.listen(1);
    controller.go(false);
    drop(peer);
    launcher.end().failed_with(&["did not come back within 0.3 seconds", "plugward run"]);
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_controller_that_comes_back_and_says_nothing_is_not_waited_for_any_longer() {
    let controller = Controller::start();
    let (launcher, peer, _) = attached(&controller);
    peer.keep(state("sealed"), Duration::from_secs(4));
    drop(peer);
    let peer = controller.accept();
    hear_resuming(&peer);
    launcher.end().failed_with(&["did not come back within 4 seconds"]);
}

#[test]
fn a_controller_that_cannot_go_on_ends_the_session() {
    let ends = [
        FromController::Refuse { message: "the state is of another version".into() },
        FromController::Exit { code: 1, message: Some("the state is of another version".into()) },
    ];
    for end in ends {
        let controller = Controller::start();
        let (launcher, peer, _) = attached(&controller);
        peer.keep(state("sealed"), LONG);
        drop(peer);
        let peer = controller.accept();
        hear_resuming(&peer);
        peer.say(&end);
        launcher.end().failed_with(&["the state is of another version"]);
        assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_host_that_ends_while_the_controller_is_away_ends_the_session() {
    let mut controller = Controller::start();
    let mut host = std::process::Command::new("/bin/sh");
    host.args(["-c", "\"$0\" \"$@\" & wait"]).arg(PROGRAM);
    host.arg("--run-dir").arg(controller.run_directory()).arg("redis");
    let mut host = Launcher::start(controller.surround(host));
    let peer = controller.accept();
    peer.hear();
    peer.say(&FromController::Ask { version: 1, variables: Vec::new() });
    peer.hear();
    let (path, ..) = peer.listen(0);
    peer.keep(state("sealed"), LONG);
    peer.listen(1);
    controller.go(false);
    drop(peer);
    host.signal(rustix::process::Signal::KILL);
    // The launcher was the last who had it open.
    comes(host.stderr(), "the launcher's end");
    let mut rest = Vec::new();
    host.stderr().read_to_end(&mut rest).unwrap();
    assert!(!path.exists());
}

#[test]
fn what_is_kept_is_given_back_and_stays_the_same_descriptor() {
    let controller = Controller::start();
    let (_launcher, peer, _) = attached(&controller);
    let kept = state("sealed");
    peer.keep(kept.as_fd(), LONG);
    drop(peer);
    let peer = controller.accept();
    let (_, descriptors) = peer.hear();
    let same = |one: &OwnedFd, other: &File| {
        let (one, other) = (rustix::fs::fstat(one).unwrap(), rustix::fs::fstat(other).unwrap());
        (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    };
    assert!(same(&descriptors[0], &kept));
}
