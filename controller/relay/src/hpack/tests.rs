//! What the decoder and the encoder promise.

mod vectors;
