//! Reading header blocks.

use std::fmt;

use super::{Field, dynamic_table::DynamicTable, huffman, integer, static_table};

/// Updates of the table's size that a block may begin with: the smallest since the last block, and the current (RFC 7541, 4.2).
const MAX_SIZE_UPDATES: usize = 2;

/// Memory for a decoded string that is kept from block to block.
const SCRATCH_KEPT: usize = 16 * 1024;

/// Decodes the header blocks of one direction of one connection.
pub struct Decoder {
    pub(super) table: DynamicTable,
    /// The greatest size that the peer may give the table.
    max_table_size: usize,
    strings: Strings,
}

/// Where strings are put that cannot be given away as they stand in the block.
#[derive(Default)]
struct Strings {
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Why a block cannot be decoded. To HTTP/2 each is the connection error `COMPRESSION_ERROR` (RFC 9113, 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The block ends within a field.
    #[error("the block ends within a field")]
    Truncated,
    /// An integer of 2^28 or more, or one written in more octets than such a one needs.
    #[error("an integer is too long")]
    IntegerTooLong,
    /// Neither table has such an entry.
    #[error("no entry has index {index}")]
    UnknownIndex {
        /// The index.
        index: usize,
    },
    /// A Huffman-coded string contains the end-of-string symbol, or ends in anything but up to seven bits of it.
    #[error("a string is not validly Huffman-coded")]
    Huffman,
    /// An update of the table's size goes beyond the maximum in force.
    #[error("the table's size is set to {size}, above the maximum of {max}")]
    SizeAboveMax {
        /// The size asked for, in octets.
        size: usize,
        /// The maximum, in octets.
        max: usize,
    },
    /// An update of the table's size follows a field, or two others.
    #[error("an update of the table's size is out of place")]
    SizeUpdateMisplaced,
}

// === impl Decoder ===

impl Decoder {
    /// A decoder with an empty table, of which the peer may at once use `max_table_size` octets. On a new connection that is
    /// [`DEFAULT_TABLE_SIZE`](super::DEFAULT_TABLE_SIZE), whatever our first SETTINGS say, until the peer acknowledges them.
    pub const fn new(max_table_size: usize) -> Self {
        Self {
            table: DynamicTable::new(max_table_size),
            max_table_size,
            strings: Strings { name: Vec::new(), value: Vec::new() },
        }
    }

    /// Decodes one whole block (HEADERS and its CONTINUATIONs, joined), and gives each field to `field`, in order.
    ///
    /// # Errors
    ///
    /// If the block is malformed. Fields before the fault were given away. The table is then no longer the peer's: nothing more
    /// can be decoded on this connection.
    pub fn decode(&mut self, block: &[u8], field: impl FnMut(Field<'_>)) -> Result<(), DecodeError> {
        let decoded = self.decode_fields(block, field);
        self.strings.trim();
        decoded
    }

    /// Sets the greatest size that the peer may give the table. To be called when it acknowledged our SETTINGS with a new
    /// `SETTINGS_HEADER_TABLE_SIZE`.
    ///
    /// A smaller one takes effect at once. The peer has to say so at the beginning of its next block (RFC 7541, 4.2); one that
    /// does not is still understood where it refers to nothing that is gone, as encoders without a dynamic table do. A greater
    /// one takes effect when the peer says so.
    pub fn set_max_table_size(&mut self, size: usize) {
        self.max_table_size = size;
        if size < self.table.max_size() {
            self.table.set_max_size(size);
            self.table.shrink();
        }
    }

    /// The octets of memory it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.table.memory() + self.strings.name.capacity() + self.strings.value.capacity()
    }

    fn decode_fields(&mut self, block: &[u8], mut field: impl FnMut(Field<'_>)) -> Result<(), DecodeError> {
        let Self { table, max_table_size, strings } = self;
        let mut rest = block;
        let mut size_updates_left = MAX_SIZE_UPDATES;
        while let Some(&first) = rest.split_off_first() {
            // The representations of RFC 7541, 6, by the bits that tell them apart.
            if let 0x20..0x40 = first {
                let size = integer::read(first, 5, &mut rest)?;
                size_updates_left =
                    size_updates_left.checked_sub(1).ok_or(DecodeError::SizeUpdateMisplaced)?;
                if size > *max_table_size {
                    return Err(DecodeError::SizeAboveMax { size, max: *max_table_size });
                }
                table.set_max_size(size);
                continue;
            }
            size_updates_left = 0;
            match first {
                0x80.. => {
                    let index = integer::read(first, 7, &mut rest)?;
                    let (name, value) = entry(table, index)?;
                    field(Field { name, value, sensitive: false });
                }
                0x40.. => {
                    let (name, value) = strings.read(table, first, 6, &mut rest)?;
                    field(Field { name, value, sensitive: false });
                    table.insert(name, value);
                }
                _ => {
                    let (name, value) = strings.read(table, first, 4, &mut rest)?;
                    field(Field { name, value, sensitive: first & 0x10 != 0 });
                }
            }
        }
        Ok(())
    }
}

/// Without the fields in the table, which may be credentials.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("entries", &self.table.len())
            .field("table_size", &self.table.size())
            .field("max_table_size", &self.max_table_size)
            .finish_non_exhaustive()
    }
}

// === impl DecodeError ===

impl DecodeError {
    /// A name for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::IntegerTooLong => "integer_too_long",
            Self::UnknownIndex { .. } => "unknown_index",
            Self::Huffman => "huffman",
            Self::SizeAboveMax { .. } => "size_above_max",
            Self::SizeUpdateMisplaced => "size_update_misplaced",
        }
    }
}

// === impl Strings ===

impl Strings {
    /// Keeps no more memory than is usual.
    fn trim(&mut self) {
        for scratch in [&mut self.name, &mut self.value] {
            scratch.clear();
            scratch.shrink_to(SCRATCH_KEPT);
        }
    }

    /// Reads the name and the value of a literal, whose first octet has the index of its name, or 0, in the low `bits`.
    fn read<'a, 'b: 'a>(
        &'a mut self,
        table: &DynamicTable,
        first: u8,
        bits: u32,
        rest: &mut &'b [u8],
    ) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
        let name = match integer::read(first, bits, rest)? {
            0 => string(&mut self.name, rest)?,
            index => {
                // The table changes before the field is done with: to add the field may evict the one that has its name.
                self.name.clear();
                self.name.extend_from_slice(entry(table, index)?.0);
                &self.name
            }
        };
        Ok((name, string(&mut self.value, rest)?))
    }
}

/// Reads a string (RFC 7541, 5.2). One that is not coded is not copied.
fn string<'a, 'b: 'a>(decoded: &'a mut Vec<u8>, rest: &mut &'b [u8]) -> Result<&'a [u8], DecodeError> {
    let first = *rest.split_off_first().ok_or(DecodeError::Truncated)?;
    let len = integer::read(first, 7, rest)?;
    let octets = rest.split_off(..len).ok_or(DecodeError::Truncated)?;
    if first & 0x80 == 0 {
        return Ok(octets);
    }
    decoded.clear();
    huffman::decode(octets, decoded)?;
    Ok(decoded)
}

/// The field with this index in the one numbering of both tables (RFC 7541, 2.3.3).
fn entry(table: &DynamicTable, index: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    let found = match index.checked_sub(static_table::LEN + 1) {
        None => static_table::get(index),
        Some(age) => table.get(age),
    };
    found.ok_or(DecodeError::UnknownIndex { index })
}
