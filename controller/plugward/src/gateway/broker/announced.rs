//! What a plugin has announced, for hosts that are not told of it: they knock when they want it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use go_plugin::Address;
use tokio::sync::Notify;

use super::offers::MOST_SERVERS;

/// Where a plugin's servers are, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Announced {
    servers: Mutex<BTreeMap<u32, Address>>,
    /// Tells of new ones.
    news: Notify,
}

// === impl Announced ===

impl Announced {
    /// The plugin announced a server. False: there are too many, even without those that are not `there` any more.
    pub(super) fn add(&self, id: u32, address: Address, there: impl Fn(&Address) -> bool) -> bool {
        let mut servers = self.servers();
        if servers.len() >= MOST_SERVERS {
            servers.retain(|_, address| there(address));
        }
        if servers.len() >= MOST_SERVERS && !servers.contains_key(&id) {
            return false;
        }
        servers.insert(id, address);
        drop(servers);
        self.news.notify_waiters();
        true
    }

    /// Where a server is that is still `there`, as soon as the plugin has announced it.
    pub(super) async fn at(&self, id: u32, there: impl Fn(&Address) -> bool) -> Address {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let found = self.servers().get(&id).cloned();
            if let Some(address) = found.filter(&there) {
                return address;
            }
            news.await;
        }
    }

    fn servers(&self) -> MutexGuard<'_, BTreeMap<u32, Address>> {
        // Each change is one insert or removal.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn of_what_a_plugin_announces_only_so_much_is_kept_and_what_has_gone_is_not_found() {
        let announced = Announced::default();
        let address = |id: u32| Address::Unix(format!("/{id}"));
        for id in 0..u32::try_from(MOST_SERVERS).unwrap() {
            assert!(announced.add(id, address(id), |_| true));
        }
        assert!(!announced.add(5000, address(5000), |_| true));
        assert!(announced.add(1, address(9000), |_| true), "it is one of them");
        assert_eq!(announced.at(1, |_| true).now_or_never(), Some(address(9000)));
        assert_eq!(announced.at(2, |_| false).now_or_never(), None);
        assert!(announced.add(5000, address(5000), |there| *there != address(3)));
        assert_eq!(announced.at(3, |_| true).now_or_never(), None);
    }
}
