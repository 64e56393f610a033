//! The handshake line. The input is what a plugin prints.

#![no_main]

use go_plugin::{BrokerMultiplexing, Expected, Handshake};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let handshake = match Handshake::parse(input) {
        Ok(handshake) => handshake,
        Err(error) => {
            assert!(error.to_string().len() < 5000);
            return;
        }
    };
    let expected = Expected { versions: vec![1], automtls: true, multiplex_broker: true };
    let _ = handshake.check(&expected);
    if !matches!(handshake.broker_multiplexing, BrokerMultiplexing::Unclear(_)) {
        assert_eq!(Handshake::parse(handshake.to_string().as_bytes()), Ok(handshake));
    }
});
