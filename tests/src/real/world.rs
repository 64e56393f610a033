//! A controller's world: its directories, its engine, its process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use plugward::control::client;
use plugward::names::{ClusterId, cluster_selector};
use plugward_api::{Condition, InstanceCondition, InstanceStatus, Phase, RuntimeStatus, SlotStatus};
use plugward_engine::container::{LogRotation, Resources};
use plugward_engine::{Container, ContainerId, ContainerSpec, Created, Engine as _, Listed};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::engine::TestEngine;
use super::http;
use super::manifest::{self, HOSTILE, Manifest};
use super::metrics::Metrics;
use super::program::{self, Ended, Program, Said};

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How often it looks.
const POLL: Duration = Duration::from_millis(25);

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
    tags: Mutex<BTreeSet<String>>,
    strangers: Mutex<Vec<ContainerId>>,
}

// === impl World: what is there ===

impl World {
    /// A new one. Nothing runs in it.
    pub fn new(engine: TestEngine, engines: &[TestEngine]) -> Self {
        // Short: the paths of sockets are below it.
        let home = tempfile::Builder::new().prefix("pw").tempdir_in("/tmp").unwrap();
        fs::create_dir(home.path().join("m")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = ClusterId::from_random(rand::random());
        Self {
            engine,
            engines: engines.to_vec(),
            cluster: format!("test-{cluster}").parse().unwrap(),
            metrics_address: format!("127.0.0.1:{port}"),
            home,
            program: Mutex::default(),
            tags: Mutex::default(),
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

    /// Starts a container that is not the controller's: a program that waits. Answers with its ID.
    pub async fn stranger(&self, labels: BTreeMap<String, String>) -> String {
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
            no_new_privileges: true,
            read_only_root: false,
        };
        let name = format!("stranger-{:08x}", rand::random::<u32>());
        let Created::Created { id, .. } = self.engine.port.create(&name, &spec).await.unwrap() else {
            panic!("{name} is taken")
        };
        self.strangers.lock().unwrap().push(id.clone());
        self.engine.port.start(&id).await.unwrap();
        id.as_str().to_owned()
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
        let environment = [("DOCKER_HOST", self.engine.host.as_str()), ("RUST_BACKTRACE", "1")];
        let program = Program::start(&self.arguments(more), &environment, &self.path("log"));
        let before = self.program.lock().unwrap().replace(program);
        assert!(before.is_none(), "a controller runs already");
    }

    /// Runs a second controller to its end, while the first runs or not.
    pub async fn run_another(&self, arguments: &[String]) -> Said {
        program::run(arguments, &[("DOCKER_HOST", &self.engine.host)], Stdio::piped()).await
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

    /// Runs a command whose standard output nobody reads: it is closed.
    pub async fn cli_unread(&self, arguments: &[&str]) -> Said {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        self.command(arguments, writer.into()).await
    }

    async fn command(&self, arguments: &[&str], stdout: Stdio) -> Said {
        let run = self.path("r").to_string_lossy().into_owned();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        program::run(&arguments, &[("PLUGWARD_RUN_DIR", &run)], stdout).await
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

// === impl World: what is seen ===

impl World {
    /// Waits until `look` sees something.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn wait<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(Instant::now() < deadline, "{}: it did not come that {what}", self.engine.name);
            sleep(POLL).await;
        }
    }

    /// What the controller serves at a path of its control socket, if it does.
    pub async fn ask(&self, path: &str) -> Option<Value> {
        client::get(&self.control(), path).await.ok()
    }

    /// The status of an instance, if it has one.
    pub async fn status(&self, instance: &str) -> Option<InstanceStatus> {
        let object = self.ask(&format!("/v1/instances/{instance}")).await?;
        serde_json::from_value(object.get("status")?.clone()).ok()
    }

    /// Waits until the status of an instance is as wanted.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn until(
        &self,
        instance: &str,
        what: &str,
        mut wanted: impl FnMut(&InstanceStatus) -> bool,
    ) -> InstanceStatus {
        self.wait(&format!("{instance} {what}"), async || {
            self.status(instance).await.filter(|status| wanted(status))
        })
        .await
    }

    /// Waits until an instance is ready as its record wants it now, and nothing of it is about to be replaced.
    pub async fn until_ready(&self, instance: &str) -> SlotStatus {
        let generation = self.generation(instance).await;
        let status = self
            .until(instance, "is ready", |status| {
                status.phase == Phase::Ready
                    && status.observed_generation >= generation
                    && status.conditions.is_true(InstanceCondition::Ready)
                    && progressing(status) == Some("UpToDate")
                    && slot(status).container_id.is_some()
            })
            .await;
        slot(&status).clone()
    }

    /// Waits until an instance is ready in another container than `before`.
    pub async fn until_ready_again(&self, instance: &str, before: &SlotStatus) -> SlotStatus {
        let status = self
            .until(instance, "is ready in another container", |status| {
                let slot = slot(status);
                status.phase == Phase::Ready
                    && slot.container_id.is_some()
                    && slot.container_id != before.container_id
            })
            .await;
        slot(&status).clone()
    }

    /// Waits until a condition of an instance has a status and reason; answers with its message.
    pub async fn until_condition(
        &self,
        instance: &str,
        condition: InstanceCondition,
        reason: &str,
    ) -> String {
        let status = self
            .until(instance, &format!("has {condition:?} with reason {reason}"), |status| {
                status.conditions.get(condition).is_some_and(|found| found.reason == reason)
            })
            .await;
        status.conditions.get(condition).map(|found: &Condition<_>| found.message.clone()).unwrap_or_default()
    }

    /// Waits until nothing is known of an instance any more, and nothing of it is left on the engines.
    pub async fn until_gone(&self, instance: &str) {
        self.wait(&format!("{instance} is gone"), async || {
            let list = self.ask("/v1/instances").await?;
            let listed = list["items"].as_array()?.iter().any(|item| item["metadata"]["name"] == instance);
            (!listed).then_some(())
        })
        .await;
        let left = self.containers_of(instance).await;
        assert!(left.is_empty(), "{instance} is gone, and left {left:?}");
    }

    /// Waits until the controller has acted on all that it could notice up to now: a mark that is put into the manifests has been
    /// read and is gone, and then nothing is left to do at once. What has not happened by then does not happen.
    pub async fn settle(&self) {
        let mark = format!("mark-{:08x}", rand::random::<u32>());
        let file = format!("{mark}.yaml");
        self.declare(&file, &[manifest::runtime(&self.engine.host).on(&mark)]);
        self.wait("a mark in the manifests is seen", async || {
            self.ask(&format!("/v1/runtimes/{mark}")).await
        })
        .await;
        self.remove(&file);
        self.wait("a mark in the manifests is gone", async || {
            self.ask(&format!("/v1/runtimes/{mark}")).await.is_none().then_some(())
        })
        .await;
        self.wait("nothing is left to do", async || {
            let metrics = self.metrics().await;
            let depth = |state| metrics.get(&format!("plugward_workqueue_depth{{state=\"{state}\"}}"));
            (depth("due") == Some(0.0) && depth("running") == Some(0.0)).then_some(())
        })
        .await;
    }

    /// Waits until the controller, just started, has looked at everything once, and acted on it.
    pub async fn until_synced(&self) {
        self.until_readyz(200).await;
        self.settle().await;
    }

    /// Waits until `/readyz` answers so. Answers with its words.
    pub async fn until_readyz(&self, status: u16) -> String {
        self.wait(&format!("/readyz answers {status}"), async || {
            let (found, body) = self.http("/readyz").await?;
            (found == status).then_some(body)
        })
        .await
    }

    /// The generation of an instance's record, once it is seen.
    pub async fn generation(&self, instance: &str) -> u64 {
        let path = format!("/v1/instances/{instance}");
        self.wait(&format!("{instance} is declared"), async || {
            self.ask(&path).await?.pointer("/metadata/generation")?.as_u64()
        })
        .await
    }

    /// The status of a runtime, if it has one.
    pub async fn runtime(&self, name: &str) -> Option<RuntimeStatus> {
        let object = self.ask(&format!("/v1/runtimes/{name}")).await?;
        serde_json::from_value(object.get("status")?.clone()).ok()
    }

    /// What the metrics port says.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> Metrics {
        let (status, body) = self.http("/metrics").await.expect("the metrics port answers");
        assert_eq!(status, 200, "{body}");
        Metrics::parse(&body)
    }

    /// What the metrics port answers, if it does.
    pub async fn http(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(&self.metrics_address).await.ok()?;
        let (status, body) = http::request(stream, "GET", path, Bytes::new()).await?;
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The cluster's containers on the test's engine.
    pub async fn containers(&self) -> Vec<Listed> {
        self.engine.containers(&cluster_selector(&self.cluster)).await
    }

    /// The containers of an instance on the test's engine.
    pub async fn containers_of(&self, instance: &str) -> Vec<Listed> {
        let mut labels = cluster_selector(&self.cluster);
        labels.insert(plugward::names::label::INSTANCE.to_owned(), instance.to_owned());
        self.engine.containers(&labels).await
    }

    /// The container of an instance's only slot, as the engine sees it.
    pub async fn container(&self, slot: &SlotStatus) -> Container {
        self.engine.container(slot.container_id.as_deref().expect("it has a container")).await
    }

    /// What the controller remembers of an instance's only slot.
    pub fn stored(&self, instance: &str) -> Value {
        let text = fs::read_to_string(self.stored_path(instance)).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["data"].clone()
    }

    /// The file with that.
    pub fn stored_path(&self, instance: &str) -> PathBuf {
        self.state().join("slots").join(instance).join("shared.json")
    }

    /// The number of the latest start of an instance's only slot.
    pub fn starts(&self, instance: &str) -> u64 {
        self.stored(instance)["starts"].as_u64().unwrap()
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
    pub(super) async fn clear_away(&self) {
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

/// The only slot of an instance; an empty one, if there is none yet.
pub fn slot(status: &InstanceStatus) -> &SlotStatus {
    static NONE: std::sync::OnceLock<SlotStatus> = std::sync::OnceLock::new();
    status.slots.first().unwrap_or_else(|| NONE.get_or_init(SlotStatus::default))
}

fn progressing(status: &InstanceStatus) -> Option<&str> {
    status.conditions.get(InstanceCondition::Progressing).map(|condition| condition.reason.as_str())
}

/// How often a slot was restarted, by reason.
pub fn restarts(slot: &SlotStatus) -> BTreeMap<&'static str, u64> {
    slot.restarts_by_reason.iter().map(|(reason, count)| (reason.as_str(), *count)).collect()
}
