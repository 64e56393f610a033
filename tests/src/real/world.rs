//! A controller's world: its directories, its engine, its process.

mod attached;
mod callers;
mod held;
mod mounts;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use plugward::control::client;
use plugward::names::{ClusterId, cluster_selector};
use plugward_engine::container::{LogRotation, Resources, Security};
use plugward_engine::{ContainerId, ContainerSpec, Created, Engine as _};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::engine::TestEngine;
use super::manifest::{self, HOSTILE, Manifest};
use super::ports::free_port;
use super::program::{self, Ended, Following, Program, RunAs, Said};

pub use attached::{Left, launcher};
pub use held::{Held, open_files};
pub use seen::{LIMIT, restarts, slot};

/// Lines of the controller's log that a failed test shows.
const LOG_TAIL: usize = 120;

/// A controller's world. Nothing in it is shared with other tests but the engines.
pub struct World {
    /// The engine of the test.
    pub engine: TestEngine,
    /// All engines.
    pub engines: Vec<TestEngine>,
    /// Whose containers the controller's are.
    pub cluster: ClusterId,
    metrics_address: String,
    home: TempDir,
    program: Mutex<Option<Program>>,
    run_as: Mutex<Option<RunAs>>,
    tags: Mutex<BTreeSet<String>>,
    environment: Mutex<BTreeMap<String, String>>,
    strangers: Mutex<Vec<ContainerId>>,
}

// === impl World: what is there ===

impl World {
    /// A new one. Nothing runs in it.
    pub fn new(engine: TestEngine, engines: &[TestEngine]) -> Self {
        // Short, as TMPDIR has to be: the paths of sockets are below it.
        let home = tempfile::Builder::new().prefix("pw").tempdir().unwrap();
        fs::create_dir(home.path().join("m")).unwrap();
        let port = free_port();
        let cluster = ClusterId::from_random(rand::random());
        Self {
            engine,
            engines: engines.to_vec(),
            cluster: format!("test-{cluster}").parse().unwrap(),
            metrics_address: format!("127.0.0.1:{port}"),
            home,
            program: Mutex::default(),
            run_as: Mutex::default(),
            tags: Mutex::default(),
            environment: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// A path in the world's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The manifest directory.
    pub fn manifests(&self) -> PathBuf {
        self.path("m")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path("s")
    }

    /// Where the sockets of this controller are.
    pub fn sockets(&self) -> PathBuf {
        self.path("r").join(self.cluster.as_str())
    }

    /// Where the metrics are.
    pub fn metrics_address(&self) -> &str {
        &self.metrics_address
    }

    /// Writes a manifest as an editor does that writes and renames.
    pub fn declare(&self, file: &str, records: &[Manifest]) {
        self.write(file, &manifest::file(records));
    }

    /// Writes a manifest, whatever is in it.
    pub fn write(&self, file: &str, text: &str) {
        let temporary = self.manifests().join(format!(".{file}"));
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.manifests().join(file)).unwrap();
    }

    /// Declares the runtime `runc` on the test's engine, in a file of its own.
    pub fn declare_runtime(&self) {
        self.declare("runtime.yaml", &[manifest::runtime(&self.engine.host)]);
    }

    /// Removes a manifest.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.manifests().join(file)).unwrap();
    }
}

// === impl World: what else is on the engine ===

impl World {
    /// The repository for the test's own names of images.
    pub fn repository(&self) -> String {
        format!("plugward.test/{}", self.cluster)
    }

    /// Gives an image another name on the test's engine: this tag in the test's own repository.
    pub async fn tag(&self, image: &str, tag: &str) {
        let repository = self.repository();
        self.tags.lock().unwrap().insert(format!("{repository}:{tag}"));
        self.engine.tag(image, &repository, tag).await;
    }

    /// Takes this image from the test's engine at the end.
    pub fn take_away(&self, image: &str) {
        self.tags.lock().unwrap().insert(image.to_owned());
    }

    /// Starts a container that is not the controller's: a program that waits. Answers with its ID.
    pub async fn stranger(&self, labels: BTreeMap<String, String>) -> String {
        let id = self.made(labels).await;
        self.engine.port.start(&id).await.unwrap();
        id.as_str().to_owned()
    }

    /// Makes that container, and does not start it.
    pub async fn made(&self, labels: BTreeMap<String, String>) -> ContainerId {
        let spec = ContainerSpec {
            image: HOSTILE.to_owned(),
            entrypoint: Vec::new(),
            args: vec!["no-line".to_owned()],
            env: Vec::new(),
            labels,
            oci_runtime: "runc".to_owned(),
            network: "none".to_owned(),
            resources: Resources::default(),
            binds: Vec::new(),
            log: LogRotation { max_size_bytes: 1 << 20, max_files: 1 },
            groups: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            tmpfs: Vec::new(),
            cgroup_parent: None,
        };
        let name = format!("stranger-{:08x}", rand::random::<u32>());
        let Created::Created { id, .. } = self.engine.port.create(&name, &spec).await.unwrap() else {
            panic!("{name} is taken")
        };
        self.strangers.lock().unwrap().push(id.clone());
        id
    }
}

