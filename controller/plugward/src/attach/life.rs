//! The life of a session, from where its host is let in to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use go_plugin::{Address, BrokerMultiplexing, Handshake, Identity, Peer, Protocol as Transport};
use plugward_api::status::EventType;
use plugward_api::{Name, PluginInstanceSpec, PluginType, SessionKind};
use plugward_attach::FromController;
use plugward_relay::grpc::Status;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Attach;
use super::admission::{Admitted, Greeting};
use super::caller::Caller;
use super::hand::SessionHand;
use super::kept::KeptSession;
use super::launcher::{Launcher, MAIN};
use super::listening::{Listening, SocketFile};
use super::refusal::{NotBegun, Refusal};
use super::roster::NotEntered;
use super::session::{Agreed, Ending, Session, Standing};
use crate::errors::chain;
use crate::gateway::{Door, Joined, KeptPriming, Memory, NotJoined};
use crate::metrics::{AttachRefusal, SessionEnd};
use crate::names::SlotName;
use crate::slot::StoredIdentity;

/// How long hosts wait for a handshake line, less what it takes to tell them why there is none: go-plugin's own wait for a minute.
const HOSTS_WAIT: Duration = Duration::from_secs(55);

/// How long an instance may take to be served after the controller began.
const SERVED_WITHIN: Duration = Duration::from_secs(20);

/// How often to look whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// A session that is on the roster and in the gateway. Dropped, it is in neither.
struct Present {
    attach: Attach,
    session: Arc<Session>,
    launcher: Arc<Launcher>,
}

impl Attach {
    /// Serves a launcher that has just connected, to its end.
    pub(super) async fn serve(self, launcher: Launcher, caller: Caller) {
        let began = Instant::now();
        let Some(greeting) = self.greeted(&launcher, &caller).await else { return };
        let launcher = Arc::new(launcher);
        let span = tracing::info_span!("attach", instance = greeting.instance, user = caller.user());
        async {
            if greeting.resumes {
                return self.take_back(&launcher, caller, greeting).await;
            }
            let (instance, not_begun) = match self.admit(&launcher, caller.clone(), &greeting, began).await {
                Ok(admitted) => {
                    let instance = admitted.session.instance.clone();
                    let Err(not_begun) = self.begin(&launcher, admitted).await else { return };
                    (Some(instance), not_begun)
                }
                Err((instance, not_begun)) => (instance, not_begun),
            };
            match not_begun {
                NotBegun::Refused(refusal) => self.refuse(&launcher, instance.as_ref(), &caller, &refusal),
                NotBegun::Left => tracing::info!("a host went before it had its plugin"),
            }
        }
        .instrument(span)
        .await;
    }

    /// Serves a launcher to whom another controller gave a session, to its end.
    async fn take_back(&self, launcher: &Arc<Launcher>, caller: Caller, greeting: Greeting) {
        // Before anything is done for it.
        let (instance, spec) = match self.permitted(&greeting.instance, &caller).await {
            Ok(permitted) => permitted,
            Err((_, refusal)) => {
                self.count_refused(&caller, &refusal);
                return launcher.tell(&FromController::Exit { code: 1, message: Some(refusal.message) });
            }
        };
        if let Err(why) = self.resume(launcher, caller, &instance, spec, greeting.descriptors).await {
            // Of what kind it was does not matter: it is not among those that are counted.
            self.view.metrics.session_ended(&instance, SessionKind::Own, SessionEnd::Lost);
            tracing::warn!(why, "a session is not taken up again: its host has to start its plugin anew");
            launcher.tell(&FromController::Exit { code: 1, message: Some(why) });
        }
    }

