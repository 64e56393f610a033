//! An engine under test.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::body::Bytes;
use plugward_engine::docker::Surroundings;
use plugward_engine::{Address, Container, ContainerId, DockerEngine, Engine, Listed};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::http;
use super::manifest::{
    COUCHBASE, COUNTER, DATABASE, GO_COUNTER, GO_COUNTER_MLOCK, GO_COUNTER_NONROOT, HOSTILE, REDIS,
};

/// An engine under test. Clones are the same engine.
#[derive(Clone)]
pub struct TestEngine {
    /// Its name in `PLUGWARD_TEST_ENGINES`.
    pub name: String,
    /// Its address, as a runtime's record has it.
    pub host: String,
    /// The port to it.
    pub port: Arc<DockerEngine>,
    socket: PathBuf,
}

/// What tests of any kind have in their records.
pub(super) const IMAGES: [&str; 8] =
    [COUNTER, HOSTILE, DATABASE, GO_COUNTER, GO_COUNTER_NONROOT, GO_COUNTER_MLOCK, REDIS, COUCHBASE];

/// The name of the engine that runs without root's rights: plugins are declared for it in a way of its own.
const ROOTLESS: &str = "rootless";

/// An OCI runtime: gVisor that has not been told to let plugins make sockets.
pub const RUNSC_NONE: &str = "runsc-none";

/// No environment, no files.
struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

// === impl TestEngine ===

impl TestEngine {
    /// The engines that the environment names; none, if it names none, which is said or, where everything must be tested, fails.
    ///
    /// # Panics
    /// When an engine holds no images to test with.
    pub async fn all() -> Vec<Self> {
        let mut engines = Self::named(&IMAGES).await;
        engines.retain(|engine| engine.name != ROOTLESS);
        engines
    }

    /// The engine that a user without root's rights runs, if the environment names it; else that is said or fails.
    ///
    /// # Panics
    /// When it holds no images to test with.
    pub async fn rootless() -> Option<Self> {
        let found = Self::named(&IMAGES).await.into_iter().find(|engine| engine.name == ROOTLESS);
        if found.is_none() {
            skipped("PLUGWARD_TEST_ENGINES names no engine `rootless`");
        }
        found
    }

    /// All engines that the environment names. They hold these images.
    pub(super) async fn named(images: &[&str]) -> Vec<Self> {
        let named = std::env::var("PLUGWARD_TEST_ENGINES").unwrap_or_default();
        if named.trim().is_empty() {
            skipped("PLUGWARD_TEST_ENGINES names no engine (hack/engine NAME up starts one)");
        }
        let engines: Vec<Self> = named
            .split_whitespace()
            .map(|word| match word.split_once('=') {
                Some((name, host)) => Self::new(name, host),
                None => panic!("PLUGWARD_TEST_ENGINES holds {word:?}, which is not NAME=unix:///PATH"),
            })
            .collect();
        for engine in &engines {
            engine.check_images(images).await;
        }
        engines
    }

