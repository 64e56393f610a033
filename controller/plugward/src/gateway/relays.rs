//! Where hosts' connections are relayed.
//!
//! A relay moves bytes between two sockets and does little else, so what it costs is being woken. Where any of several
//! threads may take it up, most wake-ups wake another thread: a byte pump on two threads moved two thirds of what it
//! does on one. Hence each connection stays on one thread, and there are a few such threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs relays. Clones share the threads, which end with the last one.
#[derive(Debug, Clone, Default)]
pub struct Relays(Option<Arc<Threads>>);

#[derive(Debug)]
struct Threads {
    /// Each thread's runtime, and what ends it when it is dropped.
    runtimes: Vec<(Handle, oneshot::Sender<()>)>,
    next: AtomicUsize,
}

// === impl Relays ===

impl Relays {
    /// On threads of their own, so many.
    ///
    /// # Errors
    /// When the system gives no more threads or descriptors.
    pub fn on_threads(count: usize) -> io::Result<Self> {
        let runtimes = (0..count.max(1)).map(|_| start()).collect::<io::Result<_>>()?;
        Ok(Self(Some(Arc::new(Threads { runtimes, next: AtomicUsize::new(0) }))))
    }

    /// With everything else, in the runtime from which they are started.
    pub const fn here() -> Self {
        Self(None)
    }

    /// Runs a task that a connection is relayed by. What it opens belongs to its thread.
    pub(super) fn spawn(&self, relay: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            None => drop(tokio::spawn(relay)),
            Some(threads) => {
                let next = threads.next.fetch_add(1, Ordering::Relaxed) % threads.runtimes.len();
                threads.runtimes[next].0.spawn(relay);
            }
        }
    }
}

/// A thread with a runtime of its own.
fn start() -> io::Result<(Handle, oneshot::Sender<()>)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new().name("relay".to_owned()).spawn(move || {
        // An error says that nobody can end it any more, which is the end.
        let _ = runtime.block_on(stopped);
    })?;
    Ok((handle, stop))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    async fn threads_of(relays: &Relays, tasks: usize) -> Vec<thread::ThreadId> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        for _ in 0..tasks {
            let sender = sender.clone();
            relays.spawn(async move { sender.send(thread::current().id()).unwrap() });
        }
        let mut found = Vec::new();
        for _ in 0..tasks {
            found.push(timeout(Duration::from_secs(60), receiver.recv()).await.unwrap().unwrap());
        }
        found
    }

    #[tokio::test]
    async fn relays_are_spread_over_their_threads() {
        let relays = Relays::on_threads(2).unwrap();
        let found = threads_of(&relays, 4).await;
        let of = |id| found.iter().filter(|other| **other == id).count();
        assert!(found.iter().all(|id| of(*id) == 2 && *id != thread::current().id()), "{found:?}");
    }

    #[tokio::test]
    async fn without_threads_they_run_here() {
        assert_eq!(threads_of(&Relays::here(), 1).await, [thread::current().id()]);
    }
}
