//! What is remembered and seen of an instance: the situation that a plan rests on.
//!
//! An observation asks the engines afresh, with one list call on each for the instance's own containers. No
//! cache stands between the world and a decision, but for what an engine said of an image a moment ago. What can be
//! asked at once is: a plugin that died waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{future::try_join_all, try_join};
use jiff::Timestamp;
use plugward_api::Name;
use plugward_api::image::PullPolicy;
use plugward_api::instance::{ActivationMode, UpdateStrategy};
use plugward_engine::{Container, EngineError, Image};
use rand::Rng;
use rand::rngs::StdRng;

use crate::assignment::{assign, is_never_shared, mounts_of};
use crate::attach::{Guest, Roster};
use crate::clock::Clock;
use crate::desired::{Declaration, Desired, Wanted, declared_mounts};
use crate::engines::{Engines, LiveEngine};
use crate::errors::chain;
use crate::gateway::Gateway;
use crate::names::{ClusterId, MountName, SlotName, instance_selector, label};
use crate::plan::{
    Activation, DirectorySight, EngineSight, ImageSight, Place, PullSight, SessionSight, Sighting, Situation,
    SlotSight, Target, TrialSight,
};
use crate::recipe::{HashKey, Recipe, SpecHash};
use crate::session::Sessions;
use crate::sharing::Sharing;
use crate::slot::{Edit, Start};
use crate::state::State;
use crate::trial::Answer;

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
    /// What hands calls to containers.
    pub gateway: Gateway,
    /// The directories shared with plugins.
    pub sharing: Sharing,
    /// The hosts that attached.
    pub roster: Roster,
    /// The key of spec hashes.
    pub hash_key: HashKey,
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
        self.want_pulled(instance, desired, &slots, &live);
        let (containers, images) =
            try_join!(self.containers(instance, &slots, &live), self.images(desired, &slots, &live))?;
        for (label, mut sighting) in containers {
            // A spare that was promoted keeps its label.
            let slot = owner(&slots, &sighting.name).unwrap_or(label);
            sighting.took_over = self.gateway.slot_of(&sighting.place()).filter(|serves| *serves != slot);
            slots.entry(slot).or_default().containers.push(sighting);
        }
        Self::learn_from(&slots, &live);
        let targets = self.targets(instance, desired, images, &slots, &live);
        let answering: BTreeSet<&str> = live.iter().map(|live| &*live.reference.id).collect();
        let unseen = slots
            .values()
            .flat_map(|sight| sight.stored.current.iter().chain(sight.stored.outgoing.as_deref()))
            .map(|start| &start.engine.id)
            .filter(|id| !answering.contains(&***id))
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
            latest_start: self.state.latest_start(instance),
            may_replace: false,
        })
    }

    /// Says on each engine which images are wanted there for an instance: others are not pulled for it any more.
    fn want_pulled(
        &self,
        instance: &Name,
        desired: &Desired,
        stored: &BTreeMap<SlotName, SlotSight>,
        live: &[LiveEngine],
    ) {
        let mut wanted: BTreeMap<Arc<str>, BTreeSet<String>> = BTreeMap::new();
        let mut want = |engine: EngineSight, recipe: &Recipe| {
            if let EngineSight::Up { engine, .. } = engine
                && recipe.pull_policy != PullPolicy::Never
            {
                wanted.entry(engine.id).or_default().insert(recipe.container.image.clone());
            }
        };
        match desired {
            Desired::Absent | Desired::Undecided => {}
            Desired::Wanted(_, wanted) => want(self.engines.sight(&wanted.host), &wanted.recipe),
            Desired::Kept(..) => {
                for start in stored.values().filter_map(|sight| sight.stored.current.as_ref()) {
                    want(self.engines.sight(&start.engine.host), &start.recipe);
                }
            }
        }
        let edit = desired.declaration().map_or_else(Edit::default, |declaration| declaration.edit);
        let edit = Edit { renewal: self.state.renewal(instance), ..edit };
        let nothing = BTreeSet::new();
        for live in live {
            live.want_pulled(instance, edit, wanted.get(&live.reference.id).unwrap_or(&nothing));
        }
    }

    async fn containers(
        &self,
        instance: &Name,
        stored: &BTreeMap<SlotName, SlotSight>,
        live: &[LiveEngine],
    ) -> Result<Vec<(SlotName, Sighting)>, EngineError> {
        let starts = || {
            stored.values().flat_map(|slot| slot.stored.current.iter().chain(slot.stored.outgoing.as_deref()))
        };
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
            try_join!(live.containers_of(instance, &selector), try_join_all(known.into_iter().map(inspect)))?;
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
        let engine = live.reference.clone();
        let session = self.sessions.sight(&engine.id, &container.id);
        let place = Place { engine, id: container.id, name: container.name };
        let service = self.gateway.sight(&place);
        Sighting {
            hash: SpecHash::from_label(
                container.labels.get(label::SPEC_HASH).map(String::as_str).unwrap_or_default(),
            ),
            engine: place.engine,
            id: place.id,
            name: place.name,
            image_id: container.image_id,
            state: container.state,
            session,
            service,
            took_over: None,
        }
    }

    /// Whether directories can be shared with an engine's plugins.
    fn directory(&self, engine: &EngineSight, recipe: &Recipe) -> DirectorySight {
        let EngineSight::Up { engine, .. } = engine else { return DirectorySight::Usable };
        let Some(account) = self.engines.account(&engine.id) else { return DirectorySight::Usable };
        match self.sharing.look(&account, &recipe.container) {
            Ok(()) => DirectorySight::Usable,
            Err(error) => DirectorySight::Unusable { message: chain(&error) },
        }
    }

    /// What is known of containers of the wanted image that were never started.
    fn trial(&self, seen: &Seen, recipe: &Recipe, live: &[LiveEngine]) -> TrialSight {
        let EngineSight::Up { engine, .. } = &seen.engine else { return TrialSight::Passed };
        let live = live.iter().find(|live| live.reference.id == engine.id);
        match (live, &seen.found) {
            (Some(live), Some(image)) => {
                live.trials.sight(&self.sharing.question(&recipe.container, image), self.clock.now())
            }
            _ => TrialSight::Passed,
        }
    }

    /// Where a plugin speaks to us, its engine sees the directory that it is in.
    fn learn_from(slots: &BTreeMap<SlotName, SlotSight>, live: &[LiveEngine]) {
        for sight in slots.values() {
            for start in sight.stored.current.iter().chain(sight.stored.outgoing.as_deref()) {
                let speaks = |found: &&Sighting| {
                    found.name == start.container && matches!(found.session, SessionSight::Ready { .. })
                };
                let found = sight.containers.iter().find(speaks);
                let live =
                    found.and_then(|found| live.iter().find(|live| live.reference.id == found.engine.id));
                if let (Some(live), Some(directory)) = (live, start.directory.parent()) {
                    live.trials.learn_directory(directory, Answer::GOOD);
                }
            }
        }
    }

    /// When a container of a slot is to run.
    /// `for_each`: all of its instance's containers are for one mount or session.
    fn activation(&self, declaration: &Declaration, slot: &SlotName, for_each: bool) -> Activation {
        let instance = declaration.record();
        let activation = &instance.spec.activation;
        if for_each
            && *slot == SlotName::Shared
            && instance.spec.attach.enabled
            && instance.spec.mounts.is_empty()
        {
            // Nobody is ever served from there: each host that attaches gets a container of its own.
            let (idle_since, idle_timeout) = (Timestamp::UNIX_EPOCH, Duration::ZERO);
            return Activation::OnDemand { needed: false, idle_since, idle_timeout };
        }
        match activation.mode {
            ActivationMode::Eager => Activation::Eager,
            ActivationMode::OnDemand => match self.gateway.demand(&instance.metadata.name, slot) {
                Some(demand) => Activation::OnDemand {
                    needed: !demand.is_idle(),
                    idle_since: demand.idle_since,
                    idle_timeout: activation.idle_timeout.get(),
                },
                None => Activation::OnDemand {
                    needed: false,
                    idle_since: self.clock.now(),
                    idle_timeout: activation.idle_timeout.get(),
                },
            },
        }
    }

    /// What a slot's container is made from: as wanted, and as the host of its session wishes it. While that is awaited, its container stays
    /// as it is.
    fn recipe_for(
        &self,
        slot: &SlotName,
        guests: &[Guest],
        wanted: &Wanted,
        stored: Option<&Start>,
    ) -> (Arc<Recipe>, SpecHash) {
        let session = match slot {
            SlotName::Mount(mount) => mount.session(),
            SlotName::Shared | SlotName::Spare(_) => None,
        };
        let guest = session.and_then(|id| guests.iter().find(|guest| guest.id == *id));
        match (guest.map(|guest| &guest.wishes), stored) {
            (Some(Some(wishes)), _) => {
                match wanted.recipe.for_session(wishes.passed.variables(), wishes.multiplexed) {
                    Some(recipe) => {
                        let hash = recipe.container.hash(&self.hash_key);
                        (Arc::new(recipe), hash)
                    }
                    None => (wanted.recipe.clone(), wanted.hash.clone()),
                }
            }
            (Some(None), Some(start)) => (start.recipe.clone(), start.hash.clone()),
            _ => (wanted.recipe.clone(), wanted.hash.clone()),
        }
    }

    /// The images that are wanted, by slot: of a record that can be acted on one for all.
    async fn images(
        &self,
        desired: &Desired,
        stored: &BTreeMap<SlotName, SlotSight>,
        live: &[LiveEngine],
    ) -> Result<Images, EngineError> {
        match desired {
            Desired::Absent | Desired::Undecided => Ok(Images::Of(BTreeMap::new())),
            Desired::Wanted(_, wanted) => {
                let engine = self.engines.sight(&wanted.host);
                Ok(Images::Wanted(Box::new(look(engine, &wanted.recipe, live).await?)))
            }
            Desired::Kept(..) => {
                let mut images = BTreeMap::new();
                for (name, sight) in stored {
                    let Some(start) = &sight.stored.current else { continue };
                    let engine = self.engines.sight(&start.engine.host);
                    images.insert(name.clone(), look(engine, &start.recipe, live).await?);
                }
                Ok(Images::Of(images))
            }
        }
    }

    fn targets(
        &self,
        instance: &Name,
        desired: &Desired,
        images: Images,
        slots: &BTreeMap<SlotName, SlotSight>,
        live: &[LiveEngine],
    ) -> BTreeMap<SlotName, Target> {
        let renewal = self.state.renewal(instance);
        match (desired, images) {
            (Desired::Wanted(declaration, wanted), Images::Wanted(seen)) => {
                let spec = &declaration.record().spec;
                let multiplexes = match &seen.image {
                    ImageSight::Found { id } => self.state.multiplexes(id),
                    ImageSight::Unknown | ImageSight::Missing | ImageSight::Mismatch { .. } => None,
                };
                let directory = self.directory(&seen.engine, &wanted.recipe);
                let trial = self.trial(&seen, &wanted.recipe, live);
                let known: Vec<&SlotName> = slots.keys().collect();
                let guests = self.roster.of(instance);
                let sessions = guests.iter().map(|guest| MountName::Session(guest.id.clone()));
                let mounts: Vec<MountName> = wanted.mounts.iter().cloned().chain(sessions).collect();
                let assigned = assign(&mounts, spec.multiplexing, multiplexes, &known);
                let for_each = is_never_shared(spec.multiplexing, multiplexes);
                let spares = (1..=spec.standby).map(|number| (SlotName::Spare(number), Vec::new()));
                let targets = assigned.into_iter().chain(spares).map(|(slot, mounts)| {
                    let stored = slots.get(&slot).and_then(|sight| sight.stored.current.as_ref());
                    let (recipe, hash) = self.recipe_for(&slot, &guests, wanted, stored);
                    let target = Target {
                        edit: Edit { renewal, ..declaration.edit },
                        recipe,
                        hash,
                        engine: seen.engine.clone(),
                        directory: directory.clone(),
                        trial: trial.clone(),
                        image: seen.image.clone(),
                        pull: seen.pull.clone(),
                        mounts,
                        // A spare serves nobody who could be cut off.
                        strategy: if slot.is_spare() {
                            UpdateStrategy::Recreate
                        } else {
                            spec.update.strategy
                        },
                        activation: self.activation(declaration, &slot, for_each),
                    };
                    (slot, target)
                });
                targets.collect()
            }
            (Desired::Kept(declaration, _), Images::Of(images)) => {
                let spec = &declaration.record().spec;
                let sessions = self.roster.of(instance).into_iter().map(|guest| MountName::Session(guest.id));
                let mounts: Vec<MountName> = declared_mounts(spec).into_iter().chain(sessions).collect();
                let over = |name: &SlotName| match name {
                    SlotName::Mount(mount) => mount.session().is_some() && !mounts.contains(mount),
                    SlotName::Shared | SlotName::Spare(_) => false,
                };
                let targets =
                    images.into_iter().filter(|(name, _)| !over(name)).filter_map(|(name, seen)| {
                        let start = slots.get(&name)?.stored.current.as_ref()?;
                        let edit = start.end.as_ref().map(|end| end.edit).unwrap_or_default();
                        let target = Target {
                            edit: Edit { renewal, ..edit },
                            recipe: start.recipe.clone(),
                            hash: start.hash.clone(),
                            directory: self.directory(&seen.engine, &start.recipe),
                            trial: self.trial(&seen, &start.recipe, live),
                            engine: seen.engine,
                            image: seen.image,
                            pull: seen.pull,
                            mounts: mounts_of(&name, &mounts),
                            strategy: spec.update.strategy,
                            activation: Activation::Eager,
                        };
                        Some((name, target))
                    });
                targets.collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// The slot that remembers a container as one of its starts'.
fn owner(slots: &BTreeMap<SlotName, SlotSight>, container: &str) -> Option<SlotName> {
    let remembers = |sight: &SlotSight| {
        let mut starts = sight.stored.current.iter().chain(sight.stored.outgoing.as_deref());
        starts.any(|start| start.container == container)
    };
    slots.iter().find(|(_, sight)| remembers(sight)).map(|(name, _)| name.clone())
}

/// An engine, and the wanted image there.
struct Seen {
    engine: EngineSight,
    image: ImageSight,
    /// The image itself, if it is there.
    found: Option<Image>,
    pull: PullSight,
}

/// Engines and images as they are seen.
enum Images {
    /// What is wanted of all slots.
    Wanted(Box<Seen>),
    /// What each slot has.
    Of(BTreeMap<SlotName, Seen>),
}

/// The wanted image on the wanted engine.
async fn look(engine: EngineSight, recipe: &Recipe, live: &[LiveEngine]) -> Result<Seen, EngineError> {
    let live = match &engine {
        EngineSight::Up { engine, .. } => live.iter().find(|live| live.reference.id == engine.id),
        EngineSight::Down { .. } => None,
    };
    let Some(live) = live else {
        return Ok(Seen { engine, image: ImageSight::Unknown, found: None, pull: PullSight::None });
    };
    let may_pull = recipe.pull_policy != PullPolicy::Never;
    // Before the image: one that was pulled in between is seen, and no pull is begun for it.
    let pull = if may_pull { live.pull(&recipe.container.image) } else { PullSight::None };
    let found = live.image(&recipe.container.image).await?;
    Ok(Seen { image: image_sight(recipe, found.as_ref()), found, engine, pull })
}

/// The wanted image as an engine has it.
fn image_sight(recipe: &Recipe, image: Option<&Image>) -> ImageSight {
    let Some(image) = image else { return ImageSight::Missing };
    let found = || ImageSight::Found { id: image.id.clone() };
    let Some(wanted) = &recipe.container.image_id else { return found() };
    let has_digest = |digest: &String| digest.split_once('@').is_some_and(|(_, digest)| digest == wanted);
    if image.id == *wanted || image.repo_digests.iter().any(has_digest) {
        return found();
    }
    // Another name of the same manifest has the same digest.
    let digests = image.repo_digests.iter().filter_map(|digest| Some(digest.split_once('@')?.1));
    let digests: Vec<&str> = digests.collect::<BTreeSet<&str>>().into_iter().collect();
    let found = match &digests[..] {
        [] => format!("{} (no manifest digest: it came from no registry)", image.id),
        digests => format!("{} (manifest digest {})", image.id, digests.join(", ")),
    };
    ImageSight::Mismatch { found }
}
