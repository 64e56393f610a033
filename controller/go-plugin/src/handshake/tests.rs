use proptest::prelude::*;

use super::*;
use crate::Identity;

/// Lines that current Go plugins print, but for the certificate.
const PLAIN: &str = "1|1|unix|/tmp/plugin3570891640|grpc|";
const MULTIPLEXED: &str = "1|1|unix|/tmp/plugin2054104343|grpc||true";

fn parse(line: &str) -> Result<Handshake, Problem> {
    Handshake::parse(line.as_bytes()).map_err(|error| error.problem)
}

fn plain() -> Handshake {
    Handshake {
        app_version: 1,
        address: Address::Unix("/tmp/plugin3570891640".to_owned()),
        protocol: Protocol::Grpc,
        server_certificate: None,
        broker_multiplexing: BrokerMultiplexing::NotSaid,
    }
}

fn certificate() -> CertificateDer<'static> {
    Identity::generate().unwrap().certificate().clone()
}

#[test]
fn the_lines_of_go_plugins_are_understood() {
    assert_eq!(parse(PLAIN), Ok(plain()));
    let multiplexed = Handshake {
        address: Address::Unix("/tmp/plugin2054104343".to_owned()),
        broker_multiplexing: BrokerMultiplexing::Supported,
        ..plain()
    };
    assert_eq!(parse(MULTIPLEXED), Ok(multiplexed));
}

#[test]
fn line_ends_and_surrounding_space_do_not_matter() {
    for line in [format!("{PLAIN}\n"), format!("{PLAIN}\r\n"), format!("  {PLAIN}\t")] {
        assert_eq!(parse(&line), Ok(plain()), "{line:?}");
    }
}

#[test]
fn fields_after_the_address_may_be_missing_and_others_may_follow() {
    assert_eq!(parse("1|1|unix|/tmp/plugin3570891640|grpc"), Ok(plain()));
    assert_eq!(
        parse("1|1|unix|/tmp/plugin3570891640"),
        Ok(Handshake { protocol: Protocol::NetRpc, ..plain() })
    );
    assert_eq!(parse("1|1|unix|/tmp/plugin3570891640|grpc||true|more|").unwrap().app_version, 1);
}

#[test]
fn a_tcp_address_is_understood() {
    let handshake = parse("1|1|tcp|127.0.0.1:1234|grpc").unwrap();
    assert_eq!(handshake.address, Address::Tcp("127.0.0.1:1234".to_owned()));
}

#[test]
fn a_certificate_is_read_with_padding_and_without() {
    let certificate = certificate();
    let unpadded = BASE64.encode(&certificate);
    let padded = format!("{unpadded}{}", "=".repeat((4 - unpadded.len() % 4) % 4));
    for text in [unpadded, padded] {
        let handshake = parse(&format!("{PLAIN}{text}")).unwrap();
        assert_eq!(handshake.server_certificate.as_ref(), Some(&certificate));
    }
}

#[test]
fn what_is_too_short_for_a_certificate_is_none() {
    let longest = "!".repeat(NO_CERTIFICATE);
    assert_eq!(parse(&format!("{PLAIN}{longest}")), Ok(plain()));
    assert_eq!(parse(&format!("{PLAIN}{longest}!")), Err(Problem::CertificateEncoding));
}

#[test]
fn every_malformed_line_has_its_own_error() {
    let excerpt = |text: &str| Excerpt::of(text.as_bytes());
    let no_certificate = "A".repeat(100);
    let cases = [
        ("", Problem::Empty),
        (" \r\n", Problem::Empty),
        ("starting up", Problem::TooFewFields { found: 1 }),
        ("1|1|unix", Problem::TooFewFields { found: 3 }),
        ("one|1|unix|/p|grpc", Problem::CoreVersionUnreadable),
        ("|1|unix|/p|grpc", Problem::CoreVersionUnreadable),
        ("-1|1|unix|/p|grpc", Problem::CoreVersionUnreadable),
        ("99999999999|1|unix|/p|grpc", Problem::CoreVersionUnreadable),
        ("2|1|unix|/p|grpc", Problem::CoreVersionUnsupported { found: 2 }),
        ("1|v1|unix|/p|grpc", Problem::AppVersionUnreadable),
        ("1|1|pipe|/p|grpc", Problem::NetworkUnknown { network: excerpt("pipe") }),
        ("1|1|unix||grpc", Problem::AddressEmpty),
        ("1|1|unix|/p|http", Problem::ProtocolUnknown { protocol: excerpt("http") }),
        ("1|1|unix|/p||", Problem::ProtocolUnknown { protocol: excerpt("") }),
        (&format!("{PLAIN}{no_certificate}"), Problem::CertificateUnreadable),
    ];
    for (line, problem) in cases {
        assert_eq!(parse(line), Err(problem), "{line:?}");
    }
    assert_eq!(Handshake::parse(b"1|1|unix|/\xff|grpc").unwrap_err().problem, Problem::NotText);
}

