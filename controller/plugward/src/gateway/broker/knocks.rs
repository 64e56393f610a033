//! A plugin that shares its one connection: it knocks for a server, and its next stream belongs to that.
//!
//! On the wire nothing but their order says whose a stream is. So knocks are answered one after the other, and after a yes none is
//! answered before its stream is here: no stream is ever led to another server than the one that was knocked for.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use go_plugin::BrokerMessage;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::bridge;
use super::complaints::Complaints;
use super::host::HostBroker;
use super::offers::{Numbers, Offering};
use crate::errors::chain;
use crate::gateway::terms::Broken;
use crate::plugin::{HostLine, Proving};

/// Knocks that wait for their turn. go-plugin's broker has one at a time.
pub(super) const WAITING: usize = 32;

/// How long a knock may wait for a host to tell of its server. go-plugin waits 5 s for the answer, and is to get one with words.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// How long a plugin that was let in may take to open its stream.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// The hosts that a container serves, and that may use its plugin's broker.
pub(super) type Hosts = Arc<dyn Fn() -> Vec<Arc<HostBroker>> + Send + Sync>;

/// Who answers the knocks of one plugin.
pub(super) struct Porter {
    pub(super) offering: Offering,
    /// The hosts that may offer it something.
    pub(super) hosts: Hosts,
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
            let found = timeout(ANSWERED_WITHIN, server(&self.offering, &self.hosts, number)).await;
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
            let Some((host, server)) = server else { continue };
            match timeout(OPENED_WITHIN, self.streams.next()).await {
                Ok(Some(stream)) => {
                    let bridge = bridge::pair(stream, async { Ok(server) }).boxed();
                    let bridge = bridge::carry(bridge, complaints.clone());
                    let lead = async move {
                        tokio::select! {
                            () = bridge => {}
                            () = host.over() => {}
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
async fn server(
    offering: &Offering,
    hosts: &Hosts,
    number: u32,
) -> Result<(Arc<HostBroker>, HostLine), String> {
    let nobody = || format!("no host offers a server {number}");
    let (host, id) = match offering.find(number) {
        Some(offered) => (offered.host, offered.id),
        None => match silent(offering, hosts, number)? {
            Some(host) => (host, number),
            None => offering
                .at_plugin(number)
                .await
                .map(|offered| (offered.host, offered.id))
                .ok_or_else(nobody)?,
        },
    };
    let line = host.connect(id).await.map_err(|error| chain(&error))?;
    Ok((host, line))
}

/// The host that is to be knocked at for a server of which nobody has told: the only one there is, if it is one that never tells. Of
/// several nobody knows whose call the number was in.
///
/// # Errors
/// What the plugin is told.
fn silent(offering: &Offering, hosts: &Hosts, number: u32) -> Result<Option<Arc<HostBroker>>, String> {
    if offering.numbers() == Numbers::Known {
        return Ok(None);
    }
    let mut hosts = hosts();
    hosts.retain(|host| !host.is_over());
    let all_silent = hosts.iter().all(|host| host.is_silent());
    match hosts.pop() {
        Some(host) if all_silent && hosts.is_empty() => {
            offering.lock().claim(&host).map_err(|status| status.message)?;
            host.uses();
            Ok(Some(host))
        }
        Some(_) if all_silent => Err(format!(
            "several hosts share the plugin's container, and whose server {number} is cannot be known: \
             set `multiplexing: Disabled`, so that each has a container of its own"
        )),
        _ => Ok(None),
    }
}
