//! A registry on loopback, with TLS and passwords, behind a gate.
//!
//! It is Debian's `docker-registry`. Its certificate is signed by nobody: engines take that from 127.0.0.0/8 alone. Without the program
//! a test says that it was skipped, or fails with `PLUGWARD_REQUIRE_ALL=1`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::engine::{TestEngine, skipped};
use super::gate::{Flow, Gate};
use super::manifest::COUNTER;
use super::ports::free_port;

/// The user of the registry.
pub const USER: &str = "plugward";

/// The user's password, which is only ever good for registries of tests, on loopback for seconds. It is such that the two alphabets of
/// base64 write it in two ways.
pub const PASSWORD: &str = "s3cret~?>/+";

/// The same as `htpasswd -B` stores it.
const HTPASSWD: &str = "plugward:$2y$05$BbS/Ez0pDbVbrKXqeYQ6LOo5k...6w2KzVflqzjeCOBgdqdFFq572\n";

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(60);

/// How often to ask whether it has.
const POLL: Duration = Duration::from_millis(25);

/// A registry. Dropping it ends it.
pub struct Registry {
    gate: Gate,
    directory: TempDir,
    _child: Child,
}

/// An image in a registry.
#[derive(Debug, Clone)]
pub struct Published {
    /// The ID that the engine gave it when it was made, and gives it when it is pulled.
    pub id: String,
    /// The digest of its manifest.
    pub digest: String,
}

// === impl Registry ===

impl Registry {
    /// Starts one. `None`, which is said, where there is no `docker-registry`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        if std::process::Command::new("docker-registry").arg("--version").output().is_err() {
            skipped("docker-registry is not installed (apt-get install docker-registry)");
            return None;
        }
        let port = free_port();
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(path("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        fs::write(path("htpasswd"), HTPASSWD).unwrap();
        // JSON is YAML.
        let config = json!({
            "version": 0.1,
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": path("data") } },
            "auth": { "htpasswd": { "realm": "plugward", "path": path("htpasswd") } },
            "http": {
                "addr": format!("127.0.0.1:{port}"),
                "secret": "of one registry alone",
                "tls": { "certificate": path("cert.pem"), "key": path("key.pem") },
            },
        });
        fs::write(path("config.yml"), config.to_string()).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("it was just run");
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            let log = || fs::read_to_string(path("log")).unwrap_or_default();
            assert_eq!(child.try_wait().unwrap(), None, "docker-registry ended: {}", log());
            assert!(Instant::now() < deadline, "docker-registry does not start: {}", log());
            sleep(POLL).await;
        }
        Some(Self { gate: Gate::to(port).await, directory, _child: child })
    }

    /// The name of a repository here.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.address())
    }

    /// What the registry is called in images' names and in Docker's configuration.
    pub fn address(&self) -> String {
        self.gate.address().to_string()
    }

    /// Lets this through from here on.
    pub fn set(&self, flow: Flow) {
        self.gate.set(flow);
    }

    /// The connections that are open.
    pub fn connections(&self) -> usize {
        self.gate.connections()
    }

    /// Docker's configuration after a login with this password.
    pub fn login(&self, password: &str) -> Value {
        json!({ "auths": { self.address(): { "auth": STANDARD.encode(format!("{USER}:{password}")) } } })
    }

    /// Docker's configuration that names a credential helper for this registry.
    pub fn helped_by(&self, helper: &str) -> Value {
        json!({ "credHelpers": { self.address(): helper } })
    }

    /// Makes an image on an engine: the example plugin, and a layer of so many bytes that no other image has. Puts it here, and takes
    /// it from the engine, layers and all.
    pub async fn publish(&self, engine: &TestEngine, name: &str, tag: &str, bytes: usize) -> Published {
        let repository = self.repository(name);
        let id = engine.derive(COUNTER, &repository, tag, archive(bytes)).await;
        let auth = json!({ "username": USER, "password": PASSWORD }).to_string();
        engine.push(&repository, tag, &URL_SAFE.encode(auth)).await;
        engine.untag(&format!("{repository}:{tag}")).await;
        let link = fs::read_to_string(self.tag(name, tag).join("current/link")).unwrap();
        Published { id, digest: link.trim().to_owned() }
    }

    /// Lets a tag name what another one names.
    pub fn point(&self, name: &str, tag: &str, at: &str) {
        let directory = self.tag(name, tag).join("current");
        fs::create_dir_all(&directory).unwrap();
        fs::copy(self.tag(name, at).join("current/link"), directory.join(".link")).unwrap();
        fs::rename(directory.join(".link"), directory.join("link")).unwrap();
    }

    fn tag(&self, name: &str, tag: &str) -> PathBuf {
        let repositories = self.directory.path().join("data/docker/registry/v2/repositories");
        repositories.join(name).join("_manifests/tags").join(tag)
    }
}

/// Writes a credential helper into a directory: one that knows this password for whatever it is asked.
pub fn write_helper(directory: &Path, name: &str, password: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let answer = json!({ "ServerURL": "", "Username": USER, "Secret": password });
    let path = directory.join(format!("docker-credential-{name}"));
    fs::write(&path, format!("#!/bin/sh\nread -r server\n[ \"$1\" = get ] && echo '{answer}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An archive with a file of so many bytes that cannot be compressed.
fn archive(bytes: usize) -> Bytes {
    let mut content = vec![0; bytes];
    rand::fill(&mut content[..]);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "layer", &content[..]).unwrap();
    archive.into_inner().unwrap().into()
}
