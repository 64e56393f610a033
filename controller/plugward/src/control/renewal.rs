//! `POST /v1/instances/NAME/restart`: new containers for an instance, for those who may write manifests.
//!
//! Who they are the kernel knows: groups, access lists, mounts. It is asked by its own means. The server names a file that
//! nobody can guess, the caller makes it in the directory of manifests, hidden, and the server looks whether it is there
//! and the caller's. Root, and the controller's own user, need no proof.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plugward_api::status::EventType;
use plugward_api::{Kind, Name, RecordKey};
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::reason::Reason;
use crate::view::View;

/// How long a proof may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How many proofs may be under way. Of more, the oldest are forgotten.
const MOST: usize = 256;

/// What follows from the wish for new containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// They will be made.
    Renewed {
        /// The names of the containers that will be replaced.
        replaced: Vec<String>,
    },
    /// Make this file, empty, and ask again with its name.
    Prove {
        /// Its path.
        file: std::path::PathBuf,
    },
}

/// Why a proof is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproved {
    #[error("this proof was not asked for, or too long ago: try again")]
    Unknown,
    #[error(
        "{0} is not there, or is no file of user {1}'s: is the controller's directory of manifests another one?"
    )]
    Missing(String, u32),
}

/// Proofs that are under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Proofs(Arc<Mutex<VecDeque<(String, Instant)>>>);

// === impl Proofs ===

impl Proofs {
    /// The name of a file that is to be made.
    pub(super) fn ask(&self) -> String {
        let name = format!(".plugward-proof-{:032x}", rand::rng().random::<u128>());
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MOST {
            asked.pop_front();
        }
        asked.push_back((name.clone(), Instant::now()));
        name
    }

    /// Whether `user` has made the file of this name, which was asked for, in `directory`. A proof serves once.
    pub(super) fn check(&self, name: &str, directory: &Path, user: u32) -> Result<(), Unproved> {
        {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|(_, at)| at.elapsed() < LIMIT);
            let at = asked.iter().position(|(known, _)| known == name).ok_or(Unproved::Unknown)?;
            asked.remove(at);
        }
        let made = std::fs::symlink_metadata(directory.join(name));
        let is_theirs = made.is_ok_and(|made| made.is_file() && made.uid() == user);
        if is_theirs { Ok(()) } else { Err(Unproved::Missing(name.to_owned(), user)) }
    }
}

/// Whether a user needs no proof.
pub(super) fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Asks for new containers of a declared instance in the name of `user`. The names of those that will be replaced; `None`
/// where there is no such instance. Blocks for as long as a small file takes.
pub fn renew(view: &View, instance: &Name, user: u32) -> Option<Vec<String>> {
    view.records.get(&RecordKey { kind: Kind::PluginInstance, name: instance.clone() })?;
    view.state.renew(instance);
    let renewal = view.state.renewal(instance);
    let slots = view.state.slots(instance);
    let replaced = slots
        .values()
        .filter_map(|slot| slot.current.as_ref())
        .filter(|start| start.renewal < renewal)
        .map(|start| start.container.clone())
        .collect();
    let message = format!("user {user} asked for new containers");
    tracing::info!(%instance, user, "new containers are asked for");
    view.book.event(instance, EventType::Normal, "RestartRequested", message);
    view.queue.add(instance.clone(), Reason::Renewal);
    Some(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn who_can_make_the_file_has_proved_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let proofs = Proofs::default();
        let name = proofs.ask();
        std::fs::write(directory.path().join(&name), "").unwrap();
        assert_eq!(proofs.check(&name, directory.path(), me()), Ok(()));
        assert_eq!(proofs.check(&name, directory.path(), me()), Err(Unproved::Unknown));
    }

    #[test]
    fn a_file_of_somebody_elses_or_none_or_a_link_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let proofs = Proofs::default();
        let (theirs, none, link) = (proofs.ask(), proofs.ask(), proofs.ask());
        std::fs::write(directory.path().join(&theirs), "").unwrap();
        std::os::unix::fs::symlink(&theirs, directory.path().join(&link)).unwrap();
        for (name, user) in [(theirs, me() + 1), (none, me()), (link, me())] {
            let unproved = proofs.check(&name, directory.path(), user);
            assert_eq!(unproved, Err(Unproved::Missing(name, user)));
        }
    }

    #[test]
    fn a_name_that_was_not_asked_for_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "").unwrap();
        for name in ["a", "../a", "/etc/passwd"] {
            assert_eq!(Proofs::default().check(name, directory.path(), me()), Err(Unproved::Unknown));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_that_takes_too_long_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let proofs = Proofs::default();
        let name = proofs.ask();
        std::fs::write(directory.path().join(&name), "").unwrap();
        tokio::time::advance(LIMIT).await;
        assert_eq!(proofs.check(&name, directory.path(), me()), Err(Unproved::Unknown));
    }

    #[test]
    fn those_who_ask_without_end_fill_no_memory() {
        let proofs = Proofs::default();
        let first = proofs.ask();
        for _ in 0..MOST {
            proofs.ask();
        }
        assert_eq!(proofs.0.lock().unwrap().len(), MOST);
        assert_eq!(proofs.check(&first, Path::new("/"), me()), Err(Unproved::Unknown));
    }
}
