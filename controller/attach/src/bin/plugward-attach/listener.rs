//! Sockets that the host's side connects to, where go-plugin's plugins would make them.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use plugward_attach::accounts::Accounts;
use rustix::fs::{AtFlags, Gid, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::umask;

/// As long as a queue can be: while the controller restarts, hosts wait in it. The kernel's own limit cuts it.
const BACKLOG: i32 = 4096;

/// The longest path of a Unix socket, in bytes.
const LONGEST_PATH: usize = 107;

/// How often another name is tried.
const ATTEMPTS: usize = 100;

/// What the host says of its sockets, in the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    directory: PathBuf,
    group: Option<String>,
}

/// A listening socket, and its file.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    directory: OwnedFd,
    name: String,
    path: PathBuf,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("there is a socket of this id already")]
    Exists,
    #[error("cannot open the directory for sockets, {}: PLUGIN_UNIX_SOCKET_DIR or TMPDIR says where", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "the path of a socket in {} would have more than the {LONGEST_PATH} bytes that it can have: give the host a shorter \
         PLUGIN_UNIX_SOCKET_DIR or TMPDIR",
        directory.display()
    )]
    Long { directory: PathBuf },
    #[error("cannot make a socket in {}", directory.display())]
    Make { directory: PathBuf, source: io::Error },
    #[error(
        "there is no group {group} in /etc/group, which PLUGIN_UNIX_SOCKET_GROUP names: give it by number"
    )]
    NoGroup { group: String },
    #[error("cannot read /etc/group, in which PLUGIN_UNIX_SOCKET_GROUP names a group: give it by number")]
    Groups(#[source] io::Error),
    #[error("cannot give {} to the group {group}, which PLUGIN_UNIX_SOCKET_GROUP names", path.display())]
    Give { path: PathBuf, group: String, source: io::Error },
}

// === impl Wishes ===

