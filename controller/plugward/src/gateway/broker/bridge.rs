//! Connections from one side to a server of the other, byte for byte.

use std::sync::Arc;
use std::time::Duration;

use go_plugin::{Address, Listener};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::host::HostBroker;
use crate::errors::chain;
use crate::plugin::{Conversation, Offer, PluginError};

/// How often to look whether a server is still there: nobody tells of its end.
const LOOK: Duration = Duration::from_secs(5);

/// How long a socket is kept for a server of which its host has not told.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// The pause after the system gave no connection, as it does while too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a host's connection may take to be accepted. It has nothing to prove.
const SECURED: Duration = Duration::from_secs(5);

/// Leads a plugin's connections to a server of a host, until either is gone.
pub(super) async fn to_host(offer: Box<dyn Offer>, host: Arc<HostBroker>, id: u32, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let accepting = async {
        let (began, mut seen) = (Instant::now(), false);
        loop {
            tokio::select! {
                accepted = offer.accept() => match accepted {
                    Ok(proving) => {
                        let (host, stop) = (host.clone(), stop.clone());
                        connections.spawn(async move {
                            let bridge = async {
                                let plugin = proving.await.map_err(|error| error.message)?;
                                let server = host.connect(id).await.map_err(|error| chain(&error))?;
                                Ok::<_, String>((plugin, server))
                            };
                            let going = async {
                                match bridge.await {
                                    Ok((plugin, server)) => copy(plugin, server).await,
                                    Err(error) => tracing::warn!(id, error, "a plugin cannot be led to its host's server"),
                                }
                            };
                            tokio::select! {
                                () = going => {}
                                () = host.over() => {}
                                () = stop.cancelled() => {}
                            }
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no connection of a plugin is accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = sleep(LOOK) => {
                    let there = host.has(id);
                    seen |= there;
                    if !there && (seen || began.elapsed() > TOLD_WITHIN) {
                        return;
                    }
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = host.over() => {}
        () = stop.cancelled() => {}
    }
}

/// Leads hosts' connections to a server of a plugin, until that is gone.
pub(super) async fn to_plugin(
    listener: Listener,
    plugin: Arc<dyn Conversation>,
    address: Address,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(inbound) => {
                        let (plugin, address, stop) = (plugin.clone(), address.clone(), stop.clone());
                        connections.spawn(async move {
                            let bridge = async {
                                let host = inbound.secured(None, SECURED).await?;
                                Ok::<_, PluginError>((host, plugin.dial_at(&address).await?))
                            };
                            let going = async {
                                match bridge.await {
                                    Ok((host, server)) => copy(host, server).await,
                                    Err(error) => tracing::warn!(%error, "a host cannot be led to its plugin's server"),
                                }
                            };
                            stop.run_until_cancelled(going).await;
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "no connection of a host is accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = sleep(LOOK) => {
                    if !plugin.offers(&address) {
                        return;
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
}

async fn copy(mut from: impl AsyncRead + AsyncWrite + Unpin, mut to: impl AsyncRead + AsyncWrite + Unpin) {
    // That one side has gone away is how all of them end.
    let _ = copy_bidirectional(&mut from, &mut to).await;
}
