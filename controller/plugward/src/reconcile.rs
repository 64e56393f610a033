//! One instance, brought nearer to what is declared: observe → plan → execute → status.
//!
//! The reconciler takes a name and no hint of what changed. No policy lives here: the planner decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plugward_api::status::EventType;
use plugward_api::{Kind, Name};
use plugward_runtime::{Action, Queue, Request};

use crate::assignment::assign;
use crate::clock::Clock;
use crate::desired::{Desired, Records, declared_mounts};
use crate::execute::Executor;
use crate::expectation;
use crate::failure::ReconcileError;
use crate::gateway::{Gateway, Prospect, Terms};
use crate::names::SlotName;
use crate::observe::Observer;
use crate::plan::{self, Plan, Situation, UpdateState};
use crate::reason::Reason;
use crate::recipe::HashKey;
use crate::roll::{Cause, Rolls};
use crate::source::Reports;
use crate::status::Book;
use crate::status::verdict::{Unserved, slot_statuses, verdict};

/// How soon to look again at containers of a record that nobody declares, while manifests are still unread.
const UNDECIDED_POLL: Duration = Duration::from_secs(2);

/// Reconciles instances.
pub struct Reconciler {
    /// What is declared.
    pub records: Records,
    /// How the manifests stand.
    pub reports: Reports,
    /// The key of spec hashes.
    pub hash_key: HashKey,
    /// Whether all plugins are to be stopped.
    pub draining: Arc<AtomicBool>,
    /// Looks.
    pub observer: Observer,
    /// Acts.
    pub executor: Executor,
    /// What hosts speak to.
    pub gateway: Gateway,
    /// Status.
    pub book: Book,
    /// Whose turn it is.
    pub rolls: Rolls,
    /// Asks for the reconcile of others.
    pub queue: Queue<Name, Reason>,
    /// The time of day.
    pub clock: Clock,
}

impl Reconciler {
    /// Brings an instance nearer to what is declared.
    ///
    /// # Errors
    /// When something failed that says nothing about the plugin; trying again is right.
    pub async fn reconcile(self: Arc<Self>, request: Request<Name>) -> Result<Action, ReconcileError> {
        let instance = request.key;
        let done = self.bring_nearer(&instance).await;
        if let Err(error) = &done {
            let known = self.book.instance(&instance).is_some();
            if known && !matches!(error, ReconcileError::EngineLost(_)) {
                let message = crate::errors::chain(error);
                self.book.event(&instance, EventType::Warning, "ReconcileFailed", message);
            }
        }
        done
    }

    async fn bring_nearer(&self, instance: &Name) -> Result<Action, ReconcileError> {
        let desired = if self.draining.load(Ordering::Acquire) {
            Desired::Absent
        } else {
            Desired::of(instance, &self.records, &self.reports, &self.hash_key)
        };
        if matches!(desired, Desired::Undecided) {
            return Ok(Action::after(UNDECIDED_POLL));
        }
        self.receive(instance, &desired);
        let mut situation = self.observer.observe(instance, &desired).await?;
        let plan = self.plan(&desired, &mut situation);
        let unserved = self.admit(instance, &desired, &situation, &plan);
        let (acts, chores) = plan.acts_and_chores();
        let failed_until = self.executor.execute(instance, &situation, acts).await?;
        self.conclude(instance, &desired, &situation, &plan, &unserved);
        // Nobody waits for these.
        if failed_until.is_none() && !chores.is_empty() {
            self.executor.execute(instance, &situation, chores).await?;
            self.conclude(instance, &desired, &situation, &plan, &unserved);
        }
        let again = plan.look_again.into_iter().chain(failed_until).min();
        Ok(again.map_or_else(Action::done, |when| Action::after(self.clock.until(when))))
    }

    /// The plan, with the turn to replace taken if the plan waits for nothing else.
    fn plan(&self, desired: &Desired, situation: &mut Situation) -> Plan {
        let plan = plan::plan(situation);
        let runtime = desired.declaration().map(|declaration| &declaration.record().spec.runtime);
        match (runtime, cause(situation, &plan)) {
            (Some(runtime), Some(cause)) if self.rolls.acquire(runtime, &situation.instance, cause) => {
                situation.may_replace = true;
                plan::plan(situation)
            }
            _ => plan,
        }
    }

