//! Writing header blocks that stand alone: nothing is put into the reader's dynamic table, nothing in it is referred to.
//!
//! Strings are not Huffman-coded. That would save a third of a request's octets, on a path where an octet costs a fraction of a
//! nanosecond, and cost each side more time than all the rest of the block.

use bytes::{BufMut, BytesMut};

use super::{integer, static_table};

/// Says that no dynamic table is used: an update of its size to 0.
///
/// A peer whose `SETTINGS_HEADER_TABLE_SIZE` left the size at 4,096 or changed it expects this, once, at the beginning of the
/// first block thereafter (RFC 7541, 4.2). It may stand at the beginning of any block.
pub fn begin(block: &mut BytesMut) {
    integer::write(block, 0x20, 5, 0);
}

/// Appends one field to a block: an index where the static table has it whole, else a literal that is not to be indexed, or
/// never to be where it is sensitive.
pub fn field(block: &mut BytesMut, name: &[u8], value: &[u8], sensitive: bool) {
    let found = static_table::find(name, value);
    if let Some(found) = found
        && found.whole
        && !sensitive
    {
        integer::write(block, 0x80, 7, found.index);
        return;
    }
    let first = if sensitive { 0x10 } else { 0x00 };
    integer::write(block, first, 4, found.map_or(0, |found| found.index));
    if found.is_none() {
        string(block, name);
    }
    string(block, value);
}

fn string(block: &mut BytesMut, octets: &[u8]) {
    integer::write(block, 0x00, 7, octets.len());
    block.put_slice(octets);
}
