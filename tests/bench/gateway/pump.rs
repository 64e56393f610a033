//! A pump: plaintext in, TLS out, and nothing of what it carries is looked at.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, copy_bidirectional_with_sizes};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};

use super::way::{Way, on_one_thread};

/// The first argument of this program when it is to be the pump, before the socket and the file of the slot.
pub(crate) const ARGUMENT: &str = "gateway-pump";

/// What the pump says when it can be connected to.
const READY: &str = "ready";

/// The buffer for each direction of a connection: more than is ever on its way with small messages.
const BUFFER: usize = 64 << 10;

/// How long a connection to the plugin may take.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// A pump in a process of its own. Dropping it ends it.
pub(crate) struct Pump {
    /// The way through it.
    pub(crate) way: Way,
    _child: Child,
}

// === impl Pump ===

impl Pump {
    /// Starts one to the container of a slot, and waits until it can be connected to.
    pub(crate) async fn start(socket: &Path, slot_file: &Path) -> Self {
        let program = std::env::current_exe().expect("a process has an executable");
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .args([socket, slot_file])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started again");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some(READY), "the pump does not start");
        Self { way: Way::plain("byte pump", socket), _child: child }
    }
}

/// Is the pump, until it is killed. One thread does all: more of them would only hand its connections to each other.
pub(crate) async fn run(socket: PathBuf, slot_file: PathBuf) {
    on_one_thread(async move || {
        let plugin = Way::direct(&slot_file).plugin().await;
        let listener = UnixListener::bind(socket).unwrap();
        println!("{READY}");
        loop {
            let (mut host, _) = listener.accept().await.unwrap();
            let mut line = plugin.dial(DIAL_LIMIT).await.unwrap();
            tokio::spawn(async move {
                // That one side has gone away is how all of them end.
                let _ = copy_bidirectional_with_sizes(&mut host, &mut line, BUFFER, BUFFER).await;
            });
        }
    })
    .await;
}
