use proptest::prelude::*;

use super::*;

const DATABASE: (&str, &str) = ("VAULT_DATABASE_PLUGIN", "926a0820-aea2-be28-51d6-83cdf00e8edb");

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

/// What a host asks that has the right cookie, and these variables.
fn asked(variables: &[(&str, &str)]) -> Result<Asks, Refusal> {
    let all = [&[DATABASE], variables].concat();
    Asks::of(&environment(&all), &Protocol::Database, PluginType::Database)
}

fn reason(asked: Result<Asks, Refusal>) -> AttachRefusal {
    asked.unwrap_err().reason
}

#[test]
fn a_launcher_is_asked_for_the_protocols_variables_and_for_those_that_are_passed_on() {
    let passed = ["REGION".parse().unwrap()];
    assert_eq!(
        Asks::variables(&Protocol::Database, &passed).unwrap(),
        [
            "VAULT_DATABASE_PLUGIN",
            "PLUGIN_PROTOCOL_VERSIONS",
            "PLUGIN_CLIENT_CERT",
            "PLUGIN_MULTIPLEX_GRPC",
            "PLUGIN_UNIX_SOCKET_GROUP",
            "BAO_PLUGIN_METADATA_MODE",
            "VAULT_PLUGIN_METADATA_MODE",
            "REGION"
        ]
    );
}

#[test]
fn a_host_with_another_cookie_is_no_host_of_this_plugin_and_is_not_told_the_right_one() {
    for cookie in [&[][..], &[("VAULT_DATABASE_PLUGIN", "another")]] {
        let all = [cookie, &[("PLUGIN_PROTOCOL_VERSIONS", "5,6"), ("PLUGIN_CLIENT_CERT", "PEM")]].concat();
        let refusal = Asks::of(&environment(&all), &Protocol::Database, PluginType::Database).unwrap_err();
        assert_eq!(refusal.reason, AttachRefusal::Cookie);
        assert!(refusal.message.contains(DATABASE.0) && !refusal.message.contains(DATABASE.1), "{refusal:?}");
    }
}

#[test]
fn what_a_host_asks_is_what_go_plugin_sets() {
    let asks = asked(&[
        ("PLUGIN_PROTOCOL_VERSIONS", "6,5"),
        ("PLUGIN_CLIENT_CERT", "PEM"),
        ("PLUGIN_MULTIPLEX_GRPC", "true"),
        ("PLUGIN_UNIX_SOCKET_GROUP", "4711"),
    ]);
    let expected = Asks {
        versions: vec![6, 5],
        certificate: Some("PEM".to_owned()),
        multiplexed: Some(true),
        metadata: false,
        group: true,
    };
    assert_eq!(asks, Ok(expected));
    let asks = asked(&[
        ("PLUGIN_PROTOCOL_VERSIONS", "5"),
        ("PLUGIN_MULTIPLEX_GRPC", "false"),
        ("BAO_PLUGIN_METADATA_MODE", "true"),
    ])
    .unwrap();
    assert_eq!((asks.multiplexed, asks.multiplexes(), asks.metadata), (Some(false), false, true));
    assert!(asks.admits(5).is_ok());
    let refusal = asks.admits(6).unwrap_err();
    assert!(refusal.message.contains("version 6") && refusal.message.contains("offers 5"), "{refusal:?}");
}

#[test]
fn what_cannot_be_had_is_refused_with_what_to_do() {
    assert_eq!(reason(asked(&[("PLUGIN_CLIENT_CERT", "PEM")])), AttachRefusal::ProtocolVersion);
    let unwrapping = [("PLUGIN_PROTOCOL_VERSIONS", "3,4")];
    assert_eq!(reason(asked(&unwrapping)), AttachRefusal::Transport, "TLS by an unwrap token");
    let asks = asked(&[("PLUGIN_PROTOCOL_VERSIONS", "5"), ("PLUGIN_CLIENT_CERT", "no certificate")]).unwrap();
    let identity = Identity::generate().unwrap();
    assert_eq!(asks.peer(&identity).unwrap_err().reason, AttachRefusal::Transport);
    let pem = Identity::generate().unwrap().certificate_pem();
    let asks = asked(&[("PLUGIN_PROTOCOL_VERSIONS", "5"), ("PLUGIN_CLIENT_CERT", &pem)]).unwrap();
    assert!(asks.peer(&identity).unwrap().is_pinned());
}

proptest! {
    #[test]
    fn whatever_a_host_sets_is_understood_or_refused(
        versions in "[0-9, a-z-]{0,20}",
        certificate in proptest::option::of("\\PC{0,40}"),
        multiplex in proptest::option::of("[a-zA-Z01]{0,5}"),
    ) {
        let mut variables = vec![("PLUGIN_PROTOCOL_VERSIONS", versions.as_str())];
        variables.extend(certificate.as_deref().map(|value| ("PLUGIN_CLIENT_CERT", value)));
        variables.extend(multiplex.as_deref().map(|value| ("PLUGIN_MULTIPLEX_GRPC", value)));
        if let Ok(asks) = asked(&variables) {
            let offered: Vec<&str> = versions.split(',').map(str::trim).collect();
            prop_assert!(asks.versions.iter().all(|version| offered.contains(&version.to_string().as_str())
                || offered.iter().any(|text| text.parse() == Ok(*version))));
            prop_assert!(!asks.multiplexes() || asks.multiplexed.is_some());
        }
    }
}
