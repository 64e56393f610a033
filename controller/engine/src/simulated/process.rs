//! A running script.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::script::{Act, Signal};
use crate::log::LogChannel;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) code: i64,
    pub(super) oom_killed: bool,
}

/// The engine's hold on a process.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) signals: mpsc::UnboundedSender<Signal>,
    pub(super) paused: watch::Sender<bool>,
    /// Closed when the process has ended and the container shows it.
    pub(super) ended: watch::Sender<()>,
}

/// The process's end of its [`Handle`].
pub(super) struct Process {
    signals: mpsc::UnboundedReceiver<Signal>,
    paused: watch::Receiver<bool>,
}

#[derive(Debug, Clone, Copy)]
enum OnTerm {
    Die,
    Ignore,
    Exit(Duration, i64),
}

pub(super) fn new() -> (Handle, Process) {
    let (signals, received) = mpsc::unbounded_channel();
    let (paused, seen) = watch::channel(false);
    let (ended, _) = watch::channel(());
    (Handle { signals, paused, ended }, Process { signals: received, paused: seen })
}

// === impl Process ===

impl Process {
    /// Lives to the end. All selections are biased: a simulation must go the same way twice.
    pub(super) async fn run(self, acts: Vec<Act>, mut write: impl FnMut(LogChannel, &[u8])) -> End {
        let Self { signals, mut paused } = self;
        let on_term = Mutex::new(OnTerm::Die);
        let killed = killed(signals, &on_term);
        let played = play(acts, &on_term, &mut write);
        tokio::pin!(killed, played);
        loop {
            tokio::select! {
                biased;
                end = &mut killed => return end,
                _ = paused.wait_for(|paused| !paused) => {}
            }
            tokio::select! {
                biased;
                end = &mut killed => return end,
                Ok(_) = paused.wait_for(|paused| *paused) => {}
                end = &mut played => return end,
            }
        }
    }
}

async fn play(acts: Vec<Act>, on_term: &Mutex<OnTerm>, write: &mut impl FnMut(LogChannel, &[u8])) -> End {
    let set = |next| *on_term.lock().unwrap_or_else(PoisonError::into_inner) = next;
    for act in acts {
        match act {
            Act::Wait(time) => tokio::time::sleep(time).await,
            Act::Stdout(bytes) => write(LogChannel::Stdout, &bytes),
            Act::Stderr(bytes) => write(LogChannel::Stderr, &bytes),
            Act::EndOnTerm(after, code) => set(OnTerm::Exit(after, code)),
            Act::IgnoreTerm => set(OnTerm::Ignore),
            Act::Run(future) => future.await,
            Act::OomKilled => return End { code: 137, oom_killed: true },
            Act::Exit(code) => return End { code, oom_killed: false },
        }
    }
    End { code: 0, oom_killed: false }
}

/// Ends when signals end the process.
async fn killed(mut signals: mpsc::UnboundedReceiver<Signal>, on_term: &Mutex<OnTerm>) -> End {
    let by = |signal: Signal| End { code: 128 + signal.number(), oom_killed: false };
    loop {
        // Without a handle the container is not running any more: removed, or ended with its engine.
        let Some(signal) = signals.recv().await else { return by(Signal::Kill) };
        let on_term = *on_term.lock().unwrap_or_else(PoisonError::into_inner);
        match (signal, on_term) {
            (Signal::Term, OnTerm::Ignore) => {}
            (Signal::Term, OnTerm::Exit(after, code)) => {
                let end = End { code, oom_killed: false };
                return tokio::select! {
                    biased;
                    () = killed_at_once(&mut signals) => by(Signal::Kill),
                    () = tokio::time::sleep(after) => end,
                };
            }
            (signal, _) => return by(signal),
        }
    }
}

async fn killed_at_once(signals: &mut mpsc::UnboundedReceiver<Signal>) {
    loop {
        match signals.recv().await {
            Some(Signal::Term) => {}
            Some(Signal::Kill | Signal::Segv) | None => return,
        }
    }
}
