//! A peer, as simple as can be: it writes every representation that there is, and keeps its table as a list.

use std::sync::LazyLock;

use bytes::{BufMut, BytesMut};
use proptest::{collection::vec, prelude::*, sample};

use super::{
    super::{huffman, integer, static_table},
    Owned,
};

/// One of the representations of RFC 7541, 6.
#[derive(Clone, Debug)]
pub(super) enum Representation {
    Indexed(sample::Index),
    Literal { indexing: Indexing, name: Name, value: Text },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Indexing {
    Incremental,
    Without,
    Never,
}

#[derive(Clone, Debug)]
pub(super) enum Name {
    Of(sample::Index),
    New(Text),
}

#[derive(Clone, Debug)]
pub(super) struct Text {
    octets: Vec<u8>,
    coded: bool,
}

/// A block: updates of the table's size, then fields.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) sizes: Vec<usize>,
    pub(super) fields: Vec<Representation>,
}

/// The sending side of a connection.
pub(super) struct Peer {
    /// Newest first.
    pub(super) table: Vec<(Vec<u8>, Vec<u8>)>,
    max_size: usize,
}

impl Peer {
    pub(super) fn new(max_size: usize) -> Self {
        Self { table: Vec::new(), max_size }
    }

    /// The size of the table.
    pub(super) fn size(&self) -> usize {
        self.table.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }

    /// Writes a block, and says what is in it.
    pub(super) fn write(&mut self, block: &Block) -> (BytesMut, Vec<Owned>) {
        let mut octets = BytesMut::new();
        for &size in &block.sizes {
            integer::write(&mut octets, 0x20, 5, size);
            self.max_size = size;
            self.evict();
        }
        let fields = block.fields.iter().map(|field| self.write_field(&mut octets, field)).collect();
        (octets, fields)
    }

    fn write_field(&mut self, block: &mut BytesMut, field: &Representation) -> Owned {
        match field {
            Representation::Indexed(at) => {
                let (index, (name, value)) = self.entry(*at);
                integer::write(block, 0x80, 7, index);
                Owned { name, value, sensitive: false }
            }
            Representation::Literal { indexing, name, value } => {
                let (first, bits) = match indexing {
                    Indexing::Incremental => (0x40, 6),
                    Indexing::Without => (0x00, 4),
                    Indexing::Never => (0x10, 4),
                };
                let name = match name {
                    Name::Of(at) => {
                        let (index, (name, _)) = self.entry(*at);
                        integer::write(block, first, bits, index);
                        name
                    }
                    Name::New(name) => {
                        block.put_u8(first);
                        name.write(block);
                        name.octets.clone()
                    }
                };
                value.write(block);
                let value = value.octets.clone();
                if let Indexing::Incremental = indexing {
                    self.table.insert(0, (name.clone(), value.clone()));
                    self.evict();
                }
                Owned { name, value, sensitive: matches!(indexing, Indexing::Never) }
            }
        }
    }

    fn entry(&self, at: sample::Index) -> (usize, (Vec<u8>, Vec<u8>)) {
        // Of its own table as often as of the static one.
        let at = at.index(2 * static_table::LEN);
        let index = match (at.checked_sub(static_table::LEN), self.table.len()) {
            (None, _) => 1 + at,
            (Some(at), 0) => 1 + at,
            (Some(at), len) => 1 + static_table::LEN + at % len,
        };
        let entry = match static_table::get(index) {
            Some((name, value)) => (name.to_vec(), value.to_vec()),
            None => self.table[index - static_table::LEN - 1].clone(),
        };
        (index, entry)
    }

    fn evict(&mut self) {
        while self.size() > self.max_size {
            self.table.pop();
        }
    }
}

impl Text {
    fn write(&self, block: &mut BytesMut) {
        let coded = if self.coded { code(&self.octets) } else { self.octets.clone() };
        integer::write(block, if self.coded { 0x80 } else { 0 }, 7, coded.len());
        block.put_slice(&coded);
    }
}

// === The Huffman code, bit by bit ===

/// Codes a string.
pub(super) fn code(octets: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = octets.iter().flat_map(|&octet| &CODES[usize::from(octet)]).copied().collect();
    while !bits.len().is_multiple_of(8) {
        bits.push(true);
    }
    bits.chunks(8).map(|bits| bits.iter().fold(0, |octet, &bit| octet << 1 | u8::from(bit))).collect()
}

/// Decodes a string. `None` if it is not one.
pub(super) fn uncode(coded: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<bool> =
        coded.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect();
    let mut rest = &bits[..];
    let mut octets = Vec::new();
    while let Some(symbol) = CODES.iter().position(|code| rest.starts_with(code)) {
        octets.push(u8::try_from(symbol).ok()?);
        rest = &rest[CODES[symbol].len()..];
    }
    (rest.len() < 8 && rest.iter().all(|&bit| bit)).then_some(octets)
}

/// The codes of all symbols: by length, then by symbol, each the number after the one before, shifted to its length.
static CODES: LazyLock<Vec<Vec<bool>>> = LazyLock::new(|| {
    let mut order: Vec<usize> = (0..huffman::LENGTHS.len()).collect();
    order.sort_by_key(|&symbol| huffman::LENGTHS[symbol]);
    let mut codes = vec![Vec::new(); order.len()];
    let (mut next, mut last_length) = (0_u64, 0);
    for symbol in order {
        let length = huffman::LENGTHS[symbol];
        next <<= length - last_length;
        codes[symbol] = (0..length).rev().map(|bit| next >> bit & 1 == 1).collect();
        next += 1;
        last_length = length;
    }
    codes
});

// === What it may send ===

/// Blocks, with table sizes up to `max_size`.
pub(super) fn blocks(max_size: usize) -> impl Strategy<Value = Vec<Block>> {
    let sizes = prop_oneof![
        6 => Just(Vec::new()),
        1 => vec(0..=max_size, 1..=2),
    ];
    let block = (sizes, vec(representation(), 0..12)).prop_map(|(sizes, fields)| Block { sizes, fields });
    vec(block, 1..12)
}

fn representation() -> impl Strategy<Value = Representation> {
    let indexing = prop_oneof![
        4 => Just(Indexing::Incremental),
        1 => Just(Indexing::Without),
        1 => Just(Indexing::Never),
    ];
    let name = prop_oneof![any::<sample::Index>().prop_map(Name::Of), text().prop_map(Name::New)];
    prop_oneof![
        any::<sample::Index>().prop_map(Representation::Indexed),
        (indexing, name, text()).prop_map(|(indexing, name, value)| Representation::Literal {
            indexing,
            name,
            value
        }),
    ]
}

fn text() -> impl Strategy<Value = Text> {
    let octets = prop_oneof![
        8 => "[a-z0-9/-]{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 100..400),
    ];
    (octets, any::<bool>()).prop_map(|(octets, coded)| Text { octets, coded })
}
