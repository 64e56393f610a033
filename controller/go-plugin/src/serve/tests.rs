use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
};

use rustix::process::getegid;
use tempfile::TempDir;

use super::*;
use crate::{Expected, Launch, Problem};

fn cookie() -> Cookie {
    Cookie::new("TEST_PLUGIN", "hello").unwrap()
}

fn launch(directory: &TempDir) -> Launch {
    Launch {
        cookie: cookie(),
        protocol_versions: vec![1],
        socket_directory: directory.path().to_str().unwrap().to_owned(),
        socket_group: None,
        client_certificate: None,
        multiplex_broker: false,
    }
}

fn server(versions: &[u32]) -> Server {
    versions.iter().fold(Server::new(cookie()), |server, version| server.version(*version, Routes::default()))
}

fn listen(server: Server, launch: &Launch) -> Result<Listening, ServeError> {
    listen_with(server, launch, &[])
}

fn listen_with(server: Server, launch: &Launch, more: &[(&str, &str)]) -> Result<Listening, ServeError> {
    let mut environment: HashMap<_, _> = launch.environment().into_iter().collect();
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    server.listen(|name| environment.get(name).cloned())
}

#[tokio::test]
async fn a_plugin_started_by_hand_says_so() {
    let error = server(&[1]).listen(|_| None).unwrap_err();
    assert!(matches!(error, ServeError::NoHost { .. }));
    assert!(error.to_string().contains("TEST_PLUGIN"));
    assert!(matches!(
        server(&[1]).listen(|_| Some("another application's".to_owned())),
        Err(ServeError::NoHost { .. })
    ));
}

#[tokio::test]
async fn the_highest_common_version_is_served_else_the_lowest() {
    let directory = TempDir::new().unwrap();
    let served = |versions: &[u32], offered: &str| {
        let more = [("PLUGIN_PROTOCOL_VERSIONS", offered)];
        listen_with(server(versions), &launch(&directory), &more).unwrap().handshake().app_version
    };
    assert_eq!(served(&[3, 4, 5], "5,4,6"), 5);
    assert_eq!(served(&[3, 4, 5], "3,4"), 4);
    assert_eq!(served(&[3, 4, 5], "7"), 3);
    assert_eq!(served(&[3, 4, 5], ""), 3);
    assert_eq!(served(&[3, 4, 5], "x, 5,4"), 4);
    assert!(matches!(listen(server(&[]), &launch(&directory)), Err(ServeError::NoVersion)));
}

#[tokio::test]
async fn the_socket_lies_where_the_host_wants_it_and_goes_with_the_plugin() {
    let directory = TempDir::new().unwrap();
    let listening = listen(server(&[1]), &launch(&directory)).unwrap();
    let Address::Unix(path) = &listening.handshake().address else { panic!("not a Unix socket") };
    let path = PathBuf::from(path);

    assert_eq!(path.parent(), Some(directory.path()));
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    drop(listening);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_is_given_to_the_group() {
    let directory = TempDir::new().unwrap();
    // A group that this process is in, so that it may give files to it whoever runs the test.
    let group = getegid().as_raw();
    let launch = Launch { socket_group: Some(group), ..launch(&directory) };

    let listening = listen(server(&[1]), &launch).unwrap();

    let metadata = fs::metadata(listening.listener.path()).unwrap();
    assert_eq!(metadata.gid(), group);
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
}

#[tokio::test]
async fn what_cannot_be_done_is_an_error_and_not_silence() {
    let directory = TempDir::new().unwrap();
    let launch = launch(&directory);
    let error = |more| listen_with(server(&[1]), &launch, more).unwrap_err();

    assert!(matches!(error(&[("PLUGIN_CLIENT_CERT", "no PEM")]), ServeError::ClientCertificate(_)));
    assert!(matches!(error(&[("PLUGIN_UNIX_SOCKET_GROUP", "docker")]), ServeError::Group { .. }));
    assert!(matches!(error(&[("PLUGIN_UNIX_SOCKET_DIR", "/nowhere")]), ServeError::Listen(_)));
    let long = directory.path().join("d".repeat(120));
    fs::create_dir(&long).unwrap();
    let long = [("PLUGIN_UNIX_SOCKET_DIR", long.to_str().unwrap())];
    assert!(matches!(error(&long), ServeError::Listen(_)));
}

#[tokio::test]
async fn a_host_that_wants_the_broker_multiplexed_is_told_that_it_is_not() {
    let directory = TempDir::new().unwrap();
    let launch = Launch { multiplex_broker: true, ..launch(&directory) };
    let listening = listen(server(&[1]), &launch).unwrap();
    let expected = Expected { versions: vec![1], automtls: false, multiplex_broker: true };
    assert_eq!(listening.handshake().check(&expected), Err(Problem::MultiplexingUnsupported));
}
