//! The promises of the program (design, section 3), as far as they can be broken by chance. Those about calls are in [`calls`],
//! those about the broker in [`callbacks`], and those about hosts that attach in [`sessions`].
//!
//! | promise | when it is checked |
//! | --- | --- |
//! | 1 a declared instance is ready, an undeclared one is gone | in peace |
//! | 2 a manifest that cannot be used, or that cannot be read, removes nothing | in peace, by the variant that runs; at every moment, by deletions |
//! | 4 restarts back off | by the starts of the hostile instance |
//! | 5 only ours is touched | at every moment |
//! | 6 one container a slot, but for the one that an update replaces | at every moment |
//! | 7 a new controller adopts what is ready, but for what has used its broker | after each change of controllers; what is not adopted, in peace |
//! | 9 a hostile plugin costs itself alone | in peace |
//! | 10 nothing secret is shown, and what hosts told is nowhere on disk | in peace |
//! | each mount has its socket, and there is no other | in peace |
//! | a mount that comes or goes restarts none that stays | after each such change |

macro_rules! promise {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(Broken(format!($($words)*)));
        }
    };
}

pub mod callbacks;
pub mod calls;
pub mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plugward::names::label;
use plugward_api::instance::{ActivationMode, Multiplexing, UpdateStrategy};
use plugward_api::{InstanceCondition, InstanceStatus, Kind, Name, Phase, RecordKey, RestartReason};
use plugward_engine::simulated::SimulatedContainer;
use plugward_engine::{ContainerId, ContainerState};

use super::hosts::TOLD;
use super::manifests::{Declared, LONGEST_BACKOFF, MOUNTS, SECRET};
use super::world::World;

/// What the good manifests declare.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Each instance.
    pub instances: BTreeMap<&'static str, Declared>,
    /// The limit of processes that the runtime sets.
    pub pids: u32,
}

/// A promise that was broken, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

/// What holds at every moment.
///
/// # Errors
/// With the promise that does not hold.
pub fn always(world: &World) -> Result<(), Broken> {
    let running = world.all_running();
    let mut slots: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for container in &running {
        slots.entry((instance(container), slot(container))).or_default().push(&container.name);
    }
    // One may start while another serves.
    let most = if world.circumstances.strategy == UpdateStrategy::Surge { 2 } else { 1 };
    let crowded = slots.iter().find(|(_, running)| running.len() > most);
    promise!(crowded.is_none(), "promise 6: too many containers of a slot run: {crowded:?}");
    for stranger in &world.strangers {
        let seen = world.engine.container(stranger.as_str());
        promise!(seen.is_some(), "promise 5: a container that is not ours was removed");
        promise!(
            seen.is_some_and(|seen| seen.starts == 1),
            "promise 5: a container that is not ours was started again"
        );
    }
    promise!(!world.controller_died(), "the controller ended by itself");
    Ok(())
}

