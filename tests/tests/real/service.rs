//! The controller as a service, by what its manager hears.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use plugward_tests::real::{LIMIT, Systemd, World, counter, on_one_engine, skipped};
use rustix::process::Signal;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

/// The service manager's end: `$NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
}

/// A directory whose file system answers nothing, like that of a server which is gone. It does again, with errors, when this is dropped.
struct Hanging {
    server: Child,
    directory: PathBuf,
}

// === impl Manager ===

impl Manager {
    /// The one of controllers that are started in this world from now on, with a watchdog that wants to hear of them so often.
    fn of(world: &World, watchdog: Duration) -> Self {
        let path = world.path("n");
        world.set_variable("NOTIFY_SOCKET", path.to_str().unwrap());
        world.set_variable("WATCHDOG_USEC", &watchdog.as_micros().to_string());
        Self { socket: UnixDatagram::bind(path).unwrap() }
    }

    async fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// What it hears until a message begins with `wanted`, which is the last. Descriptors and food of the watchdog come when they come,
    /// and are left out.
    async fn until(&self, wanted: &str) -> Vec<String> {
        let hearing = async {
            let mut heard = Vec::new();
            loop {
                let message = self.next().await;
                let last = message.starts_with(wanted);
                if last
                    || !["WATCHDOG=1", "FDSTORE=1", "EXTEND_TIMEOUT_USEC="]
                        .iter()
                        .any(|other| message.starts_with(other))
                {
                    heard.push(message);
                }
                if last {
                    return heard;
                }
            }
        };
        timeout(LIMIT, hearing).await.unwrap_or_else(|_| panic!("{wanted} is not heard"))
    }

    /// Waits until nothing was heard for this time, and answers with what was before.
    async fn until_silent(&self, time: Duration) -> Vec<String> {
        let hearing = async {
            let mut heard = Vec::new();
            while let Ok(message) = timeout(time, self.next()).await {
                heard.push(message);
            }
            heard
        };
        timeout(LIMIT, hearing).await.expect("the controller falls silent")
    }
}

// === impl Hanging ===

impl Hanging {
    /// A file system in user space whose server never says a word, as the process sees it.
    fn over(directory: &Path, process: i32) -> Self {
        let script = "exec 3<>/dev/fuse && exec nsenter --mount=\"$0\" sh -c 'mount -i -t fuse -o \
                      fd=3,rootmode=40000,user_id=0,group_id=0 hanging \"$0\" && echo up && read -r _' \"$1\"";
        let mut server = Command::new("sh")
            .args(["-c", script, &format!("/proc/{process}/ns/mnt")])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        let said = std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut up);
        said.expect("root may mount a file system in user space: is there a /dev/fuse?");
        Self { server, directory: directory.to_owned() }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Without a server every call fails, and nobody waits any more.
        drop(self.server.stdin.take());
        let _ = self.server.wait();
        // Where it is not another process's alone.
        let _ = Command::new("umount").arg("-l").arg(&self.directory).stderr(Stdio::null()).status();
    }
}

#[tokio::test]
async fn a_service_is_ready_when_all_was_looked_at_and_reloads_when_it_is_told_to() {
    on_one_engine(|world| async move {
        let manager = Manager::of(&world, Duration::from_secs(1));
        world.declare_runtime();
        world.declare("counter.yaml", &[counter("counter")]);
        world.launch(&[]);
        let told = manager.until("READY=1").await;
        let standing = "STATUS=1 runtime and 1 instance in force";
        assert_eq!(told, ["STATUS=the first sync is under way", standing, "READY=1"]);
        assert!(world.status("counter").await.is_some(), "it was looked at");
        manager.until("WATCHDOG=1").await;

        // No event tells of a file behind a link.
        let behind = world.path("behind.yaml");
        fs::write(&behind, "kind: Nothing\n").unwrap();
        std::os::unix::fs::symlink(&behind, world.manifests().join("broken.yaml")).unwrap();
        world.with_program(|program| program.signal(Signal::HUP));
        let told = manager.until("READY=1").await;
        assert!(told[told.len() - 2].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told:?}");
        // It is in the report by then, whoever found it first.
        let found = world.ask("/v1/manifests").await.unwrap();
        assert!(found.to_string().contains("broken.yaml"), "{found}");
        let broken = format!("{standing}, 1 manifest cannot be used: see `plugward status`");
        if !told.contains(&broken) {
            assert_eq!(manager.until("STATUS=").await, [broken]);
        }

        world.until_ready("counter").await;
        world.terminate().await;
        manager.until("STOPPING=1").await;
        assert!(manager.socket.try_recv(&mut [0; 64]).is_err(), "nothing is said after that");
    })
    .await;
}

