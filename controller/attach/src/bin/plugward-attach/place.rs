//! Where the controller is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use plugward_attach::socket::connect;

use crate::arguments::Wanted;

/// Where a controller of the system has its sockets.
const SYSTEM: &str = "/run/plugward";

/// The environment, as far as it says where the controller is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    root: bool,
    run_directory: Option<PathBuf>,
    cluster: Option<OsString>,
    runtime_directory: Option<PathBuf>,
}

/// Where the controller is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    socket: PathBuf,
}

/// Why it is not known where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(
        "no controller runs here: there is no attach socket under {}. Start `plugward run`, or say with --run-dir or \
         PLUGWARD_RUN_DIR where it keeps its sockets",
        list(directories)
    )]
    None { directories: Vec<PathBuf> },
    #[error(
        "{} holds the sockets of several clusters ({}): say with --cluster-id or PLUGWARD_CLUSTER_ID which one is meant",
        directory.display(),
        clusters.join(", ")
    )]
    Several { directory: PathBuf, clusters: Vec<String> },
    #[error("{} cannot be looked into by this user: let it, as `chmod a+x` does", directory.display())]
    Closed { directory: PathBuf },
    #[error("cannot look for the attach socket in {}", directory.display())]
    Unreadable { directory: PathBuf, source: io::Error },
    #[error(
        "a cluster id is the name of a directory, without slashes: see --cluster-id and PLUGWARD_CLUSTER_ID"
    )]
    Cluster,
}

// === impl Surroundings ===

impl Surroundings {
    pub(crate) fn of_process() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            root: rustix::process::geteuid().is_root(),
            run_directory: variable("PLUGWARD_RUN_DIR").map(PathBuf::from),
            cluster: variable("PLUGWARD_CLUSTER_ID"),
            runtime_directory: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// The directories to look into, until one has a controller.
    fn directories(&self, wanted: &Wanted) -> Vec<PathBuf> {
        if let Some(directory) = wanted.run_directory.as_ref().or(self.run_directory.as_ref()) {
            return vec![directory.clone()];
        }
        let own = self.runtime_directory.as_ref().filter(|_| !self.root).map(|base| base.join("plugward"));
        own.into_iter().chain([PathBuf::from(SYSTEM)]).collect()
    }
}

// === impl Place ===

impl Place {
    /// Finds the controller that is meant.
    pub(crate) fn find(wanted: &Wanted, surroundings: &Surroundings) -> Result<Self, PlaceError> {
        let cluster = wanted.cluster.as_deref().or(surroundings.cluster.as_deref());
        Self::among(surroundings.directories(wanted), cluster)
    }

    /// The attach socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The place under the first of these run directories that has a controller.
    fn among(directories: Vec<PathBuf>, cluster: Option<&OsStr>) -> Result<Self, PlaceError> {
        let mut closed = None;
        for directory in &directories {
            match Self::under(directory, cluster) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // There may be one elsewhere.
                Err(error @ (PlaceError::Closed { .. } | PlaceError::Unreadable { .. })) => {
                    closed.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(closed.unwrap_or(PlaceError::None { directories }))
    }

    /// The place under a run directory, if there is a controller.
    fn under(directory: &Path, cluster: Option<&OsStr>) -> Result<Option<Self>, PlaceError> {
        if let Some(cluster) = cluster {
            let mut parts = Path::new(cluster).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(PlaceError::Cluster);
            }
            return Ok(socket_in(directory.join(cluster))?.map(|socket| Self { socket }));
        }
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(PlaceError::Closed { directory: directory.to_owned() });
            }
            Err(source) => return Err(PlaceError::Unreadable { directory: directory.to_owned(), source }),
        };
        let mut found = Vec::new();
        let mut closed = None;
        for entry in entries.flatten() {
            match socket_in(entry.path()) {
                Ok(socket) => found.extend(socket),
                Err(error) => closed = Some(error),
            }
        }
        if found.len() > 1 {
            // Controllers that ended have left theirs.
            let (answering, silent): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|socket| connect(socket).is_ok());
            found = if answering.is_empty() { silent } else { answering };
        }
        match (found.pop(), found.is_empty(), closed) {
            (Some(socket), true, _) => Ok(Some(Self { socket })),
            (None, _, Some(closed)) => Err(closed),
            (None, _, None) => Ok(None),
            (Some(last), false, _) => {
                found.push(last);
                let mut clusters: Vec<String> = found.iter().map(|socket| cluster_of(socket)).collect();
                clusters.sort();
                Err(PlaceError::Several { directory: directory.to_owned(), clusters })
            }
        }
    }
}

/// The attach socket of a cluster, if it has one.
fn socket_in(directory: PathBuf) -> Result<Option<PathBuf>, PlaceError> {
    let socket = directory.join("attach.sock");
    match std::fs::symlink_metadata(&socket) {
        Ok(_) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(PlaceError::Closed { directory })
        }
        Err(_) => Ok(None),
    }
}

