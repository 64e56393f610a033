//! Hosts: what speaks to the plugins, through the sockets of their mounts.
//!
//! A host lives outside of the controller, and outlives it. It calls its mount's plugin at times of its own, a few calls at once, and
//! where plugins can be primed it does that first: again at whim, and when it is told that it is needed. What becomes of every
//! call is noted, for the [invariants](super::invariants::calls).

pub mod channel;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use go_plugin::external::tonic::Code;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::channel::{Call, Channel, End, Outcome};
use super::circumstances::{Circumstances, Priming};
use super::manifests::MOUNTS;
use super::plugin::{CALL, INITIALIZE};

/// What hosts tell plugins begins with this, and it must turn up nowhere on disk.
pub const TOLD: &str = "told-by-a-host";

/// The mounts that hosts call: instance, mount, and whether the host primes its plugin, or leaves that to another.
const HOSTS: [(&str, &str, bool); 5] = [
    ("alpha", MOUNTS[0], true),
    ("alpha", MOUNTS[1], true),
    ("alpha", MOUNTS[0], false),
    ("beta", MOUNTS[0], true),
    ("hostile", MOUNTS[0], true),
];

/// A call as its host saw it.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its name in the ledger.
    pub id: String,
    /// Whose plugin was called.
    pub instance: &'static str,
    /// Through which mount.
    pub mount: &'static str,
    /// Whether it was to prime the plugin, and with what.
    pub primes: Option<String>,
    /// When it was begun.
    pub began: Instant,
    /// The time that it had.
    pub time: Duration,
    /// When it ended.
    pub ended: Instant,
    /// How.
    pub end: End,
    /// When it was sent.
    pub sent: Vec<Instant>,
}

/// How hosts behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Calls now and then, that have a second or a minute.
    Leisure,
    /// Calls all the time, each with enough time for anything that should happen.
    Steady,
    /// No more calls: hosts end once theirs have.
    Over,
}

/// The time of calls at a steady pace.
pub const ENOUGH: Duration = Duration::from_secs(30);

/// The calls that ended. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Made>>>);

/// All hosts of a world.
#[derive(Debug)]
pub struct Hosts {
    pace: watch::Sender<Pace>,
    calls: Calls,
    tasks: JoinSet<()>,
}

struct Host {
    name: usize,
    instance: &'static str,
    mount: &'static str,
    /// Whether it primes its plugin.
    primes: bool,
    channel: Channel,
    calls: Calls,
    chance: StdRng,
    pace: watch::Receiver<Pace>,
    /// The calls that it made so far.
    made: u64,
}

/// A call that a host is about to make.
struct Next {
    id: String,
    /// With what it primes the plugin, if it does.
    told: Option<String>,
    /// How long it keeps the plugin busy.
    work: Duration,
}

/// The longest that a call keeps a plugin busy, in milliseconds. Half of them take no time.
const LONGEST_WORK: u64 = 1_000;

// === impl Calls ===

impl Calls {
    /// Those that ended so far, in the order of that.
    pub fn all(&self) -> Vec<Made> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Made ===

impl Made {
    /// The status it ended with, if it did with one.
    pub fn code(&self) -> Option<i32> {
        match &self.end {
            End::Status { code, .. } => Some(*code),
            End::Broken(_) | End::Silent | End::Unreachable => None,
        }
    }

    /// Whether it was done.
    pub fn is_ok(&self) -> bool {
        self.code() == Some(Code::Ok as i32)
    }
}

// === impl Hosts ===

impl Hosts {
    /// Hosts whose mounts' sockets are below this directory.
    pub fn new(sockets: &Path, seed: u64, circumstances: &Circumstances) -> Self {
        let priming = circumstances.priming;
        let calls = Calls::default();
        let (pace, paces) = watch::channel(Pace::Leisure);
        let mut tasks = JoinSet::new();
        let hosts = if circumstances.hosts { &HOSTS[..] } else { &[] };
        for (name, &(instance, mount, primes)) in hosts.iter().enumerate() {
            let host = Host {
                name,
                instance,
                mount,
                primes: primes && priming != Priming::None,
                channel: Channel::new(sockets.join(instance).join(format!("{mount}.sock"))),
                calls: calls.clone(),
                // Of its own, so that what it does depends on no other's.
                chance: StdRng::seed_from_u64(seed.wrapping_mul(HOSTS.len() as u64) + name as u64),
                pace: paces.clone(),
                made: 0,
            };
            tasks.spawn(host.live());
        }
        Self { pace, calls, tasks }
    }

    /// Changes how they behave.
    pub fn set_pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    /// The mounts that have hosts: instance and mount.
    pub fn mounts(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        HOSTS.into_iter().map(|(instance, mount, _)| (instance, mount))
    }

    /// The calls that ended.
    pub fn calls(&self) -> &Calls {
        &self.calls
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
                Pace::Leisure => {
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
            let again = self.primes && self.chance.random_ratio(1, 8);
            if !primed || again {
                let call = self.next(true);
                primed = self.call(&call, time).await.is_ok();
                continue;
            }
            let burst: Vec<_> = (0..self.chance.random_range(1..4)).map(|_| self.next(false)).collect();
            let made = join_all(burst.iter().map(|call| self.call(call, time))).await;
            let unprimed = |made: &Made| made.code() == Some(Code::FailedPrecondition as i32);
            primed &= !self.primes || !made.iter().any(unprimed);
        }
    }

    /// What it calls next.
    fn next(&mut self, primes: bool) -> Next {
        self.made += 1;
        let id = format!("{}-{}", self.name, self.made);
        let told = primes.then(|| format!("{TOLD}-{id}"));
        let work = Duration::from_millis(self.chance.random_range(0..2 * LONGEST_WORK));
        Next { id, told, work: work.saturating_sub(Duration::from_millis(LONGEST_WORK)) }
    }

    async fn call(&self, Next { id, told, work }: &Next, time: Duration) -> Made {
        let began = Instant::now();
        let path = if told.is_some() { INITIALIZE } else { CALL };
        let message = told.as_deref().unwrap_or_default();
        let Outcome { end, sent } = self.channel.call(Call { path, id, time, work: *work, message }).await;
        let made = Made {
            id: id.clone(),
            instance: self.instance,
            mount: self.mount,
            primes: told.clone(),
            began,
            time,
            ended: Instant::now(),
            end,
            sent,
        };
        self.calls.lock().push(made.clone());
        made
    }
}
