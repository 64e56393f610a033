//! The promises of the program (design, section 3), as far as they can be broken by chance.
//!
//! | promise | when it is checked |
//! | --- | --- |
//! | 1 a declared instance is ready, an undeclared one is gone | in peace |
//! | 2 a manifest that cannot be used, or that cannot be read, removes nothing | in peace, by the variant that runs; at every moment, by deletions |
//! | 4 restarts back off | by the starts of the hostile instance |
//! | 5 only ours is touched | at every moment |
//! | 6 one container a slot | at every moment |
//! | 7 a new controller adopts what is ready | after each change of controllers |
//! | 9 a hostile plugin costs itself alone | in peace |
//! | 10 nothing secret is shown | in peace |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use plugward::names::label;
use plugward_api::{InstanceCondition, InstanceStatus, Kind, Name, Phase, RecordKey};
use plugward_engine::ContainerState;

use super::manifests::{LONGEST_BACKOFF, SECRET};
use super::world::World;

/// What the good manifests declare.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The variant of each instance.
    pub variants: BTreeMap<&'static str, u32>,
    /// The limit of processes that the runtime sets.
    pub pids: u32,
}

/// A promise that was broken, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

macro_rules! promise {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(Broken(format!($($words)*)));
        }
    };
}

/// What holds at every moment.
///
/// # Errors
/// With the promise that does not hold.
pub fn always(world: &World, instances: &[&str]) -> Result<(), Broken> {
    for instance in instances {
        let running = world.running(instance);
        promise!(
            running.len() <= 1,
            "promise 6: {} containers of {instance} run: {:?}",
            running.len(),
            running.iter().map(|container| &container.name).collect::<Vec<_>>()
        );
    }
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
    let declared = &wanted.variants;
    let Some(view) = world.view() else { return Err(Broken("no controller runs".into())) };
    for (instance, variant) in declared {
        let name: Name = instance.parse().map_err(|_| Broken("a name".into()))?;
        let status = view.book.instance(&name).unwrap_or_default();
        promise!(
            status.phase == Phase::Ready,
            "promise 1: {instance} is {} in peace: {:?}",
            status.phase,
            status.conditions
        );
        let running = world.running(instance);
        promise!(running.len() == 1, "promise 1: {} containers of {instance} run", running.len());
        let ran =
            running[0].spec.env.iter().find(|(key, _)| key == "VARIANT").map(|(_, value)| value.clone());
        promise!(
            ran == Some(variant.to_string()),
            "promise 2: {instance} runs variant {ran:?}, and {variant} is declared"
        );
        promise!(
            status.slots.iter().all(|slot| slot.container_id.as_deref() == Some(running[0].id.as_str())),
            "promise 1: the status of {instance} shows another container"
        );
    }
    let names: BTreeSet<&str> = declared.keys().copied().chain(["hostile"]).collect();
    for container in world.ours() {
        let instance = container.spec.labels.get(label::INSTANCE).map_or("", String::as_str);
        promise!(names.contains(instance), "promise 1: {} is left of {instance}", container.name);
    }
    let remembered: BTreeSet<String> = view.state.instances().iter().map(ToString::to_string).collect();
    promise!(
        remembered.iter().all(|instance| names.contains(instance.as_str())),
        "promise 1: what is remembered is not what is declared: {remembered:?}"
    );
    let directories = fs::read_dir(world.sockets()).map_err(|error| Broken(error.to_string()))?.count();
    promise!(
        directories <= names.len(),
        "promise 1: {directories} directories are left for {} instances",
        names.len()
    );
    promise!(
        view.records
            .get(&RecordKey {
                kind: Kind::PluginInstance,
                name: "hostile".parse().map_err(|_| Broken("a name".into()))?
            })
            .is_some(),
        "promise 9: the hostile instance is not declared any more"
    );
    nothing_secret_is_shown(world)
}

/// Promise 7: containers that were ready when the controller ended, and that nobody touched since, run on.
///
/// # Errors
/// With those that do not.
pub fn adopted(world: &World, before: &BTreeMap<String, String>) -> Result<(), Broken> {
    for (instance, id) in before {
        let container = world.engine.container(id);
        let runs =
            container.is_some_and(|container| matches!(container.state, ContainerState::Running { .. }));
        promise!(
            runs,
            "promise 7: the ready container of {instance} did not outlive the controller's restart"
        );
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

/// The ready containers, by instance, as status and engine agree on them; without those that will end, and
/// those that an edit is about to replace.
pub fn ready(world: &World, wanted: &Wanted) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Some(view) = world.view() else { return found };
    for (instance, variant) in &wanted.variants {
        let Ok(name) = instance.parse::<Name>() else { continue };
        let stored = view.state.slots(&name);
        let start = stored.values().find_map(|slot| slot.current.as_ref());
        let ready = start.filter(|start| start.ready_at.is_some() && start.end.is_none());
        let running = world.running(instance);
        if let (Some(start), [container]) = (ready, running.as_slice())
            && start.container == container.name
            && start.recipe.container.pids == Some(wanted.pids.into())
            && start.recipe.container.env.get("VARIANT") == Some(&variant.to_string())
            && !world.plugins.is_mortal(&container.name)
            && view.book.instance(&name).is_some_and(|status| is_settled(&status))
        {
            found.insert((*instance).to_owned(), container.id.as_str().to_owned());
        }
    }
    found
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
    let metrics = view.metrics.render().map_err(|error| Broken(error.to_string()))?;
    promise!(!String::from_utf8_lossy(&metrics).contains(SECRET), "promise 10: the metrics show a secret");
    private(&world.state())
}

/// Everything below a directory is for its owner alone.
fn private(path: &Path) -> Result<(), Broken> {
    let metadata = fs::symlink_metadata(path).map_err(|error| Broken(error.to_string()))?;
    promise!(
        metadata.permissions().mode() & 0o077 == 0,
        "promise 10: {} can be read by others",
        path.display()
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| Broken(error.to_string()))?.flatten() {
            private(&entry.path())?;
        }
    }
    Ok(())
}
