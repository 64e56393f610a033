//! Servers that hosts offer their plugins over the broker.
//!
//! Each has a name and a socket of its own. To whoever says at which call it is, a server says its name.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

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
    /// Listens at a path.
    pub(super) fn open(path: PathBuf, name: &str, callbacks: &Callbacks) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let task = tokio::spawn(serve(listener, name.to_owned(), callbacks.clone())).abort_handle();
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

async fn serve(listener: UnixListener, name: String, callbacks: Callbacks) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let (name, callbacks) = (name.clone(), callbacks.clone());
                    // Its plugin may go at any moment.
                    connections.spawn(async move { drop(answer(stream, &name, &callbacks).await) });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(stream: UnixStream, name: &str, callbacks: &Callbacks) -> io::Result<()> {
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
