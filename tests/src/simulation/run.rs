//! One seed, from the first manifest to peace.

use std::time::Duration;

use plugward_api::image::PullPolicy;
use plugward_api::instance::ActivationMode;
use plugward_engine::Operation;
use plugward_engine::simulated::{FaultPlan, Settings};
use tokio::time::{Instant, sleep};

use super::circumstances::{self, Circumstances};
use super::hosts::Pace;
use super::invariants::{self, Broken, Ready, Wanted};
use super::manifests::{self, Declared, HOSTILE_IMAGE};
use super::plugin::Mood;
use super::schedule::Schedule;
use super::world::World;

/// How often the promises that always hold are checked, in simulated time.
const STEP: Duration = Duration::from_millis(50);

/// How long peace may take to come, in simulated time: a few of the longest delays.
const PEACE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a container may take to come or go with its calls.
const NAP: Duration = Duration::from_secs(30);

/// How long what is done at once may take.
const MOMENT: Duration = Duration::from_secs(1);

/// How long peace must last.
const PEACE_LASTS: Duration = Duration::from_secs(90);

/// A seed that broke a promise, told so that it can be run alone.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The promise.
    pub broken: Broken,
    /// When, in simulated time.
    pub at: Duration,
    /// What was done.
    pub schedule: Schedule,
    /// In what world.
    pub circumstances: Box<Circumstances>,
}

/// A world while its schedule is played.
pub(super) struct Play {
    pub(super) world: World,
    began: Instant,
    /// What the good manifests declare.
    pub(super) wanted: Wanted,
    /// The image that was taken away.
    pub(super) image: Option<String>,
}

/// Runs a seed in its circumstances.
///
/// # Errors
/// With the promise that it broke.
pub async fn run(seed: u64, circumstances: Circumstances) -> Result<(), Failure> {
    let schedule = Schedule::of(seed);
    // Some engines give up a start whose caller goes away, some do not.
    let settings = Settings { seed, gives_up_starts: seed.is_multiple_of(2), ..Settings::default() };
    let world = World::new(settings, circumstances).await;
    let mut play = Play { world, began: Instant::now(), wanted: Wanted::default(), image: None };
    let done = play.play(&schedule).await;
    let at = play.began.elapsed();
    play.world.crash().await;
    let circumstances = Box::new(circumstances);
    done.map_err(|broken| Failure { seed, broken, at, schedule, circumstances })
}

impl Play {
    async fn play(&mut self, schedule: &Schedule) -> Result<(), Broken> {
        self.world.engine.set_fault_plan(FaultPlan {
            calls_per_mille: 30,
            operations: Vec::new(),
            events_per_mille: 100,
            longest_delay: Duration::from_secs(3),
        });
        let hostile =
            manifests::instance("hostile", &Declared::default(), HOSTILE_IMAGE, &self.world.circumstances);
        self.write("hostile", &hostile);
        self.world.boot();
        for (pause, deed) in &schedule.deeds {
            self.pass(*pause).await?;
            self.perform(*deed).await?;
        }
        self.pass(Duration::from_secs(5)).await?;
        self.make_peace().await?;
        let pulls = self.world.engine.calls_of(Operation::Pull);
        if self.world.circumstances.pull_policy == PullPolicy::Never && pulls > 0 {
            return Err(Broken(format!("{pulls} pulls, and nothing may be pulled")));
        }
        if self.world.circumstances.hosts {
            self.drill(&schedule.drill).await?;
            invariants::calls::any(&self.world)?;
            invariants::callbacks::any(&self.world)?;
            invariants::sessions::any(&self.world)?;
        }
        self.be_at_peace(PEACE_LIMIT).await
    }

    /// Lets time pass, and looks at every step of it.
    pub(super) async fn pass(&self, time: Duration) -> Result<(), Broken> {
        let end = Instant::now() + time;
        loop {
            invariants::always(&self.world)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(STEP)).await;
        }
    }

    async fn make_peace(&mut self) -> Result<(), Broken> {
        self.world.engine.set_fault_plan(FaultPlan::default());
        self.world.plugins.set_mood(Mood::Calm);
        self.world.engine.set_registry(circumstances::UP);
        self.world.hosts.set_pace(Pace::Settled);
        self.world.boot();
        self.pass(Duration::from_secs(1)).await?;
        self.be_at_peace(PEACE_LIMIT).await?;
        // It lasts, and a controller that comes in peace changes nothing.
        let (ready, spent): (Vec<Ready>, Vec<Ready>) =
            invariants::ready(&self.world, &self.wanted).into_iter().partition(Ready::is_adoptable);
        let starts = self.world.starts("hostile");
        self.world.crash().await;
        self.world.boot();
        self.pass(PEACE_LASTS).await?;
        invariants::outlived(&self.world, &ready, "the controller's restart")?;
        invariants::spent_are_replaced(&self.world, &spent)?;
        invariants::backs_off(self.world.starts("hostile") - starts, PEACE_LASTS)?;
        // Where containers come and go with their calls, one may be on its way just now.
        let on_demand = self.world.circumstances.activation == ActivationMode::OnDemand;
        // That of the hostile instance is on its way ever again.
        self.be_at_peace(if on_demand { NAP } else { MOMENT }).await
    }

    /// Waits for peace, for no longer than `limit`.
    pub(super) async fn be_at_peace(&self, limit: Duration) -> Result<(), Broken> {
        let limit = Instant::now() + limit;
        loop {
            match invariants::in_peace(&self.world, &self.wanted) {
                Err(broken) if Instant::now() >= limit => return Err(broken),
                Err(_) => self.pass(Duration::from_secs(1)).await?,
                Ok(()) => return Ok(()),
            }
        }
    }
}
