//! What the plan for an instance means for those who look at it: its phase and conditions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use plugward_api::image::PullPolicy;
use plugward_api::{ConditionStatus, InstanceCondition, Phase, RestartReason, SlotStatus};

use super::limits::{limits_enforced, no_new_privileges};
use crate::desired::{Desired, KeptBecause};
use crate::errors::chain;
use crate::gateway::sockets::SocketError;
use crate::names::SlotName;
use crate::plan::{
    EngineSight, ImageSight, Obstacle, Outlook, OutlookState, Plan, PullSight, SessionSight, Situation,
    Target, TrialFault, TrialSight, UpdateState,
};
use crate::slot::Slot;

/// The state of an instance, as its status tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// In one word.
    pub phase: Phase,
    /// In many.
    pub conditions: Vec<Finding>,
}

/// A condition without its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub condition: InstanceCondition,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence, and what to do.
    pub message: Cow<'static, str>,
}

/// The mounts that have no socket, and why.
pub type Unserved = BTreeMap<plugward_api::Name, SocketError>;

/// Draws the conclusions from a plan.
pub fn verdict(desired: &Desired, situation: &Situation, plan: &Plan, unserved: &Unserved) -> Verdict {
    // Whether there are spares says nothing about whether hosts are served, and neither does a slot that goes while others
    // stay.
    let goes = |outlook: &Outlook| outlook.state == OutlookState::Terminating;
    let outlooks: Vec<(&SlotName, &Outlook)> = plan
        .outlooks
        .iter()
        .filter(|(slot, outlook)| !slot.is_spare() && (situation.targets.is_empty() || !goes(outlook)))
        .collect();
    let served_before = |slot: &SlotName| {
        let stored = situation.slots.get(slot).and_then(|sight| sight.stored.current.as_ref());
        stored.is_some_and(|start| start.ready_at.is_some() && start.end.is_none())
    };
    let target = situation.targets.values().next();
    let mut conditions = vec![
        accepted(desired),
        runtime_available(desired, target, &outlooks),
        image_verified(situation.now, target),
        image_outdated(&outlooks, target),
        progressing(situation, &outlooks),
        healthy(situation, &outlooks),
        ready(desired, &outlooks, unserved),
    ];
    conditions.extend(target.and_then(|target| limits_enforced(situation, target)));
    conditions.extend(no_new_privileges(situation));
    Verdict { phase: phase(&outlooks, served_before), conditions }
}

fn phase(outlooks: &[(&SlotName, &Outlook)], served_before: impl Fn(&SlotName) -> bool) -> Phase {
    let any = |test: &dyn Fn(&Outlook) -> bool| outlooks.iter().any(|(_, outlook)| test(outlook));
    let waits_while_it_runs = outlooks.iter().any(|(slot, outlook)| {
        matches!(outlook.state, OutlookState::Waiting(Obstacle::EngineDown(_))) && served_before(slot)
    });
    if any(&|outlook| outlook.state == OutlookState::Terminating) {
        Phase::Terminating
    } else if any(&|outlook| matches!(outlook.state, OutlookState::BackingOff { .. }) && !outlook.covered) {
        Phase::BackingOff
    } else if any(&|outlook| outlook.update == UpdateState::InProgress) {
        Phase::Updating
    } else if waits_while_it_runs || any(&|outlook| outlook.covered) {
        Phase::Degraded
    } else if outlooks.is_empty() || any(&|outlook| matches!(outlook.state, OutlookState::Waiting(_))) {
        Phase::Pending
    } else if any(&|outlook| matches!(outlook.state, OutlookState::Starting | OutlookState::Priming { .. })) {
        Phase::Starting
    } else if outlooks.iter().all(|(_, outlook)| outlook.state == OutlookState::Idle) {
        Phase::Idle
    } else {
        Phase::Ready
    }
}

fn accepted(desired: &Desired) -> Finding {
    match desired {
        Desired::Kept(_, KeptBecause::FilesUnusable(errors)) => finding(
            InstanceCondition::Accepted,
            ConditionStatus::False,
            "FileUnusable",
            format!("{}; what ran before goes on as it was", errors.join("; ")),
        ),
        _ => finding(InstanceCondition::Accepted, ConditionStatus::True, "Accepted", ""),
    }
}

