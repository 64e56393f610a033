//! A listener at which hosts arrive, which other processes may have, too.
//!
//! A socket's flags belong to all who have it. Who gave us one can have it block again at any moment, and take the connection that we were
//! just told of: then the next accept waits for as long as it likes. So what we do not have alone is accepted on a thread that may wait.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

/// A listener.
#[derive(Debug)]
pub enum Arrivals {
    /// Nobody else has it.
    Ours(UnixListener),
    /// Another process has it, too, and need not be trusted.
    Shared(SharedListener),
}

/// A listener that another process has, too.
#[derive(Debug)]
pub struct SharedListener {
    listener: Arc<OwnedFd>,
    /// The same, to be told when somebody comes. It is no stream, whatever the type says.
    watched: UnixStream,
    /// What is under way on a thread.
    accepting: Mutex<Option<JoinHandle<rustix::io::Result<OwnedFd>>>>,
}

impl Arrivals {
    /// One that another process has, too. The caller ends an accept that waits, by shutting the listener down.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn shared(listener: Arc<OwnedFd>) -> io::Result<Self> {
        // The runtime wants it so, and does not read from it.
        rustix::io::ioctl_fionbio(&listener, true)?;
        let watched = UnixStream::from_std(listener.try_clone()?.into())?;
        Ok(Self::Shared(SharedListener { listener, watched, accepting: Mutex::default() }))
    }

    /// The next connection.
    ///
    /// # Errors
    /// When the system gives none, as while too many files are open.
    pub async fn accept(&self) -> io::Result<UnixStream> {
        match self {
            Self::Ours(listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Shared(listener) => listener.accept().await,
        }
    }
}

impl SharedListener {
    /// Dropping the future loses no connection: the next one takes it.
    async fn accept(&self) -> io::Result<UnixStream> {
        let mut accepting = self.accepting.lock().await;
        loop {
            if let Some(running) = accepting.as_mut() {
                let accepted = running.await;
                *accepting = None;
                match accepted.map_err(io::Error::other)? {
                    Ok(stream) => return UnixStream::from_std(stream.into()),
                    // Another one has accepted it.
                    Err(rustix::io::Errno::AGAIN) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.watched.readable().await?;
            match self.watched.try_io(Interest::READABLE, || somebody_waits(&self.listener)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                waits => waits?,
            }
            let listener = self.listener.clone();
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            *accepting = Some(spawn_blocking(move || accept_with(&listener, flags)));
        }
    }
}

/// `WouldBlock` if nobody waits to be accepted.
fn somebody_waits(listener: &OwnedFd) -> io::Result<()> {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut polled, Some(&at_once))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as Host;

    use rustix::net::{Shutdown, shutdown};

    use super::*;

    fn listening() -> (tempfile::TempDir, std::path::PathBuf, Arc<OwnedFd>, Arrivals) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugin");
        let listener = Arc::new(OwnedFd::from(std::os::unix::net::UnixListener::bind(&path).unwrap()));
        let arrivals = Arrivals::shared(listener.clone()).unwrap();
        (directory, path, listener, arrivals)
    }

    #[tokio::test]
    async fn whoever_connects_is_accepted_in_turn() {
        let (_directory, path, _listener, arrivals) = listening();
        for _ in 0..3 {
            let mut hosts: Vec<Host> = (0..4).map(|_| Host::connect(&path).unwrap()).collect();
            for host in &mut hosts {
                let accepted = arrivals.accept().await.unwrap();
                accepted.into_std().unwrap().write_all(b"!").unwrap();
                host.read_exact(&mut [0]).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn one_who_makes_it_block_and_takes_the_connection_away_holds_up_no_other() {
        let (_directory, path, listener, arrivals) = listening();
        // What the other process does with its copy.
        rustix::io::ioctl_fionbio(&listener, false).unwrap();
        let _first = Host::connect(&path).unwrap();
        arrivals.accept().await.unwrap();
        // Readiness is still believed in: this has to look again, and not to wait in the system.
        let waiting = tokio::spawn(async move { arrivals.accept().await.map(drop) });
        tokio::task::yield_now().await;
        let _second = Host::connect(&path).unwrap();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn no_connection_is_lost_when_nobody_waits_for_it_any_more() {
        let (_directory, path, _listener, arrivals) = listening();
        let mut host = Host::connect(&path).unwrap();
        for _ in 0..10 {
            // Far enough to have begun, and no further.
            let _ = futures::poll!(Box::pin(arrivals.accept()));
            tokio::task::yield_now().await;
        }
        arrivals.accept().await.unwrap().into_std().unwrap().write_all(b"!").unwrap();
        host.read_exact(&mut [0]).unwrap();
    }

    #[tokio::test]
    async fn a_thread_that_waits_in_vain_ends_when_the_listener_is_shut_down() {
        let (_directory, _path, listener, _arrivals) = listening();
        rustix::io::ioctl_fionbio(&listener, false).unwrap();
        let accepting = listener.clone();
        let waiting = spawn_blocking(move || accept_with(&accepting, SocketFlags::CLOEXEC).map(drop));
        tokio::task::yield_now().await;
        shutdown(&listener, Shutdown::Both).unwrap();
        assert_eq!(waiting.await.unwrap(), Err(rustix::io::Errno::INVAL));
    }
}
