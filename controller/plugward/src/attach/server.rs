//! The attach socket: launchers come here.
//!
//! Everybody may connect, since who may attach is for each instance to say. So nobody who has not been let in may cost much: a user has so many
//! connections that wait, and each has little time.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plugward_attach::socket;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Attach;
use super::caller::Caller;
use super::launcher::Launcher;
use super::refusal::Refusal;
use crate::control::server::{ListenError, socket_lies_at};
use crate::metrics::AttachRefusal;

/// How many may wait in the socket's queue.
const QUEUE: i32 = 4096;

/// How many launchers of one user there may be at a time: their sessions are counted by instance besides.
const MOST_OF_A_USER: usize = 1024;

/// How many of all users: one may have the numbers of thousands.
const MOST: usize = 16 * MOST_OF_A_USER;

/// The pause after the system gave no connection, as it does while too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections each user has.
#[derive(Clone, Default)]
struct Crowd(Arc<Mutex<HashMap<u32, usize>>>);

/// One of them.
struct Place {
    crowd: Crowd,
    uid: u32,
}

/// Takes the attach socket. What an ended controller left is replaced; the caller holds the lock of its cluster.
///
/// # Errors
/// When something else has its name, or it cannot be made.
pub fn bind(path: &Path) -> Result<OwnedFd, ListenError> {
    let failed = |source: io::Error| ListenError::Socket { path: path.to_owned(), source };
    socket_lies_at(path)?;
    // Beside its place first: there is always one for launchers to find, and it is open to all when it is there.
    let beside = path.with_extension("new");
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(error));
    }
    let listener = socket::listen(&beside, QUEUE).map_err(failed)?;
    fs::set_permissions(&beside, Permissions::from_mode(0o666)).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

/// Serves launchers until `stop`. Sessions that there are go on for as long as this is polled, and their launchers wait for another controller
/// when it is dropped.
pub async fn serve(attach: Attach, listener: OwnedFd, stop: CancellationToken) {
    let listener = match UnixListener::from_std(listener.into()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the attach socket is lost"),
    };
    let crowd = Crowd::default();
    let mut launchers = JoinSet::new();
    let accepting = async {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        if let Some(serving) = admit(&attach, &crowd, socket) {
                            launchers.spawn(serving);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a launcher");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = launchers.join_next() => {}
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
    // New ones are refused by the system, and try again. The others' sessions go on to the end of this process.
    drop(listener);
    while launchers.join_next().await.is_some() {}
}

/// What serves a connection, unless there are too many.
fn admit(
    attach: &Attach,
    crowd: &Crowd,
    socket: UnixStream,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let caller =
        Caller::of(&socket).inspect_err(|error| tracing::warn!(%error, "a launcher is nobody's")).ok()?;
    let launcher = Launcher::new(socket, caller.uid);
    let Some(place) = crowd.enter(caller.uid) else {
        let message =
            format!("there are {MOST_OF_A_USER} launchers of this user already, or {MOST} of all users");
        attach.refuse(&launcher, None, &caller, &Refusal::new(AttachRefusal::TooMany, message));
        return None;
    };
    let attach = attach.clone();
    Some(async move {
        attach.serve(launcher, caller).await;
        drop(place);
    })
}

impl Crowd {
    fn enter(&self, uid: u32) -> Option<Place> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.values().sum::<usize>() >= MOST {
            return None;
        }
        let count = users.entry(uid).or_default();
        if *count >= MOST_OF_A_USER {
            return None;
        }
        *count += 1;
        Some(Place { crowd: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}
