use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use self::manager::{Manager, Message};
use super::*;

pub(crate) mod manager;

fn listener(directory: &TempDir) -> UnixListener {
    UnixListener::bind(directory.path().join("listener")).unwrap()
}

#[test]
fn a_manager_is_told_what_goes_on() {
    let manager = Manager::new();
    let told = manager.client();
    told.ready().unwrap();
    told.status("two mounts\nare served").unwrap();
    told.alive().unwrap();
    told.stopping().unwrap();
    let messages: Vec<String> = manager.received().into_iter().map(|message| message.text).collect();
    assert_eq!(messages, ["READY=1", "STATUS=two mounts are served", "WATCHDOG=1", "STOPPING=1"]);
}

/// Messages that are older than the manager's own request to reload are not its answer.
#[test]
fn a_reload_is_told_with_the_time_at_which_it_began() {
    let manager = Manager::new();
    let told = manager.client();
    let now = || {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    };
    let before = now();
    told.reloading().unwrap();
    let after = now();
    let message = manager.received().pop().unwrap().text;
    let began: i64 = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((before..=after).contains(&began), "{before} {began} {after}");
}

#[test]
fn a_manager_at_an_abstract_name_is_reached_too() {
    let name = format!("plugward-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    ServiceManager::at(format!("@{name}").into()).unwrap().ready().unwrap();
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1");
}

#[test]
fn an_address_that_is_no_unix_socket_is_said_to_be_none() {
    for address in ["vsock:2:1234", "notify", "", &format!("/{}", "a".repeat(108))] {
        let error = ServiceManager::at(address.into()).unwrap_err().to_string();
        assert!(error.contains(&format!("{address:?}")), "{error}");
    }
}

#[test]
fn a_stored_descriptor_is_the_same_socket_in_other_hands() {
    let directory = tempfile::tempdir().unwrap();
    let manager = Manager::new();
    let store = DescriptorStore::new(manager.client(), Vec::new());
    let listener = listener(&directory);
    store.store("mount.a.b.1.2", &listener).unwrap();
    let Message { text, mut descriptors } = manager.received().pop().unwrap();
    assert_eq!(text, "FDSTORE=1\nFDNAME=mount.a.b.1.2");
    let stored: OwnedFd = descriptors.pop().unwrap();
    assert!(descriptors.is_empty());
    drop(listener);
    let _host = UnixStream::connect(directory.path().join("listener")).unwrap();
    UnixListener::from(stored).accept().unwrap();

    store.remove("mount.a.b.1.2").unwrap();
    let removed = manager.received().pop().unwrap();
    assert_eq!(removed.text, "FDSTOREREMOVE=1\nFDNAME=mount.a.b.1.2");
    assert!(removed.descriptors.is_empty());
}

#[test]
fn without_a_manager_nothing_is_told_and_nothing_fails() {
    let directory = tempfile::tempdir().unwrap();
    let store = DescriptorStore::default();
    store.store("a", listener(&directory)).unwrap();
    store.remove("a").unwrap();
    ServiceManager::default().ready().unwrap();
}

#[test]
fn a_manager_that_is_gone_is_an_error_that_says_what_it_does_not_know() {
    let address = Manager::new().address();
    let error = ServiceManager::at(address.into()).unwrap().ready().unwrap_err();
    assert!(error.to_string().contains("READY=1"), "{error}");
}

/// The limit is short, and the test as long: without it this would hang.
#[test]
fn a_manager_that_reads_nothing_holds_nobody_up_for_ever() {
    let manager = Manager::new();
    let told = manager.client();
    let error = (0..100_000).find_map(|_| told.ready().err()).unwrap();
    let NotifyError::Send { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), io::ErrorKind::WouldBlock);
}

/// The process that begins with descriptors is this test binary again: what is taken from the environment is taken
/// from all of a process. `INHERITS` has the names that it must find.
#[test]
fn a_process_begins_with_the_listeners_that_are_meant_for_it() {
    const INHERITS: &str = "PLUGWARD_TEST_INHERITS";
    if let Ok(expected) = std::env::var(INHERITS) {
        let mut store = DescriptorStore::from_environment(ServiceManager::default());
        let names: Vec<String> = store.take_inherited().into_iter().map(|(name, _)| name).collect();
        assert_eq!(format!("{names:?}"), expected);
        let again = DescriptorStore::from_environment(ServiceManager::default()).take_inherited();
        assert!(again.is_empty(), "each is had once");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let listener = listener(&directory);
    let other = std::process::id();
    for (script, names, expected) in [
        ("exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1".to_owned(), Some("mine"), r#"["mine"]"#),
        (
            "exec 3</dev/null 4<&0; export LISTEN_PID=$$ LISTEN_FDS=2".to_owned(),
            Some("other:mine:"),
            r#"["mine"]"#,
        ),
        ("exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1".to_owned(), None, r#"[""]"#),
        (format!("exec 3<&0; export LISTEN_PID={other} LISTEN_FDS=1"), Some("mine"), "[]"),
        ("exec 3<&0; export LISTEN_FDS=1".to_owned(), Some("mine"), "[]"),
        ("exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=many".to_owned(), Some("mine"), "[]"),
    ] {
        let child = Command::new("sh")
            .args(["-c", &format!("{script}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .arg("--exact")
            .arg("systemd::tests::a_process_begins_with_the_listeners_that_are_meant_for_it")
            .env(INHERITS, expected)
            .envs(names.map(|names| ("LISTEN_FDNAMES", names)))
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{script}: {said}");
    }
}