/// What holds once nothing disturbs any more.
///
/// # Errors
/// With the promise that does not hold (yet).
pub fn in_peace(world: &World, wanted: &Wanted) -> Result<(), Broken> {
    let declared = &wanted.instances;
    let on_demand = world.circumstances.activation == ActivationMode::OnDemand;
    let Some(view) = world.view() else { return Err(Broken("no controller runs".into())) };
    for (instance, Declared { variant, mounts, .. }) in declared {
        let name: Name = instance.parse().map_err(|_| Broken("a name".into()))?;
        let status = view.book.instance(&name).unwrap_or_default();
        let as_it_is = stays_as_it_is(&status);
        promise!(
            status.phase == Phase::Ready || on_demand && status.phase == Phase::Idle || as_it_is,
            "promise 1: {instance} is {} in peace: {:?}",
            status.phase,
            status.conditions
        );
        let running = world.running(instance);
        let of_mounts = running.iter().filter(|container| !is_of_session(slot(container))).count();
        let slots = if running.iter().any(|container| slot(container) == "shared") { 1 } else { *mounts };
        promise!(
            of_mounts == slots || on_demand && of_mounts < slots || as_it_is && of_mounts <= 2 * slots,
            "promise 1: {of_mounts} containers of {instance} run for {mounts} mounts"
        );
        let (of_sessions, sessions) = (running.len() - of_mounts, world.hosts.sessions_of(instance));
        promise!(
            of_sessions <= sessions,
            "promise 1: {of_sessions} containers of {instance} run for {sessions} sessions"
        );
        for container in &running {
            let ran = container.spec.env.iter().find(|(key, _)| key == "VARIANT").map(|(_, value)| value);
            promise!(
                as_it_is || ran == Some(&variant.to_string()),
                "promise 2: {} is variant {ran:?}, and {variant} is declared: {:?}",
                container.name,
                status.conditions
            );
        }
        let renewal = view.state.renewal(&name);
        let old = view.state.slots(&name).into_iter().find(|(_, slot)| {
            slot.current.as_ref().is_some_and(|start| start.end.is_none() && start.renewal != renewal)
        });
        promise!(
            as_it_is || old.is_none(),
            "promise 2: new containers of {instance} were asked for, and {old:?} is old"
        );
        let shown: BTreeSet<&str> =
            status.slots.iter().filter_map(|slot| slot.container_id.as_deref()).collect();
        let running: BTreeSet<&str> = running.iter().map(|container| container.id.as_str()).collect();
        promise!(
            shown == running || as_it_is && shown.is_subset(&running),
            "promise 1: the status of {instance} shows other containers than run: {shown:?}, {running:?}"
        );
    }
    let names: BTreeSet<&str> = declared.keys().copied().chain(["hostile"]).collect();
    for container in world.ours() {
        let instance = instance(&container);
        promise!(names.contains(instance), "promise 1: {} is left of {instance}", container.name);
    }
    let remembered: BTreeSet<String> = view.state.instances().iter().map(ToString::to_string).collect();
    promise!(
        remembered.iter().all(|instance| names.contains(instance.as_str())),
        "promise 1: what is remembered is not what is declared: {remembered:?}"
    );
    let starts = view.state.instances().into_iter().flat_map(|instance| view.state.slots(&instance));
    let starts =
        starts.map(|(_, slot)| slot.current.iter().chain(slot.outgoing.as_deref()).count()).sum::<usize>();
    let directories = entries(&world.sockets())?.len();
    promise!(directories <= starts, "promise 1: {directories} directories are left for {starts} containers");
    promise!(
        view.records
            .get(&RecordKey {
                kind: Kind::PluginInstance,
                name: "hostile".parse().map_err(|_| Broken("a name".into()))?
            })
            .is_some(),
        "promise 9: the hostile instance is not declared any more"
    );
    sockets_are_those_of_mounts(world, wanted)?;
    nothing_secret_is_shown(world)
}

