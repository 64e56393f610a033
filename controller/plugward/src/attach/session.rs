//! One session as others see it: who, of what, and where it is in its life.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use plugward_api::session::{SessionMetadata, SessionSpec, SessionStatus};
use plugward_api::{Name, PluginSession, SessionKind, SessionPhase};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::asks::Asks;
use super::caller::Caller;
use super::passed::Passed;
use crate::metrics::SessionEnd;
use crate::names::{SessionId, SlotName};

/// A host that uses a plugin through its launcher.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) instance: Name,
    pub(super) caller: Caller,
    pub(super) asks: Asks,
    /// The variables that are passed on to the plugin.
    pub(super) passed: Passed,
    pub(super) began_at: Timestamp,
    standing: Mutex<Standing>,
    ending: OnceLock<Ending>,
    ends: CancellationToken,
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its host waits for the handshake line.
    Starting,
    /// Another controller had it.
    Resuming(Agreed),
    /// Its host uses the plugin.
    Attached(Agreed),
}

/// What a host was told with its handshake line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agreed {
    /// The version of the application's protocol.
    pub(super) protocol_version: u32,
    /// When.
    pub(super) attached_at: Timestamp,
}

/// Why a session is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The host said that it needs its plugin no more.
    Shutdown,
    /// The record is gone, or lets no hosts attach.
    Deleted,
    /// The record does not permit the user any more.
    NotPermitted,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        instance: Name,
        caller: Caller,
        asks: Asks,
        passed: Passed,
        began_at: Timestamp,
        standing: Standing,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            instance,
            caller,
            asks,
            passed,
            began_at,
            standing: Mutex::new(standing),
            ending: OnceLock::new(),
            ends: CancellationToken::new(),
        })
    }

    /// Ends it. Of several reasons, the first counts.
    pub(super) fn end(&self, why: Ending) {
        let _ = self.ending.set(why);
        self.ends.cancel();
    }

    /// Resolves when it is to end, with the reason.
    pub(super) async fn ended(&self) -> Ending {
        self.ends.cancelled().await;
        // It was set before.
        self.ending.get().copied().unwrap_or(Ending::Shutdown)
    }

    pub(super) fn standing(&self) -> Standing {
        *self.lock()
    }

    /// The host has its handshake line.
    pub(super) fn stands(&self, agreed: Agreed) {
        *self.lock() = Standing::Attached(agreed);
    }

    /// What it uses, if its calls go to this slot.
    pub(super) fn kind(&self, slot: &SlotName) -> SessionKind {
        match slot {
            _ if self.asks.metadata => SessionKind::Metadata,
            SlotName::Shared => SessionKind::Shared,
            SlotName::Mount(_) | SlotName::Spare(_) => SessionKind::Own,
        }
    }

    /// It as an object, served from a slot, with so many requests over.
    pub(super) fn object(&self, slot: Option<&SlotName>, requests: u64) -> Option<PluginSession> {
        let (phase, agreed) = match self.standing() {
            Standing::Starting => (SessionPhase::Starting, None),
            Standing::Resuming(agreed) => (SessionPhase::Resuming, Some(agreed)),
            Standing::Attached(agreed) => (SessionPhase::Attached, Some(agreed)),
        };
        let phase = if self.ends.is_cancelled() { SessionPhase::Ending } else { phase };
        Some(PluginSession {
            metadata: SessionMetadata {
                // An id is a name.
                name: self.id.as_str().parse().ok()?,
                creation_timestamp: self.began_at,
            },
            spec: SessionSpec { instance: self.instance.clone() },
            status: SessionStatus {
                phase,
                kind: slot.map(|slot| self.kind(slot)),
                slot: slot.map(ToString::to_string),
                user: self.caller.name.clone(),
                uid: self.caller.uid,
                pid: self.caller.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
                protocol_version: agreed.map(|agreed| agreed.protocol_version),
                tls: self.asks.certificate.is_some(),
                broker_multiplexing: self.asks.multiplexes(),
                attached_at: agreed.map(|agreed| agreed.attached_at),
                requests,
            },
        })
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        // Each change is one assignment.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending {
    /// As what it is counted.
    pub(super) const fn counted(self) -> SessionEnd {
        match self {
            Self::Shutdown => SessionEnd::Shutdown,
            Self::Deleted => SessionEnd::Deleted,
            Self::NotPermitted => SessionEnd::NotPermitted,
        }
    }

    /// What the host is told, unless it asked for it itself.
    pub(super) fn message(self, session: &Session) -> Option<String> {
        let Session { instance, caller, .. } = session;
        match self {
            Self::Shutdown => None,
            Self::Deleted => Some(format!(
                "plugin instance {instance}: deleted, or spec.attach.enabled is false: the session is ended"
            )),
            Self::NotPermitted => Some(format!(
                "plugin instance {instance}: user {} is not permitted to attach any more (spec.attach): the session is ended",
                caller.user()
            )),
        }
    }
}
