//! The frames of a plugin's output. The input is a list of them, each after its length, an octet.

#![no_main]

use go_plugin::{
    external::{Bytes, prost::Message},
    proto::plugin::StdioData,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Some(&length) = rest.split_off_first() {
        let Some(frame) = rest.split_off(..usize::from(length).min(rest.len())) else { return };
        if let Ok(piece) = StdioData::decode(Bytes::copy_from_slice(frame)) {
            let _ = piece.channel();
            assert!(piece.data.len() <= frame.len());
        }
    }
});
