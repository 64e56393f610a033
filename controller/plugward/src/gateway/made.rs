//! Calls of hosts that the gateway makes for them: those by which a host sets up a secrets engine or an auth method.
//!
//! `Setup` carries the number of a server that the host offers over the broker, and its reply says in the message, not in the status,
//! whether it succeeded. So these calls are not relayed: they are taken whole, their number is exchanged for the one that the
//! server has in the container, and they are made over the controller's own connection, as they are when they are made
//! [again](super::replay). They wait for a container like any other call, and go to one container alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugward_relay::Request;
use plugward_relay::driver::ServedStream;
use plugward_relay::grpc::{Code, Status};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;
use zeroize::Zeroizing;

use super::backend;
use super::broker::Client;
use super::instance::{Berthed, Instance, Seated};
use super::mount::Mount;
use super::multiplex::{self, HostId};
use super::outlook::Outlook;
use super::priming::{KeptCall, Role};
use super::traffic::InFlight;
use crate::names::MountName;
use crate::plugin::{UnaryAnswer, UnaryCall};

/// How long such a call may take at the plugin, if its host does not say.
const CALL_LIMIT: Duration = Duration::from_secs(300);

/// A call to be made.
pub(super) struct MadeCall {
    role: Role,
    method: String,
    metadata: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// As whom the host calls, if the plugin tells its users apart.
    host: HostId,
    time_limit: Option<Duration>,
    traffic: InFlight,
}

// === impl MadeCall ===

impl MadeCall {
    /// What a request asks for.
    pub(super) fn of(request: &Request<'_>, role: Role, traffic: InFlight) -> Self {
        Self {
            role,
            method: String::from_utf8_lossy(request.path()).into_owned(),
            metadata: KeptCall::metadata(request),
            host: HostId::of(request),
            time_limit: request.timeout(),
            traffic,
        }
    }

    /// Makes it, in a task of its own, and answers.
    pub(super) fn spawn(
        self,
        instance: &Arc<Instance>,
        mount: &Arc<Mount>,
        client: Client,
        mut stream: ServedStream,
    ) {
        let (instance, mount) = (instance.clone(), mount.clone());
        let making = async move {
            let Some(message) = stream.message().await else {
                return stream.finish(Status::new(Code::InvalidArgument, "the request has no message")).await;
            };
            let began = Instant::now();
            let made = self.make(&instance, &mount, client, message).await;
            mount
                .requests
                .made(made.as_ref().map_or_else(|status| status.code, |_| Code::Ok), began.elapsed());
            // A host that has given up is not answered; its call goes on, as it would at a plugin.
            match made {
                Ok(reply) => {
                    if stream.send(reply).await.is_ok() {
                        stream.finish(Status::ok()).await;
                    }
                }
                Err(status) => stream.finish(status).await,
            }
        };
        tokio::spawn(making.in_current_span());
    }

    async fn make(
        mut self,
        instance: &Arc<Instance>,
        mount: &Arc<Mount>,
        client: Client,
        message: Bytes,
    ) -> Result<Bytes, Status> {
        let deadline = self.time_limit.map(|limit| Instant::now() + limit);
        let Seated { berthed, priming } = self.container(instance, mount, deadline).await?;
        self.traffic.goes();
        let host = if berthed.backend.multiplexes { &self.host } else { &HostId::NONE };
        let broker = instance.host_broker(&mount.name, client);
        let message = Arc::new(Zeroizing::new(message.to_vec()));
        let kept = KeptCall::made(std::mem::take(&mut self.metadata), message, broker);
        let limit =
            deadline.map_or(CALL_LIMIT, |deadline| deadline.saturating_duration_since(Instant::now()));
        let call = call(instance, &berthed, &mount.name, host, &self.method, &kept, limit)?;
        let answer = match berthed.backend.conversation.call(call).await {
            Ok(answer) => answer,
            Err(error) => return Err(berthed.backend.death(&error.message).await),
        };
        if !answer.is_ok() {
            return Err(Status::new(code_of(&answer), answer.status_message));
        }
        // Dropped otherwise, it says that the plugin did not do it.
        if backend::error_in(&self.method, &answer.message).is_none() {
            match self.role {
                Role::Primes => priming.primed(Ok(kept)),
                Role::Ends | Role::Prelude | Role::Work => priming.undone(),
            }
        }
        Ok(Bytes::copy_from_slice(&answer.message))
    }

    /// Waits for a container, as a call may.
    async fn container(
        &mut self,
        instance: &Arc<Instance>,
        mount: &Arc<Mount>,
        deadline: Option<Instant>,
    ) -> Result<Seated, Status> {
        let left = |now: Instant| deadline.map(|deadline| deadline.saturating_duration_since(now));
        let mut changes = instance.changes();
        let mut until = None;
        let mut failures = 0;
        loop {
            changes.mark_unchanged();
            if let Some(refusal) = instance.refusal(mount) {
                return Err(refusal);
            }
            if let Some(seated) = instance.take_seat(&mount.name, &self.host, &self.method, self.role) {
                return Ok(seated);
            }
            let now = Instant::now();
            let end = match until {
                None => {
                    let look =
                        |outlook: Outlook<'_>| (outlook.may_wait(self.role, left(now)), outlook.failures());
                    let (time, known) = instance.outlook(mount, None, look)?;
                    failures = known;
                    let end = now + time?;
                    *until.insert(deadline.map_or(end, |deadline| deadline.min(end)))
                }
                Some(end) => {
                    let time = end.saturating_duration_since(now);
                    instance
                        .outlook(mount, None, |outlook| outlook.may_go_on(self.role, time, failures))??;
                    end
                }
            };
            if self.traffic.waits() {
                instance.needed(&mount.name);
            }
            match timeout_at(end, changes.changed()).await {
                Ok(_) => {}
                Err(_) if deadline.is_some_and(|deadline| deadline <= end) => {
                    return Err(Status::new(
                        Code::DeadlineExceeded,
                        "the call's time ended while it waited for the plugin",
                    ));
                }
                Err(_) => {
                    return Err(instance
                        .outlook(mount, None, |outlook| outlook.waited())
                        .unwrap_or_else(|refusal| refusal));
                }
            }
        }
    }
}

/// The status of an answer.
pub(super) fn code_of(answer: &UnaryAnswer) -> Code {
    Code::from_header(answer.code.to_string().as_bytes())
}

/// A kept call as it goes to a container.
///
/// # Errors
/// What its host is told if it cannot.
pub(super) fn call(
    instance: &Arc<Instance>,
    berthed: &Arc<Berthed>,
    mount: &MountName,
    host: &HostId,
    method: &str,
    kept: &KeptCall,
    limit: Duration,
) -> Result<UnaryCall, Status> {
    let backend = &berthed.backend;
    let mut metadata: Vec<(String, Vec<u8>)> =
        kept.fields().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
    if backend.multiplexes {
        metadata.push((multiplex::KEY.to_owned(), host.at_plugin(&backend.instance, mount).into_bytes()));
    }
    let message = match backend::server_in(method, &kept.message()) {
        Some(id) => {
            let host = kept.broker().ok_or_else(|| {
                Status::new(
                    Code::FailedPrecondition,
                    "this call offers a server over go-plugin's broker, and its host has no broker stream open",
                )
            })?;
            let number = instance.offer(berthed, host, id)?;
            Arc::new(backend::with_server(&kept.message(), number))
        }
        None => kept.message(),
    };
    Ok(UnaryCall { path: method.to_owned(), metadata, message, limit })
}
