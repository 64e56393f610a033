//! One seed, from the first manifest to peace.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use plugward_engine::simulated::{FaultPlan, Settings, Signal};
use tokio::time::{Instant, sleep};

use super::invariants::{self, Broken, Wanted};
use super::manifests::{self, HOSTILE_IMAGE, IMAGE};
use super::plugin::Mood;
use super::schedule::{Deed, INSTANCES, Schedule};
use super::world::World;

/// How often the promises that always hold are checked, in simulated time.
const STEP: Duration = Duration::from_millis(50);

/// How long peace may take to come, in simulated time: a few of the longest delays.
const PEACE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a new controller has for what it finds, faults and all.
const ADOPTION_TIME: Duration = Duration::from_secs(15);

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
}

struct Play {
    world: World,
    began: Instant,
    wanted: Wanted,
    image: Option<String>,
}

/// Runs a seed.
///
/// # Errors
/// With the promise that it broke.
pub async fn run(seed: u64) -> Result<(), Failure> {
    let schedule = Schedule::of(seed);
    // Some engines give up a start whose caller goes away, some do not.
    let world =
        World::new(Settings { seed, gives_up_starts: seed.is_multiple_of(2), ..Settings::default() }).await;
    let mut play = Play { world, began: Instant::now(), wanted: Wanted::default(), image: None };
    let done = play.play(&schedule).await;
    let at = play.began.elapsed();
    play.world.crash().await;
    done.map_err(|broken| Failure { seed, broken, at, schedule })
}

impl Play {
    async fn play(&mut self, schedule: &Schedule) -> Result<(), Broken> {
        self.world.engine.set_fault_plan(FaultPlan {
            calls_per_mille: 30,
            operations: Vec::new(),
            events_per_mille: 100,
            longest_delay: Duration::from_secs(3),
        });
        self.write("hostile", &manifests::instance("hostile", 0, HOSTILE_IMAGE));
        self.world.boot();
        for (pause, deed) in &schedule.0 {
            self.pass(*pause).await?;
            self.perform(*deed).await?;
        }
        self.pass(Duration::from_secs(5)).await?;
        self.make_peace().await
    }