    /// Begins a session, and sees it through to its end.
    async fn begin(&self, launcher: &Arc<Launcher>, admitted: Admitted) -> Result<(), NotBegun> {
        let Admitted { session, identity, peer, spec, began } = admitted;
        let present = self.take_in(&session, launcher, Some(most(&spec))).map_err(|not| {
            let reason = match not {
                NotEntered::Full => AttachRefusal::TooMany,
                NotEntered::Known => AttachRefusal::NotReady,
            };
            Refusal::new(reason, told(not, &session, &spec))
        })?;
        let hand = self.hand(launcher, &session, &identity, spec.plugin.plugin_type, false);
        let living = async {
            self.join(&session, hand, peer, &spec, None).await?;
            let (joined, file) = self.prepare(launcher, &session, &spec, began).await?;
            self.hand_over(launcher, &session, &joined, &identity, &file, began);
            present.live(session.kind(&joined.slot), file).await;
            Ok(())
        };
        self.accompany(launcher, &session, living).await
    }

    /// Waits for a container, and has the launcher make the socket that the host is to connect to.
    async fn prepare(
        &self,
        launcher: &Launcher,
        session: &Session,
        spec: &PluginInstanceSpec,
        began: Instant,
    ) -> Result<(Joined, SocketFile), NotBegun> {
        let limit = spec.start_timeout.get().min(HOSTS_WAIT.saturating_sub(began.elapsed()));
        let waiting = self.view.gateway.joined(&session.instance, &session.id, limit);
        let joined = tokio::select! {
            joined = waiting => joined.map_err(|status| Refusal::new(
                AttachRefusal::NotReady,
                format!("no container of plugin instance {} is ready: {}", session.instance, status.message),
            ))?,
            ending = session.ended() => {
                let reason = match ending {
                    Ending::Shutdown => return Err(NotBegun::Left),
                    Ending::Deleted => AttachRefusal::NotEnabled,
                    Ending::NotPermitted => AttachRefusal::NotPermitted,
                };
                return Err(Refusal::new(reason, ending.message(session).unwrap_or_default()).into());
            }
            () = launcher.gone() => return Err(NotBegun::Left),
        };
        session.asks.admits(joined.protocol_version)?;
        let Listening { listener, file } = launcher.listen().await.map_err(|error| {
            Refusal::new(AttachRefusal::NotReady, format!("the session's socket cannot be made: {error}"))
        })?;
        self.view.gateway.admit(&session.instance, &session.id, listener);
        Ok((joined, file))
    }

    /// Gives the host its handshake line: from now on it takes us for its plugin.
    fn hand_over(
        &self,
        launcher: &Launcher,
        session: &Session,
        joined: &Joined,
        identity: &Identity,
        file: &SocketFile,
        began: Instant,
    ) {
        let pinned = session.asks.certificate.is_some();
        let handshake = Handshake {
            app_version: joined.protocol_version,
            address: Address::Unix(file.path().display().to_string()),
            protocol: Transport::Grpc,
            server_certificate: pinned.then(|| identity.certificate().clone()),
            broker_multiplexing: match session.asks.multiplexed {
                Some(_) => BrokerMultiplexing::Supported,
                None => BrokerMultiplexing::NotSaid,
            },
        };
        let protocol_version = joined.protocol_version;
        session.stands(Agreed { protocol_version, attached_at: self.clock.now() });
        self.view.gateway.settle(&session.instance, &session.id);
        launcher.tell(&FromController::Print { line: handshake.to_string() });
        let took = began.elapsed();
        self.view.metrics.attached(&session.instance, session.kind(&joined.slot), took);
        tracing::info!(session = %session.id, slot = %joined.slot, pid = session.caller.pid, ?took, "a host is attached");
        let message = format!("a host of user {} attached", session.caller.user());
        self.view.book.event(&session.instance, EventType::Normal, "Attached", message);
    }

