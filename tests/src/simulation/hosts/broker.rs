//! A host's client, as far as it has a broker: the one stream of its life, and the servers that it offers there.

use std::collections::VecDeque;
use std::path::Path;

use go_plugin::{Address, BrokerMessage, Peer};
use tokio::time::Instant;

use super::channel::{Channel, Speaking};
use super::server::{Callbacks, Server};

/// More than a plugin may need at a time.
const MOST_SERVERS: usize = 32;

/// A client with a broker. With this its stream ends, and its servers.
#[derive(Debug)]
pub(super) struct Broker {
    speaking: Speaking,
    servers: VecDeque<(String, Server)>,
    /// The last number that it gave. Every client counts from 1.
    last: u32,
    callbacks: Callbacks,
}

// === impl Broker ===

impl Broker {
    /// Opens the stream. `None` if there is no connection for it before the deadline.
    pub(super) async fn open(channel: &Channel, callbacks: &Callbacks, deadline: Instant) -> Option<Self> {
        let speaking = channel.speak(deadline).await?;
        Some(Self { speaking, servers: VecDeque::new(), last: 0, callbacks: callbacks.clone() })
    }

    /// With which status it was ended, and when. That is for good: what it offered is of no use any more.
    pub(super) fn end(&self) -> Option<(i32, Instant)> {
        self.speaking.end()
    }

    /// The last number that it gave.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// Offers a server of this name. Gives its number.
    pub(super) fn offer(&mut self, name: &str, directory: &Path, peer: &Peer) -> u32 {
        let path = directory.join(format!("{name}.sock"));
        let server = Server::open(path, name, peer, &self.callbacks).expect("a server listens");
        self.last += 1;
        let address = Address::Unix(server.path.display().to_string());
        // When that cannot be said any more, its end is told soon.
        self.speaking.say(&BrokerMessage::Announce { id: self.last, address }.to_bytes());
        self.servers.push_back((name.to_owned(), server));
        self.keep(MOST_SERVERS);
        self.last
    }

    /// Offers only its last servers, of this number, any more.
    pub(super) fn keep(&mut self, last: usize) {
        while self.servers.len() > last {
            self.servers.pop_front();
        }
    }

    /// Does not offer a server any more.
    pub(super) fn close(&mut self, name: &str) {
        self.servers.retain(|(other, _)| other != name);
    }
}
