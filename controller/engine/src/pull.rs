//! Pulls as the port sees them.

/// How far a pull is. All of it grows only, but for a layer that is begun anew after its connection broke.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The layers of the image, as far as they are known.
    pub layers: u32,
    /// Those of them that the engine has, unpacked.
    pub layers_done: u32,
    /// Bytes that were downloaded. Layers that the engine had before count for none.
    pub bytes: u64,
    /// Bytes that are to be downloaded, as far as that is known: a layer's size is told when its download begins.
    pub total_bytes: u64,
}