fn cluster_of(socket: &Path) -> String {
    socket.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

fn list(directories: &[PathBuf]) -> String {
    directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(run: &Path, cluster: &str) {
        std::fs::create_dir_all(run.join(cluster)).unwrap();
        std::fs::write(run.join(cluster).join("attach.sock"), "").unwrap();
    }

    fn find(run: &Path, cluster: Option<&str>) -> Result<Place, PlaceError> {
        let wanted = Wanted {
            instance: "redis".into(),
            run_directory: Some(run.to_owned()),
            cluster: cluster.map(OsString::from),
        };
        Place::find(&wanted, &Surroundings::default())
    }

    #[test]
    fn the_only_controller_is_found_and_of_several_the_one_that_is_named() {
        let run = tempfile::tempdir().unwrap();
        assert!(matches!(find(run.path(), None), Err(PlaceError::None { .. })));
        make(run.path(), "one");
        std::fs::create_dir(run.path().join("empty")).unwrap();
        std::fs::write(run.path().join("file"), "").unwrap();
        assert_eq!(find(run.path(), None).unwrap().socket(), run.path().join("one/attach.sock"));
        make(run.path(), "two");
        let several = find(run.path(), None).unwrap_err().to_string();
        assert!(several.contains("one, two"), "{several}");
        assert_eq!(find(run.path(), Some("two")).unwrap().socket(), run.path().join("two/attach.sock"));
        assert!(matches!(find(run.path(), Some("three")), Err(PlaceError::None { .. })));
    }

    #[test]
    fn of_several_clusters_the_one_is_meant_whose_controller_answers() {
        let run = tempfile::tempdir().unwrap();
        make(run.path(), "left");
        std::fs::create_dir(run.path().join("runs")).unwrap();
        let socket = run.path().join("runs/attach.sock");
        let _controller = plugward_attach::socket::listen(&socket, 1).unwrap();
        assert_eq!(find(run.path(), None).unwrap().socket(), socket);
        std::fs::create_dir(run.path().join("too")).unwrap();
        let _another = plugward_attach::socket::listen(&run.path().join("too/attach.sock"), 1).unwrap();
        let several = find(run.path(), None).unwrap_err().to_string();
        assert!(several.contains("runs, too"), "{several}");
    }

    #[test]
    fn a_cluster_id_leads_nowhere_else() {
        let run = tempfile::tempdir().unwrap();
        make(run.path(), "one");
        for id in ["..", "../one", "/one", "one/x", "."] {
            assert!(matches!(find(run.path(), Some(id)), Err(PlaceError::Cluster)), "{id}");
        }
    }

    #[test]
    fn a_user_has_controllers_of_its_own_before_that_of_the_system() {
        let none = Wanted::default();
        let user = Surroundings { runtime_directory: Some("/run/user/7".into()), ..Surroundings::default() };
        assert_eq!(user.directories(&none), [Path::new("/run/user/7/plugward"), Path::new(SYSTEM)]);
        assert_eq!(Surroundings { root: true, ..user.clone() }.directories(&none), [Path::new(SYSTEM)]);
        assert_eq!(Surroundings::default().directories(&none), [Path::new(SYSTEM)]);
        let told = Surroundings { run_directory: Some("/told".into()), ..user };
        assert_eq!(told.directories(&none), [Path::new("/told")]);
        let given = Wanted { run_directory: Some("/given".into()), ..Wanted::default() };
        assert_eq!(told.directories(&given), [Path::new("/given")]);
    }

    #[test]
    fn a_directory_that_cannot_be_looked_into_hides_no_controller_elsewhere() {
        let (own, system) = (tempfile::NamedTempFile::new().unwrap(), tempfile::tempdir().unwrap());
        let find = || Place::among(vec![own.path().to_owned(), system.path().to_owned()], None);
        assert!(matches!(find(), Err(PlaceError::Unreadable { .. })));
        make(system.path(), "one");
        assert_eq!(find().unwrap().socket(), system.path().join("one/attach.sock"));
    }

    #[test]
    fn the_cluster_is_named_by_the_argument_before_the_environment() {
        let run = tempfile::tempdir().unwrap();
        make(run.path(), "one");
        make(run.path(), "two");
        let surroundings = Surroundings { cluster: Some("one".into()), ..Surroundings::default() };
        let mut wanted = Wanted { run_directory: Some(run.path().to_owned()), ..Wanted::default() };
        let socket = |wanted: &Wanted| Place::find(wanted, &surroundings).unwrap().socket().to_owned();
        assert_eq!(socket(&wanted), run.path().join("one/attach.sock"));
        wanted.cluster = Some("two".into());
        assert_eq!(socket(&wanted), run.path().join("two/attach.sock"));
    }
}