// === impl World: the program ===

impl World {
    /// The arguments of `plugward run` in this world, but for one.
    pub fn arguments_but(&self, flag: &str, value: &str) -> Vec<String> {
        let prefix = format!("{flag}=");
        let others = self.arguments(&[]).into_iter().filter(|argument| !argument.starts_with(&prefix));
        others.chain([format!("{prefix}{value}")]).collect()
    }

    /// The arguments of `plugward run` in this world.
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let path = |name| self.path(name).to_string_lossy().into_owned();
        let mut arguments = vec![
            "run".to_owned(),
            format!("--manifests={}", path("m")),
            format!("--state-dir={}", path("s")),
            format!("--run-dir={}", path("r")),
            format!("--cluster-id={}", self.cluster),
            format!("--metrics-address={}", self.metrics_address),
            // All but the words of plugins, which are not told by default either.
            "--log=plugward=debug,plugward::plugin=info,info".to_owned(),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }

    /// From now on the controller runs as this user and group, who own the world's directory.
    pub fn run_as(&self, (user, group): (u32, u32)) {
        // Cargo's directory may be in somebody's home.
        let program = self.path("plugward");
        fs::copy(program::path(), &program).unwrap();
        for path in [self.home.path(), &self.manifests()] {
            chown(path, Some(user), Some(group)).unwrap();
        }
        *self.run_as.lock().unwrap() = Some(RunAs { user, group, program });
    }

