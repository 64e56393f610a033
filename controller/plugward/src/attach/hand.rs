//! A session's launcher as the gateway's [`Hand`]: what reaches into the host's namespaces, and keeps the session for the next controller.
//!
//! # What can be kept
//!
//! A session outlives its controller only where its host notices nothing. go-plugin's broker lives for one stream that the host opened
//! once: a host that uses it, as all of secrets engines and auth methods do, would have a broker that is dead. So the session of
//! such a plugin is never kept, and another only as long as its broker was not used. A plugin of type `custom` may be one whose host is
//! about to: its session is kept once a call has succeeded without.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use plugward_api::PluginType;
use plugward_attach::FromController;
use tokio::net::UnixStream;

use super::kept::{KeptSession, Sealer};
use super::launcher::Launcher;
use super::session::{Ending, Session, Standing};
use crate::gateway::{Hand, KeptPriming, OfferedSocket};
use crate::slot::StoredIdentity;

/// How long a launcher waits for another controller. Its host's connections wait as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The hand of one session.
pub(super) struct SessionHand {
    launcher: Arc<Launcher>,
    session: Arc<Session>,
    sealer: Sealer,
    /// Towards the host.
    identity: StoredIdentity,
    plugin_type: PluginType,
    /// A call has succeeded.
    worked: AtomicBool,
    /// The broker was used.
    brokered: AtomicBool,
}

impl SessionHand {
    /// `worked`: whether a call is known to have succeeded.
    pub(super) fn new(
        launcher: Arc<Launcher>,
        session: Arc<Session>,
        sealer: Sealer,
        identity: StoredIdentity,
        plugin_type: PluginType,
        worked: bool,
    ) -> Arc<Self> {
        let (worked, brokered) = (AtomicBool::new(worked), AtomicBool::new(false));
        Arc::new(Self { launcher, session, sealer, identity, plugin_type, worked, brokered })
    }

    /// Whether its host would notice nothing of another controller.
    fn may_be_kept(&self) -> bool {
        let of_its_type = match self.plugin_type {
            PluginType::Database => true,
            PluginType::Auth | PluginType::Secret => false,
            PluginType::Custom => self.worked.load(Ordering::Acquire),
        };
        // A host with one connection never makes another.
        of_its_type && !self.session.asks.multiplexes() && !self.brokered.load(Ordering::Acquire)
    }

    fn keep(&self, told: Vec<KeptPriming>) -> io::Result<()> {
        let Session { id, instance, caller, asks, passed, began_at, .. } = &*self.session;
        let (Standing::Attached(agreed) | Standing::Resuming(agreed)) = self.session.standing() else {
            // Its host has no line yet: there is nothing to keep.
            return Ok(());
        };
        let state = self.sealer.seal(&KeptSession {
            id: id.clone(),
            instance: instance.clone(),
            uid: caller.uid,
            asks: asks.clone(),
            agreed,
            identity: self.identity.clone(),
            passed: passed.clone(),
            began_at: *began_at,
            told,
        })?;
        self.launcher.tell_with(&FromController::Keep { patience: PATIENCE }, &[state.as_fd()]);
        Ok(())
    }
}

impl Hand for SessionHand {
    fn dial(&self, path: &Path) -> BoxFuture<'static, io::Result<UnixStream>> {
        let (launcher, path) = (self.launcher.clone(), path.to_owned());
        async move { launcher.dial(path).await }.boxed()
    }

    fn offer(&self) -> BoxFuture<'static, io::Result<OfferedSocket>> {
        let launcher = self.launcher.clone();
        async move { launcher.offer().await }.boxed()
    }

    fn unsettled(&self) {
        self.launcher.tell(&FromController::Forget);
    }

    fn brokered(&self) {
        if !self.brokered.swap(true, Ordering::AcqRel) {
            self.launcher.tell(&FromController::Forget);
        }
    }

    fn worked(&self) -> bool {
        let first = !self.worked.load(Ordering::Relaxed) && !self.worked.swap(true, Ordering::AcqRel);
        first && self.may_be_kept()
    }

    fn settled(&self, told: Option<Vec<KeptPriming>>) {
        match told.filter(|_| self.may_be_kept()) {
            Some(told) => {
                if let Err(error) = self.keep(told) {
                    tracing::warn!(%error, "a session cannot be kept over a restart of the controller");
                    self.launcher.tell(&FromController::Forget);
                }
            }
            None => self.launcher.tell(&FromController::Forget),
        }
    }

    fn shut_down(&self) {
        self.session.end(Ending::Shutdown);
    }
}

impl std::fmt::Debug for SessionHand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionHand").field("session", &self.session.id).finish_non_exhaustive()
    }
}
