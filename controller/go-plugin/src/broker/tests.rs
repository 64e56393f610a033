use proptest::prelude::*;

use super::*;

fn info(network: &str, address: &str) -> ConnInfo {
    ConnInfo { service_id: 7, network: network.to_owned(), address: address.to_owned(), knock: None }
}

fn knock(knock: bool, ack: bool, error: &str) -> ConnInfo {
    let knock = Some(conn_info::Knock { knock, ack, error: error.to_owned() });
    ConnInfo { service_id: 7, knock, ..ConnInfo::default() }
}

fn read(message: &ConnInfo) -> Result<BrokerMessage, BrokerMessageError> {
    BrokerMessage::from_bytes(message.encode_to_vec().into())
}

#[test]
fn the_messages_of_go_plugins_are_understood() {
    let address = Address::Unix("/tmp/plugin3570891640".to_owned());
    assert_eq!(read(&info("unix", "/tmp/plugin3570891640")), Ok(BrokerMessage::Announce { id: 7, address }));
    let address = Address::Tcp("127.0.0.1:1234".to_owned());
    assert_eq!(read(&info("tcp", "127.0.0.1:1234")), Ok(BrokerMessage::Announce { id: 7, address }));
    assert_eq!(read(&knock(true, false, "")), Ok(BrokerMessage::Knock { id: 7 }));
    assert_eq!(read(&knock(true, true, "")), Ok(BrokerMessage::Ack { id: 7, error: None }));
    let error = Some("no listener".to_owned());
    assert_eq!(read(&knock(true, true, "no listener")), Ok(BrokerMessage::Ack { id: 7, error }));
}

#[test]
fn the_bytes_are_those_that_go_writes() {
    // Field 1 is 7; field 4 is a message of two bytes, whose field 1 is true.
    assert_eq!(BrokerMessage::Knock { id: 7 }.to_bytes(), [0x08, 7, 0x22, 2, 0x08, 1].as_slice());
}

#[test]
fn what_means_nothing_is_an_error_that_says_so() {
    let long = "/".repeat(MAX_BROKER_ADDRESS_SIZE + 1);
    let mut both = knock(true, false, "");
    both.address = "/tmp/plugin1".to_owned();
    let cases = [
        (info("unix", ""), "broker_address_empty"),
        (info("unix", &long), "broker_address_too_long"),
        (info("udp", "127.0.0.1:1"), "broker_network_unknown"),
        (ConnInfo::default(), "broker_network_unknown"),
        (knock(false, false, ""), "broker_contradiction"),
        (knock(false, true, ""), "broker_contradiction"),
        (knock(true, false, "no"), "broker_contradiction"),
        (both, "broker_contradiction"),
    ];
    for (message, name) in cases {
        assert_eq!(read(&message).map_err(|error| error.as_str()), Err(name), "{message:?}");
    }
    let undecodable = BrokerMessage::from_bytes(Bytes::from_static(&[0xff]));
    assert_eq!(undecodable.unwrap_err().as_str(), "broker_message_undecodable");
    let large = BrokerMessage::from_bytes(vec![0; MAX_BROKER_MESSAGE_SIZE + 1].into());
    assert_eq!(large, Err(BrokerMessageError::TooLarge { size: MAX_BROKER_MESSAGE_SIZE + 1 }));
}

fn any_message() -> impl Strategy<Value = BrokerMessage> {
    let address = prop_oneof![".{1,200}".prop_map(Address::Unix), ".{1,200}".prop_map(Address::Tcp)];
    let error = prop::option::of(".{1,200}".prop_map(String::from));
    prop_oneof![
        (any::<u32>(), address).prop_map(|(id, address)| BrokerMessage::Announce { id, address }),
        any::<u32>().prop_map(|id| BrokerMessage::Knock { id }),
        (any::<u32>(), error).prop_map(|(id, error)| BrokerMessage::Ack { id, error }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(message in any_message()) {
        prop_assert_eq!(BrokerMessage::from_bytes(message.to_bytes()), Ok(message));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = BrokerMessage::from_bytes(bytes.into());
    }

    #[test]
    fn no_fields_make_it_panic(id: u32, network in "(unix|tcp|)", address in ".{0,20}", said: Option<(bool, bool, bool)>) {
        let said = said.map(|(knock, ack, error)| conn_info::Knock {
            knock,
            ack,
            error: if error { "no".to_owned() } else { String::new() },
        });
        let message = ConnInfo { service_id: id, network, address, knock: said };
        if let Ok(read) = BrokerMessage::from_bytes(message.encode_to_vec().into()) {
            prop_assert_eq!(read.id(), id);
            prop_assert_eq!(ConnInfo::from(read), message);
        }
    }
}
