//! Hosts that have no mount: they start a launcher, and do so again when it has ended.

use std::time::Duration;

use go_plugin::{Address, Application, Handshake, Identity, Peer};
use rand::Rng;
use tokio::time::{Instant, timeout};

use super::channel::{Call, Channel};
use super::launcher::{Ended, Launcher, Launching};
use super::{Calls, GUESTS, Host, Places, SessionEnd};
use crate::simulation::circumstances::Circumstances;
use crate::simulation::plugin::Callbacks;

/// By which a host tells its plugin that it needs it no more.
const SHUTDOWN: &str = "/plugin.GRPCController/Shutdown";

/// How long a host waits then before it kills its launcher, as go-plugin does.
const KILLED_AFTER: Duration = Duration::from_secs(2);

/// What a host has that attaches.
pub(super) struct Guest {
    launching: Launching,
    /// If it speaks TLS.
    identity: Option<Identity>,
    session: Option<Session>,
    /// The sessions that it had so far, and tried to have.
    sessions: u64,
}

/// A session as its host has it.
struct Session {
    launcher: Launcher,
    began: Instant,
}

/// How it stands with a host's session.
pub(super) enum Attached {
    /// As before.
    Still,
    /// It is another one.
    Anew,
    /// There is none.
    Not,
}

// === impl Host: one that attaches ===

impl Host {
    /// Sees to it that it has a session, if it has no mount.
    pub(super) async fn attach(&mut self, time: Duration) -> Attached {
        let Some(guest) = &self.guest else { return Attached::Still };
        if let Some(Session { launcher, .. }) = &guest.session {
            let Some(ended) = launcher.ended() else { return Attached::Still };
            tracing::debug!(host = self.name, "its launcher ended: {ended:?}");
            self.session_ended(Some(ended)).await;
        }
        let Some(guest) = &mut self.guest else { return Attached::Still };
        guest.sessions += 1;
        let name = format!("{}-{}", self.name, guest.sessions);
        let began = Instant::now();
        match timeout(time, Launcher::start(&guest.launching, name)).await {
            Ok(Ok((launcher, handshake))) => {
                let Address::Unix(socket) = &handshake.address else { panic!("no Unix socket: {handshake}") };
                self.peer = guest.peer(&handshake);
                self.channel = Channel::new(socket.into(), self.peer.clone());
                guest.session = Some(Session { launcher, began });
                Attached::Anew
            }
            failed => {
                tracing::debug!(host = self.name, "is not attached: {:?}", failed.ok().and_then(Result::err));
                Attached::Not
            }
        }
    }

    /// Ends its session, with or without a word.
    pub(super) async fn detach(&mut self) {
        if self.chance.random_ratio(1, 2) {
            let id = self.next(SHUTDOWN).id;
            let call = Call {
                path: SHUTDOWN,
                id: &id,
                time: KILLED_AFTER,
                work: Duration::ZERO,
                message: &[],
                server: None,
            };
            self.channel.call(call).await;
            let launcher = self.guest.as_mut().and_then(|guest| guest.session.as_mut());
            if let Some(Session { launcher, .. }) = launcher {
                // Whether it had the time is another matter: its controller may be away.
                let _ = timeout(KILLED_AFTER, launcher.over()).await;
            }
        }
        self.session_ended(None).await;
    }

    /// Its session is over, by itself or, without a reason, by the host.
    async fn session_ended(&mut self, ended: Option<Ended>) {
        let Some(Session { began, .. }) = self.guest.as_mut().and_then(|guest| guest.session.take()) else {
            return;
        };
        let (at, why) = ended.map_or((Instant::now(), None), |ended| (ended.at, Some(ended.why)));
        self.calls.session_ends(SessionEnd { instance: self.instance, mount: self.mount, began, at, why });
        self.begin_anew(false).await;
    }
}

// === impl Guest ===

impl Guest {
    pub(super) fn new(
        places: &Places,
        (instance, mount): (&'static str, &'static str),
        circumstances: &Circumstances,
        calls: &Calls,
    ) -> Self {
        let (cookie, version) = if circumstances.callbacks == Callbacks::Kept {
            let cookie = Application::Backend.cookie();
            ((cookie.key().to_owned(), cookie.value().to_owned()), "5")
        } else {
            (("SIMULATED".to_owned(), "plugin".to_owned()), "1")
        };
        let versions = ("PLUGIN_PROTOCOL_VERSIONS".to_owned(), version.to_owned());
        // Backends have no choice.
        let pinned = circumstances.callbacks == Callbacks::Kept || mount == GUESTS[0];
        let identity = pinned.then(|| Identity::generate().expect("an identity"));
        let certificate =
            identity.as_ref().map(|identity| ("PLUGIN_CLIENT_CERT".to_owned(), identity.certificate_pem()));
        let launching = Launching {
            place: places.attach.clone(),
            directory: places.servers.clone(),
            instance,
            mount,
            environment: [cookie, versions].into_iter().chain(certificate).collect(),
            calls: calls.clone(),
        };
        Self { launching, identity, session: None, sessions: 0 }
    }

    /// The plugin of this handshake.
    fn peer(&self, handshake: &Handshake) -> Peer {
        match (&self.identity, &handshake.server_certificate) {
            (Some(identity), Some(certificate)) => {
                Peer::pinned(identity, certificate).expect("a certificate")
            }
            (None, None) => Peer::plain(),
            _ => panic!("what the host asked for is not what it got: {handshake}"),
        }
    }
}
