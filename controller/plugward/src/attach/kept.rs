//! What a launcher keeps of its session for the next controller: sealed, so that nobody else can read or make it.
//!
//! It is handed over as a file in memory that nobody can change any more. The launcher never looks into it.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use jiff::Timestamp;
use plugward_api::Name;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::asks::Asks;
use super::passed::Passed;
use super::session::Agreed;
use crate::gateway::KeptPriming;
use crate::names::SessionId;
use crate::recipe::HashKey;
use crate::slot::StoredIdentity;

/// A session as the next controller has to know it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptSession {
    pub(super) id: SessionId,
    pub(super) instance: Name,
    /// The launcher's user: nobody else's can come back with it.
    pub(super) uid: u32,
    pub(super) asks: Asks,
    #[serde(flatten)]
    pub(super) agreed: Agreed,
    /// Towards the host.
    pub(super) identity: StoredIdentity,
    /// The variables that are passed on to the plugin.
    pub(super) passed: Passed,
    pub(super) began_at: Timestamp,
    /// What the host told the plugin.
    pub(super) told: Vec<KeptPriming>,
}

/// Seals sessions with a key of the state directory.
#[derive(Clone)]
pub(super) struct Sealer(Arc<RandomizedNonceKey>);

/// Why what a launcher gives back is not a session of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnsealError {
    /// It cannot be read, or could be changed while it is read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It was not sealed with our key.
    #[error("it was sealed by another controller, or changed")]
    Seal,
    /// It says something that is not known here.
    #[error("it is of another version of plugward")]
    Layout(#[source] serde_json::Error),
}

/// What the key is for, and the layout of what is sealed.
const PURPOSE: &str = "session of a launcher, 1";

/// The largest file that is taken back, in bytes: what is kept of a priming, written as text, and the rest.
const LARGEST: u64 = 24 << 20;

/// After that nothing of the file can change.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

// === impl Sealer ===

impl Sealer {
    /// With a key that follows from the state directory's.
    pub(super) fn new(key: &HashKey) -> Self {
        let key = key.derive(PURPOSE);
        #[expect(clippy::expect_used, reason = "a key of 32 bytes is one of AES-256")]
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.as_slice()).expect("the key has its length");
        Self(Arc::new(key))
    }

    /// A session as a file in memory.
    ///
    /// # Errors
    /// When the system gives no memory or randomness.
    pub(super) fn seal(&self, session: &KeptSession) -> io::Result<OwnedFd> {
        let mut bytes = Zeroizing::new(serde_json::to_vec(session)?);
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(PURPOSE), &mut *bytes)
            .map_err(|_| io::Error::other("a session cannot be sealed"))?;
        let file = memfd_create("plugward-session", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = std::fs::File::from(file);
        file.write_all(nonce.as_ref())?;
        file.write_all(&bytes)?;
        fcntl_add_seals(&file, SEALS)?;
        Ok(file.into())
    }

    /// The session in a file that a launcher gave back.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(super) fn unseal(&self, file: OwnedFd) -> Result<KeptSession, UnsealError> {
        let mut bytes = Zeroizing::new(read(file).map_err(UnsealError::Read)?);
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(UnsealError::Seal)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.0.open_in_place(nonce, Aad::from(PURPOSE), sealed).map_err(|_| UnsealError::Seal)?;
        serde_json::from_slice(plain).map_err(UnsealError::Layout)
    }
}

/// Reads a file in memory from its beginning. Who made it cannot keep us waiting: it is all there.
fn read(file: OwnedFd) -> io::Result<Vec<u8>> {
    // Fails for anything that is no file in memory.
    if !fcntl_get_seals(&file)?.contains(SEALS) {
        return Err(io::Error::other("the file could change"));
    }
    let length = u64::try_from(fstat(&file)?.st_size).unwrap_or(u64::MAX);
    if length > LARGEST {
        return Err(io::Error::other("the file is too large"));
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> KeptSession {
        let asks = Asks {
            versions: vec![5, 6],
            certificate: Some("PEM".to_owned()),
            multiplexed: None,
            metadata: false,
            group: false,
        };
        KeptSession {
            id: SessionId::from_random([1; 7]),
            instance: "db".parse().unwrap(),
            uid: 998,
            asks,
            agreed: Agreed { protocol_version: 6, attached_at: Timestamp::UNIX_EPOCH },
            identity: StoredIdentity::new("secret"),
            passed: [("TOKEN".to_owned(), "hidden".to_owned())].into_iter().collect(),
            began_at: Timestamp::UNIX_EPOCH,
            told: Vec::new(),
        }
    }

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&HashKey::new([key; 32]))
    }

    fn bytes(file: &OwnedFd) -> Vec<u8> {
        read(file.try_clone().unwrap()).unwrap()
    }

    fn memory(bytes: &[u8], seals: SealFlags) -> OwnedFd {
        let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let mut file = std::fs::File::from(file);
        file.write_all(bytes).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file.into()
    }

    #[test]
    fn a_session_comes_back_as_it_was_kept_and_says_nothing_to_others() {
        let file = sealer(1).seal(&session()).unwrap();
        let sealed = bytes(&file);
        for word in ["secret", "hidden", "TOKEN"] {
            assert!(!sealed.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
        let back = sealer(1).unseal(file).unwrap();
        assert_eq!((back.id, back.uid, back.passed), (session().id, 998, session().passed));
    }

    #[test]
    fn what_another_controller_sealed_or_somebody_changed_is_refused() {
        let file = sealer(1).seal(&session()).unwrap();
        let mut changed = bytes(&file);
        assert!(matches!(sealer(2).unseal(file), Err(UnsealError::Seal)));
        changed[20] ^= 1;
        assert!(matches!(sealer(1).unseal(memory(&changed, SEALS)), Err(UnsealError::Seal)));
        assert!(matches!(sealer(1).unseal(memory(b"short", SEALS)), Err(UnsealError::Seal)));
    }

    #[test]
    fn a_file_that_could_change_or_keep_us_waiting_is_not_read() {
        let sealed = bytes(&sealer(1).seal(&session()).unwrap());
        let open = memory(&sealed, SealFlags::GROW);
        assert!(matches!(sealer(1).unseal(open), Err(UnsealError::Read(_))));
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(sealer(1).unseal(socket.into()), Err(UnsealError::Read(_))));
    }
}
