//! The one connection of a session's host that multiplexes: its streams are the connections.
//!
//! The host makes it once. When it ends the session is over: no go-plugin host comes again, as it would not to a plugin's process, which
//! ends with its connection. Until somebody has proved that he is the host, or has at least opened a stream where nobody has to prove
//! anything, others may come: who only connects does not take the host's place.

use std::sync::Arc;

use go_plugin::{Inbound, Inbounds, Peer, PluginStream};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::{Mount, SECURED, strange};
use crate::gateway::broker::{Client, Complaints, HostStreams};
use crate::gateway::door::Door;
use crate::gateway::instance::Instance;

impl Mount {
    /// Serves the one connection of a session's host to its end, which is the session's.
    pub(super) async fn share(
        self: Arc<Self>,
        instance: &Arc<Instance>,
        host: UnixStream,
        client: Client,
        door: &Door,
    ) {
        if self.streams.get().is_some() {
            return another();
        }
        let Some((streams, mut arriving)) = HostStreams::start(host, &door.peer) else { return };
        let Ok(Some(first)) = timeout(SECURED, arriving.accept()).await else {
            return tracing::debug!("a connection to a session opens no stream in time: it is closed");
        };
        let first = match door.peer.accept(first, SECURED).await {
            Ok(first) => first,
            Err(error) => return strange(&error),
        };
        if self.streams.set(streams.clone()).is_err() {
            return another();
        }
        self.serve_streams(instance, client, door, first, &streams, &mut arriving).await;
        streams.end();
        tracing::info!("the connection of a session's host has ended, and the session with it");
        door.hand.shut_down();
    }

    /// Relays those of the host's streams that are main connections, each in a task of its own on this thread, until the connection has
    /// ended; or until the last of them has, once no host is accepted any more.
    async fn serve_streams(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        client: Client,
        door: &Door,
        first: PluginStream,
        streams: &HostStreams,
        arriving: &mut Inbounds,
    ) {
        let mut relays = JoinSet::new();
        let (mount, first_instance) = (self.clone(), instance.clone());
        let relaying = async move { mount.relay(&first_instance, first, client).await };
        relays.spawn(relaying.in_current_span());
        let complaints = Complaints::default();
        loop {
            let closed = self.closed.is_cancelled();
            if closed && relays.is_empty() {
                break;
            }
            tokio::select! {
                stream = arriving.accept() => {
                    let Some(stream) = stream else { break };
                    let Some(main) = streams.arrived(stream).filter(|_| !closed) else { continue };
                    match self.places.clone().try_acquire_owned() {
                        Ok(place) => {
                            let relaying = self.clone().relay_stream(instance.clone(), main, client, door.peer.clone());
                            relays.spawn(hold(place, relaying).in_current_span());
                        }
                        Err(_) => {
                            if let Some(times) = complaints.another("is one too many") {
                                tracing::warn!(times, "a stream of a session's host is one too many: it is reset");
                            }
                        }
                    }
                }
                Some(_) = relays.join_next() => {}
                () = self.closed.cancelled(), if !closed => {}
            }
        }
        streams.end();
        // They end with the connection.
        while relays.join_next().await.is_some() {}
    }

    /// Relays one more main connection of a host, once it has proved whose it is.
    async fn relay_stream(
        self: Arc<Self>,
        instance: Arc<Instance>,
        stream: Inbound,
        client: Client,
        peer: Peer,
    ) {
        match peer.accept(stream, SECURED).await {
            Ok(stream) => self.relay(&instance, stream, client).await,
            Err(error) => strange(&error),
        }
    }
}

/// Keeps a place as long as something goes on.
async fn hold(place: OwnedSemaphorePermit, task: impl Future<Output = ()>) {
    task.await;
    drop(place);
}

/// Tells of a connection to a session that has its own.
fn another() {
    tracing::warn!("a session's host has one connection, and has it: another one is closed");
}
