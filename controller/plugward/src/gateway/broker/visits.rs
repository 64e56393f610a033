//! A session's host that shares its one connection: it knocks for what its plugin offers, and its next stream belongs to that.
//!
//! As with plugins that [knock](super::knocks), one knock is answered after the other, and after a yes none before its stream is here.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::bridge::{self, SECURED};
use super::complaints::Complaints;
use super::host::HostBroker;
use super::way::Way;
use crate::errors::chain;
use crate::plugin::HostLine;

/// Knocks that wait for their turn. go-plugin's broker has one at a time.
pub(super) const WAITING: usize = 32;

/// How long a knock may wait for the plugin to offer its server. go-plugin waits 5 s for the answer, and is to get one with words.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// How long a host that was let in may take to open its stream.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// A connection to what a host knocked for, and what ends it.
pub(in crate::gateway) struct Led {
    pub(super) line: HostLine,
    /// The end of the plugin's broker.
    pub(super) stop: CancellationToken,
    /// Where it is one of sockets: its place among those of the container.
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

/// Finds what a host knocked for, or says why it does not.
pub(in crate::gateway) type Find = Box<dyn Fn(u32) -> BoxFuture<'static, Result<Led, String>> + Send + Sync>;

/// Answers the knocks of a host, and leads the streams that follow, until it has gone. With this, what is under way ends.
pub(in crate::gateway) async fn run(host: Arc<HostBroker>, mut knocks: mpsc::Receiver<u32>, find: Find) {
    let Way::Streams { door, streams, .. } = &host.way else { return };
    let mut connections = JoinSet::new();
    let complaints = Arc::new(Complaints::default());
    loop {
        let id = tokio::select! {
            Some(id) = knocks.recv() => id,
            () = host.over() => return,
            // Its tasks end by themselves.
            Some(_) = connections.join_next() => continue,
        };
        let found = timeout(ANSWERED_WITHIN, find(id)).await;
        let found = found.unwrap_or_else(|_| Err(format!("the plugin does not offer a server {id} in time")));
        let led = match found {
            Ok(led) => led,
            Err(error) => {
                if let Some(times) = complaints.another("knocks for what it is not led to") {
                    tracing::warn!(id, error, times, "a host knocks for a server that it is not led to");
                }
                if !host.answer(id, Some(error)).await {
                    return;
                }
                continue;
            }
        };
        let arrives = streams.expect();
        if !host.answer(id, None).await {
            return streams.expect_none();
        }
        match timeout(OPENED_WITHIN, arrives).await {
            Ok(Ok(stream)) => {
                let (peer, host) = (door.peer.clone(), host.clone());
                let Led { line, stop, _place: place } = led;
                let bridge = async move {
                    let host = peer.accept(stream, SECURED).await.map_err(|error| chain(&error))?;
                    Ok((Box::new(host) as HostLine, line))
                };
                let bridge = bridge::carry(bridge.boxed(), complaints.clone());
                let lead = async move {
                    tokio::select! {
                        () = bridge => {}
                        () = host.over() => {}
                        () = stop.cancelled() => {}
                    }
                    drop(place);
                };
                connections.spawn(lead.in_current_span());
            }
            Ok(Err(_)) => return,
            Err(_) => {
                // Whose its next stream is cannot be known any more.
                tracing::warn!(id, "a session's host was let in, and opens no stream: its session is ended");
                return streams.end();
            }
        }
    }
}
