use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use super::Bench;
use crate::container::{Bind, ContainerId, ContainerSpec};
use crate::file::FileKind;

/// A container that was never started, into which a directory is bound, with a file, a link and a directory in it.
async fn with_files(bench: &Bench) -> ContainerId {
    let source = bench.harness.directory().join(&bench.tag);
    std::fs::create_dir_all(source.join("inner")).unwrap();
    std::fs::write(source.join("file"), "0123456789").unwrap();
    std::fs::set_permissions(source.join("file"), std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/shared/file", source.join("link")).unwrap();
    // Root in the containers of a rootless engine is its user.
    if let Some(user) = bench.engine.info().await.unwrap().user {
        for path in [source.clone(), source.join("file")] {
            chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }
    let bind = Bind { source, target: "/shared".into() };
    bench.create("files", &ContainerSpec { binds: vec![bind], ..bench.spec(&["sleep"]) }).await
}

pub(super) async fn a_file_that_is_bound_into_a_container_is_read_though_that_never_ran(bench: Bench) {
    let id = with_files(&bench).await;
    for (limit, expected) in [(4, "0123"), (10, "0123456789"), (1 << 20, "0123456789"), (0, "")] {
        let file = bench.engine.read(&id, Path::new("/shared/file"), limit).await.unwrap().unwrap();
        assert_eq!((file.kind, file.mode), (FileKind::Regular, 0o640));
        assert_eq!(String::from_utf8_lossy(&file.content), expected);
        assert_eq!(file.capability, None);
    }
    assert_eq!(bench.inspect(&id).await.state, crate::container::ContainerState::Created);
}

pub(super) async fn a_directory_and_a_link_are_told_as_what_they_are(bench: Bench) {
    let id = with_files(&bench).await;
    let kind = async |path| bench.engine.read(&id, Path::new(path), 100).await.unwrap().unwrap().kind;
    assert_eq!(kind("/shared/inner").await, FileKind::Directory);
    assert_eq!(kind("/shared/link").await, FileKind::Link("/shared/file".into()));
}

pub(super) async fn what_is_not_there_is_none(bench: Bench) {
    let id = with_files(&bench).await;
    for absent in ["/shared/nothing", "/nowhere/at/all"] {
        assert_eq!(bench.engine.read(&id, Path::new(absent), 100).await, Ok(None), "{absent}");
    }
    bench.engine.remove(&id).await.unwrap();
    assert_eq!(bench.engine.read(&id, Path::new("/shared/file"), 100).await, Ok(None));
}
