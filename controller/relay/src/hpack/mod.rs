//! Header compression for HTTP/2 ([RFC 7541](https://www.rfc-editor.org/rfc/rfc7541)).
//!
//! The two directions are not alike. A [`Decoder`] follows a peer's blocks with its dynamic table. [`encode`] writes blocks that
//! use none, so that each stands alone: it may be read by anyone, delayed, replaced or dropped.
//!
//! # What a hostile peer can reach
//!
//! | what | bound |
//! | --- | --- |
//! | memory of a decoder | 8 times its greatest table size, and 32 KiB; while it decodes a block, 3.2 times its length more |
//! | time for a block | for each octet of it, at most that of copying as much as the table holds |
//! | fields of a block | one for each octet of it |
//! | size of a field | what the table holds, and 1.6 times the length of the block |
//!
//! So the caller bounds the length of a block, and decides which fields it copies: no list is built up here, and one octet may
//! stand for a field as large as the table, again and again. No input panics.

mod decode;
mod dynamic_table;
pub mod encode;
mod huffman;
mod integer;
mod static_table;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::decode::{DecodeError, Decoder};

/// The size of a dynamic table until `SETTINGS_HEADER_TABLE_SIZE` says otherwise (RFC 9113, 6.5.2).
pub const DEFAULT_TABLE_SIZE: usize = 4096;

/// What a field counts beyond its name and its value (RFC 7541, 4.1).
const FIELD_OVERHEAD: usize = 32;

/// One field of a header list. Names and values are octets as they came: nothing is said of their validity in HTTP/2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Whether the sender forbids to put the field into a table, there or on any later hop (RFC 7541, 7.1.3).
    pub sensitive: bool,
}

impl Field<'_> {
    /// The size of the field as tables and `SETTINGS_MAX_HEADER_LIST_SIZE` count it: name, value and 32 octets.
    pub const fn size(&self) -> usize {
        self.name.len() + self.value.len() + FIELD_OVERHEAD
    }
}

/// Without the value, which may be a credential.
impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name.escape_ascii().to_string())
            .field("value_len", &self.value.len())
            .field("sensitive", &self.sensitive)
            .finish()
    }
}
