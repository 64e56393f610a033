//! What the gateway is told of sessions.

use std::sync::PoisonError;
use std::time::Duration;

use plugward_api::Name;
use plugward_relay::grpc::Status;
use tokio::time::Instant;

use super::Gateway;
use super::arrivals::Arrivals;
use super::door::Door;
use super::priming::KeptPriming;
use super::terms::{Joined, NotJoined};
use crate::names::{SessionId, SlotName};
use crate::plan::Place;

impl Gateway {
    /// Takes in a session, which is then served as the instance's mounts are: in their container if it `shares` that and the plugin can, else
    /// in one of its own. What its host `told` the plugin before, by another controller's word, is told to the next container.
    ///
    /// # Errors
    /// When the instance is not served yet, or not any more, or the session is known.
    pub fn join(
        &self,
        instance: &Name,
        id: &SessionId,
        door: Door,
        shares: bool,
        told: Option<Vec<KeptPriming>>,
    ) -> Result<(), NotJoined> {
        let closing = self.shared.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            return Err(NotJoined::Refused);
        }
        self.get(instance).ok_or(NotJoined::Unserved)?.join(id, door, shares, told)
    }

    /// Waits until a container would serve a session's calls, at most for `limit`.
    ///
    /// # Errors
    /// Why none does.
    pub async fn joined(&self, instance: &Name, id: &SessionId, limit: Duration) -> Result<Joined, Status> {
        match self.get(instance) {
            Some(instance) => instance.joined(id, Instant::now() + limit).await,
            None => Err(Status::unavailable("the instance is not served any more")),
        }
    }

    /// A session's host may come from now on, to this socket.
    pub fn admit(&self, instance: &Name, id: &SessionId, listener: Arrivals) {
        if let Some(instance) = self.get(instance) {
            instance.admit(id, listener);
        }
    }

    /// A session is over: calls of its host that are under way end with `status`, at once, or `gracefully`: when the drain timeout is over, or
    /// the host is `gone`.
    pub async fn part(
        &self,
        instance: &Name,
        id: &SessionId,
        status: &Status,
        gracefully: bool,
        gone: impl Future<Output = ()>,
    ) {
        if let Some(instance) = self.get(instance) {
            instance.part(id, status, gracefully, gone).await;
        }
    }

    /// A session is over, and its host gone.
    pub fn drop_session(&self, instance: &Name, id: &SessionId) {
        if let Some(instance) = self.get(instance) {
            let status = Status::unavailable("the session is over");
            instance.remove(id, &status);
        }
    }

    /// Has a session's hand told what is settled of it.
    pub fn settle(&self, instance: &Name, id: &SessionId) {
        if let Some(instance) = self.get(instance) {
            instance.settle(&id.clone().into());
        }
    }

    /// How many calls of a session are over.
    pub fn session_requests(&self, instance: &Name, id: &SessionId) -> u64 {
        self.get(instance).map_or(0, |instance| instance.session_requests(id))
    }

    /// Waits for a container that serves a session, other than the `last`.
    pub async fn session_container(&self, instance: &Name, id: &SessionId, last: Option<&Place>) -> Place {
        match self.get(instance) {
            Some(instance) => instance.session_container(id, last).await,
            // It has none, and will have none.
            None => std::future::pending().await,
        }
    }

    /// The slot that serves a session, if it is known.
    pub fn session_slot(&self, instance: &Name, id: &SessionId) -> Option<SlotName> {
        self.get(instance)?.session_slot(id)
    }
}
