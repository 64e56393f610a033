//! Hosts: what speaks to the plugins, through the sockets of their mounts.
//!
//! A host lives outside of the controller, and outlives it. It calls its mount's plugin at times of its own, a few calls at once, and
//! where plugins can be primed it does that first: again at whim, and when it is told that it is needed. What becomes of every
//! call is noted, for the [invariants](super::invariants::calls).
//!
//! Some have no mount: they attach (`guest`), by a [launcher].
//!
//! Where plugins call back, a host that primes has a broker, and offers a server at each `Setup`, or at each call. Now and then it goes, and
//! comes again as another client, as it has to where its broker was ended.

mod broker;
mod calls;
pub mod channel;
mod guest;
pub mod launcher;
pub mod server;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use go_plugin::Peer;
use go_plugin::external::prost::Message;
use go_plugin::external::tonic::Code;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::broker::Broker;
pub use self::calls::{Absence, Calls, Departure, Made, Said, SessionEnd};
use self::channel::{Call, Channel, Outcome};
use self::guest::{Attached, Guest};
use self::server::Callbacks;
use super::circumstances::{Circumstances, Priming};
use super::manifests::MOUNTS;
use super::plugin::{self, CALL, CLEANUP, INITIALIZE, INITIALIZE_BACKEND, SETUP, SetupArgs};

/// What hosts tell plugins begins with this, and it must turn up nowhere on disk.
pub const TOLD: &str = "told-by-a-host";

/// What hosts that attach have in place of a mount.
pub const GUESTS: [&str; 2] = ["guest-1", "guest-2"];

/// The mounts that hosts call: instance, mount, and whether the host primes its plugin, or leaves that to another.
const HOSTS: [(&str, &str, bool); 7] = [
    ("alpha", MOUNTS[0], true),
    ("alpha", MOUNTS[1], true),
    ("alpha", MOUNTS[0], false),
    ("beta", MOUNTS[0], true),
    ("hostile", MOUNTS[0], true),
    ("alpha", GUESTS[0], true),
    ("alpha", GUESTS[1], true),
];

/// How hosts behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Calls now and then, that have a second or a minute.
    Leisure,
    /// The same, and those that are attached stay so.
    Settled,
    /// Calls all the time, each with enough time for anything that should happen.
    Steady,
    /// No more calls: hosts end once theirs have.
    Over,
}

/// The time of calls at a steady pace.
pub const ENOUGH: Duration = Duration::from_secs(30);

/// All hosts of a world.
#[derive(Debug)]
pub struct Hosts {
    pace: watch::Sender<Pace>,
    calls: Calls,
    callbacks: Callbacks,
    tasks: JoinSet<()>,
}

/// Where hosts find what they need, and make what is theirs.
#[derive(Debug)]
pub struct Places {
    /// The directory of the mounts' sockets.
    pub mounts: PathBuf,
    /// The attach socket.
    pub attach: PathBuf,
    /// The directory of hosts' own sockets.
    pub servers: PathBuf,
}

struct Host {
    name: usize,
    instance: &'static str,
    mount: &'static str,
    /// Whether it primes its plugin.
    primes: bool,
    /// What for its plugin calls back.
    uses: plugin::Callbacks,
    channel: Channel,
    /// Its plugin, as it knows it.
    peer: Peer,
    /// If it has no mount.
    guest: Option<Guest>,
    broker: Option<Broker>,
    /// Its broker was refused: another host's is used, and nobody could tell their servers apart.
    refused: Option<Refused>,
    /// Whether its client offers nothing.
    quiet: bool,
    /// Where its servers are.
    servers: PathBuf,
    callbacks: Callbacks,
    calls: Calls,
    chance: StdRng,
    pace: watch::Receiver<Pace>,
    /// The calls that it made so far.
    made: u64,
}

/// What is left of a refused broker.
struct Refused {
    /// The last number that was given.
    last: u32,
    since: Instant,
}

/// A call that a host is about to make.
struct Next {
    id: String,
    path: &'static str,
    message: Vec<u8>,
    /// The number of a server for it.
    server: Option<u32>,
    /// How long it keeps the plugin busy.
    work: Duration,
}

/// The longest that a call keeps a plugin busy, in milliseconds. Half of them take no time.
const LONGEST_WORK: u64 = 1_000;

// === impl Hosts ===

