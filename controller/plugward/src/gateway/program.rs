//! The relay's program for one host's connection: which calls are the plugin's, and where they go.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use plugward_relay::driver::{Later, Program, ServedStream};
use plugward_relay::grpc::{self, Code, Status};
use plugward_relay::{Amendments, Decision, Ended, Observe, Outcome, Peer, Policy, Request, Stop, Violation};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::broker::Client;
use super::followed::Followed;
use super::instance::{Berthed, Id, Instance, Line, PrimingCall};
use super::made::MadeCall;
use super::method::{Method, Own};
use super::mount::Mount;
use super::multiplex::{self, HostId};
use super::priming::{Kept, KeptCall, Role, is_application};
use super::seat::Serial;
use super::served;
use super::terms::{self, Broken};
use super::traffic::InFlight;
use crate::plugin::HostLine;

/// A host's connection.
pub(super) struct Host {
    instance: Arc<Instance>,
    mount: Arc<Mount>,
    id: Id,
    client: Client,
    /// The container that it goes to, once it does.
    bound: Arc<OnceLock<Arc<Berthed>>>,
    /// A call waits that a plugin answers in any state.
    urgent: watch::Sender<bool>,
    /// The id that was last made of one of the host's own.
    last_id: Option<(HostId, String)>,
}

/// What is kept of a call.
pub(super) enum Call {
    Plugin(PluginCall),
    Own(Own),
    /// One that is made for the host, until that was begun.
    Made(Option<MadeCall>),
}

pub(super) struct PluginCall {
    role: Role,
    traffic: InFlight,
    /// The plugin's failures to be primed that were known when the call began to wait.
    failures: u32,
    priming: Option<Priming>,
    followed: Option<Box<Followed>>,
}

/// A call that concerns the priming.
struct Priming {
    method: String,
    metadata: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// Once it goes to the plugin.
    on_its_way: Option<PrimingCall>,
}

/// A connection to the plugin.
pub(super) struct PluginLine {
    io: HostLine,
    _line: Line,
}

/// How long a connection to a plugin may take to be made.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait after one could not be made, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

// === impl Host ===

impl Host {
    pub(super) fn new(instance: Arc<Instance>, mount: Arc<Mount>, id: Id, client: Client) -> Self {
        let (bound, urgent) = (Arc::default(), watch::Sender::new(false));
        Self { instance, mount, id, client, bound, urgent, last_id: None }
    }

    /// Whether a call may go to this container.
    fn admit(&self, call: &PluginCall, berthed: &Berthed, request: &Request<'_>) -> Result<HostId, Stop> {
        if let Some(status) = self.mount.barrier(self.client) {
            return Err(status.into());
        }
        let host = if berthed.backend.multiplexes { HostId::of(request) } else { HostId::NONE };
        if !self.mount.admits_all_to(berthed.serial) {
            self.instance.admits(self.id, berthed.serial, &self.mount.name, &host, call.role)?;
        }
        Ok(host)
    }

    /// The container that the connection goes to.
    fn line(&self) -> Option<Serial> {
        self.bound.get().map(|berthed| berthed.serial)
    }

    /// The id under which the plugin has this user.
    fn plugin_id(&mut self, host: &HostId) -> &str {
        if *host == HostId::NONE {
            return &self.mount.id;
        }
        let made = match self.last_id.take() {
            Some((last, made)) if last == *host => made,
            _ => host.at_plugin(&self.instance.name, &self.mount.name),
        };
        &self.last_id.insert((host.clone(), made)).1
    }
}

impl Policy for Host {
    type Call = Call;