fn runtime_available(
    desired: &Desired,
    target: Option<&Target>,
    outlooks: &[(&SlotName, &Outlook)],
) -> Finding {
    let condition = InstanceCondition::RuntimeAvailable;
    if let Desired::Kept(_, KeptBecause::RuntimeMissing(name)) = desired {
        let message =
            format!("PluginRuntime {name:?} is not declared: declare it, or name another in spec.runtime");
        return finding(condition, ConditionStatus::False, "RuntimeNotFound", message);
    }
    if let Some(Target { engine: EngineSight::Down { message }, .. }) = target {
        let message = format!("the engine does not answer: {message}");
        return finding(condition, ConditionStatus::False, "EngineUnreachable", message);
    }
    let told = outlooks.iter().find_map(|(_, outlook)| match (&outlook.state, &outlook.update) {
        (OutlookState::Waiting(obstacle), _) | (_, UpdateState::Blocked(obstacle)) => of_runtime(obstacle),
        _ => None,
    });
    match told {
        Some((reason, message)) => finding(condition, ConditionStatus::False, reason, message),
        None => finding(condition, ConditionStatus::True, "Available", ""),
    }
}

/// What is said of an obstacle that the runtime is to blame for.
fn of_runtime(obstacle: &Obstacle) -> Option<(&'static str, String)> {
    match obstacle {
        Obstacle::NoDirectory(message) => Some(("SocketDirectoryUnusable", message.clone())),
        Obstacle::Fault(TrialFault::Unseen(message)) => Some(("SocketDirectoryUnseen", message.clone())),
        Obstacle::NotASlice { .. } => Some((
            "CgroupParentUnfit",
            format!("{obstacle}: write one like plugins.slice in the runtime's cgroupParent"),
        )),
        Obstacle::MemoryUnlockable { .. } => Some((
            "MemlockLimited",
            format!(
                "{obstacle}. Start the engine without that limit (systemd: LimitMEMLOCK=infinity for user@.service and its docker.service), or let the plugin \
                 not lock its memory (mlock: false), or use gVisor (ociRuntime: runsc), which grants the lock, but keeps nothing from being swapped"
            ),
        )),
        Obstacle::UnknownRuntime { .. } => Some((
            "OciRuntimeUnknown",
            format!("{obstacle}; register it with the engine, or name another in the runtime's ociRuntime"),
        )),
        Obstacle::EngineDown(_)
        | Obstacle::Untried
        | Obstacle::Fault(TrialFault::CannotLock(_))
        | Obstacle::ImageMissing
        | Obstacle::Pulling
        | Obstacle::PullFailed { .. }
        | Obstacle::ImageMismatch(_)
        | Obstacle::Unprimed(_) => None,
    }
}

fn image_verified(now: Timestamp, target: Option<&Target>) -> Finding {
    let condition = InstanceCondition::ImageVerified;
    let Some(target) = target else {
        return finding(condition, ConditionStatus::Unknown, "NotLookedFor", "");
    };
    let recipe = &target.recipe.container;
    if let TrialSight::Failed { fault: TrialFault::CannotLock(message), .. } = &target.trial {
        return finding(condition, ConditionStatus::False, "CannotLockMemory", message.clone());
    }
    match &target.image {
        ImageSight::Unknown => finding(
            condition,
            ConditionStatus::Unknown,
            "EngineUnreachable",
            "the engine that holds the image does not answer",
        ),
        ImageSight::Missing if target.recipe.pull_policy != PullPolicy::Never => {
            let (reason, message) = match &target.pull {
                PullSight::Failed { message, retry_at } if now < *retry_at => {
                    ("PullFailed", format!("{message}; it is tried again at {retry_at}"))
                }
                _ => ("Pulling", format!("image {} is being pulled", recipe.image)),
            };
            finding(condition, ConditionStatus::False, reason, message)
        }
        ImageSight::Missing => finding(
            condition,
            ConditionStatus::False,
            "ImageNotFound",
            format!(
                "image {} is not on the engine: pull, load or build it there, or set image.pullPolicy",
                recipe.image
            ),
        ),
        ImageSight::Mismatch { found } => finding(
            condition,
            ConditionStatus::False,
            "ImageMismatch",
            format!(
                "image {} is {found}, and the record wants {}: correct image.sha256, or bring the right image",
                recipe.image,
                recipe.image_id.as_deref().unwrap_or_default()
            ),
        ),
        ImageSight::Found { id } if recipe.image_id.is_some() => {
            finding(condition, ConditionStatus::True, "Verified", format!("image {} is {id}", recipe.image))
        }
        ImageSight::Found { id } => {
            finding(condition, ConditionStatus::True, "Found", format!("image {} is {id}", recipe.image))
        }
    }
}

