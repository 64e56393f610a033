//! The streams that the gateway serves itself. They outlive the plugin, and end with their host's connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use go_plugin::proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use go_plugin::{Address, BrokerMessage};
use plugward_relay::driver::ServedStream;
use plugward_relay::grpc::{Code, Status};
use prost::Message;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::broker::Client;
use super::instance::{Id, Instance};
use super::method::Own;
use super::mount::Mount;
use crate::plugin::ServiceHealth;

/// What go-plugin's hosts ask the health of.
const PLUGIN: &str = "plugin";

/// What a host is told that knocks, and has not asked for its one connection to be shared.
const UNSHARED: &str = "this host has no session to open streams in: it did not ask for one (PLUGIN_MULTIPLEX_GRPC), \
    or is a mount's, where each server has a socket";

/// How long a plugin may take to say how a service of its own is.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);

/// How often it is asked for a host that watches.
const HEALTH_PERIOD: Duration = Duration::from_secs(10);

/// Serves a stream of a host, in a task of its own.
pub(super) fn spawn(
    instance: &Arc<Instance>,
    mount: &Arc<Mount>,
    (id, client): (Id, Client),
    own: Own,
    stream: ServedStream,
) {
    let (instance, mount) = (instance.clone(), mount.clone());
    let serving = async move {
        match own {
            Own::Shutdown => shut_down(&instance, &mount, (id, client.pid), stream).await,
            Own::Stdio => output(&instance, &mount, stream).await,
            Own::Broker => broker(&instance, &mount, client, stream).await,
            Own::HealthCheck => check(&instance, &mount, stream).await,
            Own::HealthWatch => watch(&instance, &mount, stream).await,
        }
    };
    tokio::spawn(serving.in_current_span());
}

/// Ends the connections of a host that needs its plugin no more. The plugin runs on: others may need it.
async fn shut_down(
    instance: &Arc<Instance>,
    mount: &Mount,
    (id, pid): (Id, Option<i32>),
    mut stream: ServedStream,
) {
    if stream.message().await.is_none() {
        return stream.finish(no_message()).await;
    }
    tracing::info!("a host says that it needs its plugin no more");
    if stream.send(Bytes::new()).await.is_ok() {
        stream.finish(Status::ok()).await;
    }
    instance.leave(id, &mount.name, pid);
    if let Some(door) = &mount.door {
        door.hand.shut_down();
    }
}

/// Passes on what the plugin writes. A host that is slow loses the oldest of it.
async fn output(instance: &Instance, mount: &Mount, stream: ServedStream) {
    let mut pieces = instance.output.listen();
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            () = stream.gone() => return,
        };
        match piece {
            Ok(piece) if instance.is_served_by(&mount.name, &piece.slot) => {
                if stream.send(piece.message).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(lost)) => instance.parts.metrics.output_lost(&instance.name, lost),
            Err(RecvError::Closed) => return stream.gone().await,
        }
    }
}

/// Speaks with a host's broker until the host ends it, or may not use it.
async fn broker(instance: &Arc<Instance>, mount: &Mount, client: Client, mut stream: ServedStream) {
    let (host, mut messages) = instance.broker_begun(mount, client);
    let status = loop {
        let arrived = tokio::select! {
            arrived = stream.message() => arrived,
            Some(message) = messages.recv() => {
                if stream.send(message.to_bytes()).await.is_err() {
                    break Status::ok();
                }
                continue;
            }
            () = host.over() => break host.refusal().unwrap_or_else(Status::ok),
        };
        let Some(arrived) = arrived else { break Status::ok() };
        host.concern();
        match BrokerMessage::from_bytes(arrived) {
            Ok(BrokerMessage::Announce { .. }) if host.is_silent() => {
                let message =
                    "the host announces a socket, and has asked for its one connection to be shared";
                break Status::new(Code::InvalidArgument, message);
            }
            Ok(BrokerMessage::Announce { id, address: Address::Unix(socket) }) => {
                if let Err(status) = instance.broker_announced(&host, id, socket.into()).await {
                    break status;
                }
            }
            Ok(BrokerMessage::Announce { address: Address::Tcp(address), .. }) => {
                let message =
                    format!("the server at {address} listens on TCP: plugins are led to Unix sockets only");
                break Status::new(Code::Unimplemented, message);
            }
            Ok(BrokerMessage::Knock { id }) if host.is_silent() => {
                if !host.knocks(id)
                    && let Some(times) = host.complaint("knocks too often")
                {
                    tracing::warn!(
                        mount = %mount.name,
                        times,
                        "a host knocks for more servers at a time than are answered"
                    );
                }
            }
            Ok(BrokerMessage::Knock { id }) => {
                let error = Some(UNSHARED.to_owned());
                if stream.send(BrokerMessage::Ack { id, error }.to_bytes()).await.is_err() {
                    break Status::ok();
                }
            }
            Ok(BrokerMessage::Ack { id, error }) => {
                if !host.answered(id, error) {
                    tracing::debug!(id, "a host lets in who has not knocked");
                }
            }
            Err(error) => break Status::new(Code::InvalidArgument, error.to_string()),
        }
    };
    if status.code != Code::Ok {
        tracing::warn!(mount = %mount.name, reason = status.message, "a host's broker is ended");
    }
    instance.broker_over(&host);
    stream.finish(status).await;
}

