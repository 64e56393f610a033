//! Malformed and hostile blocks, and the edges of what is allowed.

use bytes::BytesMut;

use super::{
    super::{DecodeError, Decoder, Field, encode, huffman, static_table},
    Owned, decode, model,
};

fn fresh(block: &[u8]) -> Result<Vec<Owned>, DecodeError> {
    decode(&mut Decoder::new(4096), block)
}

#[test]
fn a_block_may_be_empty() {
    assert_eq!(fresh(&[]), Ok(vec![]));
}

#[test]
fn a_block_that_ends_within_a_field_is_refused() {
    // :path as a literal with a coded value, and what an index and a size of several octets are.
    for block in [&b"\x44\x83\x60\xd5\x48"[..], b"\xff\x80\x00", b"\x3f\x80\x01"] {
        for len in 1..block.len() {
            assert_eq!(fresh(&block[..len]), Err(DecodeError::Truncated), "{block:?} to {len}");
        }
    }
}

#[test]
fn an_index_of_nothing_is_refused() {
    for (block, index) in [
        (&b"\x80"[..], 0),
        (b"\xbe", 62),
        (b"\x7f\x00\x01a", 63),
        (b"\x0f\x2f\x01a", 62),
        (b"\xff\x80\x01", 255),
    ] {
        assert_eq!(fresh(block), Err(DecodeError::UnknownIndex { index }), "{block:?}");
    }
    let mut decoder = Decoder::new(4096);
    assert_eq!(
        decode(&mut decoder, b"\x40\x01a\x01b\xbe").unwrap(),
        [Owned::new("a", "b"), Owned::new("a", "b")]
    );
    assert_eq!(decode(&mut decoder, b"\xbf"), Err(DecodeError::UnknownIndex { index: 63 }));
}

#[test]
fn integers_without_an_end_are_refused() {
    assert_eq!(fresh(b"\xff\x80\x80\x80\x80\x00"), Err(DecodeError::IntegerTooLong));
    assert_eq!(fresh(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), Err(DecodeError::IntegerTooLong));
    // More octets than needed are no fault.
    assert_eq!(fresh(b"\x00\x01a\x7f\x80\x00").map_err(DecodeError::as_str), Err("truncated"));
    assert_eq!(fresh(b"\x0f\x80\x80\x80\x00\x01a").unwrap(), [Owned::new("accept-charset", "a")]);
}

#[test]
fn a_length_beyond_the_block_is_refused_and_nothing_is_set_aside_for_it() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, b"\x00\xff\xff\xff\xff\x7f"), Err(DecodeError::Truncated));
    assert_eq!(decoder.memory(), 0);
}

#[test]
fn strings_end_in_less_than_an_octet_of_ones() {
    let decoded = |coded: &[u8]| {
        let mut decoded = Vec::new();
        huffman::decode(coded, &mut decoded).map(|()| decoded)
    };
    // The code of `a` is 00011, that of `&` is 11111000.
    assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
    assert_eq!(decoded(&[0b1111_1000]).unwrap(), b"&");
    assert_eq!(decoded(&[]).unwrap(), b"");
    assert_eq!(decoded(&[0b0001_1000]), Err(DecodeError::Huffman), "zeros");
    assert_eq!(decoded(&[0b0001_1110]), Err(DecodeError::Huffman), "not all ones");
    assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(DecodeError::Huffman), "eleven ones");
    assert_eq!(decoded(&[0b1111_1000, 0xff]), Err(DecodeError::Huffman), "eight ones");
    assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Huffman), "the end itself");
    assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc, 0x1f]), Err(DecodeError::Huffman), "the end, then `a`");
}

#[test]
fn every_octet_is_read_after_every_count_of_bits() {
    for octet in 0..=u8::MAX {
        for before in 0..20 {
            // Five bits each.
            let string = [vec![b'0'; before], vec![octet], vec![b'0'; 20 - before]].concat();
            let mut decoded = Vec::new();
            huffman::decode(&model::code(&string), &mut decoded).unwrap();
            assert_eq!(decoded, string);
        }
    }
}

#[test]
fn up_to_two_updates_of_the_size_begin_a_block() {
    assert_eq!(fresh(b"\x20").unwrap(), []);
    assert_eq!(fresh(b"\x20\x3f\xe1\x1f\x82").unwrap(), [Owned::new(":method", "GET")]);
    for misplaced in [&b"\x20\x20\x20"[..], b"\x82\x20", b"\x20\x82\x20", b"\x00\x01a\x01b\x20"] {
        assert_eq!(fresh(misplaced), Err(DecodeError::SizeUpdateMisplaced), "{misplaced:?}");
    }
}

#[test]
fn the_table_grows_to_its_maximum_and_no_further() {
    assert_eq!(fresh(b"\x3f\xe2\x1f"), Err(DecodeError::SizeAboveMax { size: 4097, max: 4096 }));
    let mut decoder = Decoder::new(0);
    assert_eq!(decode(&mut decoder, b"\x21"), Err(DecodeError::SizeAboveMax { size: 1, max: 0 }));

    let mut decoder = Decoder::new(0);
    decoder.set_max_table_size(100);
    assert_eq!(decode(&mut decoder, b"\x40\x01a\x01b").unwrap(), [Owned::new("a", "b")]);
    assert_eq!(decoder.table.len(), 0, "the peer has not said that it uses more");
    assert_eq!(decode(&mut decoder, b"\x3f\x45\x40\x01a\x01b").unwrap(), [Owned::new("a", "b")]);
    assert_eq!(decoder.table.len(), 1);
}

