//! Servers that hosts offer their plugins over the broker.
//!
//! Each has a name and a socket of its own. To whoever says at which call it is, a server says its name.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::{Peer, PluginStream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::task::{AbortHandle, JoinSet};

/// How long a plugin may take to prove that it is the host's.
const SECURED: Duration = Duration::from_secs(10);

/// What a plugin asked of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The call that the plugin was at.
    pub call: String,
    /// The name of the server.
    pub server: String,
}

/// All that was asked of servers. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Callbacks(Arc<Mutex<Vec<Callback>>>);

/// A server. With this it goes, and its connections.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) path: PathBuf,
    task: AbortHandle,
}

// === impl Callbacks ===

impl Callbacks {
    /// All so far, in their order.
    pub fn all(&self) -> Vec<Callback> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Callback>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Server ===

impl Server {
    /// Listens at a path for whoever this is.
    pub(super) fn open(path: PathBuf, name: &str, peer: &Peer, callbacks: &Callbacks) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let serving = serve(listener, name.to_owned(), peer.clone(), callbacks.clone());
        let task = tokio::spawn(serving).abort_handle();
        Ok(Self { path, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // Nobody is told that it is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(listener: UnixListener, name: String, peer: Peer, callbacks: Callbacks) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let (name, peer, callbacks) = (name.clone(), peer.clone(), callbacks.clone());
                    connections.spawn(async move {
                        if let Ok(stream) = peer.accept(stream, SECURED).await {
                            // Its plugin may go at any moment.
                            let _ = answer(stream, &name, &callbacks).await;
                        }
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(stream: PluginStream, name: &str, callbacks: &Callbacks) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let call = line.trim_end().to_owned();
        stream.write_all(format!("{call} {name}\n").as_bytes()).await?;
        callbacks.lock().push(Callback { call, server: name.to_owned() });
        line.clear();
    }
    Ok(())
}