    /// The engine at a Unix socket.
    ///
    /// # Panics
    /// When the address is no Unix socket's.
    pub fn new(name: &str, host: &str) -> Self {
        let Some(socket) = host.strip_prefix("unix://") else {
            panic!("{name}={host}: engines for tests are on Unix sockets")
        };
        let address = Address::resolve(Some(host), &Nothing).unwrap();
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port: Arc::new(DockerEngine::new(address)),
            socket: socket.into(),
        }
    }

    async fn check_images(&self, images: &[&str]) {
        for image in images {
            let found = self.port.inspect_image(image).await.unwrap();
            assert!(
                found.is_some(),
                "the engine {} has no image {image}: run hack/image --engine {} all",
                self.name,
                self.host
            );
        }
    }

    /// The user and the group that a rootless engine runs as.
    ///
    /// # Panics
    /// When its socket is not there.
    pub fn user(&self) -> (u32, u32) {
        // The group of the socket is another: its user's runtime directory has the one that counts.
        let found = fs::metadata(self.socket.parent().expect("it is in a directory")).unwrap();
        (found.uid(), found.gid())
    }

    /// The group whose members may use the engine.
    ///
    /// # Panics
    /// When its socket is not there, or is for root alone.
    pub fn group(&self) -> u32 {
        let group = fs::metadata(&self.socket).unwrap().gid();
        assert_ne!(group, 0, "{}: only root may use it", self.name);
        group
    }

    /// A request to the API past the port: status and JSON.
    pub async fn api(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, body) = self.raw(method, path, Bytes::new()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn raw(&self, method: &str, path: &str, body: Bytes) -> (u16, Bytes) {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        http::request(stream, method, path, body).await.expect("the engine answers")
    }

    /// The OCI runtimes that run plugins. Others are names that engines give to the shims of these, and one that lacks what plugins need.
    pub async fn oci_runtimes(&self) -> Vec<String> {
        let runtimes = self.port.info().await.unwrap().oci_runtimes;
        runtimes.into_iter().filter(|name| !name.contains('.') && name != RUNSC_NONE).collect()
    }

    /// The containers that carry these labels.
    pub async fn containers(&self, labels: &BTreeMap<String, String>) -> Vec<Listed> {
        self.port.list(labels).await.unwrap()
    }

    /// A container that is there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn container(&self, id: &str) -> Container {
        self.port
            .inspect(id)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{}: there is no container {id}", self.name))
    }

    /// Kills a container's process, as `docker kill` does. It may have ended, or be gone.
    pub async fn kill(&self, id: &str) {
        self.port.kill(&ContainerId::new(id)).await.unwrap();
    }

    /// Removes a container, as `docker rm -f` does. It may be gone.
    pub async fn remove(&self, id: &str) {
        self.port.remove(&ContainerId::new(id)).await.unwrap();
    }

    /// The ID of an image that is there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn image_id(&self, image: &str) -> String {
        self.port.inspect_image(image).await.unwrap().expect("the image is there").id
    }

    /// Gives an image another name.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) {
        let (status, answer) =
            self.api("POST", &format!("/images/{image}/tag?repo={repository}&tag={tag}")).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Takes a name from an image. It may be gone already.
    pub async fn untag(&self, image: &str) {
        let (status, answer) = self.api("DELETE", &format!("/images/{image}?force=1&noprune=1")).await;
        assert!([200, 404].contains(&status), "{status}: {answer}");
    }

    /// Makes an image of another and a layer with what is in an archive. Answers with its ID.
    pub async fn derive(&self, image: &str, repository: &str, tag: &str, layer: Bytes) -> String {
        let json = |path: String, body: Value| async move {
            let headers = [("content-type", "application/json")];
            let stream = UnixStream::connect(&self.socket).await.unwrap();
            let body = Bytes::from(body.to_string());
            let answer = http::request_with(stream, "POST", &path, &headers, body).await;
            let (status, body) = answer.expect("the engine answers");
            assert_eq!(status, 201, "{path}: {}", String::from_utf8_lossy(&body));
            let answer: Value = serde_json::from_slice(&body).unwrap();
            answer["Id"].as_str().expect("what was made has an ID").to_owned()
        };
        let container = json("/containers/create".to_owned(), json!({ "Image": image })).await;
        let (status, answer) =
            self.raw("PUT", &format!("/containers/{container}/archive?path=/"), layer).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let made = format!("/commit?container={container}&repo={repository}&tag={tag}");
        let id = json(made, json!({})).await;
        self.remove(&container).await;
        id
    }

    /// Puts an image into its registry. `auth` is what the header `X-Registry-Auth` holds.
    pub async fn push(&self, repository: &str, tag: &str, auth: &str) {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let path = format!("/images/{repository}/push?tag={tag}");
        let answer =
            http::request_with(stream, "POST", &path, &[("x-registry-auth", auth)], Bytes::new()).await;
        let (status, body) = answer.expect("the engine answers");
        let told = String::from_utf8_lossy(&body);
        assert!(status == 200 && !told.contains("errorDetail"), "{status}: {told}");
    }

    /// Brings an image from another engine, unless it is there.
    pub async fn copy_image(&self, from: &Self, image: &str) {
        if self.port.inspect_image(image).await.unwrap().is_some() {
            return;
        }
        let (status, archive) = from.raw("GET", &format!("/images/{image}/get"), Bytes::new()).await;
        assert_eq!(status, 200);
        let (status, answer) = self.raw("POST", "/images/load?quiet=1", archive).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        assert!(self.port.inspect_image(image).await.unwrap().is_some(), "{image} was not loaded");
    }
}

/// Says that a test is skipped, past the capture of its output, or fails it where everything must be tested.
///
/// # Panics
/// When `PLUGWARD_REQUIRE_ALL` is set.
pub fn skipped(why: &str) {
    use std::io::Write as _;
    assert!(
        std::env::var_os("PLUGWARD_REQUIRE_ALL").is_none(),
        "{why}, and PLUGWARD_REQUIRE_ALL makes that a failure"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Nobody reads the captured output of a test that passes. It begins a line, whatever the test runner was writing.
    let _ = writeln!(io::stderr(), "\nSKIPPED: {test}: {why}");
}
