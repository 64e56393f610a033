//! The statuses of runtimes: whether their engines answer, know the OCI runtime, and who uses them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use plugward_api::status::EngineStatus;
use plugward_api::{Condition, ConditionStatus, Kind, Name, PluginRuntime, Record, RuntimeCondition};
use tokio::sync::Notify;

use crate::desired;
use crate::engines::LinkStatus;
use crate::view::View;

/// How long news are gathered.
const GATHER: Duration = Duration::from_millis(100);

/// Draws up the statuses anew whenever there are news.
pub async fn keep_statuses(view: View, news: Arc<Notify>) {
    loop {
        news.notified().await;
        tokio::time::sleep(GATHER).await;
        refresh(&view);
    }
}

/// Draws up the status of every runtime that is declared or used.
fn refresh(view: &View) {
    let mut names: BTreeSet<Name> = BTreeSet::new();
    for (key, declared) in view.records.snapshot() {
        match declared.record.as_ref() {
            Record::Runtime(_) => {
                names.insert(key.name);
            }
            Record::Instance(instance) => {
                names.insert(instance.spec.runtime.clone());
            }
        }
    }
    let mut known = BTreeSet::new();
    for name in names {
        if let Some((runtime, generation)) = desired::runtime(&name, &view.records) {
            conclude(view, &name, &runtime, generation);
            known.insert(name);
        }
    }
    for name in view.book.runtimes().into_iter().filter(|name| !known.contains(name)) {
        view.book.forget(Kind::PluginRuntime, &name);
        view.metrics.forget_runtime(&name);
    }
}

fn conclude(view: &View, name: &Name, runtime: &PluginRuntime, generation: u64) {
    let host = desired::host_of(runtime);
    let statuses = view.engines.statuses();
    let status = match statuses.get(&host) {
        Some(LinkStatus::Alias(other)) => statuses.get(other),
        status => status,
    };
    let users = desired::instances_of(name, &view.records).len();
    let wanted = runtime.spec.oci_runtime.to_string();
    let (reachable, available, engine) = match status {
        Some(LinkStatus::Up(info)) => {
            let knows = info.oci_runtimes.contains(&wanted);
            let available = if knows {
                (ConditionStatus::True, "Available", String::new())
            } else {
                let message = format!(
                    "the engine has no OCI runtime {wanted:?}; it has {}",
                    info.oci_runtimes.join(", ")
                );
                (ConditionStatus::False, "OciRuntimeUnknown", message)
            };
            let engine = EngineStatus {
                id: info.id.to_string(),
                version: info.version.clone(),
                api_version: info.api_version.clone(),
                oci_runtimes: info.oci_runtimes.clone(),
            };
            ((ConditionStatus::True, "Reachable", String::new()), available, Some(engine))
        }
        Some(LinkStatus::Down { message, .. }) => (
            (ConditionStatus::False, "Unreachable", message.clone()),
            (ConditionStatus::Unknown, "EngineUnreachable", String::new()),
            None,
        ),
        _ => (
            (ConditionStatus::Unknown, "Connecting", String::new()),
            (ConditionStatus::Unknown, "EngineUnreachable", String::new()),
            None,
        ),
    };
    let in_use = if users > 0 {
        (ConditionStatus::True, "Used", format!("{users} instances use it"))
    } else {
        (ConditionStatus::False, "Unused", String::new())
    };
    view.metrics.engine_up(name, reachable.0 == ConditionStatus::True);
    let now = jiff::Timestamp::now();
    view.book.conclude_runtime(name, |status| {
        let findings = [
            (RuntimeCondition::EngineReachable, reachable),
            (RuntimeCondition::RuntimeAvailable, available),
            (RuntimeCondition::InUse, in_use),
        ];
        for (condition_type, (condition, reason, message)) in findings {
            status.conditions.set(Condition {
                condition_type,
                status: condition,
                reason: reason.into(),
                message: message.into(),
                last_transition_time: now,
                observed_generation: generation,
            });
        }
        status.observed_generation = generation;
        status.engine = engine.or(status.engine.take());
        status.instances = u32::try_from(users).unwrap_or(u32::MAX);
    });
}
