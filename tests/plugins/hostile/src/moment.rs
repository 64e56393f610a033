//! When a plugin turns bad.

use std::{future, io, time::Duration};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};

/// By the clock or by a signal. A test that must not depend on the clock waits until the plugin is as it wants it, and sends
/// the signal (`docker kill --signal USR1`).
#[derive(Debug, Clone, Args)]
pub(crate) struct Moment {
    /// Do it this long after the start, in milliseconds.
    #[arg(long, default_value_t = 0)]
    after_ms: u64,
    /// Do it when SIGUSR1 comes.
    #[arg(long, conflicts_with = "after_ms")]
    on_signal: bool,
}

impl Moment {
    /// Begins to wait: a signal that comes from now on is not missed.
    pub(crate) fn arm(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let after = Duration::from_millis(self.after_ms);
        let signal = self.on_signal.then(|| signal(SignalKind::user_defined1())).transpose()?;
        Ok(async move {
            match signal {
                None => time::sleep(after).await,
                Some(mut signal) => match signal.recv().await {
                    Some(()) => (),
                    None => future::pending().await,
                },
            }
        })
    }
}