    /// Lets hosts come, or go, before anything is looked at: that may fail.
    fn receive(&self, instance: &Name, desired: &Desired) {
        match desired.declaration() {
            None => self.gateway.refuse(instance, "deleted"),
            Some(declaration) if !self.gateway.serves(instance) => {
                let spec = &declaration.record().spec;
                let mounts = declared_mounts(spec);
                let stored = self.observer.state.slots(instance);
                let stored: Vec<&SlotName> = stored.keys().collect();
                let assigned = assign(&mounts, spec.multiplexing, None, &stored);
                let routes = assigned
                    .into_iter()
                    .flat_map(|(slot, mounts)| mounts.into_iter().map(move |mount| (mount, slot.clone())));
                // What cannot be had is tried again, and told, when it is known how things stand.
                let _ = self.gateway.serve(instance, &Terms::of(spec, routes.collect()));
            }
            Some(_) => {}
        }
    }

    /// Tells hosts where their calls go, and what they may expect. Answers with the mounts that have no socket.
    fn admit(&self, instance: &Name, desired: &Desired, situation: &Situation, plan: &Plan) -> Unserved {
        let Some(declaration) = desired.declaration() else { return Unserved::new() };
        let spec = &declaration.record().spec;
        let mut routes = expectation::routes(situation, plan, &self.gateway.routes(instance));
        if routes.is_empty() {
            // The record cannot be acted on, and never was.
            routes.extend(declared_mounts(spec).into_iter().map(|mount| (mount, SlotName::Shared)));
        }
        let unserved = self.gateway.serve(instance, &Terms::of(spec, routes));
        for (slot, outlook) in &plan.outlooks {
            self.gateway.prospect(instance, slot, expectation::prospect(outlook));
        }
        if plan.outlooks.is_empty() {
            let reason = expectation::never_accepted(desired);
            self.gateway.prospect(instance, &SlotName::Shared, Prospect::Blocked { reason });
        }
        unserved
    }

    fn conclude(
        &self,
        instance: &Name,
        desired: &Desired,
        situation: &Situation,
        plan: &Plan,
        unserved: &Unserved,
    ) {
        let Some(declaration) = desired.declaration() else {
            self.conclude_absent(instance, desired, situation, plan);
            return;
        };
        let stored = self.observer.state.slots(instance);
        let slots = slot_statuses(&stored, situation, plan);
        let generation = declaration.instance.generation;
        self.book.conclude(instance, generation, verdict(desired, situation, plan, unserved), slots);
        self.hand_on_the_turn(instance, &declaration.record().spec.runtime, plan);
    }

    fn conclude_absent(&self, instance: &Name, desired: &Desired, situation: &Situation, plan: &Plan) {
        self.wake(self.rolls.forget(instance));
        if self.observer.state.slots(instance).is_empty() {
            self.gateway.forget(instance);
            self.observer.state.forget_priming(instance);
            self.observer.state.forget_renewal(instance);
            self.book.forget(Kind::PluginInstance, instance);
        } else if let Some(status) = self.book.instance(instance) {
            let slots = slot_statuses(&self.observer.state.slots(instance), situation, plan);
            let generation = status.observed_generation;
            let verdict = verdict(desired, situation, plan, &Unserved::new());
            self.book.conclude(instance, generation, verdict, slots);
        }
    }

    fn hand_on_the_turn(&self, instance: &Name, runtime: &Name, plan: &Plan) {
        let any = |state: &UpdateState| plan.outlooks.values().any(|outlook| outlook.update == *state);
        if any(&UpdateState::Failing) {
            self.wake(self.rolls.halt(runtime, instance));
        } else if !any(&UpdateState::InProgress) && !any(&UpdateState::WaitingForTurn) {
            self.wake(self.rolls.release(runtime, instance));
        }
    }

    fn wake(&self, instances: impl IntoIterator<Item = Name>) {
        for instance in instances {
            self.queue.add(instance, Reason::Turn);
        }
    }
}

/// For whose edit, or at whose wish, a container waits to be replaced, if one does.
fn cause(situation: &Situation, plan: &Plan) -> Option<Cause> {
    let waits = plan.outlooks.iter().filter(|(_, outlook)| outlook.update == UpdateState::WaitingForTurn);
    let is_of_same_instance = |slot: &SlotName| {
        let target = situation.targets.get(slot)?;
        let start = situation.slots.get(slot)?.stored.current.as_ref()?;
        Some(target.recipe.container.is_of_same_instance(&start.recipe.container) && !target.renews(start))
    };
    waits
        .map(|(slot, _)| match is_of_same_instance(slot) {
            Some(true) => Cause::Runtime,
            Some(false) | None => Cause::Instance,
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::waiting;

    #[test]
    fn a_halted_roll_of_the_runtime_keeps_nobody_from_a_restart_that_was_asked_for() {
        let cause = |situation| cause(&situation, &plan::plan(&situation));
        assert_eq!(cause(waiting(false)), Some(Cause::Runtime), "the instance's own record says the same");
        assert_eq!(cause(waiting(true)), Some(Cause::Instance));
    }
}
