//! What hosts offer a container's plugin, and under which numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use go_plugin::Address;
use plugward_relay::grpc::{Code, Status};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::host::HostBroker;

/// How many servers one container's plugin may be offered at a time, and how many it may offer.
pub(super) const MOST_SERVERS: usize = 1024;

/// How long a server is kept of which its host has not told.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// How the numbers of hosts' servers reach the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Numbers {
    /// In messages that are known, and can be changed: each server gets a number of its own.
    Known,
    /// In messages that nobody knows: as they are.
    Opaque,
}

/// What is offered to the plugin of one container. All clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Offering {
    numbers: Numbers,
    offers: Arc<Mutex<Offers>>,
    /// Tells of new ones.
    news: Arc<Notify>,
}

/// The same while nobody else changes it.
#[derive(Debug)]
pub(super) struct Offers {
    numbers: Numbers,
    /// The only host whose numbers pass as they are. Its mount stays the only one whose hosts' do: for a call of a host that has gone
    /// the plugin may yet dial a number, and must not get the server of another mount's host.
    owner: Option<Arc<HostBroker>>,
    /// By host and its number.
    offered: BTreeMap<(u64, u32), Offered>,
    last: u32,
}

/// A server of a host's that the plugin was offered.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    /// Its number at the plugin.
    pub(super) number: u32,
    /// Whose it is.
    pub(super) host: Arc<HostBroker>,
    /// Its number at its host.
    pub(super) id: u32,
    /// Where the plugin finds it, unless it knocks for it.
    pub(super) address: Option<Address>,
    /// Whether the plugin is about to be told of it anyway.
    pub(super) waiting: bool,
    since: Instant,
}

/// What a host is told that may not use the broker of a container since `other` does, or did.
fn taken(host: &HostBroker, other: &HostBroker) -> Status {
    let message = if host.mount == other.mount {
        "another host of this mount uses the plugin's broker, and their servers could not be told apart: \
         give each host a mount of its own, and set `multiplexing: Disabled`"
            .to_owned()
    } else {
        let mount = &other.mount;
        format!(
            "the broker of this plugin's container is mount {mount}'s, and their servers could not be told apart: \
             set `multiplexing: Disabled`, so that each mount has a container of its own"
        )
    };
    Status::new(Code::FailedPrecondition, message)
}

// === impl Offering ===

impl Offering {
    /// Nothing.
    pub(super) fn new(numbers: Numbers) -> Self {
        let offers = Offers { numbers, owner: None, offered: BTreeMap::new(), last: 0 };
        Self { numbers, offers: Arc::new(Mutex::new(offers)), news: Arc::default() }
    }

    /// How the plugin is told of numbers.
    pub(super) const fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Lets nobody else change it meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, Offers> {
        // Each change is complete when it could be interrupted.
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is more.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    /// What the plugin knows by this number, if it is offered.
    pub(super) fn find(&self, number: u32) -> Option<Offered> {
        self.lock().offered.values().find(|offered| offered.number == number).cloned()
    }

    /// The same. Where numbers are the hosts' own, this waits for a host that offers it.
    pub(super) async fn at_plugin(&self, number: u32) -> Option<Offered> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let found = self.find(number);
            if found.is_some() || self.numbers == Numbers::Known {
                return found;
            }
            news.await;
        }
    }
}

// === impl Offers ===

impl Offers {
    /// What is offered as this server of a host's.
    pub(super) fn get(&mut self, host: &HostBroker, id: u32) -> Option<&mut Offered> {
        self.offered.get_mut(&(host.number, id))
    }

    /// The plugin is being told of what it knows by this number.
    pub(super) fn told(&mut self, number: u32) {
        if let Some(offered) = self.offered.values_mut().find(|offered| offered.number == number) {
            offered.waiting = false;
        }
    }

    /// Whether a host may offer this server, which is not offered yet.
    ///
    /// # Errors
    /// What the host is told if it may not.
    pub(super) fn admit(&mut self, host: &Arc<HostBroker>) -> Result<(), Status> {
        if self.numbers == Numbers::Opaque {
            self.claim(host)?;
        }
        if self.offered.len() >= MOST_SERVERS {
            // Those with a socket go with that.
            self.offered.retain(|_, offered| offered.address.is_some() || !offered.is_over());
        }
        if self.offered.len() >= MOST_SERVERS {
            return Err(Status::new(
                Code::ResourceExhausted,
                format!("the plugin is offered more than {MOST_SERVERS} servers over the broker at a time"),
            ));
        }
        Ok(())
    }

    /// Offers a server that was [admitted](Self::admit).
    pub(super) fn insert(
        &mut self,
        host: &Arc<HostBroker>,
        id: u32,
        address: Option<Address>,
    ) -> &mut Offered {
        let number = match self.numbers {
            Numbers::Opaque => id,
            Numbers::Known => self.last + 1,
        };
        self.last = number.max(self.last);
        let offered =
            Offered { number, host: host.clone(), id, address, waiting: false, since: Instant::now() };
        self.offered.entry((host.number, id)).insert_entry(offered).into_mut()
    }

    /// A server is offered no more.
    pub(super) fn remove(&mut self, host: &HostBroker, id: u32) {
        self.offered.remove(&(host.number, id));
    }

    /// The host that keeps this one from using the broker, if only one may.
    pub(super) fn other(&self, host: &HostBroker) -> Option<&Arc<HostBroker>> {
        self.owner
            .as_ref()
            .filter(|owner| owner.mount != host.mount || owner.number != host.number && !owner.is_over())
    }

    /// Whether a host may be the one that uses the broker, which it does not say.
    ///
    /// # Errors
    /// What the host is told if another one is.
    pub(super) fn check(&self, host: &HostBroker) -> Result<(), Status> {
        self.other(host).map_or(Ok(()), |other| Err(taken(host, other)))
    }

    /// Makes a host the one that uses the broker.
    ///
    /// # Errors
    /// What the host is told if another one is.
    pub(super) fn claim(&mut self, host: &Arc<HostBroker>) -> Result<(), Status> {
        self.check(host)?;
        self.owner = Some(host.clone());
        Ok(())
    }
}

// === impl Offered ===

impl Offered {
    /// Whether its host has it no more.
    fn is_over(&self) -> bool {
        self.host.is_over() || (!self.host.has(self.id) && self.since.elapsed() > TOLD_WITHIN)
    }
}