impl Wishes {
    /// Those of the host that started this process.
    pub(crate) fn of_process() -> Self {
        Self::of(|name| std::env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let directory =
            set("PLUGIN_UNIX_SOCKET_DIR").or_else(|| set("TMPDIR")).unwrap_or_else(|| "/tmp".into());
        let group = set("PLUGIN_UNIX_SOCKET_GROUP").map(|group| group.to_string_lossy().into_owned());
        Self { directory: directory.into(), group }
    }

    fn gid(&self) -> Result<Option<Gid>, ListenError> {
        let Some(group) = &self.group else { return Ok(None) };
        if let Ok(number) = group.parse::<u32>() {
            // The number of no group: that would leave it as it is.
            return if number == u32::MAX { Err(no_group(group)) } else { Ok(Some(Gid::from_raw(number))) };
        }
        let number = Accounts::Groups.number_of(group).map_err(ListenError::Groups)?;
        number.map(|number| Some(Gid::from_raw(number))).ok_or_else(|| no_group(group))
    }
}

fn no_group(group: &str) -> ListenError {
    ListenError::NoGroup { group: group.to_owned() }
}

// === impl Listener ===

impl Listener {
    /// Makes a socket that listens, as a plugin would that the host had started.
    pub(crate) fn make(wishes: &Wishes) -> Result<Self, ListenError> {
        let gid = wishes.gid()?;
        let at = &wishes.directory;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(at, flags, Mode::empty())
            .map_err(|error| ListenError::Directory { path: at.clone(), source: error.into() })?;
        let failed =
            |error: rustix::io::Errno| ListenError::Make { directory: at.clone(), source: error.into() };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
        let (name, path) = bind_somewhere(&socket, at, gid.is_some())?;
        // From here on, what fails takes the file with it.
        let made = Self { socket, directory, name, path };
        if let (Some(gid), Some(group)) = (gid, &wishes.group) {
            made.give(gid).map_err(|error| {
                made.remove();
                ListenError::Give { path: made.path.clone(), group: group.clone(), source: error.into() }
            })?;
        }
        listen(&made.socket, BACKLOG).map_err(|error| {
            made.remove();
            failed(error)
        })?;
        Ok(made)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The directory of the file.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Removes the file. One that has gone was to go.
    pub(crate) fn remove(&self) {
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }

    fn give(&self, gid: Gid) -> rustix::io::Result<()> {
        rustix::fs::chownat(&self.directory, &self.name, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmodat(&self.directory, &self.name, Mode::from_raw_mode(0o660), AtFlags::empty())
    }
}

/// Binds to a name that nobody has. With `closed`, nobody but the owner can use the file.
fn bind_somewhere(socket: &OwnedFd, at: &Path, closed: bool) -> Result<(String, PathBuf), ListenError> {
    let failed =
        |error: rustix::io::Errno| ListenError::Make { directory: at.to_owned(), source: error.into() };
    let mut taken = rustix::io::Errno::ADDRINUSE;
    for _ in 0..ATTEMPTS {
        let name = format!("plugin{}", fastrand::u32(..));
        let path = at.join(&name);
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(ListenError::Long { directory: at.to_owned() });
        }
        let address = SocketAddrUnix::new(&path).map_err(failed)?;
        // Between this and the change of its group, the file must not be one that others can use.
        let before = closed.then(|| umask(Mode::RWXG | Mode::RWXO));
        let bound = bind(socket, &address);
        if let Some(before) = before {
            umask(before);
        }
        match bound {
            Ok(()) => return Ok((name, path)),
            Err(error @ rustix::io::Errno::ADDRINUSE) => taken = error,
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(taken))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn wishes(variables: &[(&str, &str)]) -> Wishes {
        Wishes::of(|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn sockets_are_made_where_a_plugin_would_make_them() {
        let all = [("PLUGIN_UNIX_SOCKET_DIR", "/one"), ("TMPDIR", "/two")];
        assert_eq!(wishes(&all).directory, Path::new("/one"));
        assert_eq!(wishes(&all[1..]).directory, Path::new("/two"));
        assert_eq!(
            wishes(&[("PLUGIN_UNIX_SOCKET_DIR", ""), ("TMPDIR", "/two")]).directory,
            Path::new("/two")
        );
        assert_eq!(wishes(&[]).directory, Path::new("/tmp"));
    }

    #[test]
    fn a_group_is_a_number_first_and_then_a_name() {
        let gid = |group| wishes(&[("PLUGIN_UNIX_SOCKET_GROUP", group)]).gid();
        assert_eq!(gid("7").unwrap(), Some(Gid::from_raw(7)));
        assert_eq!(gid("root").unwrap(), Some(Gid::from_raw(0)));
        assert_eq!(gid("").unwrap(), None);
        assert!(matches!(gid("4294967295"), Err(ListenError::NoGroup { .. })));
        assert!(gid("no-such-group").unwrap_err().to_string().contains("give it by number"));
    }

    #[test]
    fn a_socket_listens_and_leaves_nothing_when_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let wishes = wishes(&[("TMPDIR", directory.path().to_str().unwrap())]);
        let made = Listener::make(&wishes).unwrap();
        assert!(std::fs::metadata(made.path()).unwrap().file_type().is_socket());
        let name = made.path().file_name().unwrap().to_str().unwrap();
        assert!(name.strip_prefix("plugin").unwrap().parse::<u32>().is_ok(), "{name}");
        UnixStream::connect(made.path()).unwrap();
        made.remove();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn with_a_group_only_owner_and_group_can_use_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let own = rustix::process::getegid().as_raw();
        let wishes = wishes(&[
            ("TMPDIR", directory.path().to_str().unwrap()),
            ("PLUGIN_UNIX_SOCKET_GROUP", &own.to_string()),
        ]);
        let made = Listener::make(&wishes).unwrap();
        let file = std::fs::metadata(made.path()).unwrap();
        assert_eq!((file.permissions().mode() & 0o777, file.gid()), (0o660, own));
    }

    #[test]
    fn what_cannot_be_made_is_said_with_what_to_do_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(90));
        std::fs::create_dir(&long).unwrap();
        let error = |at: &Path| Listener::make(&wishes(&[("TMPDIR", at.to_str().unwrap())])).unwrap_err();
        assert!(matches!(error(&long), ListenError::Long { .. }));
        assert!(matches!(error(&directory.path().join("none")), ListenError::Directory { .. }));
        assert_eq!(std::fs::read_dir(&long).unwrap().count(), 0);
    }
}