    /// Controllers that are started from now on see nothing in this directory, as if they were in a container into which it is not mounted.
    /// There is an empty one of this user and group instead.
    pub fn hide(&self, directory: &Path, (user, group): (u32, u32)) {
        fs::create_dir_all(directory).unwrap();
        let script = self.path("elsewhere");
        let text = format!(
            "#!/bin/sh\nexec unshare --mount sh -c 'mount -t tmpfs -o mode=0700,uid={user},gid={group} tmpfs {} && exec \"$0\" \"$@\"' {} \"$@\"\n",
            directory.display(),
            program::path().display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        *self.run_as.lock().unwrap() = Some(RunAs { user: 0, group: 0, program: script });
    }

    /// Controllers that are started from now on run in a container of the image that is shipped, on the test's engine, as
    /// `deploy/README.md` has it.
    ///
    /// # Panics
    /// When the engine does not have the image.
    pub async fn contain(&self) {
        let image = concat!("plugward:", env!("CARGO_PKG_VERSION"));
        self.engine.image_id(image).await;
        let script = self.path("contained");
        let home = self.home.path().display();
        let socket = self.engine.host.trim_start_matches("unix://");
        let text = format!(
            "#!/bin/sh\nexec docker --host {host} run --rm --name {name} --network host --pid host --read-only --cap-drop ALL \
             --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER --cap-add FSETID --security-opt no-new-privileges \
             --volume {home}:{home} --volume {socket}:{socket} --env DOCKER_HOST --env RUST_BACKTRACE {image} \"$@\"\n",
            host = self.engine.host,
            name = self.contained_name(),
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        *self.run_as.lock().unwrap() = Some(RunAs { user: 0, group: 0, program: script });
        self.strangers.lock().unwrap().push(ContainerId::new(self.contained_name()));
    }

    fn contained_name(&self) -> String {
        format!("controller-of-{}", self.cluster)
    }

    /// Controllers that are started from now on see all directories.
    pub fn hide_nothing(&self) {
        *self.run_as.lock().unwrap() = None;
    }

    /// Starts the controller, and waits until it answers.
    pub async fn start(&self) {
        self.start_with(&[]).await;
    }

    /// Starts the controller with more arguments, and waits until it answers.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn start_with(&self, more: &[&str]) {
        self.launch(more);
        self.wait("the controller answers", async || {
            let ended = self.with_program(Program::has_ended);
            assert_eq!(ended, None, "the controller ended:\n{}", self.log_tail());
            client::get(&self.control(), "/v1/manifests").await.ok()
        })
        .await;
    }

    /// Starts the controller, and waits for nothing.
    pub fn launch(&self, more: &[&str]) {
        let more_environment = self.environment.lock().unwrap().clone();
        let mut environment = vec![("DOCKER_HOST", self.engine.host.as_str()), ("RUST_BACKTRACE", "1")];
        environment.extend(more_environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let run_as = self.run_as.lock().unwrap().clone();
        let program = Program::start(&self.arguments(more), &environment, &self.path("log"), run_as.as_ref());
        let before = self.program.lock().unwrap().replace(program);
        assert!(before.is_none(), "a controller runs already");
    }

    /// Gives controllers that are started from here on this in their environment.
    pub fn set_variable(&self, name: &str, value: &str) {
        self.environment.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Writes Docker's configuration for the controllers that are started from here on, and changes it for one that runs.
    pub fn configure_docker(&self, config: &Value) {
        let directory = self.path("docker");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(".new"), config.to_string()).unwrap();
        fs::rename(directory.join(".new"), directory.join("config.json")).unwrap();
        self.set_variable("DOCKER_CONFIG", &directory.to_string_lossy());
    }

    /// Runs a second controller to its end, while the first runs or not.
    pub async fn run_another(&self, arguments: &[String]) -> Said {
        program::run(arguments, &[("DOCKER_HOST", &self.engine.host)], Stdio::piped(), None).await
    }

    /// Looks at the running controller.
    ///
    /// # Panics
    /// When none runs.
    pub fn with_program<T>(&self, look: impl FnOnce(&mut Program) -> T) -> T {
        look(self.program.lock().unwrap().as_mut().expect("a controller runs"))
    }

    /// Asks the controller to end, and waits until it has.
    pub async fn terminate(&self) -> Ended {
        let program = self.take();
        program.signal(Signal::TERM);
        program.ended().await
    }

    /// Kills the controller.
    pub async fn kill(&self) {
        let program = self.take();
        program.signal(Signal::KILL);
        program.ended().await;
    }

    fn take(&self) -> Program {
        self.program.lock().unwrap().take().expect("a controller runs")
    }

    /// Runs a command that talks to the controller.
    pub async fn cli(&self, arguments: &[&str]) -> Said {
        self.command(arguments, Stdio::piped()).await
    }

    /// What a command prints that succeeds.
    ///
    /// # Panics
    /// When it does not, or says something on standard error.
    pub async fn cli_ok(&self, arguments: &[&str]) -> String {
        let said = self.cli(arguments).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        said.stdout
    }

    /// Runs a command that goes on.
    pub fn cli_following(&self, arguments: &[&str]) -> Following {
        let run = self.path("r").to_string_lossy().into_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        program::follow(&arguments, &[("PLUGWARD_RUN_DIR", &run)])
    }

    /// Runs a command whose standard output nobody reads: it is closed.
    pub async fn cli_unread(&self, arguments: &[&str]) -> Said {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.command(arguments, writer.into()).await
    }

    async fn command(&self, arguments: &[&str], stdout: Stdio) -> Said {
        let run = self.path("r").to_string_lossy().into_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        program::run(&arguments, &[("PLUGWARD_RUN_DIR", &run)], stdout, None).await
    }

    /// All that the controllers of this world wrote to their log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }

    fn control(&self) -> PathBuf {
        self.sockets().join("control.sock")
    }
}

// === impl World: its end ===

impl World {
    /// What there is to see, for a test that failed.
    pub(super) async fn report(&self) -> String {
        let mut report = format!("=== {}, cluster {} ===\n", self.engine.name, self.cluster);
        for command in [["describe", "instances"], ["describe", "manifests"]] {
            let said = self.cli(&command).await;
            let _ =
                write!(report, "--- plugward {} ---\n{}{}\n", command.join(" "), said.stdout, said.stderr);
        }
        let _ = writeln!(report, "--- containers ---");
        for container in self.containers().await {
            let _ = writeln!(
                report,
                "{} {:?}",
                container.name,
                self.engine.port.inspect(container.id.as_str()).await
            );
        }
        let _ = writeln!(report, "--- the end of the log ---\n{}", self.log_tail());
        report
    }

    /// Kills the controller and removes what it and the test made.
    pub async fn clear_away(&self) {
        drop(take(&self.program));
        for stranger in take(&self.strangers) {
            remove(&self.engine, &stranger).await;
        }
        for engine in self.engines.iter().chain([&self.engine]) {
            // One that a test took down holds nothing that matters.
            for container in engine.port.list(&cluster_selector(&self.cluster)).await.unwrap_or_default() {
                remove(engine, &container.id).await;
            }
        }
        for tag in take(&self.tags) {
            self.engine.untag(&tag).await;
        }
    }
}

/// What is in a mutex, even of a test that panicked.
fn take<T: Default>(mutex: &Mutex<T>) -> T {
    std::mem::take(&mut *mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn remove(engine: &TestEngine, container: &ContainerId) {
    if let Err(error) = engine.port.remove(container).await {
        eprintln!("{container} is left on {}: {error}", engine.name);
    }
}
