//! Header blocks of one connection. The input is a list of blocks, each after its length, an octet; in place of a length, 255
//! sets the greatest size of the table to the two octets that follow.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use plugward_relay::hpack::{DEFAULT_TABLE_SIZE, Decoder, encode};

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
    let mut greatest_table = DEFAULT_TABLE_SIZE;
    let mut rest = input;
    while let Some(&first) = rest.split_off_first() {
        if first == 255 {
            let Some(&[high, low]) = rest.split_off(..2) else { return };
            let size = usize::from(u16::from_be_bytes([high, low]));
            decoder.set_max_table_size(size);
            greatest_table = greatest_table.max(size);
            continue;
        }
        let Some(block) = rest.split_off(..usize::from(first)) else { return };
        let mut fields = Vec::new();
        let decoded = decoder.decode(block, |field| {
            fields.push((field.name.to_vec(), field.value.to_vec(), field.sensitive));
        });
        assert!(fields.len() <= block.len());
        for (name, value, _) in &fields {
            assert!(name.len() + value.len() <= greatest_table + block.len() * 8 / 5 + 27);
        }
        stands_alone(&fields);
        if decoded.is_err() {
            return;
        }
    }
});

/// What we write of a list is read as that list, by a reader that knows no other block.
fn stands_alone(fields: &[(Vec<u8>, Vec<u8>, bool)]) {
    let mut block = BytesMut::new();
    encode::begin(&mut block);
    for (name, value, sensitive) in fields {
        encode::field(&mut block, name, value, *sensitive);
    }
    let mut expected = fields.iter();
    Decoder::new(0)
        .decode(&block, |field| {
            let (name, value, sensitive) = expected.next().expect("no more fields than were written");
            assert_eq!((field.name, field.value, field.sensitive), (&name[..], &value[..], *sensitive));
        })
        .expect("what we write is well-formed");
    assert_eq!(expected.len(), 0);
}
