use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::getxattr;
use tempfile::TempDir;

use super::*;
use crate::plan::tests::scene::Scene;
use crate::state::State;

/// A user who is not us.
const OTHER: EngineUser = EngineUser { uid: 7, gid: 8 };

struct World {
    home: TempDir,
    sharing: Sharing,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("plugins");
        fs::create_dir(&directory).unwrap();
        let user = rustix::process::geteuid().as_raw();
        let group = Some(rustix::process::getegid().as_raw());
        Self { sharing: Sharing { cluster: "c".parse().unwrap(), directory, group, user }, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A start that shares a directory there, for an engine.
    fn start(&self, socket_directory: Option<PathBuf>, rootless: bool, engine: &EngineInfo) -> Start {
        let mut start = Scene::new().start(1, "v1-aaaa", "ENGINE-A");
        let mut recipe = (*start.recipe).clone();
        recipe.container.socket_directory = socket_directory;
        recipe.container.rootless = rootless;
        start.directory = self.sharing.place(&recipe.container, &start.container);
        let group = self.sharing.group(engine, &recipe.container);
        (start.group, start.group_inside) = (group.outside, group.inside);
        start.recipe = Arc::new(recipe);
        start
    }

    fn look(&self, socket_directory: Option<PathBuf>, engine: &EngineInfo) -> Result<(), String> {
        let start = self.start(socket_directory, false, engine);
        self.sharing.look(engine, &start.recipe.container).map_err(|error| error.to_string())
    }
}

fn engine(rootless: bool, user: Option<EngineUser>) -> EngineInfo {
    EngineInfo {
        id: "ENGINE-A".into(),
        version: String::new(),
        api_version: String::new(),
        time: Timestamp::UNIX_EPOCH,
        oci_runtimes: Vec::new(),
        cgroup_driver: String::new(),
        rootless,
        user,
        memlock_limit: None,
    }
}

fn rootful() -> EngineInfo {
    engine(false, None)
}

fn we_are_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_directory_is_for_its_group_and_what_is_made_in_it_too() {
    let world = World::new();
    let start = world.start(None, false, &rootful());
    for _ in ["made", "there already"] {
        world.sharing.make(&start, &rootful()).unwrap();
        let made = fs::metadata(&start.directory).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o2771);
        assert_eq!((made.uid(), Some(made.gid())), (world.sharing.user, start.group));
    }
    assert_eq!(start.group_inside(), start.group);
}

#[test]
fn a_directory_of_a_rootless_engine_is_its_users() {
    if !we_are_root() {
        return;
    }
    let world = World::new();
    let base = world.path("sockets");
    fs::create_dir(&base).unwrap();
    std::os::unix::fs::chown(&base, Some(OTHER.uid), None).unwrap();
    let engine = engine(true, Some(OTHER));
    assert_eq!(world.look(Some(base.clone()), &engine), Ok(()));
    let start = world.start(Some(base.clone()), false, &engine);
    world.sharing.make(&start, &engine).unwrap();
    assert!(start.directory.starts_with(base.join("plugward-c")));
    for path in [&start.directory, start.directory.parent().unwrap()] {
        let made = fs::metadata(path).unwrap();
        assert_eq!((made.uid(), made.gid()), (OTHER.uid, OTHER.gid));
    }
    assert_eq!((start.group, start.group_inside()), (Some(OTHER.gid), Some(0)));
}

#[test]
fn rootless_gives_our_user_a_list() {
    let world = World::new();
    let start = world.start(None, true, &rootful());
    world.sharing.make(&start, &rootful()).unwrap();
    let mut list = [0; 64];
    let length = getxattr(&start.directory, "system.posix_acl_default", &mut list[..]).unwrap();
    assert_eq!(length, 44);
    assert_eq!(list[16..20], world.sharing.user.to_le_bytes());
}

#[test]
fn a_file_system_without_lists_is_told() {
    // The file system of terminals has none.
    let directory = fs::File::open("/dev/pts").unwrap();
    let error = acl::give_to(&directory, 7).unwrap_err();
    if we_are_root() {
        assert_eq!(rustix::io::Errno::from_io_error(&error), Some(rustix::io::Errno::OPNOTSUPP), "{error}");
    }
    let told = MakeError::NoLists { path: "/x".into() }.to_string();
    assert!(told.contains("/x has none") && told.contains("engine.socketDirectory"), "{told}");
}

