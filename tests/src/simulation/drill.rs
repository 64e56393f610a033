//! The drill: plugins are killed, replaced and moved, all else is well, and no host may notice.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::circumstances::Priming;
use super::hosts::{GUESTS, Pace};
use super::invariants::{self, Broken};
use super::run::Play;
use super::schedule::Deed;

/// How long hosts may take to prime their plugins, after whatever they were in the middle of: a minute for a broker, and one for calls.
const PREPARATION: Duration = Duration::from_secs(240);

/// How long calls go on after the last deed.
const AFTERWARDS: Duration = Duration::from_secs(5);

impl Play {
    /// Does these deeds while hosts call all the time.
    ///
    /// # Errors
    /// With the first promise that was broken.
    pub(super) async fn drill(&mut self, deeds: &[(Duration, Deed)]) -> Result<(), Broken> {
        self.world.hosts.set_pace(Pace::Steady);
        let mounts = self.mounts_with_hosts();
        self.prepare(&mounts).await?;
        let begin = Instant::now();
        for (pause, deed) in deeds {
            self.pass(*pause).await?;
            self.perform(*deed).await?;
        }
        self.pass(AFTERWARDS).await?;
        self.world.hosts.end().await;
        invariants::calls::none_fails(&self.world, &mounts, begin)
    }

    /// The mounts that are declared, and have hosts: instance and mount.
    fn mounts_with_hosts(&self) -> BTreeSet<(&'static str, &'static str)> {
        let declared = |(instance, mount): &(&str, &str)| {
            let declared = self.wanted.instances.get(instance);
            declared.is_some_and(|declared| declared.mounts().contains(mount) || GUESTS.contains(mount))
        };
        self.world.hosts.mounts().filter(declared).collect()
    }

    /// Waits until each of these mounts was primed by one of its hosts, where that is usual.
    async fn prepare(&self, mounts: &BTreeSet<(&'static str, &'static str)>) -> Result<(), Broken> {
        let begin = Instant::now();
        let primes = self.world.circumstances.priming != Priming::None;
        loop {
            let calls = self.world.hosts.calls().all();
            let done = calls.iter().filter(|made| made.began >= begin && made.is_ok());
            let done: BTreeSet<_> = done
                .filter(|made| !primes || made.primes.is_some())
                .map(|made| (made.instance, made.mount))
                .collect();
            let Some((instance, mount)) = mounts.difference(&done).next() else { return Ok(()) };
            if begin.elapsed() > PREPARATION {
                return Err(Broken(format!("no host of mount {mount} of {instance} gets through in peace")));
            }
            self.pass(Duration::from_secs(1)).await?;
        }
    }
}