impl Hosts {
    /// Those of a seed.
    pub fn new(places: &Places, seed: u64, circumstances: &Circumstances) -> Self {
        let priming = circumstances.priming;
        let (calls, callbacks) = (Calls::default(), Callbacks::default());
        let (pace, paces) = watch::channel(Pace::Leisure);
        let mut tasks = JoinSet::new();
        let hosts = if circumstances.hosts { &HOSTS[..] } else { &[] };
        for (name, &(instance, mount, primes)) in hosts.iter().enumerate() {
            let host = Host {
                name,
                instance,
                mount,
                primes: primes && priming != Priming::None,
                // One whose plugins others prime does not use its broker.
                uses: if primes { circumstances.callbacks } else { plugin::Callbacks::None },
                channel: Channel::new(
                    places.mounts.join(instance).join(format!("{mount}.sock")),
                    Peer::plain(),
                ),
                peer: Peer::plain(),
                guest: GUESTS
                    .contains(&mount)
                    .then(|| Guest::new(places, (instance, mount), circumstances, &calls)),
                broker: None,
                refused: None,
                quiet: false,
                servers: places.servers.clone(),
                callbacks: callbacks.clone(),
                calls: calls.clone(),
                // Of its own, so that what it does depends on no other's.
                chance: StdRng::seed_from_u64(seed.wrapping_mul(HOSTS.len() as u64) + name as u64),
                pace: paces.clone(),
                made: 0,
            };
            tasks.spawn(host.live());
        }
        Self { pace, calls, callbacks, tasks }
    }

    /// Changes how they behave.
    pub fn set_pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// The mounts that have hosts: instance and mount.
    pub fn mounts(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        HOSTS.into_iter().map(|(instance, mount, _)| (instance, mount))
    }

    /// How many hosts of an instance attach, and have not ended yet.
    pub fn sessions_of(&self, instance: &str) -> usize {
        let attach = |(of, mount): &(&str, &str)| *of == instance && GUESTS.contains(mount);
        if self.tasks.is_empty() { 0 } else { self.mounts().filter(attach).count() }
    }

    /// The calls that ended.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What plugins asked of hosts.
    pub fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// The mount of the host that made a call: instance and mount.
    pub fn mount_of(call: &str) -> Option<(&'static str, &'static str)> {
        Self::host_of(call).map(|(instance, mount, _)| (instance, mount))
    }

    /// Whether the host that made a call tells its plugin what that needs.
    pub fn primes(call: &str) -> bool {
        Self::host_of(call).is_some_and(|(.., primes)| primes)
    }

    fn host_of(call: &str) -> Option<(&'static str, &'static str, bool)> {
        let (name, _) = call.split_once('-')?;
        HOSTS.get(name.parse::<usize>().ok()?).copied()
    }

    /// No more calls; waits for the end of those that are under way.
    pub async fn end(&mut self) {
        self.set_pace(Pace::Over);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a host lives to its end");
        }
    }
}

// === impl Host ===

