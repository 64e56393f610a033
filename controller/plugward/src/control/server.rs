//! The controller's end of the control socket, and of the metrics port.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::{Path as Segment, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use plugward_api::{Kind, Name, PluginSession};
use serde::Deserialize;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::renewal::Proofs;
use super::watch::{self, Records};
use super::writing::{self, Peer};
use super::{logs, objects};
use crate::view::View;

/// Why the controller cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another controller answers on the socket.
    #[error("another controller answers on {}: stop it first, or use another --run-dir", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket has its name.
    #[error("{} is in the way, and is no socket: remove it", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot make the control socket {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The port cannot be had.
    #[error("cannot listen on {address} for metrics: give --metrics-address another one")]
    Port {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// The mode of a directory whose sockets are its group's.
pub const CLOSED: u32 = 0o750;

/// The mode of one through which everybody gets, to those in it that are open to everybody. What it holds they do not see.
pub const PASSED: u32 = 0o751;

/// Makes a directory for sockets with a mode, of `group` if there is one. What is missing on the way to it is made, and open to
/// everybody: who may use the sockets must get there.
///
/// # Errors
/// When it cannot be made, or its group cannot be set.
pub fn make_socket_directory(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    chown(path, None, group)
}

/// Takes the control socket. One that an ended controller left is replaced; anything else is not touched.
///
/// # Errors
/// When somebody answers on it, or it cannot be made.
pub fn bind_control(path: &Path, group: Option<u32>) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Socket { path: path.to_owned(), source };
    if socket_lies_at(path)? {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ListenError::SocketInUse { path: path.to_owned() });
        }
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    chown(path, None, group).map_err(failed)?;
    Ok(listener)
}

/// Whether a socket lies at `path`, which one of ours may take the place of.
///
/// # Errors
/// When something else does, or it cannot be seen.
pub fn socket_lies_at(path: &Path) -> Result<bool, ListenError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(true),
        Ok(_) => Err(ListenError::InTheWay { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ListenError::Socket { path: path.to_owned(), source }),
    }
}

/// Takes the metrics port.
///
/// # Errors
/// When it is taken or not ours.
pub async fn bind_metrics(address: &str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Port { address: address.to_owned(), source })
}

/// Answers on the control socket until `stop`.
pub async fn serve_control(listener: UnixListener, view: View, stop: CancellationToken) {
    let router = Router::new()
        .merge(writing::routes())
        .route("/v1/{resource}", get(list).post(writing::review))
        .route("/v1/{resource}/{name}", get(one))
        .route("/v1/instances/{name}/logs", get(logs::logs))
        .with_state(Controlled { view, proofs: Proofs::default(), stop: stop.clone() });
    let service = router.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(error = %error, "the control socket is lost");
    }
}

/// Answers on the metrics port until `stop`.
pub async fn serve_metrics(listener: TcpListener, view: View, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(view);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(error = %error, "the metrics port is lost");
    }
}

/// What the control socket answers from. A watch ends at `stop`: the others would wait for it.
#[derive(Clone)]
pub(super) struct Controlled {
    pub(super) view: View,
    pub(super) proofs: Proofs,
    pub(super) stop: CancellationToken,
}

/// Hosts that attached.
const SESSIONS: &str = "sessions";

/// What follows the question mark.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    watch: bool,
}

impl Controlled {
    fn watch(self, kind: Kind, only: Option<Name>) -> Response {
        lines(watch::records(Records { view: self.view, kind, only }, self.stop))
    }

    fn watch_sessions(self, only: Option<Name>) -> Response {
        lines(watch::sessions(self.view, only, self.stop))
    }
}

