use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};
use tempfile::TempDir;

use super::*;
use crate::systemd::ServiceManager;
use crate::systemd::tests::manager::Manager;

mod restart;

/// A run directory, in which the mount `orders` of the instance `db` is the one that matters.
struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("mounts")
    }

    /// What is in the instance's directory, by name.
    fn at(&self, name: &str) -> PathBuf {
        self.root().join("db").join(name)
    }

    fn path(&self) -> PathBuf {
        self.at("orders.sock")
    }

    /// A controller without a manager.
    fn controller(&self) -> Sockets {
        self.controller_with(DescriptorStore::default())
    }

    fn controller_with(&self, store: DescriptorStore) -> Sockets {
        Sockets::new(self.root(), None, store)
    }

    /// A controller that begins with what a manager kept.
    fn controller_after(&self, manager: &Manager) -> Sockets {
        let kept = manager.stored.iter();
        let kept = kept.map(|(name, socket)| (name.clone(), socket.try_clone().unwrap().into()));
        self.controller_with(DescriptorStore::new(manager.client(), kept.collect()))
    }

    /// A socket that a process left when it ended.
    fn leave_stale(&self, name: &str) -> Inode {
        fs::create_dir_all(self.root().join("db")).unwrap();
        leave_stale(&self.at(name));
        socket_at(&self.at(name)).unwrap()
    }
}

fn leave_stale(path: &Path) {
    drop(StdUnixListener::bind(path).unwrap());
    wait_until_stale(path);
}

/// Tests that run beside this one start processes, and a process has all of our descriptors between its fork and
/// its exec: what was dropped here may live a moment longer there.
fn wait_until_stale(path: &Path) {
    while look(path).unwrap() != Found::Stale {
        std::thread::yield_now();
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn open(sockets: &Sockets) -> Result<UnixListener, SocketError> {
    sockets.open(&name("db"), &name("orders"))
}

fn close(sockets: &Sockets) {
    sockets.close(&name("db"), &name("orders"));
}

/// The name in the store of the socket that is at the mount's path now.
fn stored_name(world: &World) -> String {
    let inode = socket_at(&world.path()).unwrap();
    StoredName { key: (name("db"), name("orders")), inode }.to_string()
}

#[tokio::test]
async fn a_mount_has_a_socket_for_its_group_alone() {
    let world = World::new();
    // Only root may give files to a group that it is not in.
    let root = rustix::process::geteuid().is_root();
    let group = if root { 4321 } else { rustix::process::getegid().as_raw() };
    let sockets = Sockets::new(world.root(), Some(group), DescriptorStore::default());
    let listener = open(&sockets).unwrap();
    for (path, mode) in [(world.root(), 0o750), (world.root().join("db"), 0o750), (world.path(), 0o660)] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{}", path.display());
        assert_eq!(metadata.gid(), group, "{}", path.display());
    }
    let _host = UnixStream::connect(world.path()).unwrap();
    listener.accept().await.unwrap();
    assert_eq!(fs::read_dir(world.root().join("db")).unwrap().count(), 1, "nothing else is left there");
}

#[tokio::test]
async fn a_path_may_have_107_bytes_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let rest = "/db/orders.sock".len();
    let root_of = |bytes: usize| {
        let base = directory.path().as_os_str().len() + 1;
        directory.path().join("r".repeat(bytes - rest - base))
    };
    let longest = Sockets::new(root_of(MAX_SOCKET_PATH), None, DescriptorStore::default());
    let listener = open(&longest).unwrap();
    let _host = UnixStream::connect(longest.path(&(name("db"), name("orders")))).unwrap();
    listener.accept().await.unwrap();

    let root = root_of(MAX_SOCKET_PATH + 1);
    let error = open(&Sockets::new(root.clone(), None, DescriptorStore::default())).unwrap_err();
    assert!(matches!(error, SocketError::TooLong { .. }), "{error}");
    assert!(error.to_string().contains("has 108 bytes, and that of a socket at most 107"), "{error}");
    assert!(!root.exists(), "nothing was made");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_its_path_is_never_without_one() {
    for _ in 0..100 {
        let world = World::new();
        world.leave_stale("orders.sock");
        let sockets = world.controller();
        let (connects, opened) = (AtomicUsize::new(0), AtomicBool::new(false));
        let failures = std::thread::scope(|scope| {
            let host = scope.spawn(|| {
                let mut failures = BTreeSet::new();
                loop {
                    let last = opened.load(Ordering::Acquire);
                    match UnixStream::connect(world.path()) {
                        Ok(_) => return failures,
                        Err(error) => failures.insert(error.kind()),
                    };
                    connects.fetch_add(1, Ordering::Release);
                    assert!(!last, "who connects afterwards reaches it");
                }
            });
            while connects.load(Ordering::Acquire) == 0 && !host.is_finished() {
                std::thread::yield_now();
            }
            let listener = open(&sockets);
            opened.store(true, Ordering::Release);
            let failures = host.join().unwrap();
            listener.unwrap();
            failures
        });
        assert_eq!(failures, BTreeSet::from([ErrorKind::ConnectionRefused]));
    }
}

#[tokio::test]
async fn a_socket_on_which_another_process_listens_is_not_touched() {
    let world = World::new();
    fs::create_dir_all(world.root().join("db")).unwrap();
    let other = StdUnixListener::bind(world.path()).unwrap();
    other.set_nonblocking(true).unwrap();
    let before = socket_at(&world.path());
    let error = open(&world.controller()).unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("db/orders.sock"), "{error}");
    assert_eq!(socket_at(&world.path()), before);
    let asked = other.accept().unwrap_err();
    assert_eq!(asked.kind(), ErrorKind::WouldBlock, "it was not even connected to");
}

