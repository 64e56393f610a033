//! What is remembered and seen of an instance: the situation that a plan rests on.
//!
//! An observation asks the engines afresh, with one list call on each for the instance's own containers. No
//! cache stands between the world and a decision. What can be asked at once is: a plugin that died waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use futures::{future::try_join_all, try_join};
use plugward_api::Name;
use plugward_engine::{Container, EngineError};
use rand::Rng;
use rand::rngs::StdRng;

use crate::clock::Clock;
use crate::desired::Desired;
use crate::engines::{Engines, LiveEngine};
use crate::names::{ClusterId, SlotName, instance_selector, label};
use crate::plan::{EngineSight, ImageSight, SessionSight, Sighting, Situation, SlotSight, Target};
use crate::recipe::{Recipe, SpecHash};
use crate::session::Sessions;
use crate::state::State;

/// Looks at the world.
pub struct Observer {
    /// Whose containers are ours.
    pub cluster: ClusterId,
    /// What is remembered.
    pub state: State,
    /// The engines.
    pub engines: Engines,
    /// The conversations.
    pub sessions: Sessions,
    /// The time of day.
    pub clock: Clock,
    /// What jitter is drawn from.
    pub chance: Mutex<StdRng>,
}

impl Observer {
    /// The situation of an instance.
    ///
    /// # Errors
    /// When an engine that answered before does not.
    pub async fn observe(&self, instance: &Name, desired: &Desired) -> Result<Situation, EngineError> {
        let live = self.engines.live();
        let mut slots: BTreeMap<SlotName, SlotSight> = self
            .state
            .slots(instance)
            .into_iter()
            .map(|(name, stored)| (name, SlotSight { stored, containers: Vec::new() }))
            .collect();
        let (containers, targets) =
            try_join!(self.containers(instance, &slots, &live), self.targets(desired, &slots, &live))?;
        for (slot, sighting) in containers {
            slots.entry(slot).or_default().containers.push(sighting);
        }
        let answering: BTreeSet<&str> = live.iter().map(|live| live.reference.id.as_str()).collect();
        let unseen = slots
            .values()
            .flat_map(|sight| sight.stored.current.iter().chain(&sight.stored.outgoing))
            .map(|start| &start.engine.id)
            .filter(|id| !answering.contains(id.as_str()))
            .cloned()
            .collect();
        Ok(Situation {
            now: self.clock.now(),
            random: self.chance.lock().unwrap_or_else(PoisonError::into_inner).random(),
            cluster: self.cluster.clone(),
            instance: instance.clone(),
            targets,
            slots,
            unseen,
            may_replace: false,
        })
    }

    async fn containers(
        &self,
        instance: &Name,
        stored: &BTreeMap<SlotName, SlotSight>,
        live: &[LiveEngine],
    ) -> Result<Vec<(SlotName, Sighting)>, EngineError> {
        let starts =
            || stored.values().flat_map(|slot| slot.stored.current.iter().chain(&slot.stored.outgoing));
        let found = live.iter().map(|live| {
            let known = starts().filter(|start| start.engine.id == live.reference.id);
            self.containers_on(instance, live, known.map(|start| start.container.as_str()).collect())
        });
        Ok(try_join_all(found).await?.into_iter().flatten().collect())
    }

    /// The instance's containers on an engine. Those whose names are `known` are inspected while the list is made.
    async fn containers_on(
        &self,
        instance: &Name,
        live: &LiveEngine,
        known: Vec<&str>,
    ) -> Result<Vec<(SlotName, Sighting)>, EngineError> {
        let selector = instance_selector(&self.cluster, instance);
        let inspect = |name| live.engine.inspect(name);
        let (listed, known) =
            try_join!(live.engine.list(&selector), try_join_all(known.into_iter().map(inspect)))?;
        let mut known: Vec<Container> = known.into_iter().flatten().collect();
        let containers = listed.iter().map(|listed| {
            let at = known.iter().position(|known| known.id == listed.id);
            let inspected = at.map(|at| known.swap_remove(at));
            async move {
                // Labels of ours with a slot that is none: made by hand, or by a later version. Not ours to touch.
                let Some(slot) = listed.labels.get(label::SLOT).and_then(|slot| slot.parse().ok()) else {
                    return Ok(None);
                };
                let container = match inspected {
                    Some(container) => Some(container),
                    None => live.engine.inspect(listed.id.as_str()).await?,
                };
                Ok::<_, EngineError>(container.map(|container| (slot, self.sighting(live, container))))
            }
        });
        Ok(try_join_all(containers).await?.into_iter().flatten().collect())
    }

    fn sighting(&self, live: &LiveEngine, container: Container) -> Sighting {
        let session: SessionSight = self.sessions.sight(&live.reference.id, &container.id);
        Sighting {
            engine: live.reference.clone(),
            hash: SpecHash::from_label(
                container.labels.get(label::SPEC_HASH).map(String::as_str).unwrap_or_default(),
            ),
            id: container.id,
            name: container.name,
            image_id: container.image_id,
            state: container.state,
            session,
        }
    }

    async fn targets(
        &self,
        desired: &Desired,
        slots: &BTreeMap<SlotName, SlotSight>,
        live: &[LiveEngine],
    ) -> Result<BTreeMap<SlotName, Target>, EngineError> {
        match desired {
            Desired::Absent | Desired::Undecided => Ok(BTreeMap::new()),
            Desired::Wanted(declaration, wanted) => {
                let engine = self.engines.sight(&wanted.host);
                let image = image_sight(&engine, &wanted.recipe, live).await?;
                let target = Target {
                    edit: declaration.edit,
                    recipe: wanted.recipe.clone(),
                    hash: wanted.hash.clone(),
                    engine,
                    image,
                };
                Ok(BTreeMap::from([(SlotName::Shared, target)]))
            }
            Desired::Kept(..) => {
                let mut targets = BTreeMap::new();
                for (name, sight) in slots {
                    let Some(start) = &sight.stored.current else { continue };
                    let engine = self.engines.sight(&start.engine.host);
                    let image = image_sight(&engine, &start.recipe, live).await?;
                    let edit = start.end.as_ref().map(|end| end.edit).unwrap_or_default();
                    let recipe = start.recipe.clone();
                    let hash = start.hash.clone();
                    targets.insert(name.clone(), Target { edit, recipe, hash, engine, image });
                }
                Ok(targets)
            }
        }
    }
}

/// The wanted image as the wanted engine has it.
async fn image_sight(
    engine: &EngineSight,
    recipe: &Recipe,
    live: &[LiveEngine],
) -> Result<ImageSight, EngineError> {
    let EngineSight::Up { engine, .. } = engine else { return Ok(ImageSight::Unknown) };
    let Some(live) = live.iter().find(|live| live.reference.id == engine.id) else {
        return Ok(ImageSight::Unknown);
    };
    let Some(image) = live.engine.inspect_image(&recipe.container.image).await? else {
        return Ok(ImageSight::Missing);
    };
    let Some(wanted) = &recipe.container.image_id else {
        return Ok(ImageSight::Found { id: image.id });
    };
    let has_digest = |digest: &String| digest.split_once('@').is_some_and(|(_, digest)| digest == wanted);
    if image.id == *wanted || image.repo_digests.iter().any(has_digest) {
        return Ok(ImageSight::Found { id: image.id });
    }
    let mut found = image.id;
    if !image.repo_digests.is_empty() {
        found = format!("{found} (digests: {})", image.repo_digests.join(", "));
    }
    Ok(ImageSight::Mismatch { found })
}