fn image_outdated(outlooks: &[(&SlotName, &Outlook)], target: Option<&Target>) -> Finding {
    let condition = InstanceCondition::ImageOutdated;
    if outlooks.iter().any(|(_, outlook)| outlook.image_outdated) {
        let image = target.map(|target| target.recipe.container.image.as_str()).unwrap_or_default();
        let message = format!("{image} names another image by now than the one that runs");
        return finding(condition, ConditionStatus::True, "TagMoved", message);
    }
    if let Some(Target {
        image: ImageSight::Found { .. },
        pull: PullSight::Failed { message, retry_at },
        recipe,
        ..
    }) = target
        && recipe.pull_policy == PullPolicy::Always
        && recipe.container.image_id.is_none()
    {
        let message = format!(
            "{message}; what is on the engine is used, and the next start after {retry_at} tries again"
        );
        return finding(condition, ConditionStatus::Unknown, "PullFailed", message);
    }
    finding(condition, ConditionStatus::False, "Current", "")
}

fn progressing(situation: &Situation, outlooks: &[(&SlotName, &Outlook)]) -> Finding {
    let condition = InstanceCondition::Progressing;
    let mut message = String::new();
    let mut status = ConditionStatus::True;
    let mut reason = "UpToDate";
    for (slot, outlook) in outlooks {
        (status, reason, message) = match (&outlook.update, &outlook.state) {
            (UpdateState::Failing, OutlookState::BackingOff { reason, .. }) => (
                ConditionStatus::False,
                "UpdateFailed",
                format!("the updated container did not become ready: {}", end_of(situation, slot, *reason)),
            ),
            (
                UpdateState::Failing | UpdateState::InProgress,
                OutlookState::Priming { failure: Some(failure) },
            ) => (ConditionStatus::False, "UpdateFailed", failure.clone()),
            (UpdateState::Failing, _) => {
                (ConditionStatus::False, "UpdateFailed", "the updated container cannot be started".to_owned())
            }
            (UpdateState::Blocked(Obstacle::Pulling), _) => (
                ConditionStatus::True,
                "Pulling",
                "the new image is being pulled; the container of the earlier state goes on".to_owned(),
            ),
            (UpdateState::Blocked(obstacle), _) => (
                ConditionStatus::False,
                "UpdateBlocked",
                format!("{obstacle}; the container of the earlier state goes on"),
            ),
            (UpdateState::WaitingForTurn, _) => (
                ConditionStatus::True,
                "WaitingForTurn",
                "another instance of the runtime is replaced first".to_owned(),
            ),
            (UpdateState::InProgress, _) => {
                (ConditionStatus::True, "Updating", "the container is being replaced".to_owned())
            }
            (UpdateState::None, OutlookState::BackingOff { reason, .. }) => (
                ConditionStatus::False,
                "BackingOff",
                format!("the last container is over: {}", end_of(situation, slot, *reason)),
            ),
            (UpdateState::None, OutlookState::Waiting(Obstacle::Pulling)) => {
                (ConditionStatus::True, "Pulling", Obstacle::Pulling.to_string())
            }
            (UpdateState::None, OutlookState::Waiting(obstacle)) => {
                (ConditionStatus::False, "Waiting", obstacle.to_string())
            }
            (UpdateState::None, OutlookState::Starting) => {
                (ConditionStatus::True, "Starting", "the container is being started".to_owned())
            }
            (UpdateState::None, OutlookState::Priming { failure: None }) => {
                (ConditionStatus::True, "Priming", "the plugin is told what hosts had told it".to_owned())
            }
            (UpdateState::None, OutlookState::Priming { failure: Some(failure) }) => {
                (ConditionStatus::False, "PrimingFailed", failure.clone())
            }
            (UpdateState::None, OutlookState::Ready | OutlookState::Idle | OutlookState::Terminating) => {
                continue;
            }
        };
    }
    finding(condition, status, reason, message)
}

/// The end that the next start waits for, with what was said of it.
fn end_of(situation: &Situation, slot: &SlotName, reason: RestartReason) -> String {
    let stored = situation.slots.get(slot).map(|sight| &sight.stored);
    let is_stored = |slot: &&Arc<Slot>| slot.current.as_ref().is_some_and(|start| start.end.is_some());
    let exit = stored.filter(is_stored).and_then(|slot| slot.last_exit.as_ref());
    match exit.filter(|exit| exit.reason == reason && !exit.message.is_empty()) {
        Some(exit) => format!("{}: {}", reason.as_str(), exit.message),
        None => reason.as_str().to_owned(),
    }
}