#[tokio::test]
async fn a_socket_of_another_kind_that_is_in_use_is_not_touched() {
    for kind in [SocketType::DGRAM, SocketType::SEQPACKET] {
        let world = World::new();
        fs::create_dir_all(world.root().join("db")).unwrap();
        let other = socket(AddressFamily::UNIX, kind, None).unwrap();
        bind(&other, &SocketAddrUnix::new(world.path()).unwrap()).unwrap();
        let before = socket_at(&world.path());
        let error = open(&world.controller()).unwrap_err();
        assert!(matches!(error, SocketError::InUse { .. }), "{error}");
        assert_eq!(socket_at(&world.path()), before);
    }
}

/// Makes something at a path.
type Make<'a> = &'a dyn Fn(&Path);

#[tokio::test]
async fn what_is_no_socket_is_named_and_not_touched() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target.sock");
    leave_stale(&target);
    let make: [(&str, Make<'_>); 4] = [
        ("a file", &|path| fs::write(path, "precious").unwrap()),
        ("a directory", &|path| fs::create_dir(path).unwrap()),
        ("a symbolic link", &|path| symlink(&target, path).unwrap()),
        ("a pipe or a device", &|path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
    ];
    for (what, make) in make {
        // In the way of the socket, and of the name under which it is made.
        for place in ["orders.sock", "orders.new"] {
            let world = World::new();
            fs::create_dir_all(world.root().join("db")).unwrap();
            make(&world.at(place));
            let before = fs::symlink_metadata(world.at(place)).unwrap();
            let error = open(&world.controller()).unwrap_err();
            assert!(matches!(error, SocketError::InTheWay { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(place) && text.contains(&format!("is {what}: remove it")), "{text}");
            let after = fs::symlink_metadata(world.at(place)).unwrap();
            assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
        }
        // And of its directory.
        if what != "a directory" {
            let world = World::new();
            fs::create_dir(world.root()).unwrap();
            make(&world.root().join("db"));
            let error = open(&world.controller()).unwrap_err();
            assert!(matches!(error, SocketError::InTheWay { .. }), "{error}");
        }
    }
    assert!(target.exists());
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_an_error_that_names_it() {
    let world = World::new();
    fs::write(world.root(), "").unwrap();
    let error = open(&world.controller()).unwrap_err();
    assert!(matches!(error, SocketError::Directory { .. }), "{error}");
    assert!(error.to_string().contains("mounts/db"), "{error}");
}

#[tokio::test]
async fn what_a_crash_left_half_made_is_replaced() {
    let world = World::new();
    world.leave_stale("orders.new");
    let sockets = world.controller();
    let _listener = open(&sockets).unwrap();
    assert!(!world.at("orders.new").exists());
    assert!(UnixStream::connect(world.path()).is_ok());
}

#[tokio::test]
async fn a_mount_opened_again_has_a_new_socket() {
    let world = World::new();
    let sockets = world.controller();
    let first = open(&sockets).unwrap().into_std().unwrap();
    let second = open(&sockets).unwrap();
    let _host = UnixStream::connect(world.path()).unwrap();
    second.accept().await.unwrap();
    assert_eq!(first.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_closed_mount_leaves_nothing() {
    let world = World::new();
    let sockets = world.controller();
    let _orders = open(&sockets).unwrap();
    let _billing = sockets.open(&name("db"), &name("billing")).unwrap();
    close(&sockets);
    assert!(!world.path().exists());
    assert!(world.at("billing.sock").exists(), "another mount's socket stays");
    sockets.close(&name("db"), &name("billing"));
    assert!(!world.root().join("db").exists());
    assert!(world.root().exists());
    close(&sockets);
    let _again = open(&sockets).unwrap();
    assert!(UnixStream::connect(world.path()).is_ok());
}

#[tokio::test]
async fn closing_leaves_what_took_the_sockets_place() {
    let world = World::new();
    let sockets = world.controller();
    let _listener = open(&sockets).unwrap();
    fs::remove_file(world.path()).unwrap();
    world.leave_stale("orders.sock");
    close(&sockets);
    assert!(world.path().exists());
    fs::remove_file(world.path()).unwrap();

    let _listener = open(&sockets).unwrap();
    fs::remove_file(world.path()).unwrap();
    fs::write(world.path(), "precious").unwrap();
    close(&sockets);
    assert_eq!(fs::read(world.path()).unwrap(), b"precious");
}

#[tokio::test]
async fn sweeping_removes_what_was_left_and_nothing_else() {
    let world = World::new();
    for left in ["gone.sock", "gone.new", "orders.new", "wanted.sock"] {
        world.leave_stale(left);
    }
    for other in ["gone.pipe", "Not-A-Name.sock", "a.b.sock", ".hidden"] {
        world.leave_stale(other);
    }
    fs::write(world.at("file.sock"), "precious").unwrap();
    fs::create_dir(world.at("directory.sock")).unwrap();
    symlink(world.at("wanted.sock"), world.at("link.sock")).unwrap();
    let _live = StdUnixListener::bind(world.at("live.sock")).unwrap();
    let sockets = world.controller();
    let _open = sockets.open(&name("db"), &name("open")).unwrap();
    // An instance of which only a stale socket is left, and places that are no instance's.
    for directory in ["gone", "Not-A-Name"] {
        fs::create_dir(world.root().join(directory)).unwrap();
        leave_stale(&world.root().join(directory).join("a.sock"));
    }
    symlink(world.root().join("Not-A-Name"), world.root().join("link")).unwrap();
    leave_stale(&world.root().join("a.sock"));

    sockets.sweep(&BTreeSet::from([(name("db"), name("wanted"))]));

    let list = |path: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let expected = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        list(&world.root().join("db")),
        expected(&[
            "wanted.sock",
            "open.sock",
            "live.sock",
            "file.sock",
            "directory.sock",
            "link.sock",
            "gone.pipe",
            "Not-A-Name.sock",
            "a.b.sock",
            ".hidden",
        ])
    );
    assert_eq!(list(&world.root()), expected(&["db", "Not-A-Name", "link", "a.sock"]));
    assert_eq!(list(&world.root().join("Not-A-Name")), expected(&["a.sock"]));
}

#[tokio::test]
async fn sweeping_where_nothing_ever_was_does_nothing() {
    let world = World::new();
    world.controller().sweep(&BTreeSet::new());
    assert!(!world.root().exists());
}

#[tokio::test]
async fn the_store_has_the_socket_of_each_open_mount() {
    let world = World::new();
    let mut manager = Manager::new();
    let sockets = world.controller_with(DescriptorStore::new(manager.client(), Vec::new()));
    let listener = open(&sockets).unwrap();
    manager.catch_up();
    let first = stored_name(&world);
    assert_eq!(manager.names(), [&first]);
    drop(listener);
    let _host = UnixStream::connect(world.path()).expect("the manager still listens");

    let _listener = open(&sockets).unwrap();
    manager.catch_up();
    let second = stored_name(&world);
    assert_ne!(first, second);
    assert_eq!(manager.names(), [&second]);

    close(&sockets);
    manager.catch_up();
    assert!(manager.stored.is_empty());
}

#[tokio::test]
async fn a_kept_socket_is_taken_with_the_hosts_that_wait_in_it() {
    let world = World::new();
    let mut manager = Manager::new();
    drop(open(&world.controller_after(&manager)).unwrap());
    manager.catch_up();
    let before = socket_at(&world.path());
    let waiting = UnixStream::connect(world.path()).unwrap();

    let sockets = world.controller_after(&manager);
    assert_eq!(socket_at(&world.path()), before);
    let listener = open(&sockets).unwrap();
    assert_eq!(socket_at(&world.path()), before);
    assert_eq!(manager.catch_up(), [""; 0], "it is in the store already");
    listener.accept().await.unwrap();
    drop(waiting);

    close(&sockets);
    manager.catch_up();
    assert!(manager.stored.is_empty());
    assert!(!world.root().join("db").exists());
}

#[tokio::test]
async fn a_kept_socket_that_no_path_leads_to_is_dropped_and_replaced() {
    let replace: [&dyn Fn(&World); 3] = [
        &|world| fs::remove_file(world.path()).unwrap(),
        &|world| fs::remove_dir_all(world.root()).unwrap(),
        &|world| {
            fs::remove_file(world.path()).unwrap();
            world.leave_stale("orders.sock");
        },
    ];
    for replace in replace {
        // Before the next controller begins, or after it did.
        for at_start in [true, false] {
            let world = World::new();
            let mut manager = Manager::new();
            drop(open(&world.controller_after(&manager)).unwrap());
            manager.catch_up();
            let lost = stored_name(&world);
            if at_start {
                replace(&world);
            }
            let sockets = world.controller_after(&manager);
            if at_start {
                assert_eq!(manager.catch_up(), [format!("FDSTOREREMOVE=1\nFDNAME={lost}")]);
            } else {
                replace(&world);
            }
            let listener = open(&sockets).unwrap();
            manager.catch_up();
            assert_eq!(manager.names(), [stored_name(&world)]);
            let _host = UnixStream::connect(world.path()).unwrap();
            listener.accept().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_kept_descriptor_that_is_no_mounts_listener_is_not_used() {
    let world = World::new();
    let mut manager = Manager::new();
    fs::create_dir_all(world.root().join("db")).unwrap();
    let deaf = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&deaf, &SocketAddrUnix::new(world.path()).unwrap()).unwrap();
    let foreign = StdUnixListener::bind(world.root().join("foreign")).unwrap();
    manager.stored = vec![(stored_name(&world), deaf), ("foreign".to_owned(), OwnedFd::from(foreign))];
    let sockets = world.controller_after(&manager);
    manager.catch_up();
    assert_eq!(manager.names(), ["foreign"], "what is not ours is left to its owner");
    wait_until_stale(&world.path());
    let _listener = open(&sockets).unwrap();
    assert!(UnixStream::connect(world.path()).is_ok());
}

#[tokio::test]
async fn a_kept_socket_that_nobody_declares_any_more_is_swept() {
    let world = World::new();
    let mut manager = Manager::new();
    let before = world.controller_after(&manager);
    drop((open(&before).unwrap(), before.open(&name("db"), &name("wanted")).unwrap()));
    manager.catch_up();

    let sockets = world.controller_after(&manager);
    sockets.sweep(&BTreeSet::from([(name("db"), name("wanted"))]));
    manager.catch_up();
    assert!(!world.path().exists());
    assert_eq!(manager.stored.len(), 1);
    assert!(UnixStream::connect(world.at("wanted.sock")).is_ok());
}

#[tokio::test]
async fn a_kept_socket_is_for_the_group_of_today() {
    let world = World::new();
    let mut manager = Manager::new();
    drop(open(&world.controller_after(&manager)).unwrap());
    manager.catch_up();
    for path in [world.path(), world.root().join("db")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let _next = world.controller_after(&manager);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&world.path()), mode(&world.root().join("db"))), (0o660, 0o750));
}

#[tokio::test]
async fn a_mount_has_its_socket_though_the_manager_is_gone() {
    let world = World::new();
    let address = Manager::new().address();
    let gone = ServiceManager::at(address.into()).unwrap();
    let sockets = world.controller_with(DescriptorStore::new(gone, Vec::new()));
    let listener = open(&sockets).unwrap();
    let _host = UnixStream::connect(world.path()).unwrap();
    listener.accept().await.unwrap();
    close(&sockets);
    assert!(!world.path().exists());
}