impl Host {
    async fn live(mut self) {
        let mut primed = !self.primes;
        loop {
            let pace = *self.pace.borrow_and_update();
            let (longest_pause, time) = match pace {
                Pace::Leisure | Pace::Settled => {
                    let times = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];
                    // A plugin is primed before long, and some calls come right after others.
                    let soon = self.chance.random_ratio(1, 3) || !primed;
                    let pause = if soon { 500 } else { 15_000 };
                    (pause, times[self.chance.random_range(0..times.len())])
                }
                Pace::Steady => (1_500, ENOUGH),
                Pace::Over => return,
            };
            let pause = Duration::from_millis(self.chance.random_range(0..longest_pause));
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.pace.changed() => {
                    // A new controller may be there, and a new agreement.
                    primed = !self.primes;
                    continue;
                }
            }
            match self.attach(time).await {
                Attached::Still => {}
                Attached::Anew => primed = !self.primes,
                Attached::Not => continue,
            }
            if let Some(broker) = &self.broker
                && let Some((end, since)) = broker.end()
            {
                tracing::debug!(host = self.name, "its broker ended with {end}");
                // What it had given the plugin is gone.
                self.refused =
                    (end == Code::FailedPrecondition as i32).then(|| Refused { last: broker.last(), since });
                self.broker = None;
                primed = !self.primes;
            }
            if pace == Pace::Steady && self.refused.is_some() {
                // It is to be served, if not called back.
                self.leave(true).await;
            }
            if self.uses == plugin::Callbacks::Each && self.refused.is_none() {
                // As go-plugin's clients do before anything else: with the stream it is known to be another client.
                self.open(time).await;
            }
            let is_client = self.broker.is_some() || self.refused.is_some();
            if pace == Pace::Leisure && self.guest.is_some() && self.chance.random_ratio(1, 12) {
                self.detach().await;
                continue;
            }
            if pace != Pace::Steady && is_client && self.chance.random_ratio(1, 12) {
                self.depart(time).await;
                primed = !self.primes;
                continue;
            }
            let again = self.primes && self.chance.random_ratio(1, 8);
            if !primed || again {
                primed = self.prime(pace, time).await;
                continue;
            }
            let mut burst: Vec<_> = (0..self.chance.random_range(1..4)).map(|_| self.next(CALL)).collect();
            self.offer_to(&mut burst);
            let mut made = join_all(burst.iter().map(|call| self.call(call, time))).await;
            let ended = self.broker.as_ref().is_none_or(|broker| broker.end().is_some());
            for (call, made) in burst.iter().zip(&mut made) {
                made.server = call.server.map(|_| match &self.refused {
                    Some(refused) => Said::Refused { since: refused.since },
                    None if ended => Said::Lost,
                    None => Said::Offered,
                });
                if let Some(broker) = &mut self.broker {
                    broker.close(&call.id);
                }
            }
            self.calls.note(&made);
            primed &= !self.primes || !made.iter().any(Made::is_unprimed);
        }
    }

    /// Ends its client, perhaps after it undid what it had told the plugin.
    async fn depart(&mut self, time: Duration) {
        if self.uses == plugin::Callbacks::Kept && self.chance.random_ratio(1, 2) {
            let call = self.next(CLEANUP);
            let made = self.call(&call, time).await;
            self.calls.note(&[made]);
        }
        if self.chance.random_ratio(1, 2) {
            let quiet = self.chance.random_ratio(1, 4);
            self.leave(quiet).await;
        }
    }

    /// Ends its client. The next one offers nothing, if it is quiet.
    async fn leave(&mut self, quiet: bool) {
        tracing::debug!(host = self.name, "ends its client");
        self.calls.departs(self.instance, self.mount);
        self.begin_anew(quiet).await;
    }

    /// Is another client from now on.
    async fn begin_anew(&mut self, quiet: bool) {
        (self.broker, self.refused, self.quiet) = (None, None, quiet && self.uses == plugin::Callbacks::Each);
        self.channel.leave().await;
    }

    /// Tells the plugin what it needs. Gives whether that was done.
    async fn prime(&mut self, pace: Pace, time: Duration) -> bool {
        let is_backend = self.uses == plugin::Callbacks::Kept;
        if is_backend {
            let mut call = self.next(SETUP);
            self.open(time).await;
            let Some(broker_id) = self.offer(&call.id) else { return false };
            call.message = SetupArgs { broker_id }.encode_to_vec();
            let made = self.call(&call, time).await;
            let done = made.is_ok();
            self.calls.note(&[made]);
            if !done {
                return false;
            }
            // At a steady pace calls may be under way that need those before.
            if pace != Pace::Steady
                && self.chance.random_ratio(1, 2)
                && let Some(broker) = &mut self.broker
            {
                broker.keep(1);
            }
        }
        let call = self.next(if is_backend { INITIALIZE_BACKEND } else { INITIALIZE });
        let made = self.call(&call, time).await;
        let done = made.is_ok();
        self.calls.note(&[made]);
        done
    }

    /// Offers a server for each of these calls, if that is what the plugin needs.
    fn offer_to(&mut self, calls: &mut [Next]) {
        if self.uses != plugin::Callbacks::Each {
            return;
        }
        for call in calls {
            call.server = match &mut self.refused {
                _ if self.quiet => None,
                // As go-plugin's hosts, it numbers on.
                Some(refused) => {
                    refused.last += 1;
                    Some(refused.last)
                }
                None => self.offer(&call.id),
            };
        }
    }

    /// Offers a server of this name. Gives its number, or none if the host has no broker.
    fn offer(&mut self, name: &str) -> Option<u32> {
        Some(self.broker.as_mut()?.offer(name, &self.servers, &self.peer))
    }

    /// Sees to it that it has a broker, if it can in this time.
    async fn open(&mut self, time: Duration) {
        if self.broker.is_none() {
            self.broker = Broker::open(&self.channel, &self.callbacks, Instant::now() + time).await;
        }
    }

    /// What it calls next.
    fn next(&mut self, path: &'static str) -> Next {
        self.made += 1;
        let id = format!("{}-{}", self.name, self.made);
        let message = if is_priming(path) { format!("{TOLD}-{id}").into_bytes() } else { Vec::new() };
        let work = Duration::from_millis(self.chance.random_range(0..2 * LONGEST_WORK));
        let work = work.saturating_sub(Duration::from_millis(LONGEST_WORK));
        Next { id, path, message, server: None, work }
    }

    async fn call(&self, next: &Next, time: Duration) -> Made {
        let began = Instant::now();
        let Next { id, path, message, server, work } = next;
        let call = Call { path, id, time, work: *work, message, server: *server };
        tracing::debug!(host = self.name, "calls {id} {path} {server:?}");
        let Outcome { end, sent } = self.channel.call(call).await;
        tracing::debug!(host = self.name, "was answered {id} {path} {end:?}");
        Made {
            id: id.clone(),
            instance: self.instance,
            mount: self.mount,
            path,
            primes: is_priming(path).then(|| String::from_utf8_lossy(message).into_owned()),
            server: None,
            began,
            time,
            ended: Instant::now(),
            end,
            sent,
        }
    }
}

/// Whether a method tells a plugin what it needs, in words that it repeats.
fn is_priming(path: &str) -> bool {
    matches!(path, INITIALIZE | INITIALIZE_BACKEND)
}
