//! A plugin that shares its one connection: it knocks for a server, and its next stream belongs to that.
//!
//! On the wire nothing but their order says whose a stream is. So knocks are answered one after the other, and after a yes none is
//! answered before its stream is here: no stream is ever led to another server than the one that was knocked for.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use go_plugin::BrokerMessage;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::bridge;
use super::complaints::Complaints;
use super::offers::{Offered, Offering};
use crate::errors::chain;
use crate::gateway::terms::Broken;
use crate::plugin::Proving;

/// Knocks that wait for their turn. go-plugin's broker has one at a time.
pub(super) const WAITING: usize = 32;

/// How long a knock may wait for a host to tell of its server. go-plugin waits 5 s for the answer, and is to get one with words.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// How long a plugin that was let in may take to open its stream.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// Who answers the knocks of one plugin.
pub(super) struct Porter {
    pub(super) offering: Offering,
    /// What the plugin knocks for.
    pub(super) knocks: mpsc::Receiver<u32>,
    /// The answers.
    pub(super) to_plugin: mpsc::Sender<BrokerMessage>,
    /// The streams that the plugin opens.
    pub(super) streams: BoxStream<'static, Proving>,
    pub(super) broke: Arc<dyn Fn(Broken) + Send + Sync>,
}

// === impl Porter ===

impl Porter {
    /// Answers knocks, and leads the streams that follow, until the plugin's connection has ended. With this, what is under way ends.
    pub(super) async fn run(mut self) {
        let mut connections = JoinSet::new();
        let complaints = Arc::new(Complaints::default());
        loop {
            let number = tokio::select! {
                Some(number) = self.knocks.recv() => number,
                stream = self.streams.next() => {
                    if stream.is_none() {
                        return;
                    }
                    if let Some(times) = complaints.another("has not knocked") {
                        tracing::warn!(times, "the plugin opens a stream for which it has not knocked");
                    }
                    continue;
                }
                // Its tasks end by themselves.
                Some(_) = connections.join_next() => continue,
            };
            let found = timeout(ANSWERED_WITHIN, server(&self.offering, number)).await;
            let (server, error) = match found {
                Ok(Ok(server)) => (Some(server), None),
                Ok(Err(error)) => (None, Some(error)),
                Err(_) => {
                    (None, Some(format!("no host offers a server {number}, or its host does not answer")))
                }
            };
            if let Some(error) = &error
                && let Some(times) = complaints.another("knocks for what it is not led to")
            {
                tracing::warn!(number, error, times, "a plugin knocks for a server that it is not led to");
            }
            if self.to_plugin.send(BrokerMessage::Ack { id: number, error }).await.is_err() {
                return;
            }
            let Some((offered, server)) = server else { continue };
            match timeout(OPENED_WITHIN, self.streams.next()).await {
                Ok(Some(stream)) => {
                    let bridge = bridge::pair(stream, async { Ok(server) }).boxed();
                    let bridge = bridge::carry(bridge, complaints.clone());
                    let lead = async move {
                        tokio::select! {
                            () = bridge => {}
                            () = offered.host.over() => {}
                        }
                    };
                    connections.spawn(lead.in_current_span());
                }
                Ok(None) => return,
                Err(_) => {
                    tracing::warn!(number, "the plugin was let in, and opens no stream");
                    return (self.broke)(Broken::Broker);
                }
            }
        }
    }
}

/// A connection to the server that the plugin knows by this number, which its host may be about to offer.
async fn server(offering: &Offering, number: u32) -> Result<(Offered, UnixStream), String> {
    let offered =
        offering.at_plugin(number).await.ok_or_else(|| format!("no host offers a server {number}"))?;
    let server = offered.host.connect(offered.id).await.map_err(|error| chain(&error))?;
    Ok((offered, server))
}
