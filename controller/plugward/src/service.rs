//! The controller as a service: what its manager is told, and what it asks for.
//!
//! | message | when |
//! | --- | --- |
//! | `READY=1` | everything that was there at the start has been looked at once |
//! | `EXTEND_TIMEOUT_USEC=` | before that, as long as all loops come round |
//! | `STATUS=` | with it, and whenever what is declared has changed |
//! | `RELOADING=1`, then `READY=1` | around the look at all manifest directories that `SIGHUP` asks for |
//! | `WATCHDOG=1` | as long as all loops come round |
//! | `STOPPING=1` | the end has begun; nothing is said after it |

use std::convert::Infallible;

use plugward_runtime::Pulse;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::systemd::{DescriptorStore, ServiceManager, Watchdog, ask_for_time, tell};
use crate::view::View;

/// The process as a service of systemd, if it is one.
#[derive(Debug)]
pub struct Service {
    /// Who is told how it stands.
    pub manager: ServiceManager,
    /// Who wants to hear that it lives.
    pub watchdog: Option<Watchdog>,
    /// Where listeners outlive it.
    pub store: DescriptorStore,
}

/// Tells the manager how the controller stands, and looks at all manifests at each of `hangups`, until `stop`.
pub async fn attend(
    manager: ServiceManager,
    watchdog: Option<Watchdog>,
    view: View,
    hangups: Signal,
    stop: CancellationToken,
) {
    let loops = view.pulses();
    let feed = async {
        match watchdog {
            Some(watchdog) => watchdog.feed(&manager, &loops).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        never = feed => match never {},
        never = report(&manager, view, &loops, hangups) => match never {},
    }
}

async fn report(
    manager: &ServiceManager,
    mut view: View,
    loops: &[(&'static str, Pulse)],
    mut hangups: Signal,
) -> Infallible {
    tell(manager.status("the first sync is under way"));
    tokio::select! {
        () = view.first_sync() => {}
        never = ask_for_time(manager, loops) => match never {},
    }
    let mut standing = view.standing();
    tell(manager.status(&standing));
    tell(manager.ready());
    loop {
        tokio::select! {
            Some(()) = hangups.recv() => {
                tell(manager.reloading());
                tracing::info!("SIGHUP: looking at all manifest directories");
                view.looker.look().await;
                tell(manager.ready());
            }
            Ok(()) = view.reports.changed() => {}
            // The controller is ending, and we with it.
            else => std::future::pending().await,
        }
        let now = view.standing();
        if now != standing {
            tell(manager.status(&now));
            standing = now;
        }
    }
}
