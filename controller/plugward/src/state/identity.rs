//! Who the controller is: its cluster id, and the key with which it hashes specs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, StateError};
use crate::names::ClusterId;
use crate::recipe::HashKey;

/// Who the controller is.
#[derive(Clone)]
pub struct Cluster {
    /// Names all it owns.
    pub id: ClusterId,
    /// The key of its spec hashes.
    pub hash_key: HashKey,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterFile {
    cluster_id: ClusterId,
    hash_key: [u8; 32],
}

pub(super) fn load_or_create(path: &Path, wanted: Option<&ClusterId>) -> Result<Cluster, StateError> {
    let file = match files::read::<ClusterFile>(path)? {
        Some(file) => file,
        None => create(path, wanted)?,
    };
    match wanted {
        Some(wanted) if *wanted != file.cluster_id => {
            Err(StateError::OtherCluster { kept: file.cluster_id.to_string(), wanted: wanted.to_string() })
        }
        _ => Ok(Cluster { id: file.cluster_id, hash_key: HashKey::new(file.hash_key) }),
    }
}

fn create(path: &Path, wanted: Option<&ClusterId>) -> Result<ClusterFile, StateError> {
    let cluster_id = match wanted {
        Some(id) => id.clone(),
        None => ClusterId::from_random(random()?),
    };
    let file = ClusterFile { cluster_id, hash_key: random()? };
    files::write(path, &file)?;
    Ok(file)
}

fn random<const N: usize>() -> Result<[u8; N], StateError> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(StateError::Random)?;
    Ok(bytes)
}