/// Says once how a service is.
async fn check(instance: &Arc<Instance>, mount: &Mount, mut stream: ServedStream) {
    let status = match service(&mut stream).await {
        Err(status) => status,
        Ok(service) => match health(instance, mount, &service).await {
            Ok(Health { serving: Some(serving), .. }) => {
                if stream.send(response(serving)).await.is_err() {
                    return;
                }
                Status::ok()
            }
            Ok(Health { serving: None, .. }) => {
                Status::new(Code::NotFound, format!("the plugin has no service {service:?}"))
            }
            Err(status) => status,
        },
    };
    stream.finish(status).await;
}

/// Says how a service is, at each change.
async fn watch(instance: &Arc<Instance>, mount: &Mount, mut stream: ServedStream) {
    let service = match service(&mut stream).await {
        Ok(service) => service,
        Err(status) => return stream.finish(status).await,
    };
    let mut changes = instance.changes();
    let mut last = None;
    loop {
        changes.mark_unchanged();
        // Who watches is told only what is: a plugin that cannot be asked does not serve.
        let health = health(instance, mount, &service)
            .await
            .unwrap_or(Health { serving: Some(false), again: Some(HEALTH_PERIOD) });
        if last.replace(health.serving) != Some(health.serving) {
            let status = health.serving.map_or(ServingStatus::ServiceUnknown, serving_status);
            if stream.send(encoded(status)).await.is_err() {
                return;
            }
        }
        let again = async {
            match health.again {
                Some(time) => sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = again => {}
            () = stream.gone() => return,
        }
    }
}

/// How a service is.
struct Health {
    /// `None`: there is no such service.
    serving: Option<bool>,
    /// When to look again, if that may change unseen.
    again: Option<Duration>,
}

/// # Errors
/// When nobody can say it.
async fn health(instance: &Arc<Instance>, mount: &Mount, service: &str) -> Result<Health, Status> {
    if service.is_empty() || service == PLUGIN {
        let clock = instance.parts.clock;
        let looked = instance.outlook(mount, None, |outlook| outlook.is_serving());
        let (serving, until) = looked.unwrap_or((false, None));
        return Ok(Health { serving: Some(serving), again: until.map(|until| clock.until(until)) });
    }
    let berthed = instance
        .seated(&mount.name)
        .ok_or_else(|| Status::unavailable("no container of the plugin is ready"))?;
    let serving = match timeout(HEALTH_LIMIT, berthed.backend.conversation.health_of(service)).await {
        Ok(Ok(ServiceHealth::Serving)) => Some(true),
        Ok(Ok(ServiceHealth::NotServing)) => Some(false),
        Ok(Ok(ServiceHealth::UnknownService)) => None,
        Ok(Err(error)) => return Err(Status::unavailable(error.to_string())),
        Err(_) => {
            return Err(Status::unavailable(format!("the plugin did not answer within {HEALTH_LIMIT:?}")));
        }
    };
    Ok(Health { serving, again: Some(HEALTH_PERIOD) })
}

/// The service that a host asks about.
async fn service(stream: &mut ServedStream) -> Result<String, Status> {
    let message = stream.message().await.ok_or_else(no_message)?;
    let request = HealthCheckRequest::decode(message)
        .map_err(|error| Status::new(Code::InvalidArgument, format!("no HealthCheckRequest: {error}")))?;
    Ok(request.service)
}

fn no_message() -> Status {
    Status::new(Code::InvalidArgument, "the request has no message")
}

fn response(serving: bool) -> Bytes {
    encoded(serving_status(serving))
}

fn serving_status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn encoded(status: ServingStatus) -> Bytes {
    HealthCheckResponse { status: status.into() }.encode_to_vec().into()
}
