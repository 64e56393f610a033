//! Waiting for the controller, as long as the host lives.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, getppid, pidfd_open};

/// The process that started this one. Where it cannot be watched, it is as if it lived for ever.
#[derive(Debug)]
pub(crate) struct Parent {
    watched: Option<OwnedFd>,
}

/// It ended before it could be watched.
#[derive(Debug)]
pub(crate) struct ParentEnded;

/// What there was to wait for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The controller said something, or went.
    Controller,
    /// The parent ended.
    Parent,
    /// It is so late.
    Deadline,
}

impl Parent {
    /// That of this process.
    pub(crate) fn of_process() -> Result<Self, ParentEnded> {
        // Not a signal at its death: that comes when the thread ends that started us, and hosts in Go have many.
        let Some(parent) = getppid() else { return Ok(Self { watched: None }) };
        let watched = pidfd_open(parent, PidfdFlags::empty()).ok();
        // What has its id now may be another process.
        if getppid() == Some(parent) { Ok(Self { watched }) } else { Err(ParentEnded) }
    }

    /// Waits for the first of these. What has happened already is told in their order: parent, controller, deadline.
    pub(crate) fn wait(&self, controller: Option<&OwnedFd>, deadline: Option<Instant>) -> io::Result<Waited> {
        loop {
            let mut polled: Vec<_> =
                self.watched.iter().chain(controller).map(|one| PollFd::new(one, PollFlags::IN)).collect();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match poll(&mut polled, left.map(timespec).as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut ready = polled.iter().map(|one| !one.revents().is_empty());
            if self.watched.is_some() && ready.next() == Some(true) {
                return Ok(Waited::Parent);
            }
            if ready.next() == Some(true) {
                return Ok(Waited::Controller);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Waited::Deadline);
            }
        }
    }
}

/// Waits until something can be written to, or its reader has gone.
pub(crate) fn writable(descriptor: impl AsFd) -> io::Result<()> {
    let mut polled = [PollFd::new(&descriptor, PollFlags::OUT)];
    rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
    Ok(())
}

/// A time so long that it cannot be told to the kernel is as long as can be told.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
