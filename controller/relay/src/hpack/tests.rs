//! What the decoder and the encoder promise.

mod faults;
mod model;
mod properties;
mod vectors;

use super::{DecodeError, Decoder, Field};

/// A field that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Owned {
    name: Vec<u8>,
    value: Vec<u8>,
    sensitive: bool,
}

impl Owned {
    fn new(name: &str, value: &str) -> Self {
        Self { name: name.into(), value: value.into(), sensitive: false }
    }
}

impl From<Field<'_>> for Owned {
    fn from(field: Field<'_>) -> Self {
        Self { name: field.name.to_vec(), value: field.value.to_vec(), sensitive: field.sensitive }
    }
}

/// The fields of a block.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Owned>, DecodeError> {
    let mut fields = Vec::new();
    decoder.decode(block, |field| fields.push(field.into()))?;
    Ok(fields)
}
