//! nginx in the gateway's place: `grpc_pass` to a twin of the plugin that speaks HTTP/2 without TLS.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use go_plugin::Cookie;
use plugward_tests::real::{BarePlugin, LIMIT};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::way::Way;

/// Where the twin's program is: that of the image, so that both are compiled alike.
const TWIN: &str = "PLUGWARD_BENCH_COUNTER";

/// How often to ask whether nginx serves.
const POLL: Duration = Duration::from_millis(10);

/// nginx, and the twin behind it. Dropping it ends both.
pub(crate) struct Nginx {
    /// The way through it.
    pub(crate) way: Way,
    _child: Child,
    _twin: BarePlugin,
    _directory: TempDir,
}

// === impl Nginx ===

impl Nginx {
    /// Starts both.
    ///
    /// # Errors
    /// Says what is missing.
    pub(crate) async fn start() -> Result<Self, String> {
        let version = version().await.ok_or("nginx is not installed (apt-get install nginx)")?;
        let program =
            env::var_os(TWIN).ok_or_else(|| format!("{TWIN} does not name the counter's program"))?;
        let cookie = Cookie::new("COUNTER_PLUGIN", "counter").unwrap();
        let twin = BarePlugin::start(&mut Command::new(program), cookie, &[1]).await;
        let described = twin.reattach(&["twin"]);
        let upstream = described["twin"]["Addr"]["String"].as_str().expect("a plugin has an address");

        let directory = TempDir::new().unwrap();
        let (file, socket) = (directory.path().join("nginx.conf"), directory.path().join("nginx.sock"));
        fs::write(&file, configuration(directory.path(), &socket, upstream)).unwrap();
        let mut nginx = Command::new("nginx")
            .args(["-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it was just run");
        let deadline = Instant::now() + LIMIT;
        while UnixStream::connect(&socket).await.is_err() {
            assert_eq!(nginx.try_wait().unwrap(), None, "nginx ended");
            assert!(Instant::now() < deadline, "nginx does not serve");
            sleep(POLL).await;
        }
        let name = format!("{version} grpc_pass to an h2c twin");
        Ok(Self { way: Way::plain(&name, &socket), _child: nginx, _twin: twin, _directory: directory })
    }
}

/// What nginx calls itself: `nginx/1.22.1`.
async fn version() -> Option<String> {
    let said = Command::new("nginx").arg("-v").output().await.ok()?;
    let said = String::from_utf8(said.stderr).ok()?;
    Some(said.trim().trim_start_matches("nginx version: ").to_owned())
}

/// One process: a connection is served by one however many there are. It keeps as many connections to the plugin as it has calls at
/// a time, since it has one call on each, and ends none for its age.
fn configuration(directory: &Path, socket: &Path, upstream: &str) -> String {
    let (directory, socket) = (directory.display(), socket.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {directory}/{kind};\n"))
        .concat();
    format!(
        "daemon off;
master_process off;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
{temporary}\
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    upstream plugin {{
        server unix:{upstream};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
    }}
    server {{
        listen unix:{socket} http2;
        http2_max_concurrent_streams 256;
        location / {{ grpc_pass grpc://plugin; }}
    }}
}}
"
    )
}
