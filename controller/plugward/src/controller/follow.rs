//! What follows from news of the records: what the source tells is stored, and then looked at.

use std::sync::Arc;

use plugward_api::{Kind, Name, PluginInstanceSpec, RecordKey};
use plugward_runtime::{WatchEvent, Writer};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::desired;
use crate::reason::Reason;
use crate::roll::Rolls;
use crate::source::Declared;
use crate::view::View;

/// Takes what the source tells until it ends; `listed` is cancelled once the first list was taken.
pub(super) async fn follow(
    view: View,
    rolls: Rolls,
    mut writer: Writer<RecordKey, Declared>,
    mut events: mpsc::Receiver<WatchEvent<RecordKey, Declared>>,
    news: Arc<Notify>,
    listed: CancellationToken,
) {
    while let Some(event) = events.recv().await {
        take_event(&view, &rolls, &mut writer, event).await;
        if view.records.is_ready() {
            listed.cancel();
        }
        news.notify_one();
    }
}

/// Store first, trigger second.
async fn take_event(
    view: &View,
    rolls: &Rolls,
    writer: &mut Writer<RecordKey, Declared>,
    event: WatchEvent<RecordKey, Declared>,
) {
    let first_list = matches!(event, WatchEvent::InitDone) && !view.records.is_ready();
    let changed = writer.apply(event);
    if changed.is_empty() && !first_list {
        return;
    }
    let links_may_change = changed.iter().any(|key| key.kind == Kind::PluginRuntime)
        || changed.iter().any(|key| view.records.get(key).is_some());
    if links_may_change || first_list {
        view.engines.keep(&desired::hosts(&view.records)).await;
    }
    for key in &changed {
        view.book.tell(key.kind, &key.name);
        match key.kind {
            Kind::PluginInstance => {
                let said = |spec: &PluginInstanceSpec| (spec.runtime.clone(), spec.attach.enabled);
                if let Some((runtime, attach)) = desired::declared_of(&key.name, &view.records, said) {
                    view.metrics.instance_declared(&key.name);
                    if attach {
                        view.metrics.attach_declared(&key.name);
                    }
                    if !first_list {
                        wake(view, rolls.edited(&runtime), Reason::Turn);
                    }
                }
                if first_list {
                    view.queue.add_background(key.name.clone(), Reason::Start);
                } else {
                    view.queue.add(key.name.clone(), Reason::Record);
                }
            }
            Kind::PluginRuntime => {
                if !first_list {
                    wake(view, rolls.edited(&key.name), Reason::Turn);
                    wake(view, desired::instances_of(&key.name, &view.records), Reason::Runtime);
                }
            }
        }
    }
    if first_list {
        halt_failed_rolls(view, rolls);
        // What is remembered and no longer declared is looked at too.
        for instance in view.state.instances().into_iter().chain(view.book.instances()) {
            view.queue.add_background(instance, Reason::Start);
        }
    }
}

/// Asks for a reconcile of these.
pub(super) fn wake(view: &View, instances: impl IntoIterator<Item = Name>, reason: Reason) {
    for instance in instances {
        view.queue.add(instance, reason);
    }
}

/// Halts the rolls of runtimes whose last replacement had failed before our own restart.
fn halt_failed_rolls(view: &View, rolls: &Rolls) {
    for instance in view.state.instances() {
        let failed = view
            .state
            .slots(&instance)
            .values()
            .any(|slot| slot.updating && slot.current.as_ref().is_some_and(|start| start.end.is_some()));
        let runtime = desired::declared_of(&instance, &view.records, |spec| spec.runtime.clone());
        if let Some(runtime) = runtime.filter(|_| failed) {
            wake(view, rolls.halt(&runtime, &instance), Reason::Turn);
        }
    }
}
