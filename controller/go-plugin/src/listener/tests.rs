use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
};

use futures::FutureExt;
use rustix::process::getegid;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::*;

#[tokio::test]
async fn it_is_a_socket_for_owner_and_group_and_goes_when_dropped() {
    let directory = TempDir::new().unwrap();
    let group = getegid().as_raw();
    for group in [None, Some(group)] {
        let listener = Listener::bind(directory.path(), group).unwrap();
        let path = listener.path().to_owned();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
        if let Some(group) = group {
            assert_eq!(metadata.gid(), group);
        }
        let _client = UnixStream::connect(&path).await.unwrap();
        listener.accept().await.unwrap();

        drop(listener);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn it_can_be_opened_to_all_who_can_come_to_it() {
    let directory = TempDir::new().unwrap();
    let listener = Listener::bind(directory.path(), None).unwrap();
    listener.open_to_all().unwrap();
    assert_eq!(fs::symlink_metadata(listener.path()).unwrap().permissions().mode() & 0o7777, 0o666);
    fs::remove_file(listener.path()).unwrap();
    fs::write(listener.path(), "another's").unwrap();
    assert_eq!(listener.open_to_all().unwrap_err().as_str(), "listen_share");
}

#[tokio::test]
async fn its_name_is_like_a_plugins_and_its_address_is_where_the_plugin_sees_it() {
    let directory = TempDir::new().unwrap();
    let (one, other) =
        (Listener::bind(directory.path(), None).unwrap(), Listener::bind(directory.path(), None).unwrap());
    assert_ne!(one.name, other.name);
    let digits = one.name.strip_prefix("plugin").unwrap();
    assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(one.address_in("/shared/"), Address::Unix(format!("/shared/{}", one.name)));
    assert_eq!(one.path(), directory.path().join(&one.name));
}

#[tokio::test]
async fn a_long_path_of_ours_does_no_harm() {
    let directory = TempDir::new().unwrap();
    let long = directory.path().join("d".repeat(150));
    fs::create_dir(&long).unwrap();
    let listener = Listener::bind(&long, None).unwrap();
    assert!(listener.path().exists());
    assert!(listener.accept().now_or_never().is_none());
}

#[tokio::test]
async fn what_a_plugin_puts_in_its_place_is_not_given_away() {
    let (directory, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let treasure = other.path().join("treasure");
    fs::write(&treasure, "gold").unwrap();
    fs::set_permissions(&treasure, fs::Permissions::from_mode(0o600)).unwrap();
    let listener = Listener::new(directory.path(), OFlags::NOFOLLOW).unwrap();
    fs::remove_file(listener.path()).unwrap();
    symlink(&treasure, listener.path()).unwrap();

    assert_eq!(listener.share(None).unwrap_err().as_str(), "listen_share");
    drop(listener);

    assert_eq!(fs::metadata(&treasure).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[tokio::test]
async fn a_directory_that_is_none_is_an_error() {
    let directory = TempDir::new().unwrap();
    let link = directory.path().join("link");
    symlink(directory.path(), &link).unwrap();
    for path in [link, directory.path().join("nowhere")] {
        assert_eq!(Listener::bind(&path, None).unwrap_err().as_str(), "listen_directory");
    }
}
