//! One session: how it begins, what is done in it, and how it ends.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Controller, Launcher, PROGRAM, accept, comes};
use plugward_attach::{FromController, FromLauncher, VERSION};
use rustix::fs::AtFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Signal;

fn exit(code: u8) -> FromController {
    FromController::Exit { code, message: None }
}

fn ask(variables: &[&str]) -> FromController {
    FromController::Ask { version: 1, variables: variables.iter().map(ToString::to_string).collect() }
}

// What it says first.

#[test]
fn a_launcher_greets_with_the_instance_that_it_stands_for() {
    let controller = Controller::start();
    let _launcher = Launcher::start(controller.command());
    let (hello, descriptors) = controller.accept().hear();
    let expected =
        FromLauncher::Hello { versions: (VERSION, VERSION), instance: "redis".into(), resumes: false };
    assert_eq!((hello, descriptors.len()), (expected, 0));
}

#[test]
fn a_link_names_the_instance_where_a_host_gives_no_arguments() {
    let controller = Controller::start();
    let link = controller.host_directory().join("kv-plugin");
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    let mut command = controller.surround(Command::new(link));
    command.env("PLUGWARD_RUN_DIR", controller.run_directory());
    let _launcher = Launcher::start(command);
    let (hello, _) = controller.accept().hear();
    assert!(matches!(hello, FromLauncher::Hello { instance, .. } if instance == "kv-plugin"));
}

