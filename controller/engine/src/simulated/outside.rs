//! What a test sees of a simulated engine and does to it, past the port.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::SimulatedEngine;
use super::containers::{Entry, State};
use super::fault::{Disturbance, Fault, FaultPlan};
use super::process::End;
use super::script::{Script, Signal, StartedContainer};
use super::world::{Condition, Life, World};
use crate::container::{ContainerId, ContainerSpec, ContainerState};
use crate::error::Operation;
use crate::event::EventKind;

/// A container as it is, with what the port does not show.
#[derive(Debug, Clone)]
pub struct SimulatedContainer {
    /// Its ID.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// How it was made: labels, environment, binds.
    pub spec: Arc<ContainerSpec>,
    /// The ID of its image.
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
    /// How often its process was started.
    pub starts: u32,
}

/// Images.
impl SimulatedEngine {
    /// Loads an image under a name and returns its ID. Its containers do what `behaviour` says.
    pub fn add_image(
        &self,
        name: &str,
        behaviour: impl Fn(&StartedContainer) -> Script + Send + Sync + 'static,
    ) -> String {
        let mut world = self.shared.world();
        let id = format!("sha256:{}", world.new_id());
        world.images.add(id.clone(), Arc::new(behaviour));
        world.images.name(name, &id);
        self.publish_image(&mut world, &id, "load");
        id
    }

    /// Points a name at an image, whatever it pointed at before.
    pub fn tag_image(&self, id: &str, name: &str) {
        let mut world = self.shared.world();
        world.images.name(name, id);
        self.publish_image(&mut world, id, "tag");
    }

    /// Takes a name away; the image goes with its last one. False when there is no such name.
    pub fn remove_image(&self, name: &str) -> bool {
        let mut world = self.shared.world();
        let Some((id, gone)) = world.images.remove_name(name) else { return false };
        self.publish_image(&mut world, &id, "untag");
        if gone {
            self.publish_image(&mut world, &id, "delete");
        }
        true
    }

    /// The next start of a container that matches goes by this script, whatever its image says. Used up by it.
    pub fn on_next_start(
        &self,
        matches: impl Fn(&StartedContainer) -> bool + Send + 'static,
        script: Script,
    ) {
        self.shared.world().next_starts.push((Box::new(matches), script));
    }

    fn publish_image(&self, world: &mut World, id: &str, action: &str) {
        let kind = EventKind::Image { reference: id.to_owned(), action: action.to_owned() };
        self.shared.publish(world, kind);
    }
}

/// Containers.
impl SimulatedEngine {
    /// All of them, the oldest first.
    pub fn containers(&self) -> Vec<SimulatedContainer> {
        self.shared.world().containers.iter().map(SimulatedContainer::of).collect()
    }

    /// One by ID, name, or the beginning of its ID.
    pub fn container(&self, reference: &str) -> Option<SimulatedContainer> {
        self.shared.world().containers.find(reference).map(SimulatedContainer::of)
    }

    /// Those with all of these labels, the newest first.
    pub fn with_labels(&self, labels: &BTreeMap<String, String>) -> Vec<SimulatedContainer> {
        self.shared.world().containers.with_labels(labels).map(SimulatedContainer::of).collect()
    }

    /// Those that run with this directory of the machine bound.
    pub fn running_with_bind(&self, source: &Path) -> Vec<SimulatedContainer> {
        let world = self.shared.world();
        let running = world.containers.iter().filter(|entry| entry.process().is_some());
        running
            .filter(|entry| entry.spec.binds.iter().any(|bind| bind.source == source))
            .map(SimulatedContainer::of)
            .collect()
    }

    /// Sends a signal to the process, as `kill` on the machine does. False when none runs.
    pub fn kill_process(&self, id: &ContainerId, signal: Signal) -> bool {
        let world = self.shared.world();
        let process = world.containers.get(id).and_then(Entry::process);
        process.map(|process| drop(process.signal(signal))).is_some()
    }

