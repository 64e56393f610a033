//! Integers that begin in the low bits of an octet (RFC 7541, 5.1).

use bytes::{BufMut, BytesMut};

use super::DecodeError;

/// Octets read after the first: values below 2^28, more than any length, index or size in use. Longer ones are refused.
const MAX_CONTINUATION: u32 = 4;

/// Reads the integer whose first octet, already taken from `rest`, is `first`. It begins in the low `bits` of it.
pub(super) fn read(first: u8, bits: u32, rest: &mut &[u8]) -> Result<usize, DecodeError> {
    let mask = mask(bits);
    let mut value = usize::from(first) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in (0..MAX_CONTINUATION).map(|octet| 7 * octet) {
        let octet = *rest.split_off_first().ok_or(DecodeError::Truncated)?;
        value += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::IntegerTooLong)
}

/// Writes `value` into the low `bits` of an octet, whose other bits are those of `first`, and into octets after it.
pub(super) fn write(block: &mut BytesMut, first: u8, bits: u32, value: usize) {
    let mask = mask(bits);
    if value < mask {
        block.put_u8(first | low_octet(value));
        return;
    }
    block.put_u8(first | low_octet(mask));
    let mut left = value - mask;
    while left >= 0x80 {
        block.put_u8(low_octet(left) | 0x80);
        left >>= 7;
    }
    block.put_u8(low_octet(left));
}

const fn mask(bits: u32) -> usize {
    (1 << bits) - 1
}

const fn low_octet(value: usize) -> u8 {
    value.to_le_bytes()[0]
}