#[test]
fn what_cannot_be_a_socket_directory_is_told() {
    let world = World::new();
    let missing = world.look(Some(world.path("missing")), &rootful()).unwrap_err();
    assert!(missing.contains("missing cannot be used") && missing.contains("Make it"), "{missing}");

    fs::write(world.path("file"), "").unwrap();
    let file = world.look(Some(world.path("file")), &rootful()).unwrap_err();
    assert!(file.ends_with("is no directory"), "{file}");

    fs::create_dir(world.path("open")).unwrap();
    fs::set_permissions(world.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let open = world.look(Some(world.path("open")), &rootful()).unwrap_err();
    assert!(open.contains("open to all users"), "{open}");

    if we_are_root() {
        std::os::unix::fs::chown(world.path("open"), Some(OTHER.uid), None).unwrap();
        fs::set_permissions(world.path("open"), fs::Permissions::from_mode(0o700)).unwrap();
        let foreign = world.look(Some(world.path("open")), &rootful()).unwrap_err();
        assert!(foreign.contains("belongs to the user 7, and has to belong to the user 0"), "{foreign}");
        assert_eq!(world.look(Some(world.path("open")), &engine(true, Some(OTHER))), Ok(()));
        // Where the engine's address does not tell its user, the directory's owner is believed.
        assert_eq!(world.look(Some(world.path("open")), &engine(true, None)), Ok(()));
    }
}

#[test]
fn a_rootless_engine_of_another_user_is_told_what_it_needs() {
    let mut world = World::new();
    let engine = engine(true, Some(OTHER));
    world.sharing.user = 0;
    let told = world.look(None, &engine).unwrap_err();
    assert!(told.contains("engine.socketDirectory") && told.contains("/run/user/7"), "{told}");
    world.sharing.user = 9;
    let told = world.look(None, &engine).unwrap_err();
    assert!(told.contains("only root, or its user 7"), "{told}");
    world.sharing.user = OTHER.uid;
    assert_eq!(world.look(None, &engine), Ok(()));
}

#[test]
fn what_another_user_put_in_the_way_is_not_shared() {
    let world = World::new();
    let base = world.path("sockets");
    fs::create_dir(&base).unwrap();
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let start = world.start(Some(base.clone()), false, &rootful());
    symlink(&elsewhere, base.join("plugward-c")).unwrap();
    assert!(matches!(world.sharing.make(&start, &rootful()), Err(MakeError::Directory { .. })));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

    if we_are_root() {
        fs::remove_file(base.join("plugward-c")).unwrap();
        fs::create_dir(base.join("plugward-c")).unwrap();
        std::os::unix::fs::chown(base.join("plugward-c"), Some(OTHER.uid), None).unwrap();
        let error = world.sharing.make(&start, &rootful()).unwrap_err();
        assert!(matches!(error, MakeError::Foreign { found: 7, .. }), "{error}");
    }
}

#[tokio::test]
async fn only_directories_of_no_remembered_start_are_swept() {
    let world = World::new();
    let base = world.path("sockets");
    fs::create_dir(&base).unwrap();
    let state = State::open(&world.path("state")).unwrap();
    let start = world.start(Some(base.clone()), false, &rootful());
    world.sharing.make(&start, &rootful()).unwrap();
    let slot = crate::slot::Slot { current: Some(start.clone()), ..Default::default() };
    let shared = crate::names::SlotName::Shared;
    state.save_slot(&"orders".parse().unwrap(), &shared, slot).await.unwrap();
    let own = start.directory.parent().unwrap().to_owned();
    let left = [own.join("plugward-left"), world.sharing.directory.join("plugward-left")];
    for path in left.iter().chain([&base.join("not-ours")]) {
        fs::create_dir(path).unwrap();
    }

    // Another way to the same place, as its user could make one, endangers nothing.
    symlink(&base, world.path("link")).unwrap();
    sweep(&world.sharing, [&*base, &*world.path("link")], &state).unwrap();
    assert!(start.directory.exists() && base.join("not-ours").exists());
    assert!(left.iter().all(|path| !path.exists()));
}
