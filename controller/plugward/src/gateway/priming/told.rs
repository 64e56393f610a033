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
    pub(super) message: Zeroizing<Vec<u8>>,
}
