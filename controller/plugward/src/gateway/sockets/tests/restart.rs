//! Controllers that are killed and started anew as processes of their own, by a test that plays the service manager.
//!
//! A controller is this very test binary: a test that finds [`ROLE`] in its environment is one.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

/// Set for a test that is to be a controller: the directory of its sockets.
const ROLE: &str = "PLUGWARD_TEST_SOCKETS_OF_CONTROLLER";

/// How long an answer may take: far longer than it ever does.
const LIMIT: Duration = Duration::from_secs(60);

/// A controller that runs. Killed when dropped.
struct Controller(Child);

impl Controller {
    /// Starts `test` as a controller with what the manager keeps, and waits until its sockets are open.
    fn start(world: &World, manager: &mut Manager, test: &str) -> Self {
        // The shell knows the pid that the controller will have, and puts descriptors where they belong: it gets
        // them in place of standard input and output.
        let passed = ["exec", "exec 3<&0", "exec 3<&0 4<&1"][manager.stored.len()];
        let script = format!("{passed} </dev/null >&2; LISTEN_PID=$$ exec \"$0\" \"$@\"");
        let mut kept = manager.stored.iter().map(|(_, socket)| Stdio::from(socket.try_clone().unwrap()));
        let names: Vec<&str> = manager.names();
        let child = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("gateway::sockets::tests::restart::{test}")])
            .env(ROLE, world.root())
            .env("NOTIFY_SOCKET", manager.address())
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(kept.next().unwrap_or(Stdio::null()))
            .stdout(kept.next().unwrap_or(Stdio::null()))
            .spawn()
            .unwrap();
        let controller = Self(child);
        manager.wait_until_ready();
        controller
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is a controller, if this process is to be one. Never returns then.
fn be_controller_if_asked() {
    let Some(root) = std::env::var_os(ROLE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let manager = ServiceManager::from_environment().unwrap();
        let store = DescriptorStore::from_environment(manager.clone());
        let sockets = Sockets::new(root.into(), None, store);
        let orders = open(&sockets).unwrap();
        let billing = sockets.open(&name("db"), &name("billing")).unwrap();
        manager.ready().unwrap();
        loop {
            let (host, _) = tokio::select! {
                host = orders.accept() => host.unwrap(),
                host = billing.accept() => host.unwrap(),
            };
            tell(host.into_std().unwrap());
        }
    });
}

/// A controller's answer: its pid, and what the host has said by now. It does not wait for either to be possible.
fn tell(mut host: UnixStream) {
    let mut said = [0; 64];
    let said = host.read(&mut said).map(|length| String::from_utf8_lossy(&said[..length]).into_owned());
    // A host that is gone does not want to know.
    let _ = write!(host, "{}{}", std::process::id(), said.unwrap_or_default());
}

/// What the controller that accepts a connection answers.
fn answer(mut host: &UnixStream) -> String {
    host.set_read_timeout(Some(LIMIT)).unwrap();
    let mut text = String::new();
    host.read_to_string(&mut text).unwrap();
    text
}

/// The pid of the process that a host is told to be connected to.
fn peer(host: &UnixStream) -> String {
    rustix::net::sockopt::socket_peercred(host).unwrap().pid.as_raw_nonzero().to_string()
}

#[test]
fn connects_made_while_no_controller_runs_are_answered_by_the_next() {
    be_controller_if_asked();
    let test = "connects_made_while_no_controller_runs_are_answered_by_the_next";
    let world = World::new();
    let mut manager = Manager::new();
    let paths = [world.path(), world.at("billing.sock")];
    let connect = || paths.each_ref().map(|path| UnixStream::connect(path).unwrap());

    let mut controller = Controller::start(&world, &mut manager, test);
    assert_eq!(manager.stored.len(), 2);
    let inodes = paths.each_ref().map(|path| socket_at(path).unwrap());
    for _ in 0..3 {
        for host in connect() {
            assert_eq!(answer(&host), controller.pid());
            assert_eq!(peer(&host), controller.pid());
        }
        controller.kill();
        let waiting: Vec<UnixStream> = (0..20).flat_map(|_| connect()).collect();
        for mut host in &waiting {
            host.write_all(b" waited").unwrap();
        }
        controller = Controller::start(&world, &mut manager, test);
        for host in &waiting {
            assert_eq!(answer(host), format!("{} waited", controller.pid()));
        }
        assert_eq!(manager.stored.len(), 2, "nothing was stored anew, nor removed");
        assert_eq!(paths.each_ref().map(|path| socket_at(path).unwrap()), inodes);
    }
}

#[test]
fn no_connect_fails_while_controllers_come_and_go() {
    be_controller_if_asked();
    let test = "no_connect_fails_while_controllers_come_and_go";
    let world = World::new();
    let mut manager = Manager::new();
    let mut controller = Controller::start(&world, &mut manager, test);
    let (connects, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            let mut answers = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                let host = UnixStream::connect(world.path()).expect("no connect ever fails");
                connects.fetch_add(1, Ordering::Relaxed);
                // One that was accepted by a controller which is killed then has no answer.
                answers.insert(answer(&host));
            }
            answers
        });
        let mut pids = BTreeSet::new();
        for _ in 0..5 {
            let enough = connects.load(Ordering::Relaxed) + 50;
            while connects.load(Ordering::Relaxed) < enough && !host.is_finished() {
                std::thread::yield_now();
            }
            pids.insert(controller.pid());
            controller.kill();
            controller = Controller::start(&world, &mut manager, test);
        }
        stop.store(true, Ordering::Relaxed);
        let answers = host.join().unwrap();
        assert!(pids.is_subset(&answers), "each has answered: {pids:?}, {answers:?}");
    });
}

#[test]
fn without_a_store_connects_are_refused_until_the_next_controller_replaces_the_sockets() {
    be_controller_if_asked();
    let test = "without_a_store_connects_are_refused_until_the_next_controller_replaces_the_sockets";
    let world = World::new();
    let mut manager = Manager::new();
    let controller = Controller::start(&world, &mut manager, test);
    controller.kill();
    manager.stored.clear();
    wait_until_stale(&world.path());
    wait_until_stale(&world.at("billing.sock"));
    let refused = UnixStream::connect(world.path()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let controller = Controller::start(&world, &mut manager, test);
    assert_eq!(answer(&UnixStream::connect(world.path()).unwrap()), controller.pid());
}
