//! A message of the broker's stream. The input is the message.

#![no_main]

use go_plugin::{BrokerMessage, external::Bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match BrokerMessage::from_bytes(Bytes::copy_from_slice(input)) {
        Ok(message) => assert_eq!(BrokerMessage::from_bytes(message.to_bytes()), Ok(message)),
        Err(error) => assert!(error.to_string().len() < 3000),
    }
});
