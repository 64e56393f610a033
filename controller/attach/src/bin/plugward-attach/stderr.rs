//! The launcher's stderr, which the host reads, or does not.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wait;

/// What waits for a host that does not read, in bytes. What is more is dropped, and counted.
const QUEUE: usize = 1024 * 1024;

/// How long a host that does not read may hold up the exit.
const FINISH: Duration = Duration::from_millis(500);

/// A queue, and a thread that writes what is in it. Nobody who has something to say waits for the host.
#[derive(Debug)]
pub(crate) struct Stderr {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: usize,
    /// Whether what was queued last is in the middle of a line.
    in_line: bool,
    /// Whether the thread has something in hand.
    writing: bool,
    /// Whether nobody will ever read.
    broken: bool,
}

// === impl Stderr ===

impl Stderr {
    /// Starts the thread. Where none can be had, nothing is said.
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let started = std::thread::Builder::new()
            .name("stderr".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || writer.write_all_to(io::stderr()));
        if started.is_err() {
            shared.lock().broken = true;
        }
        Self { shared }
    }

    /// Writes what the plugin wrote.
    pub(crate) fn write(&self, bytes: Vec<u8>) {
        self.shared.push(bytes, false);
    }

    /// Says something of the launcher's own, in one line.
    pub(crate) fn line(&self, text: &str) {
        let mut line = "plugward-attach: ".to_owned();
        line.extend(text.trim_end().chars().map(|char| if char.is_control() { ' ' } else { char }));
        line.push('\n');
        self.shared.push(line.into_bytes(), true);
    }

    /// Waits until all is written, for as long as [`FINISH`] at most.
    pub(crate) fn finish(&self) {
        let busy = |queue: &mut Queue| {
            !queue.broken && (queue.writing || !queue.waiting.is_empty() || queue.dropped > 0)
        };
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), FINISH, busy);
        drop(waited);
    }
}

// === impl Shared ===

impl Shared {
    /// Every state of the queue is a whole one, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: Vec<u8>, own: bool) {
        self.lock().push(bytes, own);
        self.changed.notify_all();
    }

    fn write_all_to(&self, mut out: impl Write + std::os::fd::AsFd) {
        let mut queue = self.lock();
        loop {
            queue.tell_of_dropped();
            let Some(bytes) = queue.pop() else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.writing = true;
            drop(queue);
            let written = write_whole(&mut out, &bytes);
            queue = self.lock();
            queue.writing = false;
            queue.broken = written.is_err();
            self.changed.notify_all();
            if queue.broken {
                return;
            }
        }
    }
}

/// Writes all, whether the host has made its end one that blocks or not.
fn write_whole(mut out: impl Write + std::os::fd::AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait::writable(&out)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

// === impl Queue ===

impl Queue {
    /// Queues bytes, if there is space: for what the launcher itself says there always is.
    fn push(&mut self, bytes: Vec<u8>, own: bool) {
        if self.broken || bytes.is_empty() {
            return;
        }
        if !own && self.bytes + bytes.len() > QUEUE {
            self.dropped += bytes.len();
            return;
        }
        self.tell_of_dropped();
        if own && self.in_line {
            self.append(b"\n".to_vec());
        }
        self.append(bytes);
    }

    /// Says where something is missing, and how much.
    fn tell_of_dropped(&mut self) {
        if self.dropped > 0 {
            let line = format!(
                "{}plugward-attach: {} bytes of the plugin's stderr are left out here, since the host did not read it\n",
                if self.in_line { "\n" } else { "" },
                self.dropped
            );
            self.dropped = 0;
            self.append(line.into_bytes());
        }
    }

    fn append(&mut self, bytes: Vec<u8>) {
        self.in_line = bytes.last() != Some(&b'\n');
        self.bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let bytes = self.waiting.pop_front()?;
        self.bytes -= bytes.len();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(queue: &mut Queue) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop()).flatten().collect()
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_where_it_is_missing() {
        let mut queue = Queue::default();
        queue.push(b"a".repeat(QUEUE - 1), false);
        queue.push(b"bc".to_vec(), false);
        queue.push(b"def".to_vec(), false);
        assert_eq!(drained(&mut queue).len(), QUEUE - 1);
        queue.push(b"more\n".to_vec(), false);
        let text = String::from_utf8(drained(&mut queue)).unwrap();
        assert!(text.starts_with("\nplugward-attach: 5 bytes of the plugin's stderr are left out"), "{text}");
        assert!(text.ends_with("read it\nmore\n"), "{text}");
    }

    #[test]
    fn what_the_launcher_says_is_a_line_of_its_own_and_is_never_dropped() {
        let mut queue = Queue::default();
        queue.push(b"a".repeat(QUEUE), false);
        queue.push(b"own\n".to_vec(), true);
        assert!(drained(&mut queue).ends_with(b"a\nown\n"));
    }
}