    /// Takes up a session that another controller had.
    async fn resume(
        &self,
        launcher: &Arc<Launcher>,
        caller: Caller,
        instance: &Name,
        spec: PluginInstanceSpec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let mut descriptors = descriptors.into_iter();
        let (Some(state), Some(listener), Some(directory)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        else {
            return Err("the launcher kept nothing".to_owned());
        };
        // It may be large.
        let sealer = self.sealer.clone();
        let mut kept = spawn_blocking(move || sealer.unseal(state))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("what the launcher kept is of no use: {}", chain(&error)))?;
        if kept.uid != caller.uid || kept.instance != *instance {
            return Err("the launcher is another user's than before, or another instance's".to_owned());
        }
        let primed = self.view.state.last_primed(instance, &kept.id.clone().into());
        let told_before = std::mem::take(&mut kept.told);
        if primed.is_some() && told_before.is_empty() {
            // The launcher was told before, and never that it is settled.
            return Err("what the host had told its plugin is not known".to_owned());
        }
        let KeptSession { id, asks, agreed, identity, passed, began_at, .. } = kept;
        let identity = Identity::from_pem(identity.reveal()).map_err(|error| chain(&error))?;
        let peer = asks.peer(&identity).map_err(|refusal| refusal.message)?;
        let standing = Standing::Resuming(agreed);
        let session = Session::new(id, instance.clone(), caller, asks, passed, began_at, standing);
        let present = self.take_in(&session, launcher, None).map_err(|not| told(not, &session, &spec))?;
        let hand = self.hand(launcher, &session, &identity, spec.plugin.plugin_type, true);
        let living = async {
            self.join(&session, hand, peer, &spec, Some(told_before))
                .await
                .map_err(|refusal| refusal.message)?;
            let file = self.take_up(launcher, &session, (listener, directory))?;
            session.stands(agreed);
            self.view.gateway.settle(&session.instance, &session.id);
            let slot = self.view.gateway.session_slot(&session.instance, &session.id);
            let kind = session.kind(&slot.unwrap_or(SlotName::Shared));
            self.view.metrics.session_resumed(&session.instance, kind);
            tracing::info!(session = %session.id, pid = session.caller.pid, "a host's session is taken up again");
            present.live(kind, file).await;
            Ok(())
        };
        self.accompany(launcher, &session, living).await
    }

    /// Takes a session onto the roster, for as long as what this gives is there.
    fn take_in(
        &self,
        session: &Arc<Session>,
        launcher: &Arc<Launcher>,
        most: Option<usize>,
    ) -> Result<Present, NotEntered> {
        self.view.roster.enter(session, most)?;
        // The record may have changed since it was asked, and those on the roster been reviewed.
        self.review(session);
        Ok(Present { attach: self.clone(), session: session.clone(), launcher: launcher.clone() })
    }

    /// Hears what a launcher says, and passes on what its plugin does, while its session lives.
    async fn accompany<E>(
        &self,
        launcher: &Arc<Launcher>,
        session: &Session,
        living: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let hearing = launcher.clone();
        let hearing = async move { hearing.attend().await };
        let _attending = AbortOnDropHandle::new(tokio::spawn(hearing.in_current_span()));
        tokio::select! {
            done = living => done,
            () = self.standard_errors.pass_on(&self.view.gateway, session, launcher) => Ok(()),
        }
    }

    /// Lets the host of a session that is taken up come again.
    fn take_up(
        &self,
        launcher: &Launcher,
        session: &Session,
        (listener, directory): (OwnedFd, OwnedFd),
    ) -> Result<SocketFile, String> {
        let Listening { listener, file } =
            Listening::again(listener, directory, launcher.uid()).map_err(|error| chain(&error))?;
        launcher.tell(&FromController::Resumed);
        self.view.gateway.admit(&session.instance, &session.id, listener);
        Ok(file)
    }

