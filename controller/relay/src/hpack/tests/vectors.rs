//! The examples of RFC 7541, Appendix C.

use bytes::BytesMut;

use super::{
    super::{Decoder, integer},
    Owned, decode,
};

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Decodes the blocks of one connection, and looks at the fields and at the table, newest entry first, after each.
fn blocks_are(table_size: usize, blocks: &[(&str, Fields<'_>, Fields<'_>, usize)]) {
    let mut decoder = Decoder::new(table_size);
    for (block, fields, table, size) in blocks {
        assert_eq!(decode(&mut decoder, &octets(block)).unwrap(), owned(fields), "{block}");
        let entries: Vec<_> = (0..).map_while(|age| decoder.table.get(age)).collect();
        let table: Vec<_> = table.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(entries, table, "{block}");
        assert_eq!(decoder.table.size(), *size, "{block}");
    }
}

fn owned(fields: Fields<'_>) -> Vec<Owned> {
    fields.iter().map(|(name, value)| Owned::new(name, value)).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

/// C.1: integers.
#[test]
fn integers_are_as_in_the_examples() {
    for (value, bits, written) in [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a")] {
        let written = octets(written);
        let mut block = BytesMut::new();
        integer::write(&mut block, 0, bits, value);
        assert_eq!(block, written);
        let mut rest = &written[1..];
        assert_eq!(integer::read(written[0], bits, &mut rest), Ok(value));
        assert_eq!(rest, []);
    }
}

/// C.2: each representation by itself.
#[test]
fn single_fields_are_as_in_the_examples() {
    blocks_are(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            &[("custom-key", "custom-header")],
            &[("custom-key", "custom-header")],
            55,
        )],
    );
    blocks_are(4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], &[], 0)]);
    blocks_are(4096, &[("82", &[(":method", "GET")], &[], 0)]);

    let mut decoder = Decoder::new(4096);
    let never_indexed = octets("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let password = Owned { sensitive: true, ..Owned::new("password", "secret") };
    assert_eq!(decode(&mut decoder, &never_indexed).unwrap(), [password]);
    assert_eq!(decoder.table.len(), 0);
}

const REQUEST_1: Fields<'_> =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const REQUEST_2: Fields<'_> = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const REQUEST_3: Fields<'_> = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];
const REQUEST_TABLE: Fields<'_> =
    &[("custom-key", "custom-value"), ("cache-control", "no-cache"), (":authority", "www.example.com")];

/// C.3: requests without Huffman coding.
#[test]
fn plain_requests_are_as_in_the_examples() {
    blocks_are(
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUEST_1, &REQUEST_TABLE[2..], 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUEST_2, &REQUEST_TABLE[1..], 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                REQUEST_3,
                REQUEST_TABLE,
                164,
            ),
        ],
    );
}

/// C.4: the same requests with it.
#[test]
fn coded_requests_are_as_in_the_examples() {
    blocks_are(
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUEST_1, &REQUEST_TABLE[2..], 57),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUEST_2, &REQUEST_TABLE[1..], 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUEST_3, REQUEST_TABLE, 164),
        ],
    );
}

const DATE_1: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
const DATE_2: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
const LOCATION: (&str, &str) = ("location", "https://www.example.com");
const PRIVATE: (&str, &str) = ("cache-control", "private");
const COOKIE: (&str, &str) = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

const RESPONSE_1: Fields<'_> = &[(":status", "302"), PRIVATE, DATE_1, LOCATION];
const RESPONSE_2: Fields<'_> = &[(":status", "307"), PRIVATE, DATE_1, LOCATION];
const RESPONSE_3: Fields<'_> = &[(":status", "200"), PRIVATE, DATE_2, LOCATION, GZIP, COOKIE];
const TABLE_1: Fields<'_> = &[LOCATION, DATE_1, PRIVATE, (":status", "302")];
const TABLE_2: Fields<'_> = &[(":status", "307"), LOCATION, DATE_1, PRIVATE];
const TABLE_3: Fields<'_> = &[COOKIE, GZIP, DATE_2];

/// C.5: responses without Huffman coding, in a table of 256 octets, which evicts.
#[test]
fn plain_responses_are_as_in_the_examples() {
    blocks_are(
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
             6c65 2e63 6f6d",
                RESPONSE_1,
                TABLE_1,
                222,
            ),
            ("4803 3330 37c1 c0bf", RESPONSE_2, TABLE_2, 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
             54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
             5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
             3d31",
                RESPONSE_3,
                TABLE_3,
                215,
            ),
        ],
    );
}

/// C.6: the same responses with it.
#[test]
fn coded_responses_are_as_in_the_examples() {
    blocks_are(
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
             2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSE_1,
                TABLE_1,
                222,
            ),
            ("4883 640e ffc1 c0bf", RESPONSE_2, TABLE_2, 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
             77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
             9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                RESPONSE_3,
                TABLE_3,
                215,
            ),
        ],
    );
}