#[test]
fn an_error_shows_the_line_and_what_to_do() {
    let error = Handshake::parse(b"WARN: \x1b[1mconfig missing").unwrap_err();
    let message = error.to_string();
    assert!(message.contains("nothing else may be printed before it"), "{message}");
    assert!(message.ends_with("WARN: \\u{1b}[1mconfig missing"), "{message}");
}

#[test]
fn what_was_asked_is_compared_with_what_is_served() {
    let asked = Expected { versions: vec![1, 2], automtls: false, multiplex_broker: false };
    let with_tls = Handshake { server_certificate: Some(certificate()), ..plain() };
    let says = |broker_multiplexing| Handshake { broker_multiplexing, ..plain() };
    let unclear = Excerpt::of(b"maybe");

    assert_eq!(plain().check(&asked), Ok(()));
    assert_eq!(
        Handshake { app_version: 3, ..plain() }.check(&asked),
        Err(Problem::AppVersionNotOffered { served: 3, offered: vec![1, 2] })
    );
    assert_eq!(Handshake { protocol: Protocol::NetRpc, ..plain() }.check(&asked), Err(Problem::NetRpc));
    assert_eq!(with_tls.check(&asked), Err(Problem::CertificateUnasked));

    let tls = Expected { automtls: true, ..asked.clone() };
    assert_eq!(with_tls.check(&tls), Ok(()));
    assert_eq!(plain().check(&tls), Err(Problem::CertificateMissing));

    // An answer that nobody asked for is nobody's concern.
    assert_eq!(says(BrokerMultiplexing::Unclear(unclear.clone())).check(&asked), Ok(()));
    let multiplexed = Expected { multiplex_broker: true, ..asked };
    assert_eq!(says(BrokerMultiplexing::Supported).check(&multiplexed), Ok(()));
    assert_eq!(says(BrokerMultiplexing::NotSaid).check(&multiplexed), Err(Problem::MultiplexingUnknown));
    assert_eq!(
        says(BrokerMultiplexing::Unsupported).check(&multiplexed),
        Err(Problem::MultiplexingUnsupported)
    );
    assert_eq!(
        says(BrokerMultiplexing::Unclear(unclear.clone())).check(&multiplexed),
        Err(Problem::MultiplexingUnclear { said: unclear })
    );
}

#[test]
fn multiplexing_is_said_as_go_says_a_bool() {
    for (text, meaning) in [
        ("1", BrokerMultiplexing::Supported),
        ("T", BrokerMultiplexing::Supported),
        ("True", BrokerMultiplexing::Supported),
        ("0", BrokerMultiplexing::Unsupported),
        ("f", BrokerMultiplexing::Unsupported),
        ("FALSE", BrokerMultiplexing::Unsupported),
        ("yes", BrokerMultiplexing::Unclear(Excerpt::of(b"yes"))),
        ("", BrokerMultiplexing::Unclear(Excerpt::of(b""))),
    ] {
        assert_eq!(parse(&format!("{PLAIN}|{text}")).unwrap().broker_multiplexing, meaning, "{text:?}");
    }
}

fn any_handshake() -> impl Strategy<Value = Handshake> {
    let address =
        prop_oneof!["/[a-z0-9/._-]{1,80}".prop_map(Address::Unix), "[a-z0-9.:]{1,30}".prop_map(Address::Tcp)];
    let protocol = prop_oneof![Just(Protocol::Grpc), Just(Protocol::NetRpc)];
    let multiplexing = prop_oneof![
        Just(BrokerMultiplexing::NotSaid),
        Just(BrokerMultiplexing::Supported),
        Just(BrokerMultiplexing::Unsupported)
    ];
    let certificate = prop::option::of(Just(()).prop_map(|()| certificate()));
    (any::<u32>(), address, protocol, certificate, multiplexing).prop_map(
        |(app_version, address, protocol, server_certificate, broker_multiplexing)| Handshake {
            app_version,
            address,
            protocol,
            server_certificate,
            broker_multiplexing,
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(handshake in any_handshake()) {
        let line = format!("{handshake}\r\n");
        prop_assert_eq!(Handshake::parse(line.as_bytes()), Ok(handshake));
    }

    #[test]
    fn no_bytes_make_it_panic(line: Vec<u8>) {
        let _ = Handshake::parse(&line);
    }

    #[test]
    fn no_fields_make_it_panic(line in "1\\|1\\|(unix|tcp)\\|[^|]{0,9}(\\|(grpc)?(\\|[A-Za-z0-9+/=]{0,99}(\\|.{0,9}){0,3})?)?") {
        let _ = Handshake::parse(line.as_bytes());
    }
}
