//! The Huffman code of strings (RFC 7541, 5.2 and Appendix B).
//!
//! The code is canonical: codes of one length are consecutive in the order of their symbols, and begin where those of the shorter
//! lengths end. So the lengths say all, and the tables are made of them when this is compiled.

use super::DecodeError;

/// How many symbols there are: the octets, then the end of a string, which is never in one but as padding.
const SYMBOLS: usize = 257;

/// The longest code.
const MAX_LENGTH: usize = 30;

/// Codes up to this length are looked up at once: those of all octets that names and most values are made of.
const DIRECT: usize = 10;

/// Appends the string that `coded` stands for.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>) -> Result<(), DecodeError> {
    // The shortest code has five bits.
    into.reserve(coded.len() * 8 / 5);
    let mut input = Input { rest: coded, bits: 0, count: 0 };
    loop {
        input.fill();
        // There are enough bits for any code, or all that are left.
        while input.count >= MAX_LENGTH || input.rest.is_empty() {
            let (symbol, length) = input.symbol();
            if length > input.count {
                return if input.is_padding() { Ok(()) } else { Err(DecodeError::Huffman) };
            }
            into.push(u8::try_from(symbol).map_err(|_| DecodeError::Huffman)?);
            input.bits <<= length;
            input.count -= length;
        }
    }
}

/// What is left of a coded string.
struct Input<'a> {
    rest: &'a [u8],
    /// The bits before `rest`, the next one highest. Below the last are zeros.
    bits: u64,
    /// How many bits there are, never 64.
    count: usize,
}

impl Input<'_> {
    /// Takes as many octets as there is room for, or all.
    fn fill(&mut self) {
        if let Some(next) = self.rest.first_chunk() {
            let octets = (63 - self.count) / 8;
            self.bits |= u64::from_be_bytes(*next) >> self.count;
            self.count += octets * 8;
            self.bits &= !(u64::MAX >> self.count);
            self.rest = &self.rest[octets..];
            return;
        }
        while self.count < 56
            && let Some(&octet) = self.rest.split_off_first()
        {
            self.bits |= u64::from(octet) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The symbol whose code comes next, and the length of the code: more than there are bits, where they are but its beginning.
    #[expect(clippy::cast_possible_truncation, reason = "codes are shorter than 32 bits")]
    fn symbol(&self) -> (u16, usize) {
        let direct = CODE.direct[(self.bits >> (64 - DIRECT)) as usize];
        if direct.length != 0 {
            return (direct.symbol.into(), direct.length.into());
        }
        let mut length = DIRECT + 1;
        while length < MAX_LENGTH && self.bits >= CODE.ends[length] {
            length += 1;
        }
        let code = (self.bits >> (64 - length)) as usize;
        (CODE.symbols[code - CODE.skips[length]], length)
    }

    /// Whether the bits are fewer than an octet, all ones.
    fn is_padding(&self) -> bool {
        self.count < 8 && self.bits == !(u64::MAX >> self.count)
    }
}

/// The code, as tables.
struct Code {
    /// By the next bits: the symbol of which they are, or begin with, the code.
    direct: [Direct; 1 << DIRECT],
    /// By length: the first bits that are beyond the codes of this length, as the highest of 64.
    ends: [u64; MAX_LENGTH],
    /// By length: what a code is above its place in `symbols`.
    skips: [usize; MAX_LENGTH + 1],
    /// In the order of their codes.
    symbols: [u16; SYMBOLS],
}

#[derive(Clone, Copy)]
struct Direct {
    symbol: u8,
    /// 0 where the code is longer than `DIRECT`.
    length: u8,
}

static CODE: Code = code();

#[expect(clippy::cast_possible_truncation, reason = "symbols below 257, and lengths up to 30")]
const fn code() -> Code {
    let mut made = Code {
        direct: [Direct { symbol: 0, length: 0 }; 1 << DIRECT],
        ends: [0; MAX_LENGTH],
        skips: [0; MAX_LENGTH + 1],
        symbols: [0; SYMBOLS],
    };
    let (mut code, mut place, mut length) = (0, 0, 0);
    while length < MAX_LENGTH {
        length += 1;
        code <<= 1;
        made.skips[length] = code - place;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                made.symbols[place] = symbol as u16;
                if length <= DIRECT {
                    let mut at = code << (DIRECT - length);
                    while at < (code + 1) << (DIRECT - length) {
                        made.direct[at] = Direct { symbol: symbol as u8, length: length as u8 };
                        at += 1;
                    }
                }
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        // Beyond the longest is nothing.
        if length < MAX_LENGTH {
            made.ends[length] = (code as u64) << (64 - length);
        }
    }
    made
}

/// The length of each symbol's code, in bits.
pub(super) const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