#[tokio::test]
async fn a_controller_whose_manifests_hang_starves_its_watchdog_until_they_do_not() {
    on_one_engine(|world| async move {
        let every = Duration::from_millis(200);
        let manager = Manager::of(&world, every);
        world.launch(&[]);
        manager.until("READY=1").await;
        for _ in 0..5 {
            manager.until("WATCHDOG=1").await;
        }
        let pid = world.with_program(|program| program.pid());
        let hanging = Hanging::over(&world.manifests(), pid);
        world.with_program(|program| program.signal(Signal::HUP));
        let before = manager.until_silent(10 * every).await;
        let reloads = before.iter().filter(|message| message.starts_with("RELOADING=1")).count();
        assert_eq!(reloads, 1, "it has begun to look: {before:?}");
        assert!(!before.iter().any(|message| message == "READY=1"), "and does not come back: {before:?}");
        assert!(world.log().contains("a loop is held up"), "{}", world.log());
        drop(hanging);
        manager.until("READY=1").await;
        for _ in 0..5 {
            manager.until("WATCHDOG=1").await;
        }
    })
    .await;
}

/// All that the unit forbids is forbidden here.
#[tokio::test]
async fn the_unit_that_is_shipped_works_under_systemd_over_restarts_deaths_and_hangs() {
    if !Systemd::is_here() {
        return skipped("there is no systemd");
    }
    on_one_engine(|world| async move {
        let systemd = Systemd::start(&world, "WatchdogSec=2s").await;
        world.declare_runtime();
        systemd.service("start").await;
        assert_eq!(systemd.property("StatusText").await, "1 runtime and 0 instances in force");
        world.declare("counter.yaml", &[counter("counter")]);
        let first = world.until_ready("counter").await;
        systemd.service("reload").await;
        assert_eq!(systemd.property("StatusText").await, "1 runtime and 1 instance in force");
        // It may still make what a plugin needs, and reach a new one.
        world.engine.kill(first.container_id.as_deref().unwrap()).await;
        let seen = world.until_ready_again("counter", &first).await;

        let socket = world.sockets().join("mounts/counter/counter.sock");
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&socket).unwrap());
        let before = inode();
        assert_eq!(systemd.property("NFileDescriptorStore").await, "1");
        systemd.service("restart").await;
        let after = world.until_ready("counter").await;
        assert_eq!((after.container_id, inode()), (seen.container_id.clone(), before));

        // Killed, it comes back; hanging, it is killed and comes back.
        let pid = systemd.property("MainPID").await;
        let (killed, said) = systemd.systemctl(&["kill", "--signal=KILL", "plugward.service"]).await;
        assert!(killed, "{said}");
        let another = async |pid: &str| {
            let new = systemd.property("MainPID").await;
            (new != "0" && new != pid && systemd.property("ActiveState").await == "active").then_some(new)
        };
        let pid = world.wait("it is started anew", async || another(&pid).await).await;
        let hanging = Hanging::over(&world.manifests(), pid.parse().unwrap());
        let _ = systemd.systemctl(&["reload", "--no-block", "plugward.service"]).await;
        world.wait("its watchdog ends it", async || another(&pid).await).await;
        drop(hanging);
        let after = world.until_ready("counter").await;
        assert_eq!((after.container_id, inode()), (seen.container_id, before));
        systemd.end().await;
    })
    .await;
}
