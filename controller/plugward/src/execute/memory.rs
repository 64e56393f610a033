//! Steps that change what is remembered.

use std::sync::Arc;

use go_plugin::{Handshake, Identity};
use jiff::Timestamp;
use plugward_api::RestartReason;
use plugward_api::status::{EventType, StartTimes};

use super::Run;
use super::words::last_words;
use crate::failure::ReconcileError;
use crate::names::SlotName;
use crate::plan::{Before, Ended, NewStart, Place};
use crate::sharing::remove_directory;
use crate::slot::{Edit, End, Making, Slot, Start, StoredIdentity};
use crate::state::StateError;

/// A start that is decided on, and being stored.
pub(super) struct Prepared {
    pub(super) slot: SlotName,
    pub(super) start: Start,
    before: Before,
    /// The starts in whose place it is, unless they are kept.
    dropped: Vec<Start>,
    /// What is to be stored, until that is begun.
    unstored: Option<Slot>,
}

impl Run<'_> {
    /// Nobody uses the directories, and asks for the times, of starts that are no longer remembered.
    pub(super) fn forget_starts<'s>(
        &self,
        starts: impl IntoIterator<Item = &'s Start>,
    ) -> Result<(), ReconcileError> {
        starts.into_iter().try_for_each(|start| {
            self.executor.timings.forget(&start.container);
            remove_directory(&start.directory)
        })
    }

    pub(super) async fn change(
        &self,
        slot: &SlotName,
        change: impl FnOnce(&mut Slot),
    ) -> Result<(), ReconcileError> {
        let mut stored = Slot::clone(&self.executor.state.slot(self.instance, slot));
        change(&mut stored);
        Ok(self.executor.state.save_slot(self.instance, slot, stored).await?)
    }

    pub(super) async fn prepare(&mut self, slot: &SlotName, new: &NewStart) -> Result<(), ReconcileError> {
        self.executor.engines.remember(&new.engine).await?;
        let identity = Identity::generate().map_err(ReconcileError::Identity)?;
        let now = self.executor.clock.now();
        let account = self.executor.account(&new.engine)?;
        let sharing = &self.executor.sharing;
        let group = sharing.group(&account, &new.recipe.container);
        let start = Start {
            number: new.number,
            container: new.container.clone(),
            engine: new.engine.clone(),
            recipe: new.recipe.clone(),
            hash: new.hash.clone(),
            directory: sharing.place(&new.recipe.container, &new.container),
            group: group.outside,
            group_inside: group.inside.filter(|_| group.inside != group.outside),
            identity: StoredIdentity::new(identity.to_pem().as_str()),
            at: now,
            created: false,
            made: Making::default(),
            handshake: None,
            ready_at: None,
            renewal: new.renewal,
            fallback: matches!(new.before, Before::FellBack(_)),
            end: None,
            times: StartTimes::default(),
        };
        self.places.remove(slot);
        let mut stored = Slot::clone(&self.executor.state.slot(self.instance, slot));
        stored.starts = new.number;
        let mut dropped: Vec<Start> = stored.current.replace(start.clone()).into_iter().collect();
        if let Some(before) = dropped.first() {
            stored.previous = Some(before.container.clone());
        }
        stored.failures = new.failures;
        if let Some(reason) = new.before.restart() {
            *stored.restarts.entry(reason).or_default() += 1;
        }
        match &new.before {
            Before::Ended(ended) => stored.last_exit = Some(ended.exit.clone()),
            Before::FellBack(ended) => {
                stored.last_exit = Some(ended.exit.clone());
                stored.updating = false;
                dropped.extend(stored.outgoing.take().map(|start| *start));
            }
            Before::Replaced => {
                stored.updating = true;
                // Of several updates in a row, the start that last served is the one to keep.
                if stored.outgoing.is_none() {
                    stored.outgoing = dropped.pop().map(Box::new);
                }
            }
            Before::Nothing | Before::EndedEarlier(_) => {}
        }
        let before = new.before.clone();
        self.prepared = Some(Prepared { slot: slot.clone(), start, before, dropped, unstored: Some(stored) });
        Ok(())
    }

    /// Stores the start that was prepared, unless that was begun.
    pub(super) fn storing(&mut self) -> impl Future<Output = Result<(), StateError>> + use<> {
        let (state, instance) = (self.executor.state.clone(), self.instance.clone());
        let unstored = self
            .prepared
            .as_mut()
            .and_then(|prepared| Some((prepared.slot.clone(), prepared.unstored.take()?)));
        async move {
            match unstored {
                Some((name, slot)) => state.save_slot(&instance, &name, slot).await,
                None => Ok(()),
            }
        }
    }

    /// Stores the start that was prepared, and tells of it, unless that is done.
    pub(super) async fn finish_prepare(&mut self) -> Result<(), ReconcileError> {
        self.storing().await?;
        self.tell_prepared()
    }

    /// Tells of the start that was prepared, now that it is stored.
    pub(super) fn tell_prepared(&mut self) -> Result<(), ReconcileError> {
        let Some(Prepared { start, before, dropped, .. }) = self.prepared.take() else { return Ok(()) };
        self.forget_starts(&dropped)?;
        if let Before::Ended(ended) | Before::FellBack(ended) = &before {
            self.tell_end(ended);
        }
        let book = &self.executor.book;
        if let Some(reason) = before.restart() {
            book.restarted(self.instance, reason);
        }
        if matches!(before, Before::Replaced) {
            let message = format!("replacing the container by {}", start.container);
            book.event(self.instance, EventType::Normal, "Updating", message);
        }
        Ok(())
    }

    /// Remembers that nothing runs in a slot, and how it fared.
    pub(super) async fn sleep(&self, slot: &SlotName) -> Result<(), ReconcileError> {
        let mut dropped = Vec::new();
        self.change(slot, |stored| {
            stored.updating = false;
            if let Some(before) = &stored.current {
                stored.previous = Some(before.container.clone());
            }
            dropped.extend(stored.current.take());
            dropped.extend(stored.outgoing.take().map(|start| *start));
        })
        .await?;
        self.forget_starts(&dropped)
    }

    /// Exchanges the starts of a slot and of a spare: the slot's has ended, and is the spare's to restart.
    pub(super) async fn promote(
        &self,
        slot: &SlotName,
        spare: &SlotName,
        container: &Place,
        number: u64,
        (before, retry_at, edit): (&Before, Timestamp, Edit),
    ) -> Result<(), ReconcileError> {
        let state = &self.executor.state;
        let mut promoted = Slot::clone(&state.slot(self.instance, slot));
        let mut left = Slot::clone(&state.slot(self.instance, spare));
        let Some(start) = left.current.take() else { return Err(ReconcileError::NoStart) };
        let number_left = start.number;
        let mut ended = promoted.current.replace(Start { number, ..start });
        promoted.previous = ended.as_ref().map(|start| start.container.clone());
        promoted.starts = number;
        promoted.updating = false;
        if let Some(reason) = before.restart() {
            *promoted.restarts.entry(reason).or_default() += 1;
        }
        if let Before::Ended(ended) = before {
            promoted.last_exit = Some(ended.exit.clone());
            promoted.failures = ended.failures;
        }
        if let Some(start) = &mut ended {
            start.number = number_left;
            let reason = before.restart().unwrap_or(RestartReason::Unhealthy);
            start.end.get_or_insert(End { reason, at: self.executor.clock.now(), retry_at, edit });
        }
        left.failures = promoted.failures;
        left.current = ended;
        // In this order: a controller that ends between finds one start in two slots, and takes it for the slot's.
        state.save_slot(self.instance, slot, promoted).await?;
        state.save_slot(self.instance, spare, left).await?;
        self.executor.gateway.promote(container, slot, number);
        if let Before::Ended(ended) = before {
            self.tell_end(ended);
        }
        let book = &self.executor.book;
        if let Some(reason) = before.restart() {
            book.restarted(self.instance, reason);
        }
        tracing::info!(%slot, %spare, container = container.name, "a spare took over");
        let message = format!("{} took the place of the container that ended", container.name);
        book.event(self.instance, EventType::Normal, "Promoted", message);
        Ok(())
    }

    pub(super) async fn record_end(
        &self,
        slot: &SlotName,
        end: &Ended,
        retry_at: Timestamp,
        edit: Edit,
        container: Option<&Place>,
    ) -> Result<(), ReconcileError> {
        let mut exit = end.exit.clone();
        if let Some(place) = container {
            exit.output = self.last_lines(place).await.as_deref().map(last_words).unwrap_or_default();
        }
        let at = exit.finished_at;
        let reason = end.reason;
        self.change(slot, |stored| {
            stored.failures = end.failures;
            stored.last_exit = Some(exit);
            if let Some(start) = &mut stored.current {
                start.end = Some(End { reason, at, retry_at, edit });
            }
        })
        .await?;
        self.tell_end(end);
        let wait = self.executor.clock.until(retry_at);
        if !wait.is_zero() {
            self.executor.book.event(
                self.instance,
                EventType::Warning,
                "BackOff",
                format!("{} failures in a row: the next start waits", end.failures),
            );
            tracing::info!(%slot, failures = end.failures, wait = ?wait, "backing off");
        }
        Ok(())
    }

    fn tell_end(&self, ended: &Ended) {
        let exit = &ended.exit;
        let code = exit.code.map(|code| format!(" with code {code}")).unwrap_or_default();
        let message = match (ended.reason, exit.message.as_str()) {
            (RestartReason::Exited | RestartReason::Killed, "") => format!("the container ended{code}"),
            (RestartReason::OomKilled, _) => "the container was killed for its memory limit".to_owned(),
            (RestartReason::EngineLost, _) => "the container ended with its engine".to_owned(),
            (_, message) => message.to_owned(),
        };
        tracing::warn!(reason = ended.reason.as_str(), message, "container is over");
        self.executor.book.event(self.instance, EventType::Warning, "ContainerEnded", message);
    }

    pub(super) async fn record_ready(
        &self,
        slot: &SlotName,
        handshake: &Arc<str>,
        since: Timestamp,
    ) -> Result<(), ReconcileError> {
        let stored = self.executor.state.slot(self.instance, slot);
        let container = stored.current.as_ref().map(|start| start.container.clone()).unwrap_or_default();
        let times = self.executor.timings.take(&container, self.executor.clock.now(), since);
        self.executor.metrics.start_done(&times);
        self.change(slot, |stored| {
            stored.updating = false;
            let version = Handshake::parse(handshake.as_bytes()).map(|handshake| handshake.app_version);
            stored.protocol_version = version.ok().or(stored.protocol_version);
            if let Some(start) = &mut stored.current {
                start.created = true;
                start.handshake = Some(handshake.clone());
                start.ready_at = Some(since);
                start.times = times;
            }
        })
        .await?;
        tracing::info!(%slot, container, "ready");
        self.executor.book.event(self.instance, EventType::Normal, "Ready", "the plugin is ready");
        Ok(())
    }
}