    /// Somebody else's `docker rm -f`. False when there is no such container.
    pub fn remove_from_outside(&self, id: &ContainerId) -> bool {
        let mut world = self.shared.world();
        let now = world.now();
        let Some(entry) = world.containers.get_mut(id) else { return false };
        if entry.end(KILLED, now) {
            self.shared.publish_container(&mut world, id, "die");
        }
        self.shared.publish_container(&mut world, id, "destroy");
        world.containers.remove(id);
        true
    }

    /// Somebody else's `docker pause`. False when it does not run.
    pub fn pause(&self, id: &ContainerId) -> bool {
        self.set_paused(id, true, "pause")
    }

    /// Somebody else's `docker unpause`. False when it does not run.
    pub fn unpause(&self, id: &ContainerId) -> bool {
        self.set_paused(id, false, "unpause")
    }

    fn set_paused(&self, id: &ContainerId, pause: bool, action: &str) -> bool {
        let mut world = self.shared.world();
        let Some(entry) = world.containers.get_mut(id) else { return false };
        let State::Running { paused, process, .. } = &mut entry.state else { return false };
        *paused = pause;
        process.paused.send_replace(pause);
        self.shared.publish_container(&mut world, id, action);
        true
    }
}

/// The daemon.
impl SimulatedEngine {
    /// The daemon ends: calls under way and later ones fail, streams end, events are forgotten. Containers are
    /// killed, unless the engine restores them alive ([`super::Settings::live_restore`]).
    pub fn stop_engine(&self) {
        self.shared.set_life(|life| life.condition = Condition::Down);
        let mut world = self.shared.world();
        world.events.clear();
        if world.settings.live_restore {
            return;
        }
        let now = world.now();
        for entry in world.containers.iter_mut() {
            entry.end(KILLED, now);
        }
    }

    /// The daemon starts again.
    pub fn start_engine(&self) {
        self.shared.set_life(|life| *life = Life { run: life.run + 1, condition: Condition::Up });
    }

    /// The daemon stops answering, as under SIGSTOP: connections stay, nothing comes.
    pub fn freeze_engine(&self) {
        self.shared.set_life(|life| life.condition = Condition::Frozen);
    }

    /// The daemon goes on where it was.
    pub fn thaw_engine(&self) {
        self.shared.set_life(|life| life.condition = Condition::Up);
    }

    /// Another engine answers at this address.
    pub fn set_engine_id(&self, id: &str) {
        id.clone_into(&mut self.shared.world().engine_id);
    }
}

/// Faults and counts.
impl SimulatedEngine {
    /// The next call of this operation has this fault. Several are used up in order.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.shared.world().faults.calls.entry(operation).or_default().push_back(fault);
    }

    /// The next event is disturbed so. Several are used up in order.
    pub fn disturb_next_event(&self, disturbance: Disturbance) {
        self.shared.world().faults.events.push_back(disturbance);
    }

    /// From here on this goes wrong by chance.
    pub fn set_fault_plan(&self, plan: FaultPlan) {
        self.shared.world().faults.plan = plan;
    }

    /// How often each operation was called, faults included.
    pub fn calls(&self) -> BTreeMap<Operation, u64> {
        self.shared.world().calls.clone()
    }

    /// How often an operation was called.
    pub fn calls_of(&self, operation: Operation) -> u64 {
        self.shared.world().calls.get(&operation).copied().unwrap_or_default()
    }

    /// How many events listeners have lost because they read too slowly.
    pub fn events_lost(&self) -> u64 {
        self.shared.world().events.lost()
    }
}

/// What SIGKILL leaves.
const KILLED: End = End { code: 137, oom_killed: false };

impl SimulatedContainer {
    fn of(entry: &Entry) -> Self {
        Self {
            id: entry.id.clone(),
            name: entry.name.clone(),
            spec: Arc::clone(&entry.spec),
            image_id: entry.image_id.clone(),
            state: entry.inspected().state,
            starts: entry.starts,
        }
    }
}
