//! How the deeds of a schedule are done, and what has to hold right after some.

use std::fs;
use std::time::Duration;

use plugward::control::renewal;
use plugward_api::instance::Multiplexing;
use plugward_engine::simulated::Signal;
use tokio::time::Instant;

use super::hosts::GUESTS;
use super::invariants::{self, Broken, Ready};
use super::manifests::{self, Declared, IMAGE, MOUNTS};
use super::run::Play;
use super::schedule::Deed;

/// How long a new controller has for what it finds, faults and all.
const ADOPTION_TIME: Duration = Duration::from_secs(15);

impl Play {
    pub(super) async fn perform(&mut self, deed: Deed) -> Result<(), Broken> {
        match deed {
            Deed::Declare(instance, variant) => {
                let declared = self.wanted.instances.get(instance).copied().unwrap_or_default();
                self.declare(instance, Declared { variant, ..declared }).await?;
            }
            Deed::Mounts(instance, mounts) => {
                self.change_mounts(instance, mounts).await?;
            }
            Deed::Multiplexing(instance) if self.wanted.instances.contains_key(instance) => {
                let declared = self.wanted.instances[instance];
                let multiplexing = match declared.multiplexing {
                    Multiplexing::Auto => Multiplexing::Disabled,
                    Multiplexing::Disabled => Multiplexing::Auto,
                };
                self.declare(instance, Declared { multiplexing, ..declared }).await?;
            }
            Deed::Break(instance) if self.wanted.instances.contains_key(instance) => {
                let whole = Declared { variant: 99, ..self.wanted.instances[instance] };
                let whole = self.manifest(instance, &whole);
                self.write(instance, &whole[..whole.len() / 2]);
            }
            Deed::Delete(instance) if self.wanted.instances.remove(instance).is_some() => {
                self.doom(instance);
                for mount in MOUNTS.into_iter().chain(GUESTS) {
                    self.world.history.mount_goes(instance, mount);
                }
                let _ = fs::remove_file(self.world.manifests().join(format!("{instance}.yaml")));
            }
            Deed::EditRuntime(pids) => {
                self.wanted.pids = pids;
                self.write("runtime", &manifests::runtime(pids));
                self.seen().await?;
            }
            Deed::Renew(instance) => {
                // Once the command has its answer, the wish outlives any controller.
                if let Some(view) = self.world.view() {
                    renewal::renew(view, &instance.parse().expect("it is a name"), 0);
                }
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
                    let from = Instant::now();
                    self.world.engine.pause(&container.id);
                    self.pass(Duration::from_secs(2)).await?;
                    self.world.engine.unpause(&container.id);
                    self.world.history.containers_stood_still(instance, from);
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
            Deed::Unmount(seconds) => self.unmount(seconds).await?,
            Deed::Corrupt(instance) => self.corrupt(instance).await?,
            Deed::Break(_) | Deed::Delete(_) | Deed::Multiplexing(_) | Deed::Rest => {}
        }
        Ok(())
    }

    async fn unmount(&mut self, seconds: u64) -> Result<(), Broken> {
        let away = self.world.root().join("away");
        fs::rename(self.world.manifests(), &away).map_err(|error| Broken(error.to_string()))?;
        self.pass(Duration::from_secs(seconds)).await?;
        fs::rename(&away, self.world.manifests()).map_err(|error| Broken(error.to_string()))
    }

    async fn corrupt(&mut self, instance: &str) -> Result<(), Broken> {
        self.world.crash().await;
        let slots = fs::read_dir(self.world.state().join("slots").join(instance));
        for slot in slots.into_iter().flatten().flatten() {
            fs::write(slot.path(), "{").map_err(|error| Broken(error.to_string()))?;
        }
        self.world.boot();
        Ok(())
    }

    /// The next controller starts, and adopts what was ready.
    async fn change_controller(&mut self, mut ready: Vec<Ready>, seconds: u64) -> Result<(), Broken> {
        ready.retain(Ready::is_adoptable);
        self.pass(Duration::from_secs(seconds)).await?;
        self.world.boot();
        self.pass(ADOPTION_TIME).await?;
        invariants::outlived(&self.world, &ready, "the controller's restart")
    }

    /// Waits until the controller has read what was written, as far as one runs.
    async fn seen(&self) -> Result<(), Broken> {
        if self.world.view().is_some() {
            self.pass(Duration::from_secs(3)).await?;
        }
        Ok(())
    }

    /// Writes a manifest, and waits until it is seen.
    async fn declare(&mut self, instance: &'static str, declared: Declared) -> Result<(), Broken> {
        self.write(instance, &self.manifest(instance, &declared));
        self.wanted.instances.insert(instance, declared);
        for mount in declared.mounts().iter().chain(&GUESTS) {
            self.world.history.mount_comes(instance, mount);
        }
        // The file is to be seen before the next deed may break or remove it.
        self.seen().await
    }

    /// Mounts come or go, and nothing that stays is restarted for it.
    async fn change_mounts(&mut self, instance: &'static str, mounts: usize) -> Result<(), Broken> {
        let before = self.wanted.instances.get(instance).copied().unwrap_or_default();
        let mut ready = invariants::ready(&self.world, &self.wanted);
        let after = Declared { mounts, ..before };
        let stays = |slot: &str| invariants::stays(&self.world, &after, slot);
        ready.retain(|ready| ready.instance == instance && stays(&ready.slot) && ready.has_broker());
        for mount in MOUNTS.get(mounts..before.mounts).unwrap_or_default() {
            self.world.history.mount_goes(instance, mount);
        }
        self.declare(instance, after).await?;
        invariants::outlived(&self.world, &ready, "a change of mounts")
    }

    fn manifest(&self, instance: &str, declared: &Declared) -> String {
        manifests::instance(instance, declared, IMAGE, &self.world.circumstances)
    }

    /// What runs of an instance now will not be there for long.
    fn doom(&mut self, instance: &'static str) {
        self.world.history.containers_die(instance);
        for container in self.world.running(instance) {
            self.world.plugins.doom(&container.name);
        }
    }

    pub(super) fn write(&self, name: &str, text: &str) {
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
