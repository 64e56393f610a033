//! What holds for all blocks.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{DecodeError, Decoder, Field, encode, huffman, integer, static_table},
    Owned, decode,
    model::{self, Peer},
};

fn field() -> impl Strategy<Value = Owned> {
    let octets = || vec(any::<u8>(), 0..200);
    let known = (1..=static_table::LEN).prop_map(|index| static_table::get(index).unwrap());
    let known = prop_oneof![
        known.clone().prop_map(|(name, value)| (name.to_vec(), value.to_vec())),
        (known, octets()).prop_map(|((name, _), value)| (name.to_vec(), value)),
    ];
    (prop_oneof![known, (octets(), octets())], any::<bool>()).prop_map(|((name, value), sensitive)| Owned {
        name,
        value,
        sensitive,
    })
}

/// The table as a list, newest first.
fn table(decoder: &Decoder) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..)
        .map_while(|age| decoder.table.get(age))
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

/// What a decoder promises of its memory between blocks.
fn memory_is_bounded(decoder: &Decoder, greatest_table: usize) {
    let bound = 8 * greatest_table + 32 * 1024;
    assert!(decoder.memory() <= bound, "{} octets, of at most {bound}", decoder.memory());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_again(lists in vec(vec(field(), 0..12), 1..4), begin: bool) {
        let mut decoder = Decoder::new(4096);
        for fields in lists {
            let mut block = BytesMut::new();
            if begin {
                encode::begin(&mut block);
            }
            for Owned { name, value, sensitive } in &fields {
                encode::field(&mut block, name, value, *sensitive);
            }
            prop_assert_eq!(decode(&mut decoder, &block), Ok(fields));
            prop_assert_eq!(decoder.table.len(), 0);
        }
    }

    #[test]
    fn it_keeps_in_step_with_its_peer(max_size in 0..1000_usize, blocks in model::blocks(1000)) {
        let mut decoder = Decoder::new(max_size);
        let mut peer = Peer::new(max_size);
        decoder.set_max_table_size(1000);
        for block in blocks {
            let (octets, fields) = peer.write(&block);
            prop_assert_eq!(decode(&mut decoder, &octets), Ok(fields));
            prop_assert_eq!(table(&decoder), &peer.table[..]);
            prop_assert_eq!(decoder.table.size(), peer.size());
            memory_is_bounded(&decoder, 1000);
        }
    }

    #[test]
    fn a_peer_that_keeps_its_greater_table_is_refused_or_understood(
        max_size in 0..1000_usize,
        before in model::blocks(1000),
        after in model::blocks(1000),
    ) {
        let mut decoder = Decoder::new(1000);
        let mut peer = Peer::new(1000);
        for block in before {
            let (octets, fields) = peer.write(&block);
            prop_assert_eq!(decode(&mut decoder, &octets), Ok(fields));
        }
        decoder.set_max_table_size(max_size);
        prop_assert!(decoder.table.size() <= max_size);
        for mut block in after {
            block.sizes.clear();
            let (octets, fields) = peer.write(&block);
            match decode(&mut decoder, &octets) {
                Ok(decoded) => prop_assert_eq!(decoded, fields),
                Err(DecodeError::UnknownIndex { .. }) => break,
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }

    #[test]
    fn no_octets_make_it_panic_or_go_beyond_its_bounds(
        blocks in vec((vec(any::<u8>(), 0..600), proptest::option::of(0..5000_usize)), 1..8),
    ) {
        let mut decoder = Decoder::new(4096);
        let (mut max_size, mut greatest) = (4096, 4096);
        for (block, size) in blocks {
            if let Some(size) = size {
                decoder.set_max_table_size(size);
                (max_size, greatest) = (size, greatest.max(size));
            }
            within_bounds(&mut decoder, &block, greatest)?;
            prop_assert!(decoder.table.size() <= max_size);
        }
    }

    #[test]
    fn no_damage_makes_it_panic_or_go_beyond_its_bounds(
        blocks in model::blocks(4096),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut decoder = Decoder::new(4096);
        let mut peer = Peer::new(4096);
        for block in blocks {
            let (mut octets, _) = peer.write(&block);
            for (at, octet) in &damage {
                if !octets.is_empty() {
                    let at = at.index(octets.len());
                    octets[at] = *octet;
                }
            }
            within_bounds(&mut decoder, &octets, 4096)?;
            prop_assert!(decoder.table.size() <= 4096);
        }
    }

    #[test]
    fn strings_are_read_as_bit_by_bit(coded in vec(any::<u8>(), 0..40), ones in 0..6_usize) {
        let mut coded = coded;
        coded.extend(vec![0xff; ones]);
        let mut decoded = Vec::new();
        let result = huffman::decode(&coded, &mut decoded);
        prop_assert_eq!(result.ok().map(|()| decoded), model::uncode(&coded));
    }

    #[test]
    fn strings_of_any_octets_are_read(octets in vec(any::<u8>(), 0..200)) {
        let mut decoded = Vec::new();
        prop_assert_eq!(huffman::decode(&model::code(&octets), &mut decoded), Ok(()));
        prop_assert_eq!(decoded, octets);
    }

    #[test]
    fn integers_are_read_as_they_were_written(
        value in prop_oneof![0..600_usize, 0..1_usize << 28],
        bits in 1..=8_u32,
        flags: u8,
        after in vec(any::<u8>(), 0..3),
    ) {
        let flags = if bits == 8 { 0 } else { flags & !((1 << bits) - 1) };
        let mut block = BytesMut::new();
        integer::write(&mut block, flags, bits, value);
        prop_assert_eq!(block[0] & !u8::MAX.checked_shr(8 - bits).unwrap_or(0), flags);
        for len in 1..block.len() {
            prop_assert_eq!(integer::read(block[0], bits, &mut &block[1..len]), Err(DecodeError::Truncated));
        }
        block.extend_from_slice(&after);
        let mut rest = &block[1..];
        prop_assert_eq!(integer::read(block[0], bits, &mut rest), Ok(value));
        prop_assert_eq!(rest, after);
    }
}

fn within_bounds(decoder: &mut Decoder, block: &[u8], greatest_table: usize) -> Result<(), TestCaseError> {
    let (mut fields, mut greatest) = (0, 0);
    // Whether it is malformed is not the question. After a fault it must still not panic.
    let _ = decoder.decode(block, |field: Field<'_>| {
        fields += 1;
        greatest = greatest.max(field.size());
    });
    prop_assert!(fields <= block.len());
    // A name from the table beside a value from the block.
    prop_assert!(greatest <= greatest_table.max(32 + 27) + block.len() * 8 / 5 + 32);
    memory_is_bounded(decoder, greatest_table);
    Ok(())
}