#[test]
fn of_the_environment_only_what_is_asked_for_leaves() {
    let controller = Controller::start();
    let mut command = controller.command();
    command.env("PLUGIN_PROTOCOL_VERSIONS", "5,6").env("SECRET", "hidden").env("EMPTY", "");
    command.env("BYTES", <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\n"));
    let launcher = Launcher::start(command);
    let peer = controller.accept();
    peer.hear();
    peer.say(&ask(&["PLUGIN_PROTOCOL_VERSIONS", "NOT_SET", "BYTES", "", "A=B", "EMPTY"]));
    let told = |name: &str, value: &[u8]| (name.to_owned(), value.to_owned());
    let variables =
        vec![told("PLUGIN_PROTOCOL_VERSIONS", b"5,6"), told("BYTES", b"\xff\n"), told("EMPTY", b"")];
    assert_eq!(peer.hear().0, FromLauncher::Environment { variables });
    peer.say(&exit(0));
    let end = launcher.end();
    assert_eq!((end.code, end.stdout.as_str(), end.stderr.as_str()), (Some(0), "", ""));
}

#[test]
fn an_environment_that_does_not_fit_is_an_error_that_says_so() {
    let controller = Controller::start();
    let mut command = controller.command();
    command.env("LARGE", "secret".repeat(12_000));
    let launcher = Launcher::start(command);
    let peer = controller.accept();
    peer.hear();
    peer.say(&ask(&["LARGE"]));
    peer.hear_the_end();
    let end = launcher.end();
    end.failed_with(&["environment", "65536", "attach.passEnv"]);
    assert!(!end.stderr.contains("secret"));
}

// Where there is no session.

#[test]
fn a_refusal_is_one_line_on_stderr() {
    let controller = Controller::start();
    let launcher = Launcher::start(controller.command());
    let peer = controller.accept();
    peer.hear();
    peer.say(&FromController::Refuse {
        message: "there is no instance redis:\nlook at `plugward get`\n".into(),
    });
    drop(peer);
    launcher.end().failed_with(&["there is no instance redis: look at `plugward get`"]);
}

#[test]
fn a_refusal_is_read_from_a_controller_that_did_not_wait_for_a_greeting() {
    let controller = Controller::start();
    let launcher = Launcher::start(controller.command());
    let peer = controller.accept();
    peer.say(&FromController::Refuse { message: "too many launchers".into() });
    drop(peer);
    launcher.end().failed_with(&["too many launchers"]);
}

#[test]
fn a_controller_that_is_not_there_is_an_error_that_says_what_to_do() {
    let mut controller = Controller::absent();
    Launcher::start(controller.command()).end().failed_with(&["no controller runs here", "--run-dir"]);
    std::fs::create_dir(controller.run_directory().join("one")).unwrap();
    controller.come();
    controller.go(true);
    Launcher::start(controller.command()).end().failed_with(&["no controller answers at", "plugward run"]);
}

#[test]
fn a_user_who_may_not_connect_is_told_where_that_is_permitted() {
    let controller = Controller::start();
    let program = controller.host_directory().join("redis");
    std::fs::copy(PROGRAM, &program).unwrap();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(controller.host_directory(), 0o755);
    open(controller.run_directory(), 0o755);
    open(&controller.socket(), 0o000);
    let start = || {
        let mut command = controller.surround(Command::new(&program));
        command.arg("--run-dir").arg(controller.run_directory());
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        Launcher::start(command).end()
    };
    start().failed_with(&["attach.sock", "attach.users", "attach.groups"]);
    open(&controller.run_directory().join("one"), 0o000);
    start().failed_with(&["cannot be looked into", "one"]);
    open(&controller.run_directory().join("one"), 0o755);
}

#[test]
fn arguments_for_the_plugin_are_refused() {
    let controller = Controller::start();
    let mut command = controller.command();
    command.arg("secret");
    let end = Launcher::start(command).end();
    end.failed_with(&["declared in its PluginInstance", "`args`"]);
    assert!(!end.stderr.contains("secret"));
}

#[test]
fn help_and_version_need_no_controller() {
    for (option, words) in [("--help", "Usage: plugward-attach"), ("--version", "plugward-attach ")] {
        let mut command = Command::new(PROGRAM);
        command.arg(option);
        let end = Launcher::start(command).end();
        assert!(end.code == Some(0) && end.stdout.contains(words) && end.stderr.is_empty(), "{end:?}");
    }
}

#[test]
fn a_controller_that_cannot_be_understood_ends_it_with_words() {
    let say: [(&[u8], &str); 5] = [
        (&FromController::Ask { version: 2, variables: Vec::new() }.encode(), "version 2"),
        (b"\x05garbage", "does not understand"),
        (&FromController::Listen { id: 0 }.encode(), "`Listen`"),
        (&FromController::Resumed.encode(), "`Resumed`"),
        (&FromController::Keep { patience: std::time::Duration::ZERO }.encode(), "`Keep`"),
    ];
    for (message, words) in say {
        let controller = Controller::start();
        let launcher = Launcher::start(controller.command());
        let peer = controller.accept();
        peer.hear();
        peer.send(message);
        launcher.end().failed_with(&[words, "install"]);
    }
    let controller = Controller::start();
    let (launcher, peer) = controller.attach();
    peer.say(&FromController::Keep { patience: std::time::Duration::ZERO });
    launcher.end().failed_with(&["`Keep`"]);
}

// The session.

#[test]
fn a_session_has_a_socket_where_the_host_looks_and_one_line_on_stdout() {
    let controller = Controller::start();
    let (mut launcher, peer) = controller.attach();
    let (path, listener, _) = peer.listen(0);
    assert_eq!(path.parent(), Some(controller.host_directory()));

    peer.say(&FromController::Print { line: format!("1|5|unix|{}|grpc|", path.display()) });
    assert_eq!(launcher.line(), format!("1|5|unix|{}|grpc|\n", path.display()));
    let mut host = UnixStream::connect(&path).unwrap();
    comes(&listener, "the host");
    let mut plugin = UnixStream::from(accept(&listener));
    plugin.write_all(b"answer").unwrap();
    drop(plugin);
    let mut answer = String::new();
    host.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");

    peer.say(&FromController::Stderr { bytes: b"one\ntw".to_vec() });
    peer.say(&FromController::Stderr { bytes: b"o\n\xff".to_vec() });
    peer.say(&FromController::Exit { code: 7, message: Some("the plugin ended".into()) });
    let end = launcher.end();
    assert_eq!((end.code, end.stdout.as_str()), (Some(7), ""));
    assert_eq!(end.stderr, "one\ntwo\n\u{fffd}\nplugward-attach: the plugin ended\n");
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_second_handshake_line_is_never_printed() {
    let controller = Controller::start();
    let (mut launcher, peer) = controller.attach();
    peer.say(&FromController::Print { line: "1|5|unix|/s|grpc|".into() });
    assert_eq!(launcher.line(), "1|5|unix|/s|grpc|\n");
    peer.say(&FromController::Print { line: "1|5|unix|/t|grpc|".into() });
    launcher.end().failed_with(&["`Print`"]);
}

#[test]
fn sockets_are_made_and_removed_as_the_controller_says() {
    let controller = Controller::start();
    let (launcher, peer) = controller.attach();
    let (own, ..) = peer.listen(0);
    let (other, listener, _) = peer.listen(8);
    peer.say(&FromController::Listen { id: 8 });
    assert!(matches!(peer.hear().0, FromLauncher::NotListening { id: 8, .. }));
    drop(listener);
    peer.say(&FromController::Unlisten { id: 8 });
    // What is done in order is done when the next is answered.
    let (third, ..) = peer.listen(8);
    assert_ne!(third, other);
    let mut files = controller.host_files();
    files.sort();
    let mut expected = [own, third];
    expected.sort();
    assert_eq!(files, expected);
    peer.say(&exit(0));
    assert_eq!(launcher.end().code, Some(0));
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn the_host_says_in_which_directory_and_for_which_group() {
    let controller = Controller::start();
    let directory = tempfile::tempdir().unwrap();
    let group = rustix::process::getegid().as_raw();
    let mut command = controller.command();
    command.env("PLUGIN_UNIX_SOCKET_DIR", directory.path());
    command.env("PLUGIN_UNIX_SOCKET_GROUP", group.to_string());
    let _launcher = Launcher::start(command);
    let peer = controller.accept();
    peer.hear();
    peer.say(&ask(&[]));
    peer.hear();
    let (path, ..) = peer.listen(0);
    assert_eq!(path.parent(), Some(directory.path()));
    let file = std::fs::metadata(&path).unwrap();
    assert_eq!((file.permissions().mode() & 0o777, file.gid()), (0o660, group));
}

#[test]
fn a_socket_that_cannot_be_made_is_told_and_the_session_goes_on() {
    let controller = Controller::start();
    let mut command = controller.command();
    command.env("PLUGIN_UNIX_SOCKET_DIR", "/nowhere");
    let launcher = Launcher::start(command);
    let peer = controller.accept();
    peer.hear();
    peer.say(&ask(&[]));
    peer.hear();
    peer.say(&FromController::Listen { id: 0 });
    let (FromLauncher::NotListening { id: 0, error }, _) = peer.hear() else { panic!("it listens") };
    assert!(error.contains("/nowhere") && error.contains("No such file"), "{error}");
    peer.say(&exit(3));
    assert_eq!(launcher.end().code, Some(3));
}

#[test]
fn what_the_host_offers_is_dialled_where_the_host_is() {
    let controller = Controller::start();
    let (_launcher, peer) = controller.attach();
    let path = controller.host_directory().join("offered");
    let offered = UnixListener::bind(&path).unwrap();
    peer.say(&FromController::Dial { id: 5, path: path.clone() });
    let (message, descriptors) = peer.hear();
    assert_eq!(message, FromLauncher::Dialled { id: 5 });
    let [stream] = descriptors.try_into().unwrap();
    let mut stream = UnixStream::from(stream);
    stream.write_all(b"hello").unwrap();
    drop(stream);
    let mut text = String::new();
    offered.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");

    drop(offered);
    for (path, words) in
        [(path, "refused"), ("/nowhere".into(), "No such file"), ("x".repeat(200).into(), "107")]
    {
        peer.say(&FromController::Dial { id: 6, path });
        let (FromLauncher::NotDialled { id: 6, error }, _) = peer.hear() else { panic!("it connected") };
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_listener_with_a_full_queue_holds_up_nothing_else() {
    let controller = Controller::start();
    let (_launcher, peer) = controller.attach();
    let path = controller.host_directory().join("full");
    let full = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .unwrap();
    rustix::net::bind(&full, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    peer.say(&FromController::Dial { id: 5, path });
    peer.listen(0);
    // There is space again.
    drop(accept(&full));
    assert_eq!(peer.hear().0, FromLauncher::Dialled { id: 5 });
}

// Its stderr.

#[test]
fn a_host_that_does_not_read_stderr_holds_up_nothing_and_learns_what_it_missed() {
    let controller = Controller::start();
    let (mut launcher, peer) = controller.attach();
    let bytes = [b"x".repeat(32 * 1024 - 1), b"\n".to_vec()].concat();
    for _ in 0..64 {
        peer.say(&FromController::Stderr { bytes: bytes.clone() });
    }
    peer.listen(0);
    let mut first = [0; 100];
    launcher.stderr().read_exact(&mut first).unwrap();
    assert_eq!(first, [b'x'; 100]);
    peer.say(&exit(0));
    let mut rest = String::new();
    launcher.stderr().read_to_string(&mut rest).unwrap();
    let missed =
        rest.lines().find(|line| line.contains("bytes of the plugin's stderr are left out here")).unwrap();
    let missed: usize = missed.split(' ').nth(1).unwrap().parse().unwrap();
    let told = rest.lines().filter(|line| line.ends_with('x')).count();
    assert_eq!(told * bytes.len() + missed, 64 * bytes.len());
}

#[test]
fn a_host_that_never_reads_stderr_does_not_hold_up_the_end() {
    let controller = Controller::start();
    let (launcher, peer) = controller.attach();
    peer.listen(0);
    for _ in 0..8 {
        peer.say(&FromController::Stderr { bytes: b"x".repeat(60_000) });
    }
    peer.say(&exit(0));
    launcher.await_end();
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_host_that_closed_stderr_has_its_session() {
    let controller = Controller::start();
    let mut command = controller.command();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(Stdio::null()).stderr(writer);
    let mut child = command.spawn().unwrap();
    let peer = controller.accept();
    peer.hear();
    peer.say(&ask(&[]));
    peer.hear();
    peer.say(&FromController::Stderr { bytes: b"lost\n".to_vec() });
    peer.listen(0);
    peer.say(&exit(4));
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

// Its end, and what it leaves.

#[test]
fn an_interrupt_ends_nothing() {
    let controller = Controller::start();
    let (launcher, peer) = controller.attach();
    launcher.signal(Signal::INT);
    peer.listen(0);
    launcher.signal(Signal::INT);
    peer.say(&exit(0));
    assert_eq!(launcher.end().code, Some(0));
}

#[test]
fn a_launcher_that_is_terminated_ends_at_once_and_its_controller_can_clean_up() {
    let controller = Controller::start();
    let (launcher, peer) = controller.attach();
    let (path, _, directory) = peer.listen(0);
    launcher.signal(Signal::TERM);
    peer.hear_the_end();
    assert_eq!(launcher.end().code, None);
    assert!(path.exists());
    rustix::fs::unlinkat(&directory, path.file_name().unwrap(), AtFlags::empty()).unwrap();
    assert!(!path.exists());
}

#[test]
fn when_the_host_is_killed_its_launcher_ends_and_removes_its_sockets() {
    let controller = Controller::start();
    let mut host = Command::new("/bin/sh");
    host.args(["-c", "\"$0\" \"$@\" & wait"])
        .arg(PROGRAM)
        .arg("--run-dir")
        .arg(controller.run_directory())
        .arg("redis");
    let host = Launcher::start(controller.surround(host));
    let peer = controller.accept();
    peer.hear();
    peer.say(&ask(&[]));
    peer.hear();
    let (path, ..) = peer.listen(0);
    assert!(path.exists());
    host.signal(Signal::KILL);
    peer.hear_the_end();
    assert_eq!(controller.host_files(), Vec::<PathBuf>::new());
}

#[test]
fn stdin_is_left_alone() {
    let controller = Controller::start();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"typed").unwrap();
    drop(writer);
    let mut command = controller.command();
    command.stdin(reader.try_clone().unwrap());
    let launcher = Launcher::start(command);
    let peer = controller.accept();
    peer.hear();
    peer.say(&exit(0));
    assert_eq!(launcher.end().code, Some(0));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "typed");
}

#[test]
fn no_descriptor_would_be_left_to_another_program() {
    const CLOEXEC: u32 = 0o2_000_000;
    let controller = Controller::start();
    let (launcher, peer) = controller.attach();
    let state = tempfile::tempfile().unwrap();
    peer.keep(state.as_fd(), std::time::Duration::from_secs(60));
    peer.listen(0);
    let directory = format!("/proc/{}/fdinfo", launcher.pid().as_raw_nonzero());
    // What cargo, or who started it, left to all its children is not the launcher's.
    let left: Vec<u32> = descriptors("/proc/self/fdinfo")
        .into_iter()
        .filter(|(_, flags)| flags & CLOEXEC == 0)
        .map(|(number, _)| number)
        .collect();
    let own: Vec<_> =
        descriptors(&directory).into_iter().filter(|(number, _)| !left.contains(number)).collect();
    assert!(own.iter().all(|(_, flags)| flags & CLOEXEC != 0), "{own:?}");
    // The controller, the parent, the state, the listener and its directory.
    assert_eq!(own.len(), 5, "{own:?}");
}

/// The numbers and flags of the descriptors in a process's `fdinfo`.
fn descriptors(directory: &str) -> Vec<(u32, u32)> {
    let read = |entry: std::fs::DirEntry| {
        // The one that reads this directory has gone meanwhile.
        let info = std::fs::read_to_string(entry.path()).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        Some((entry.file_name().to_str()?.parse().ok()?, u32::from_str_radix(flags, 8).ok()?))
    };
    std::fs::read_dir(directory).unwrap().filter_map(|entry| read(entry.unwrap())).collect()
}
