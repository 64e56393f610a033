//! The requests of those who change something, and who is behind them.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use plugward_api::{Kind, Name, RecordKey};
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::renewal::{self, Answer};
use super::review::{self, Knowledge};
use super::server::{Controlled, kind, no_record, no_resource};

/// How long the first look at the manifests is waited for: less than clients wait for an answer.
const FIRST_READ: Duration = Duration::from_secs(5);

/// The user at the other end of a connection; `None` where the kernel does not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// The routes that are for these requests alone.
pub(super) fn routes() -> Router<Controlled> {
    Router::new()
        .route("/v1/manifests/{resource}/{name}", get(whereabouts))
        .route("/v1/instances/{name}/restart", post(restart))
}

/// Says of a manifest whether it is valid, and where it would be put. Bodies are bounded by axum, more generously than manifests by
/// the parser, which says so in better words.
pub(super) async fn review(
    State(controlled): State<Controlled>,
    Segment(resource): Segment<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if resource != "manifests" {
        return no(StatusCode::METHOD_NOT_ALLOWED, "records are put as manifests: POST /v1/manifests");
    }
    if let Some(early) = too_early(&controlled).await {
        return early;
    }
    let text = match body {
        Ok(text) => text,
        Err(rejection) => {
            return no(rejection.status(), &format!("the manifest cannot be read: {rejection}"));
        }
    };
    let view = controlled.view;
    let reviewed = spawn_blocking(move || review::review(&text, &view.rules, &view.manifests, &view)).await;
    match reviewed {
        Ok(review) => Json(review).into_response(),
        Err(_) => no(
            StatusCode::INTERNAL_SERVER_ERROR,
            "plugward failed while reading this content: please report this as a bug",
        ),
    }
}

async fn whereabouts(
    State(controlled): State<Controlled>,
    Segment((resource, name)): Segment<(String, String)>,
) -> Response {
    if let Some(early) = too_early(&controlled).await {
        return early;
    }
    let Some(kind) = kind(&resource) else { return no_resource(&resource) };
    let key = name.parse::<Name>().ok().map(|name| RecordKey { kind, name });
    match key.and_then(|key| controlled.view.whereabouts(&key)) {
        Some(found) => Json(found).into_response(),
        None => no_record(&controlled.view, kind, &name),
    }
}

/// What follows the question mark.
#[derive(Debug, Deserialize)]
struct Asked {
    /// The name of the file that was made as a proof.
    proof: Option<String>,
}

async fn restart(
    State(controlled): State<Controlled>,
    ConnectInfo(Peer(user)): ConnectInfo<Peer>,
    Segment(name): Segment<String>,
    Query(asked): Query<Asked>,
) -> Response {
    if let Some(early) = too_early(&controlled).await {
        return early;
    }
    let Controlled { view, proofs, .. } = controlled;
    let Some(user) = user else { return no(StatusCode::FORBIDDEN, "the kernel does not say who asks") };
    if !renewal::is_trusted(user) {
        let Some(proof) = asked.proof else {
            return Json(Answer::Prove { file: view.manifests.join(proofs.ask()) }).into_response();
        };
        if let Err(unproved) = proofs.check(&proof, &view.manifests, user) {
            return no(StatusCode::FORBIDDEN, &unproved.to_string());
        }
    }
    let Ok(instance) = name.parse::<Name>() else { return no_record(&view, Kind::PluginInstance, &name) };
    let renewed = spawn_blocking({
        let view = view.clone();
        move || renewal::renew(&view, &instance, user)
    });
    match renewed.await {
        Ok(Some(replaced)) => Json(Answer::Renewed { replaced }).into_response(),
        Ok(None) => no_record(&view, Kind::PluginInstance, &name),
        Err(_) => no(StatusCode::INTERNAL_SERVER_ERROR, "plugward failed: please report this as a bug"),
    }
}

/// Before the manifests were read once, nobody knows what is declared. That takes a moment after the start, which is waited for.
async fn too_early(controlled: &Controlled) -> Option<Response> {
    let ready = timeout(FIRST_READ, controlled.view.records.ready()).await;
    let message = "the controller has just started, and has not read the manifests yet: try again";
    (!matches!(ready, Ok(Ok(())))).then(|| no(StatusCode::SERVICE_UNAVAILABLE, message))
}

fn no(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}