    /// Lets time pass, and looks at every step of it.
    async fn pass(&self, time: Duration) -> Result<(), Broken> {
        let end = Instant::now() + time;
        loop {
            invariants::always(&self.world, &INSTANCES)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(STEP)).await;
        }
    }

    async fn perform(&mut self, deed: Deed) -> Result<(), Broken> {
        match deed {
            Deed::Declare(instance, variant) => {
                self.write(instance, &manifests::instance(instance, variant, IMAGE));
                self.wanted.variants.insert(instance, variant);
                // The file is to be seen before the next deed may break or remove it.
                self.seen().await?;
            }
            Deed::Break(instance) if self.wanted.variants.contains_key(instance) => {
                let whole = manifests::instance(instance, 99, IMAGE);
                self.write(instance, &whole[..whole.len() / 2]);
            }
            Deed::Delete(instance) if self.wanted.variants.remove(instance).is_some() => {
                self.doom(instance);
                let _ = fs::remove_file(self.world.manifests().join(format!("{instance}.yaml")));
            }
            Deed::EditRuntime(pids) => {
                self.wanted.pids = pids;
                self.write("runtime", &manifests::runtime(pids));
                self.seen().await?;
            }
            Deed::Kill(instance) => {
                self.doom(instance);
                for container in self.world.running(instance) {
                    self.world.engine.kill_process(&container.id, Signal::Kill);
                }
            }
            Deed::Remove(instance) => {
                self.doom(instance);
                for container in self.world.running(instance) {
                    self.world.engine.remove_from_outside(&container.id);
                }
            }
            Deed::Pause(instance) => {
                for container in self.world.running(instance) {
                    self.world.engine.pause(&container.id);
                    self.pass(Duration::from_secs(2)).await?;
                    self.world.engine.unpause(&container.id);
                }
            }
            Deed::EngineRestart(seconds) => {
                self.world.engine.stop_engine();
                self.pass(Duration::from_secs(seconds)).await?;
                self.world.engine.start_engine();
            }
            Deed::EngineFreeze(seconds) => {
                self.world.engine.freeze_engine();
                self.pass(Duration::from_secs(seconds)).await?;
                self.world.engine.thaw_engine();
            }
            Deed::ImageGone(seconds) => {
                self.take_image_away();
                self.pass(Duration::from_secs(seconds)).await?;
                self.bring_image_back();
            }
            Deed::Crash(seconds) => {
                let ready = invariants::ready(&self.world, &self.wanted);
                self.world.crash().await;
                self.change_controller(ready, seconds).await?;
            }
            Deed::Restart(seconds) => {
                let ready = invariants::ready(&self.world, &self.wanted);
                self.world.stop().await;
                self.change_controller(ready, seconds).await?;
            }
            Deed::Unmount(seconds) => {
                let away = self.world.root().join("away");
                fs::rename(self.world.manifests(), &away).map_err(|error| Broken(error.to_string()))?;
                self.pass(Duration::from_secs(seconds)).await?;
                fs::rename(&away, self.world.manifests()).map_err(|error| Broken(error.to_string()))?;
            }
            Deed::Corrupt(instance) => {
                self.world.crash().await;
                let slot = self.world.state().join("slots").join(instance).join("shared.json");
                if slot.exists() {
                    fs::write(slot, "{").map_err(|error| Broken(error.to_string()))?;
                }
                self.world.boot();
            }
            Deed::Break(_) | Deed::Delete(_) | Deed::Rest => {}
        }
        Ok(())
    }

    /// The next controller starts, and adopts what was ready.
    async fn change_controller(
        &mut self,
        ready: BTreeMap<String, String>,
        seconds: u64,
    ) -> Result<(), Broken> {
        self.pass(Duration::from_secs(seconds)).await?;
        self.world.boot();
        self.pass(ADOPTION_TIME).await?;
        invariants::adopted(&self.world, &ready)
    }

    /// Waits until the controller has read what was written, as far as one runs.
    async fn seen(&self) -> Result<(), Broken> {
        if self.world.view().is_some() {
            self.pass(Duration::from_secs(3)).await?;
        }
        Ok(())
    }

    async fn make_peace(&mut self) -> Result<(), Broken> {
        self.world.engine.set_fault_plan(FaultPlan::default());
        self.world.plugins.set_mood(Mood::Calm);
        self.world.boot();
        let limit = Instant::now() + PEACE_LIMIT;
        loop {
            self.pass(Duration::from_secs(1)).await?;
            match invariants::in_peace(&self.world, &self.wanted) {
                Ok(()) => break,
                Err(broken) if Instant::now() > limit => return Err(broken),
                Err(_) => {}
            }
        }
        // It lasts, and a controller that comes in peace changes nothing.
        let ready = invariants::ready(&self.world, &self.wanted);
        let starts = self.world.starts("hostile");
        self.world.crash().await;
        self.world.boot();
        self.pass(PEACE_LASTS).await?;
        invariants::adopted(&self.world, &ready)?;
        invariants::backs_off(self.world.starts("hostile") - starts, PEACE_LASTS)?;
        invariants::in_peace(&self.world, &self.wanted)
    }

    /// What runs of an instance now will not be there for long.
    fn doom(&self, instance: &str) {
        for container in self.world.running(instance) {
            self.world.plugins.doom(&container.name);
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.world.manifests().join(format!("{name}.yaml"));
        fs::write(path, text).expect("a manifest is written");
    }

    fn take_image_away(&mut self) {
        let id =
            self.world.engine.containers().iter().find(|c| c.spec.image == IMAGE).map(|c| c.image_id.clone());
        if let Some(id) = id {
            // A second name keeps the image for its return.
            self.world.engine.tag_image(&id, "kept:1");
            self.world.engine.remove_image(IMAGE);
            self.image = Some(id);
        }
    }

    fn bring_image_back(&mut self) {
        if let Some(id) = self.image.take() {
            self.world.engine.tag_image(&id, IMAGE);
        }
    }
}
