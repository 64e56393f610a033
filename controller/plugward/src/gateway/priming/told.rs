//! What hosts told a plugin, as it outlives the controller.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A priming call of one of a session's users, for another controller. In no `Debug`, and cleared when dropped.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeptPriming {
    /// The id that the host sent, if it sent one.
    pub(super) user: Option<Vec<u8>>,
    pub(super) method: String,
    pub(super) metadata: Vec<(String, Zeroizing<Vec<u8>>)>,
    #[serde(with = "text")]
    pub(super) message: Zeroizing<Vec<u8>>,
}

/// Bytes as base 64: the largest by far, they would take four times as much as numbers.
mod text {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(bytes: &Zeroizing<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(BASE64_STANDARD.encode(bytes.as_slice())).as_str().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        BASE64_STANDARD.decode(text.as_bytes()).map(Zeroizing::new).map_err(D::Error::custom)
    }
}
