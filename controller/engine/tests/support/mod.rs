//! The engines to test on, and an image for them made on the spot.

mod registry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use plugward_engine::container::{ContainerId, LogRotation, Resources, Security};
use plugward_engine::contract::Harness;
use plugward_engine::docker::Surroundings;
use plugward_engine::{Address, ContainerSpec, Created, DockerEngine, Engine};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell};

use registry::Registry;

/// An engine under test. Dropping it removes its directory; what it holds is each test's own to remove.
pub(crate) struct RealEngine {
    pub(crate) name: String,
    socket: PathBuf,
    image: String,
    engine: Arc<DockerEngine>,
    directory: TempDir,
    registry: OnceCell<Option<Registry>>,
}

/// The engines that the environment names, with the test image.
pub(crate) async fn engines() -> Vec<RealEngine> {
    let named = std::env::var("PLUGWARD_TEST_ENGINES").unwrap_or_default();
    if named.trim().is_empty() {
        assert!(
            std::env::var("PLUGWARD_REQUIRE_ALL").is_err(),
            "PLUGWARD_TEST_ENGINES names no engine, and PLUGWARD_REQUIRE_ALL makes that a failure"
        );
        eprintln!(
            "SKIPPED: no real engine was tested. PLUGWARD_TEST_ENGINES names none (hack/engine NAME up)"
        );
        return Vec::new();
    }
    let mut engines = Vec::new();
    for word in named.split_whitespace() {
        let Some((name, host)) = word.split_once('=') else {
            panic!("PLUGWARD_TEST_ENGINES holds {word:?}, which is not NAME=unix:///PATH")
        };
        engines.push(RealEngine::new(name, host).await);
    }
    engines
}

/// The address that is written.
pub(crate) fn address(host: &str) -> Address {
    Address::resolve(Some(host), &Nothing).unwrap()
}

/// Runs a test on each engine and then removes its containers, however it ended. `part` names the test.
pub(crate) async fn on_each_engine<F>(part: &'static str, test: impl Fn(Arc<RealEngine>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    for engine in engines().await {
        let engine = Arc::new(engine);
        let outcome = tokio::spawn(test(Arc::clone(&engine))).await;
        for container in engine.engine.list(&labels(part)).await.unwrap() {
            engine.engine.remove(&container.id).await.unwrap();
        }
        assert!(outcome.is_ok(), "{} (the engine {})", part, engine.name);
    }
}

/// What marks the containers of one test.
pub(crate) fn labels(part: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("dev.plugward.contract".to_owned(), format!("{part}-{}", std::process::id()))])
}

/// No environment, no files.
struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

impl RealEngine {
    async fn new(name: &str, host: &str) -> Self {
        let Some(socket) = host.strip_prefix("unix://") else {
            panic!("{name}={host}: engines for tests are on Unix sockets")
        };
        let program = Sha256::digest(include_bytes!("../program/program.rs"));
        let engine = Self {
            name: name.to_owned(),
            socket: socket.into(),
            image: format!("plugward-contract:{:02x}{:02x}{:02x}", program[0], program[1], program[2]),
            engine: Arc::new(DockerEngine::new(address(host))),
            directory: tempfile::tempdir().unwrap(),
            registry: OnceCell::new(),
        };
        engine.import_image().await;
        engine
    }

