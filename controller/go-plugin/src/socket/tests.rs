use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
};

use rustix::fs::mkfifoat;
use tempfile::TempDir;

use super::*;

const PLUGIN_SIDE: &str = "/tmp/go-plugin-container";

fn unix(path: &str) -> Address {
    Address::Unix(path.to_owned())
}

fn translate(address: &Address) -> Result<SocketAddress, AddressError> {
    SocketAddress::translate(address, Path::new(PLUGIN_SIDE), Path::new("/run/host"))
}

fn address(directory: &TempDir, name: &str) -> SocketAddress {
    SocketAddress { directory: directory.path().to_owned(), name: name.into() }
}

async fn refusal(directory: &TempDir, name: &str) -> SocketError {
    address(directory, name).connect().await.unwrap_err()
}

#[test]
fn a_socket_in_the_shared_directory_is_found_on_our_side() {
    let address = translate(&unix("/tmp/go-plugin-container/plugin1")).unwrap();
    assert_eq!(address.path(), Path::new("/run/host/plugin1"));
}

#[test]
fn a_socket_anywhere_else_is_refused_with_an_explanation() {
    for path in [
        "/tmp/plugin1",
        "/tmp/go-plugin-container",
        "/tmp/go-plugin-container/..",
        "/tmp/go-plugin-container/../plugin1",
        "/tmp/go-plugin-container/sub/plugin1",
        "/tmp/go-plugin-container/sub/../plugin1",
        "plugin1",
        "/",
        "..",
        "/tmp/go-plugin-container/plugin\0",
    ] {
        let error = translate(&unix(path)).unwrap_err();
        assert_eq!(error.as_str(), "address_outside", "{path}");
        assert!(error.to_string().contains("older than 1.5"), "{error}");
    }
}

#[test]
fn a_tcp_address_is_refused_with_an_explanation() {
    let error = translate(&Address::Tcp("127.0.0.1:10000".to_owned())).unwrap_err();
    assert_eq!(error.as_str(), "address_tcp");
}

#[tokio::test]
async fn a_socket_is_connected_to() {
    let directory = TempDir::new().unwrap();
    let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    address(&directory, "plugin1").connect().await.unwrap();
    listener.accept().unwrap();
}

#[tokio::test]
async fn a_path_longer_than_a_socket_address_is_connected_to() {
    let directory = TempDir::new().unwrap();
    let deep = directory.path().join("d".repeat(200));
    fs::create_dir(&deep).unwrap();
    let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    fs::rename(directory.path().join("plugin1"), deep.join("plugin1")).unwrap();

    SocketAddress { directory: deep, name: "plugin1".into() }.connect().await.unwrap();
    listener.accept().unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_refused_and_never_followed() {
    let directory = TempDir::new().unwrap();
    let path = |name| directory.path().join(name);
    // It would be connected to if the link were followed.
    let _listener = UnixListener::bind(path("elsewhere")).unwrap();
    symlink(path("elsewhere"), path("link")).unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    fs::write(path("file"), "").unwrap();
    fs::create_dir(path("directory")).unwrap();
    mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();

    for (name, expected) in [
        ("link", FileKind::SymbolicLink),
        ("dangling", FileKind::SymbolicLink),
        ("file", FileKind::RegularFile),
        ("directory", FileKind::Directory),
        ("pipe", FileKind::Pipe),
    ] {
        let error = refusal(&directory, name).await;
        assert!(
            matches!(&error, SocketError::NotASocket { kind, .. } if *kind == expected),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_a_link_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let _listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    let link = directory.path().join("link");
    symlink(directory.path(), &link).unwrap();

    let error = SocketAddress { directory: link, name: "plugin1".into() }.connect().await.unwrap_err();

    assert_eq!(error.as_str(), "socket_directory");
}

#[tokio::test]
async fn a_missing_and_a_dead_socket_are_told_apart() {
    let directory = TempDir::new().unwrap();
    drop(UnixListener::bind(directory.path().join("dead")).unwrap());
    assert_eq!(refusal(&directory, "missing").await.as_str(), "socket_missing");
    assert_eq!(refusal(&directory, "dead").await.as_str(), "socket_refused");
}

#[tokio::test]
async fn what_the_name_becomes_after_it_was_opened_does_not_matter() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("plugin1");
    let listener = UnixListener::bind(&path).unwrap();
    let victim = UnixListener::bind(directory.path().join("victim")).unwrap();
    victim.set_nonblocking(true).unwrap();
    let reference = address(&directory, "plugin1").open().unwrap();

    fs::remove_file(&path).unwrap();
    symlink(directory.path().join("victim"), &path).unwrap();
    connect_by_reference(&reference).await.unwrap();

    listener.accept().unwrap();
    assert_eq!(victim.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let listener = UnixListener::bind(directory.path().join("plugin1")).unwrap();
    // A queue of length 0 holds one connection.
    rustix::net::listen(&listener, 0).unwrap();
    let address = address(&directory, "plugin1");
    let _first = address.connect().await.unwrap();

    assert!(time::timeout(BUSY_PAUSE * 10, address.connect()).await.is_err(), "the queue was not full");
    listener.accept().unwrap();
    address.connect().await.unwrap();
}