    fn request(&mut self, request: &Request<'_>) -> Decision<Call> {
        let role = match self.instance.method(request.path()) {
            Method::Own(own) => return Decision::Serve(Call::Own(own)),
            Method::Made(role) => {
                let call = MadeCall::of(request, role, self.mount.traffic.begin());
                return Decision::Serve(Call::Made(Some(call)));
            }
            Method::Plugin(role) => role,
        };
        if let Some(status) = self.instance.refusal(&self.mount) {
            return Decision::Answer(status);
        }
        let concerns_priming = matches!(role, Role::Primes | Role::Ends);
        let priming = concerns_priming.then(|| Priming {
            method: String::from_utf8_lossy(request.path()).into_owned(),
            metadata: KeptCall::metadata(request),
            on_its_way: None,
        });
        let copied = (role == Role::Primes).then_some(grpc::MESSAGE_HEAD + Kept::LARGEST);
        Decision::Pass {
            call: Call::Plugin(PluginCall {
                role,
                traffic: self.mount.traffic.begin(),
                failures: 0,
                priming,
                followed: Followed::of(request),
            }),
            observe: Observe { request: copied, answer: None },
        }
    }

    fn forward(
        &mut self,
        call: &mut Call,
        request: &Request<'_>,
        amendments: &mut Amendments,
    ) -> Result<(), Stop> {
        let Call::Plugin(call) = call else { return Ok(()) };
        // It was set before the connection was given out.
        let Some(berthed) = self.bound.get().cloned() else {
            return Err(Status::unavailable("no plugin").into());
        };
        let host = self.admit(call, &berthed, request)?;
        call.traffic.goes();
        if berthed.backend.multiplexes && is_application(request.path()) {
            amendments.set(multiplex::KEY, self.plugin_id(&host).as_bytes());
        }
        if let Some(priming) = &mut call.priming {
            let (instance, mount) = (&self.instance, &self.mount.name);
            priming.on_its_way =
                instance.priming(berthed.serial, mount, host, priming.method.clone(), call.role);
        }
        Ok(())
    }

    fn may_wait(&mut self, call: &mut Call, time_limit: Option<Duration>) -> Result<Duration, Status> {
        let Call::Plugin(call) = call else { return Ok(Duration::ZERO) };
        let (time, failures) = self.instance.outlook(&self.mount, self.line(), |outlook| {
            (outlook.may_wait(call.role, time_limit), outlook.failures())
        })?;
        let time = time?;
        call.failures = failures;
        if let Some(followed) = &call.followed {
            followed.waits(&self.instance.name, &self.mount.name);
        }
        if call.role != Role::Work {
            self.urgent.send_replace(true);
        }
        if call.traffic.waits() && self.bound.get().is_none() {
            self.instance.needed(&self.mount.name);
        }
        Ok(time)
    }

    fn may_go_on(&mut self, call: &mut Call, left: Duration) -> Result<(), Status> {
        let Call::Plugin(call) = call else { return Ok(()) };
        self.instance
            .outlook(&self.mount, self.line(), |outlook| outlook.may_go_on(call.role, left, call.failures))?
    }

    fn waited(&mut self, _: &Call) -> Status {
        let waited = self.instance.outlook(&self.mount, self.line(), |outlook| outlook.waited());
        waited.unwrap_or_else(|refusal| refusal)
    }

    fn heard(&mut self, call: &mut Call, _: &[u8]) {
        if matches!(call, Call::Own(Own::Broker)) {
            self.instance.broker_heard(&self.mount.name);
        }
    }

    fn ended(&mut self, call: Call, ended: Ended) {
        let Call::Plugin(PluginCall { role, priming, followed, .. }) = call else { return };
        self.mount.requests.ended(role.class(), &ended);
        if role == Role::Work
            && ended.outcome == Outcome::Answered(Code::Ok)
            && self.mount.door.as_ref().is_some_and(|door| door.hand.worked())
        {
            self.instance.settle(&self.mount.name);
        }
        if let Some(followed) = followed {
            followed.ended(&self.instance.name, &self.mount.name, &ended);
        }
        let Some(Priming { metadata, on_its_way: Some(on_its_way), .. }) = priming else { return };
        // Dropped otherwise, it says that the plugin did not do it.
        if ended.outcome == Outcome::Answered(Code::Ok) {
            match role {
                Role::Primes => {
                    let body = ended.request.as_ref().and_then(grpc::Copy::bytes);
                    on_its_way.primed(KeptCall::of(metadata, body));
                }
                Role::Ends | Role::Prelude | Role::Work => on_its_way.undone(),
            }
        }
    }