    /// A request to the API past the port.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> (u16, Value) {
        self.request(method, path, "application/x-tar", body.unwrap_or_default()).await
    }

    async fn request(&self, method: &str, path: &str, content: &str, body: Vec<u8>) -> (u16, Value) {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "docker")
            .header("content-type", content)
            // What is pushed is pushed by nobody in particular.
            .header("x-registry-auth", "e30=")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// How a container of a test is made unless the test says otherwise.
    pub(crate) fn spec(&self, part: &str, args: &[&str]) -> ContainerSpec {
        ContainerSpec {
            image: self.image.clone(),
            entrypoint: Vec::new(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            labels: labels(part),
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
        }
    }

    pub(crate) async fn created(&self, part: &str, spec: &ContainerSpec) -> ContainerId {
        let name = format!("contract-{part}-{}-{}", spec.oci_runtime, std::process::id());
        match self.engine.create(&name, spec).await.unwrap() {
            Created::Created { id, warnings } => {
                assert_eq!(warnings, Vec::<String>::new(), "{}", self.name);
                id
            }
            Created::AlreadyExists => panic!("{name} exists"),
        }
    }

    /// A container whose test program has been started.
    pub(crate) async fn started(&self, part: &str, args: &[&str]) -> ContainerId {
        let id = self.created(part, &self.spec(part, args)).await;
        self.engine.start(&id).await.unwrap();
        id
    }

    /// Makes the image out of the test program and nothing else, unless the engine has it. It is left there, under a
    /// name that follows from the program: the next run need not make it.
    async fn import_image(&self) {
        // Another import would move the name to another ID under the feet of tests that run.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _guard = ONE_AT_A_TIME.lock().await;
        if self.engine.inspect_image(&self.image).await.unwrap().is_some() {
            return;
        }
        let (repository, tag) = self.image.split_once(':').unwrap();
        let entrypoint = "ENTRYPOINT%20%5B%22%2Fprogram%22%5D";
        let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}&changes={entrypoint}");
        let archive = tokio::task::spawn_blocking(build_archive).await.unwrap();
        let (status, answer) = self.api("POST", &path, Some(archive)).await;
        assert_eq!(status, 200, "{}: {answer}", self.name);
    }
}

#[async_trait]
impl Harness for RealEngine {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine) as Arc<dyn Engine>
    }

    fn image(&self) -> &str {
        &self.image
    }

    fn oci_runtime(&self) -> &'static str {
        "runc"
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    async fn tag_and_untag(&self, name: &str) {
        let path = format!("/images/{}/tag?repo={name}&tag=1", self.image);
        assert_eq!(self.api("POST", &path, None).await.0, 201);
        assert_eq!(self.api("DELETE", &format!("/images/{name}:1"), None).await.0, 200);
    }

    async fn publish(&self, part: &str) -> Option<String> {
        let registry = self.registry.get_or_init(|| Registry::start_for(&self.socket)).await.as_ref()?;
        let repository = format!("{}/{part}", registry.address);
        // The test's image and a layer that no other has.
        let body = serde_json::json!({ "Image": self.image }).to_string().into_bytes();
        let (status, made) = self.request("POST", "/containers/create", "application/json", body).await;
        assert_eq!(status, 201, "{made}");
        let id = made["Id"].as_str().unwrap();
        let path = format!("/containers/{id}/archive?path=/");
        assert_eq!(self.api("PUT", &path, Some(random_archive())).await.0, 200);
        let path = format!("/commit?container={id}&repo={repository}&tag=1");
        let (status, made) = self.request("POST", &path, "application/json", b"{}".to_vec()).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(self.api("DELETE", &format!("/containers/{id}?force=1"), None).await.0, 204);
        assert_eq!(self.api("POST", &format!("/images/{repository}/push?tag=1"), None).await.0, 200);
        let name = format!("{repository}:1");
        self.unpublish(&name).await;
        Some(name)
    }

    async fn unpublish(&self, name: &str) {
        assert_eq!(self.api("DELETE", &format!("/images/{name}?force=1"), None).await.0, 200);
    }
}

/// An archive with a file in it that cannot be compressed.
fn random_archive() -> Vec<u8> {
    let mut bytes = vec![0; 4 << 20];
    rand::fill(&mut bytes[..]);
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "layer", &bytes[..]).unwrap();
    archive.into_inner().unwrap()
}

/// An archive with the test program in it, and nothing else.
fn build_archive() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    // rustc alone, not cargo: no lock is waited for, and nothing but the standard library is needed.
    let built = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-C",
            "opt-level=1",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
        ])
        .arg("-o")
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/program.rs"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name(&program, "program").unwrap();
    archive.into_inner().unwrap()
}