fn healthy(situation: &Situation, outlooks: &[(&SlotName, &Outlook)]) -> Finding {
    let condition = InstanceCondition::Healthy;
    let failed = situation.slots.values().flat_map(|sight| &sight.containers).find_map(|container| {
        match &container.session {
            SessionSight::Failed { message, .. } => Some(message.clone()),
            _ => None,
        }
    });
    if let Some(message) = failed {
        return finding(condition, ConditionStatus::False, "NoConversation", message);
    }
    let all_ready = !outlooks.is_empty() && outlooks.iter().all(|(_, outlook)| outlook.serves());
    if all_ready {
        finding(condition, ConditionStatus::True, "Serving", "the plugin says that it serves")
    } else {
        finding(condition, ConditionStatus::Unknown, "NotConnected", "the plugin is not connected")
    }
}

fn ready(desired: &Desired, outlooks: &[(&SlotName, &Outlook)], unserved: &Unserved) -> Finding {
    let condition = InstanceCondition::Ready;
    if let Some((mount, error)) = unserved.first_key_value() {
        let message = format!("mount {mount} has no socket: {}", chain(error));
        return finding(condition, ConditionStatus::False, "SocketUnavailable", message);
    }
    let able = |outlook: &Outlook| outlook.serves() || outlook.state == OutlookState::Idle;
    let worst = outlooks.iter().find(|(_, outlook)| !able(outlook));
    let Some((slot, outlook)) = worst else {
        if outlooks.is_empty() {
            let message = match desired {
                Desired::Kept(_, KeptBecause::FilesUnusable(_)) => {
                    "a file that the record names cannot be used"
                }
                Desired::Kept(_, KeptBecause::RuntimeMissing(_)) => "the runtime is not declared",
                _ => "nothing runs",
            };
            return finding(condition, ConditionStatus::False, "NotStarted", message);
        }
        let idle = outlooks.iter().any(|(_, outlook)| outlook.state == OutlookState::Idle);
        let (reason, message) = if idle {
            ("Idle", "the first request starts it")
        } else {
            ("Ready", "the plugin is able to serve")
        };
        return finding(condition, ConditionStatus::True, reason, message);
    };
    let (reason, message) = match &outlook.state {
        OutlookState::Ready | OutlookState::Idle | OutlookState::Starting => {
            ("Starting", format!("slot {slot} is starting"))
        }
        OutlookState::Priming { failure: None } => {
            ("Priming", format!("slot {slot} is told what hosts had told it"))
        }
        OutlookState::Priming { failure: Some(failure) } => {
            ("PrimingFailed", format!("slot {slot} cannot be made usable: {failure}"))
        }
        OutlookState::BackingOff { reason, until } => (
            "BackingOff",
            format!("slot {slot} is over ({}); it is started again at {until}", reason.as_str()),
        ),
        OutlookState::Waiting(obstacle) => ("Waiting", format!("slot {slot} waits: {obstacle}")),
        OutlookState::Terminating => ("Terminating", format!("slot {slot} is going away")),
    };
    finding(condition, ConditionStatus::False, reason, message)
}

fn finding(
    condition: InstanceCondition,
    status: ConditionStatus,
    reason: &'static str,
    message: impl Into<Cow<'static, str>>,
) -> Finding {
    Finding { condition, status, reason, message: message.into() }
}

/// The status of each slot: what is remembered of it by now, and what was seen of its container.
pub fn slot_statuses(
    stored: &BTreeMap<SlotName, Arc<Slot>>,
    situation: &Situation,
    plan: &Plan,
) -> Vec<SlotStatus> {
    let status = |(name, slot): (&SlotName, &Arc<Slot>)| {
        let start = slot.current.as_ref();
        let container = situation
            .slots
            .get(name)
            .zip(start)
            .and_then(|(sight, start)| sight.containers.iter().find(|seen| seen.name == start.container));
        let serves = plan.outlooks.get(name).is_some_and(Outlook::serves);
        let mounts = situation.targets.get(name).into_iter().flat_map(|target| &target.mounts);
        let end = start.and_then(|start| start.end.as_ref());
        SlotStatus {
            name: name.to_string(),
            container_id: container.map(|container| container.id.as_str().to_owned()),
            container_name: start.map(|start| start.container.clone()),
            image_id: container.map(|container| container.image_id.clone()),
            restarts: slot.restart_count(),
            restarts_by_reason: slot.restarts.clone(),
            protocol_version: slot.protocol_version,
            mounts: mounts.filter(|_| serves).map(ToString::to_string).collect(),
            started_at: start.map(|start| start.at),
            ready_at: start.and_then(|start| start.ready_at),
            backoff_until: end.map(|end| end.retry_at).filter(|until| *until > situation.now),
            failures: slot.failures,
            last_exit: slot.last_exit.clone(),
            start_times: start.map(|start| start.times).unwrap_or_default(),
        }
    };
    stored.iter().map(status).collect()
}