    fn violated(&mut self, by: Peer, violation: Violation) {
        match by {
            Peer::Host => {
                tracing::warn!(%violation, pid = self.client.pid, "a host broke the rules: its connection is ended");
                self.mount.penalise(self.client.pid.unwrap_or_default());
            }
            Peer::Plugin => {
                let container = self.bound.get().map(|berthed| berthed.backend.place.name.as_str());
                tracing::warn!(%violation, container, "a plugin broke the rules: its connection is ended");
                if let Some(berthed) = self.bound.get().filter(|_| violation.is_broken_protocol()) {
                    self.instance.broke(berthed, Broken::Rules(violation));
                }
            }
        }
    }
}

impl Program for Host {
    type Plugin = PluginLine;

    fn connect(&mut self) -> Later<PluginLine> {
        let (instance, mount, id) = (self.instance.clone(), self.mount.clone(), self.id);
        let (bound, mut urgent) = (self.bound.clone(), self.urgent.subscribe());
        Box::pin(async move {
            let mut changes = instance.changes();
            let mut pause = PAUSES.0;
            loop {
                changes.mark_unchanged();
                let is_urgent = *urgent.borrow_and_update();
                let Some(berthed) = instance.route(&mount.name, is_urgent) else {
                    // Neither sender goes before this does.
                    tokio::select! {
                        _ = changes.changed() => {}
                        _ = urgent.changed() => {}
                    }
                    continue;
                };
                let dialled = tokio::select! {
                    dialled = timeout(DIAL_LIMIT, berthed.backend.conversation.dial()) => dialled,
                    () = elsewhere(&instance, &mount, &berthed, is_urgent) => continue,
                };
                match dialled {
                    Ok(Ok(io)) => {
                        if let Some(line) = instance.bind(id, &mount.name, &berthed, is_urgent) {
                            // Asked for once, this is the first to set it.
                            let _ = bound.set(berthed);
                            return PluginLine { io, _line: line };
                        }
                        continue;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "cannot connect to a plugin"),
                    Err(_) => tracing::debug!("a plugin takes no connection"),
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        })
    }

    fn plugin_ended(&mut self) -> Later<Status> {
        const LITTLE: &str = "its connection ended";
        let (instance, mount, bound) = (self.instance.clone(), self.mount.clone(), self.bound.clone());
        Box::pin(async move {
            let Some(berthed) = bound.get() else {
                // It was set before the connection was given out.
                return terms::death(LITTLE);
            };
            tokio::select! {
                status = berthed.backend.death(LITTLE) => status,
                // Where a host could be served already, it is not kept waiting for the reason.
                () = succeeded(&instance, &mount, berthed) => terms::death(LITTLE),
            }
        })
    }

    fn serve(&mut self, call: &mut Call, stream: ServedStream) {
        match call {
            Call::Own(own) => {
                served::spawn(&self.instance, &self.mount, (self.id, self.client), *own, stream);
            }
            Call::Made(call) => {
                if let Some(call) = call.take() {
                    call.spawn(&self.instance, &self.mount, self.client, stream);
                }
            }
            Call::Plugin(_) => {}
        }
    }
}

/// Waits until a mount's connections go to another container than this.
async fn succeeded(instance: &Instance, mount: &Mount, berthed: &Arc<Berthed>) {
    let mut changes = instance.changes();
    while instance.route(&mount.name, false).is_none_or(|now| Arc::ptr_eq(&now, berthed)) {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Waits until a mount's connections do not go to this container any more.
async fn elsewhere(instance: &Instance, mount: &Mount, berthed: &Arc<Berthed>, urgent: bool) {
    let mut changes = instance.changes();
    while instance.route(&mount.name, urgent).is_some_and(|now| Arc::ptr_eq(&now, berthed)) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

// === impl PluginLine ===

impl AsyncRead for PluginLine {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for PluginLine {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
