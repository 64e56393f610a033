//! One packet, read as from either side. What is made of it can be said, and is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plugward_attach::{FromController, FromLauncher};

fuzz_target!(|packet: &[u8]| {
    if let Ok(message) = FromLauncher::decode(packet) {
        assert_eq!(FromLauncher::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = FromController::decode(packet) {
        assert_eq!(FromController::decode(&message.encode()), Ok(message));
    }
});