/// Each mount has a socket, and somebody listens there; what is gone has none.
fn sockets_are_those_of_mounts(world: &World, wanted: &Wanted) -> Result<(), Broken> {
    let declared = wanted.instances.iter().map(|(instance, declared)| (*instance, declared.mounts()));
    let mut expected = BTreeSet::new();
    for (instance, mounts) in declared.chain([("hostile", &MOUNTS[..1])]) {
        for mount in mounts {
            let socket = world.mounts().join(instance).join(format!("{mount}.sock"));
            let answers = UnixStream::connect(&socket);
            promise!(answers.is_ok(), "mount {mount} of {instance} has no socket that answers: {answers:?}");
            expected.insert(socket);
        }
    }
    let mut found = BTreeSet::new();
    for instance in entries(&world.mounts())? {
        found.extend(entries(&instance)?);
    }
    promise!(found == expected, "the sockets are not those of the mounts: {found:?}, {expected:?}");
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Broken> {
    let entries = fs::read_dir(directory).map_err(|error| Broken(error.to_string()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// Promise 7, and that of mounts: containers that were ready before something that is none of their business, and that nobody
/// touched since, run on.
///
/// # Errors
/// With those that do not.
pub fn outlived(world: &World, before: &[Ready], what: &str) -> Result<(), Broken> {
    for Ready { instance, slot, id, .. } in before {
        let container = world.engine.container(id);
        let runs =
            container.is_some_and(|container| matches!(container.state, ContainerState::Running { .. }));
        promise!(runs, "promise 7: the ready container of {instance}'s slot {slot} did not outlive {what}");
    }
    Ok(())
}

/// Promise 4: an instance that never becomes ready is started ever more rarely, down to once in half its
/// longest back-off (the other half is jitter).
///
/// # Errors
/// When it was started more often.
pub fn backs_off(starts: u64, within: Duration) -> Result<(), Broken> {
    // The delay may have begun anew just before: seven doublings lead from 200 ms to 20 s.
    let growing = 7;
    let most = within.as_secs() / (LONGEST_BACKOFF.as_secs() / 2) + growing + 1;
    promise!(starts <= most, "promise 4: the hostile instance was started {starts} times in {within:?}");
    Ok(())
}

/// A container that serves, and has no reason to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Whose it is.
    pub instance: &'static str,
    /// Its slot.
    pub slot: String,
    /// Its ID.
    pub id: String,
    /// What was done with its plugin's broker.
    pub broker: Broker,
    /// How often a container of its slot was replaced since it could not be adopted.
    pub not_adopted: u64,
}

/// What was done with the broker of a container's plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// Nothing.
    Untouched,
    /// It was opened, and the plugin was told of nothing.
    Opened {
        /// Whether the controller did that which runs now.
        now: bool,
    },
    /// The plugin was told of a server.
    Used {
        /// Whether the controller did that which runs now.
        now: bool,
    },
}

// === impl Ready ===

impl Ready {
    /// Whether another controller can take it as it is.
    pub fn is_adoptable(&self) -> bool {
        self.broker == Broker::Untouched
    }

    /// Whether its broker is as good as new, or is this controller's.
    pub fn has_broker(&self) -> bool {
        matches!(self.broker, Broker::Untouched | Broker::Opened { now: true } | Broker::Used { now: true })
    }
}

/// The ready containers, as status and engine agree on them; without those that will end, those that an edit is about to replace, and
/// those that run only while they are needed.
pub fn ready(world: &World, wanted: &Wanted) -> Vec<Ready> {
    let mut found = Vec::new();
    let Some(view) = world.view() else { return found };
    if world.circumstances.activation == ActivationMode::OnDemand {
        return found;
    }
    for (instance, declared) in &wanted.instances {
        let Ok(name) = instance.parse::<Name>() else { continue };
        if !view.book.instance(&name).is_some_and(|status| is_settled(&status)) {
            continue;
        }
        let running = world.running(instance);
        for (slot_name, slot_stored) in view.state.slots(&name) {
            let ready = slot_stored.current.as_ref();
            let ready = ready.filter(|start| start.ready_at.is_some() && start.end.is_none());
            let slot_name = slot_name.to_string();
            if !stays(world, declared, &slot_name) {
                continue;
            }
            let mut running = running.iter().filter(|container| slot(container) == slot_name);
            if let (Some(start), Some(container), None) = (ready, running.next(), running.next())
                && start.container == container.name
                && start.renewal == view.state.renewal(&name)
                && start.recipe.container.pids == Some(wanted.pids.into())
                && start.recipe.container.env.get("VARIANT") == Some(&declared.variant.to_string())
                && !world.plugins.is_mortal(&container.name)
            {
                let id = container.id.as_str().to_owned();
                let broker = broker(world, &container.id);
                let not_adopted = slot_stored.restarts.get(&RestartReason::NotAdoptable).copied();
                let not_adopted = not_adopted.unwrap_or_default();
                found.push(Ready { instance, slot: slot_name, id, broker, not_adopted });
            }
        }
    }
    found
}

fn broker(world: &World, container: &ContainerId) -> Broker {
    let ledger = world.plugins.ledger();
    // The last one's, if it was started again.
    let Some(life) = ledger.brokers().into_values().rfind(|life| life.container == *container) else {
        return Broker::Untouched;
    };
    let now = !world.history.controller_began_between(life.opened, ledger.moment());
    if life.used.is_some() { Broker::Used { now } } else { Broker::Opened { now } }
}

/// Promise 7, where brokers were used: a container that was ready, and whose plugin's broker went with its controller, is replaced for that.
///
/// # Errors
/// With one that is not.
pub fn spent_are_replaced(world: &World, before: &[Ready]) -> Result<(), Broken> {
    let Some(view) = world.view() else { return Ok(()) };
    for Ready { instance, slot, id, not_adopted, .. } in
        before.iter().filter(|ready| matches!(ready.broker, Broker::Used { .. }))
    {
        let runs = world.running(instance).iter().any(|container| container.id.as_str() == id);
        promise!(!runs, "promise 7: a container of {instance}'s slot {slot} runs on without its broker");
        let name = instance.parse().map_err(|_| Broken("a name".into()))?;
        let slots = view.state.slots(&name);
        let restarts =
            slots.iter().find(|(name, _)| name.to_string() == *slot).map(|(_, slot)| &slot.restarts);
        let now = restarts.and_then(|restarts| restarts.get(&RestartReason::NotAdoptable)).copied();
        promise!(
            now.unwrap_or_default() > *not_adopted,
            "promise 7: {instance}'s slot {slot} was restarted for another reason than its broker: {restarts:?}"
        );
    }
    Ok(())
}

/// Whether a slot of an instance that is declared like this has no reason to go.
pub fn stays(world: &World, declared: &Declared, slot: &str) -> bool {
    let shares = world.circumstances.multiplexes && declared.multiplexing == Multiplexing::Auto;
    match slot.strip_prefix("mount-") {
        // It goes with its host.
        _ if is_of_session(slot) => false,
        // The only mount may be served by a container that could have served more.
        Some(mount) => !shares && declared.mounts > 1 && declared.mounts().contains(&mount),
        None => shares,
    }
}

fn is_of_session(slot: &str) -> bool {
    slot.starts_with("session-")
}

fn slot(container: &SimulatedContainer) -> &str {
    container.spec.labels.get(label::SLOT).map_or("", String::as_str)
}

fn instance(container: &SimulatedContainer) -> &str {
    container.spec.labels.get(label::INSTANCE).map_or("", String::as_str)
}

/// Whether an update waits since nobody knows what hosts had told the plugin: that is as good as none until the next edit, or until a
/// host tells it again. The new container waits for that beside the old one.
fn stays_as_it_is(status: &InstanceStatus) -> bool {
    let progress = status.conditions.get(InstanceCondition::Progressing);
    progress.is_some_and(|condition| {
        condition.reason == "UpdateBlocked" && condition.message.contains("is not known")
    })
}

/// Whether an instance is ready, and no update of it is under way or waiting.
fn is_settled(status: &InstanceStatus) -> bool {
    let progress = status.conditions.get(InstanceCondition::Progressing);
    status.phase == Phase::Ready && progress.is_some_and(|condition| condition.reason == "UpToDate")
}

fn nothing_secret_is_shown(world: &World) -> Result<(), Broken> {
    let Some(view) = world.view() else { return Ok(()) };
    for instance in view.book.instances() {
        let status = serde_json::to_string(&view.book.instance(&instance)).unwrap_or_default();
        promise!(!status.contains(SECRET), "promise 10: the status of {instance} shows a secret");
    }
    let metrics = view.render_metrics().map_err(|error| Broken(error.to_string()))?;
    promise!(!String::from_utf8_lossy(&metrics).contains(SECRET), "promise 10: the metrics show a secret");
    private(&world.state())
}

/// Everything below a directory is for its owner alone, and nothing there is what hosts told.
fn private(path: &Path) -> Result<(), Broken> {
    let metadata = fs::symlink_metadata(path).map_err(|error| Broken(error.to_string()))?;
    promise!(
        metadata.permissions().mode() & 0o077 == 0,
        "promise 10: {} can be read by others",
        path.display()
    );
    if metadata.is_dir() {
        return entries(path)?.iter().try_for_each(|entry| private(entry));
    }
    let content = fs::read(path).map_err(|error| Broken(error.to_string()))?;
    let told = content.windows(TOLD.len()).any(|window| window == TOLD.as_bytes());
    promise!(!told, "promise 10: {} has what a host told its plugin", path.display());
    Ok(())
}