fn lines(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

async fn list(
    State(controlled): State<Controlled>,
    Segment(resource): Segment<String>,
    Query(asked): Query<Asked>,
) -> Response {
    match resource.as_str() {
        "manifests" => return Json(objects::manifests(&controlled.view)).into_response(),
        "controller" => return Json(objects::controller(&controlled.view)).into_response(),
        SESSIONS if asked.watch => return controlled.watch_sessions(None),
        SESSIONS => return Json(objects::sessions(&controlled.view)).into_response(),
        _ => {}
    }
    match kind(&resource) {
        Some(kind) if asked.watch => controlled.watch(kind, None),
        Some(kind) => Json(objects::list(&controlled.view, kind)).into_response(),
        None => no_resource(&resource),
    }
}

async fn one(
    State(controlled): State<Controlled>,
    Segment((resource, name)): Segment<(String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    if resource == SESSIONS {
        return session(controlled, &name, asked.watch);
    }
    let Some(kind) = kind(&resource) else {
        return no_resource(&resource);
    };
    let Ok(parsed) = name.parse::<Name>() else { return no_record(&controlled.view, kind, &name) };
    if asked.watch {
        return controlled.watch(kind, Some(parsed));
    }
    match objects::get(&controlled.view, kind, &parsed) {
        Some(object) => Json(object).into_response(),
        None => no_record(&controlled.view, kind, &name),
    }
}

fn session(controlled: Controlled, id: &str, watched: bool) -> Response {
    if let (true, Ok(id)) = (watched, id.parse()) {
        return controlled.watch_sessions(Some(id));
    }
    let sessions = controlled.view.sessions();
    match sessions.iter().find(|session| session.metadata.name.as_str() == id) {
        Some(session) => Json(session).into_response(),
        None => not_found(&no_session(id, &sessions)),
    }
}

/// What to say of a session that is not there. Nobody types an ID by heart, so none is near.
fn no_session(id: &str, sessions: &[PluginSession]) -> String {
    let next = if sessions.is_empty() {
        "no host is attached"
    } else {
        "`plugward get sessions` shows what there is"
    };
    format!("session {id:?} not found: {next}")
}

pub(super) fn kind(resource: &str) -> Option<Kind> {
    match resource {
        "instances" => Some(Kind::PluginInstance),
        "runtimes" => Some(Kind::PluginRuntime),
        _ => None,
    }
}

/// That there is no such record.
pub(super) fn no_record(view: &View, kind: Kind, name: &str) -> Response {
    not_found(&absence(kind, name, &objects::names(view, kind)))
}

/// What to say of a record that is not there: what may have been meant, and what lists those that are.
fn absence(kind: Kind, name: &str, known: &[Name]) -> String {
    let near = plugward_api::manifest::nearest(name, known.iter().map(Name::as_str));
    let near = near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
    let bare = kind.bare();
    format!("{bare} {name:?} not found{near}: `plugward get {bare}s` shows what there is")
}

/// That there is nothing of this sort.
pub(super) fn no_resource(resource: &str) -> Response {
    not_found(&format!(
        "there is no resource {resource:?}: there are instances, runtimes, sessions, manifests and controller"
    ))
}

fn not_found(message: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "message": message }))).into_response()
}

async fn metrics(State(view): State<View>) -> Response {
    match view.render_metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(view): State<View>) -> Response {
    let reason = if !view.synced() {
        "the first sync is under way\n"
    } else if !view.engines_answer() {
        "no engine answers\n"
    } else {
        return "ok\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_is_near_and_the_next_step() {
        let known: Vec<Name> = ["orders", "billing"].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(
            absence(Kind::PluginInstance, "order", &known),
            "instance \"order\" not found (did you mean \"orders\"?): `plugward get instances` shows what there is"
        );
        assert_eq!(
            absence(Kind::PluginRuntime, "gvisor", &[]),
            "runtime \"gvisor\" not found: `plugward get runtimes` shows what there is"
        );
    }

    #[test]
    fn a_session_that_is_not_there_is_told_with_the_next_step() {
        assert_eq!(no_session("k3x9q2ab", &[]), "session \"k3x9q2ab\" not found: no host is attached");
    }

    #[test]
    fn a_directory_for_sockets_is_reached_by_its_group_and_entered_by_nobody_else() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("plugward/cluster");
        make_socket_directory(&directory, CLOSED, None).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o750);
        assert_eq!(mode(directory.parent().unwrap()) & 0o011, 0o011);
    }
}
