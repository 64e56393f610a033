//! The socket, made as go-plugin makes it.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{Gid, chown};
use tokio::net::{UnixListener, UnixStream};

use super::ServeError;

/// A socket that goes when it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens on a new socket in `directory`, for its owner and `group`, or for whom the umask leaves.
    pub(super) fn bind(directory: &Path, group: Option<u32>) -> Result<Self, ServeError> {
        let (listener, path) = loop {
            let path = directory.join(name());
            match UnixListener::bind(&path) {
                Ok(listener) => break (listener, path),
                // Someone had the same name in the same nanosecond.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => (),
                Err(source) => return Err(ServeError::Listen { path, source }),
            }
        };
        let listener = Self { listener, path };
        if let Some(group) = group {
            listener.give_to(group).map_err(|source| ServeError::Chown {
                path: listener.path.clone(),
                group,
                source,
            })?;
        }
        Ok(listener)
    }

    fn give_to(&self, group: u32) -> io::Result<()> {
        chown(&self.path, None, Some(Gid::from_raw(group)))?;
        fs::set_permissions(&self.path, Permissions::from_mode(0o660))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// `plugin` and digits, as go-plugin names its sockets.
fn name() -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("plugin{}", now.as_nanos())
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nobody is left to tell, and a socket without a listener misleads nobody.
        let _ = fs::remove_file(&self.path);
    }
}