#[test]
fn a_smaller_maximum_evicts_and_frees_at_once() {
    let mut decoder = Decoder::new(4096);
    let block = [&b"\x40\x01a\x7f\xa1\x1e"[..], &[b'x'; 4000]].concat();
    decode(&mut decoder, &block).unwrap();
    decode(&mut decoder, b"\x40\x01a\x01b").unwrap();
    assert_eq!((decoder.table.len(), decoder.table.size()), (2, 4067));

    decoder.set_max_table_size(34);

    assert_eq!((decoder.table.len(), decoder.table.size()), (1, 34));
    assert!(decoder.memory() < 200, "{}", decoder.memory());
    assert_eq!(decode(&mut decoder, b"\xbe").unwrap(), [Owned::new("a", "b")]);

    decoder.set_max_table_size(0);
    assert_eq!(decoder.memory(), 0);
}

#[test]
fn a_field_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new(40);
    decode(&mut decoder, b"\x40\x01a\x01b").unwrap();
    assert_eq!(decoder.table.len(), 1);
    let larger = decode(&mut decoder, b"\x40\x01a\x08bbbbbbbb").unwrap();
    assert_eq!(larger, [Owned::new("a", "bbbbbbbb")]);
    assert_eq!((decoder.table.len(), decoder.table.size()), (0, 0));
}

#[test]
fn a_field_may_evict_the_one_that_has_its_name() {
    let mut decoder = Decoder::new(40);
    decode(&mut decoder, b"\x40\x03key\x01b").unwrap();
    assert_eq!(
        decode(&mut decoder, b"\x7e\x01c\xbe").unwrap(),
        [Owned::new("key", "c"), Owned::new("key", "c")]
    );
    assert_eq!(decoder.table.len(), 1);
}

#[test]
fn a_bomb_costs_no_memory() {
    let mut decoder = Decoder::new(4096);
    let mut block = [&b"\x40\x01a\x7f\xe0\x1e"[..], &[b'x'; 4063]].concat();
    block.resize(block.len() + 60_000, 0xbe);
    let (mut fields, mut size) = (0, 0);
    decoder
        .decode(&block, |field| {
            fields += 1;
            size += field.size();
        })
        .unwrap();
    assert_eq!((fields, size), (60_001, 60_001 * 4096));
    assert!(decoder.memory() <= 6 * 4096, "{}", decoder.memory());
}

#[test]
fn a_table_that_is_written_for_ever_holds_no_more_memory() {
    let mut decoder = Decoder::new(4096);
    for len in (0..100).cycle().take(10_000) {
        let block = [&b"\x40\x01a"[..], &[len], &vec![b'x'; usize::from(len)]].concat();
        decode(&mut decoder, &block).unwrap();
        assert!(decoder.memory() <= 6 * 4096, "{}", decoder.memory());
    }
}

#[test]
fn a_long_string_is_not_kept_in_memory() {
    let mut decoder = Decoder::new(4096);
    let text = vec![b'a'; 1 << 20];
    let coded = model::code(&text);
    let mut block = BytesMut::from(&b"\x00\x01a"[..]);
    super::super::integer::write(&mut block, 0x80, 7, coded.len());
    block.extend_from_slice(&coded);
    assert_eq!(decode(&mut decoder, &block).unwrap(), [Owned { value: text, ..Owned::new("a", "") }]);
    assert!(decoder.memory() <= 32 * 1024, "{}", decoder.memory());
}

#[test]
fn a_decoder_that_read_nothing_holds_nothing() {
    assert_eq!(Decoder::new(1 << 20).memory(), 0);
}

#[test]
fn a_request_is_written_with_the_static_table_alone() {
    let mut block = BytesMut::new();
    encode::begin(&mut block);
    for (name, value, sensitive) in [
        (":method", "POST", false),
        (":scheme", "https", false),
        (":path", "/a/b", false),
        ("te", "trailers", false),
        ("authorization", "no", true),
        ("x", "y", true),
        (":method", "GET", true),
    ] {
        encode::field(&mut block, name.as_bytes(), value.as_bytes(), sensitive);
    }
    let expected = [
        &b"\x20\x83\x87"[..],
        b"\x04\x04/a/b",
        b"\x00\x02te\x08trailers",
        b"\x1f\x08\x02no",
        b"\x10\x01x\x01y",
        b"\x12\x03GET",
    ];
    assert_eq!(block, expected.concat());
}

#[test]
fn every_entry_of_the_static_table_is_found() {
    for index in 1..=static_table::LEN {
        let (name, value) = static_table::get(index).unwrap();
        assert_eq!(static_table::find(name, value), Some(static_table::Found { index, whole: true }));
        let other = static_table::find(name, b"another").unwrap();
        assert!(!other.whole && other.index <= index && static_table::get(other.index).unwrap().0 == name);
    }
    assert_eq!(static_table::find(b":authorit", b""), None);
    assert_eq!(static_table::find(b"", b""), None);
    assert_eq!(static_table::find(&[b'a'; 100], b""), None);
}

#[test]
fn no_value_is_shown() {
    let field = Field { name: b"authorization", value: b"sesame", sensitive: true };
    let shown = format!("{field:?}");
    assert_eq!(shown, r#"Field { name: "authorization", value_len: 6, sensitive: true }"#);

    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, b"\x40\x03key\x06sesame").unwrap();
    assert_eq!(format!("{decoder:?}"), "Decoder { entries: 1, table_size: 41, max_table_size: 4096, .. }");
}
