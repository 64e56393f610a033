use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn launch() -> Launch {
    Launch {
        cookie: Cookie::new("BASIC_PLUGIN", "hello").unwrap(),
        protocol_versions: vec![5, 6],
        socket_directory: "/tmp/go-plugin-container".to_owned(),
        socket_group: None,
        client_certificate: None,
        multiplex_broker: false,
    }
}

#[test]
fn the_least_launch_says_cookie_ports_versions_and_directory() {
    let environment: BTreeMap<_, _> = launch().environment().into_iter().collect();

    let expected = [
        ("BASIC_PLUGIN", "hello"),
        ("PLUGIN_MIN_PORT", "10000"),
        ("PLUGIN_MAX_PORT", "25000"),
        ("PLUGIN_PROTOCOL_VERSIONS", "5,6"),
        ("PLUGIN_UNIX_SOCKET_DIR", "/tmp/go-plugin-container"),
    ];
    assert_eq!(environment, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[test]
fn what_is_asked_for_is_said_and_every_name_is_there_once() {
    let launch = Launch {
        socket_group: Some(1234),
        client_certificate: Some("-----BEGIN CERTIFICATE-----\n…\n".to_owned()),
        multiplex_broker: true,
        ..launch()
    };

    let environment = launch.environment();

    let names: BTreeSet<_> = environment.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), environment.len());
    let value = |name| &environment.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(value("PLUGIN_UNIX_SOCKET_GROUP"), "1234");
    assert_eq!(value("PLUGIN_CLIENT_CERT"), "-----BEGIN CERTIFICATE-----\n…\n");
    assert_eq!(value("PLUGIN_MULTIPLEX_GRPC"), "true");
}

#[test]
fn a_cookie_that_no_plugin_could_get_is_refused() {
    assert_eq!(Cookie::new("", "v"), Err(CookieError::EmptyKey));
    assert_eq!(Cookie::new("K", ""), Err(CookieError::EmptyValue));
    assert_eq!(Cookie::new("K=", "v"), Err(CookieError::KeyCharacter));
    assert_eq!(Cookie::new("K\0", "v"), Err(CookieError::KeyCharacter));
    assert_eq!(Cookie::new("K", "v\0"), Err(CookieError::ValueCharacter));
    assert_eq!(Cookie::new("PLUGIN_UNIX_SOCKET_DIR", "v"), Err(CookieError::ReservedKey));
}
