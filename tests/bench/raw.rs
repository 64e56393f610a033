//! A plugin's container as it is made by hand: the least that any host must do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use go_plugin::{Cookie, Fed, Handshake, Health, Identity, Launch, LineReader, Plugin, SocketAddress};
use plugward_engine::container::{Bind, LogRotation, Resources, Security};
use plugward_engine::{ContainerSpec, Created, Engine, LogQuery};
use plugward_tests::real::COUNTER;
use tempfile::TempDir;

/// Where the plugin sees the shared directory.
const INSIDE: &str = "/plugin";

/// How long a call to the plugin may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Makes a container of the example plugin under this OCI runtime, starts it, reads its handshake line, connects, and asks for health:
/// how long that took. The container is removed afterwards, off the clock.
pub(crate) async fn start(engine: &dyn Engine, oci_runtime: &str) -> Duration {
    let began = Instant::now();
    let directory = TempDir::new().unwrap();
    // To a rootless engine's containers it is another's.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let identity = Identity::generate().unwrap();
    let spec = spec(directory.path(), identity.certificate_pem(), oci_runtime);
    let name = format!("plugward-bench-{:08x}", rand::random::<u32>());
    let Created::Created { id, .. } = engine.create(&name, &spec).await.unwrap() else {
        panic!("{name} is taken")
    };
    engine.start(&id).await.unwrap();
    let query = LogQuery { follow: true, stdout: true, ..LogQuery::default() };
    let mut log = engine.logs(&id, query).await.unwrap();
    let mut reader = LineReader::default();
    let line = loop {
        let chunk = log.next().await.expect("the plugin prints a line").unwrap();
        if let Fed::Line { line, .. } = reader.feed(&chunk.bytes).unwrap() {
            break line;
        }
    };
    drop(log);
    let handshake = Handshake::parse(&line).unwrap();
    let socket = SocketAddress::translate(&handshake.address, Path::new(INSIDE), directory.path()).unwrap();
    let certificate = handshake.server_certificate.expect("the plugin uses AutoMTLS");
    let settings = Arc::new(identity.client_config(&certificate).unwrap());
    let plugin = Plugin::connect(&socket, Some(settings), CALL_LIMIT).await.unwrap();
    assert_eq!(plugin.health(CALL_LIMIT).await.unwrap(), Health::Serving);
    let took = began.elapsed();
    engine.remove(&id).await.unwrap();
    took
}

/// Whether containers can be started under this OCI runtime: an engine lists any that it was told of.
pub(crate) async fn runs(engine: &dyn Engine, oci_runtime: &str) -> bool {
    let directory = TempDir::new().unwrap();
    let spec = spec(directory.path(), String::new(), oci_runtime);
    let name = format!("plugward-bench-{:08x}", rand::random::<u32>());
    let Created::Created { id, .. } = engine.create(&name, &spec).await.unwrap() else {
        panic!("{name} is taken")
    };
    let started = engine.start(&id).await;
    engine.remove(&id).await.unwrap();
    started.is_ok()
}

fn spec(directory: &Path, certificate: String, oci_runtime: &str) -> ContainerSpec {
    let launch = Launch {
        cookie: Cookie::new("COUNTER_PLUGIN", "counter").unwrap(),
        protocol_versions: vec![1],
        socket_directory: INSIDE.to_owned(),
        socket_group: None,
        client_certificate: Some(certificate),
        multiplex_broker: false,
    };
    ContainerSpec {
        image: COUNTER.to_owned(),
        entrypoint: Vec::new(),
        args: Vec::new(),
        env: launch.environment(),
        labels: [("dev.plugward.bench".to_owned(), "raw".to_owned())].into(),
        oci_runtime: oci_runtime.to_owned(),
        network: "none".to_owned(),
        resources: Resources::default(),
        binds: vec![Bind { source: directory.to_owned(), target: INSIDE.into() }],
        log: LogRotation { max_size_bytes: 10 << 20, max_files: 3 },
        groups: Vec::new(),
        capabilities: Vec::new(),
        security: Security::default(),
        tmpfs: Vec::new(),
        cgroup_parent: None,
    }
}