    /// Takes a session into the gateway, as soon as its instance is served there.
    async fn join(
        &self,
        session: &Session,
        hand: Arc<SessionHand>,
        peer: Peer,
        spec: &PluginInstanceSpec,
        told: Option<Vec<KeptPriming>>,
    ) -> Result<(), Refusal> {
        // With TLS it has to prove more than who it is; and whom its group admits only it knows.
        let anybody = peer.is_pinned() || session.asks.group;
        let user = (!anybody).then_some(session.caller.uid);
        let door = Door { peer, multiplexed: session.asks.multiplexes(), user, hand };
        let shares = spec.multiplexing == plugward_api::instance::Multiplexing::Auto;
        let until = Instant::now() + SERVED_WITHIN;
        loop {
            let gateway = &self.view.gateway;
            match gateway.join(&session.instance, &session.id, door.clone(), shares, told.clone()) {
                Ok(()) => return Ok(()),
                Err(NotJoined::Unserved) if Instant::now() < until => sleep(LOOK).await,
                Err(NotJoined::Unserved) => {
                    return Err(Refusal::new(
                        AttachRefusal::NotReady,
                        "the controller does not serve the instance yet",
                    ));
                }
                Err(NotJoined::Refused | NotJoined::Known) => {
                    return Err(Refusal::new(
                        AttachRefusal::NotReady,
                        "the instance goes away, or the controller does",
                    ));
                }
            }
        }
    }

    fn hand(
        &self,
        launcher: &Arc<Launcher>,
        session: &Arc<Session>,
        identity: &Identity,
        plugin_type: PluginType,
        worked: bool,
    ) -> Arc<SessionHand> {
        let identity = StoredIdentity::new(identity.to_pem().as_str());
        SessionHand::new(
            launcher.clone(),
            session.clone(),
            self.sealer.clone(),
            identity,
            plugin_type,
            worked,
        )
    }
}

/// How many sessions a record lets there be.
fn most(spec: &PluginInstanceSpec) -> usize {
    usize::try_from(spec.attach.max_sessions.get()).unwrap_or(usize::MAX)
}

/// Why a session is not taken onto the roster, in words.
fn told(not: NotEntered, session: &Session, spec: &PluginInstanceSpec) -> String {
    match not {
        NotEntered::Full => format!(
            "there are {} sessions of plugin instance {} already (spec.attach.maxSessions)",
            most(spec),
            session.instance
        ),
        NotEntered::Known => format!("a session {} is there already: try again", session.id),
    }
}

impl Present {
    /// Waits for the session's end, and ends it as the reason wants. Where this is dropped in the middle the controller ends: then the
    /// socket's file stays, since the host is to come to it again.
    async fn live(&self, kind: SessionKind, file: SocketFile) {
        let Self { attach, session, launcher } = self;
        let ending = tokio::select! {
            ending = session.ended() => Some(ending),
            () = launcher.gone() => None,
        };
        let gateway = &attach.view.gateway;
        let (counted, status) = match ending {
            Some(ending) => {
                let message = ending.message(session).unwrap_or_else(|| "the session is over".to_owned());
                (ending.counted(), Status::unavailable(message))
            }
            None => {
                (SessionEnd::LauncherGone, Status::unavailable("the session is over: its launcher has gone"))
            }
        };
        let gracefully = matches!(ending, Some(Ending::Deleted | Ending::NotPermitted));
        // Who comes from now on finds nobody, instead of waiting for somebody.
        file.remove();
        launcher.tell(&FromController::Unlisten { id: MAIN });
        gateway.part(&session.instance, &session.id, &status, gracefully, launcher.gone()).await;
        let code = u8::from(gracefully);
        let message = ending.and_then(|ending| ending.message(session));
        launcher.tell(&FromController::Exit { code, message });
        attach.view.metrics.session_ended(&session.instance, kind, counted);
        tracing::info!(session = %session.id, reason = counted.as_str(), "a host is detached");
        let message = format!("a host of user {} detached", session.caller.user());
        attach.view.book.event(&session.instance, EventType::Normal, "Detached", message);
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Self { attach, session, .. } = self;
        let gateway = &attach.view.gateway;
        gateway.drop_session(&session.instance, &session.id);
        attach.view.roster.leave(session);
    }
}
