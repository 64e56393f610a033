//! What a header block of a plugin says, as far as that matters here.

use crate::{
    grpc::{self, Code},
    hpack::{DecodeError, Decoder},
};

/// Reads a plugin's header blocks.
///
/// Without a dynamic table a block says the same whenever it comes. The heads and the trailers of answers are mostly those of the answers
/// before, octet by octet, and are then not decoded again.
pub(super) struct AnswerReader {
    decoder: Decoder,
    /// The last two kinds of block.
    seen: [(Vec<u8>, Said); 2],
    /// The one to be forgotten next.
    older: usize,
}

/// What a block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The size of the header list.
    pub(super) size: usize,
    /// `:status`, which a head has and trailers have not.
    pub(super) http: Option<u16>,
    /// `grpc-status`.
    pub(super) grpc: Option<Code>,
}

/// Blocks that are longer are not kept.
const KEPT: usize = 1024;

impl AnswerReader {
    pub(super) fn new() -> Self {
        Self { decoder: Decoder::new(0), seen: Default::default(), older: 0 }
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<Said, DecodeError> {
        for (index, (seen, said)) in self.seen.iter().enumerate() {
            if seen == block {
                self.older = 1 - index;
                return Ok(*said);
            }
        }
        let mut said = Said::default();
        self.decoder.decode(block, |field| {
            said.size = said.size.saturating_add(field.size());
            match field.name {
                b":status" => said.http = grpc::parse_number(field.value),
                b"grpc-status" => said.grpc = Some(Code::from_header(field.value)),
                _ => {}
            }
        })?;
        if block.len() <= KEPT {
            self.seen[self.older] = (block.to_vec(), said);
            self.older = 1 - self.older;
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_read_before_is_what_a_new_reader_reads(
            blocks in proptest::collection::vec(prop_oneof![
                Just(vec![0x88]),
                Just(b"\x20\x88\x00\x0bgrpc-status\x015".to_vec()),
                Just(b"\x00\x0bgrpc-status\x010".to_vec()),
                Just(vec![0xbe]),
                Just(Vec::new()),
                proptest::collection::vec(any::<u8>(), 0..8),
            ], 0..30),
        ) {
            let mut reader = AnswerReader::new();
            for block in blocks {
                prop_assert_eq!(reader.read(&block), AnswerReader::new().read(&block));
            }
        }
    }

    #[test]
    fn a_head_and_trailers_say_what_they_say() {
        let mut reader = AnswerReader::new();
        for _ in 0..3 {
            assert_eq!(reader.read(&[0x88]), Ok(Said { size: 42, http: Some(200), grpc: None }));
            let trailers = reader.read(b"\x00\x0bgrpc-status\x015").unwrap();
            assert_eq!(trailers, Said { size: 44, http: None, grpc: Some(Code::NotFound) });
        }
    }
}
