//! What only a container shows: whether its engine sees our directories, and what its program may do.
//!
//! A controller in a container, or on another machine than its engine, may have directories that the engine does not see. A program that
//! does not run as root may lock memory only if its file has the capability for that. Neither is to be found out with a
//! plugin that starts, and fails a minute later: a *trial* container is made as the plugin's would be, never started, looked into
//! and removed. What it showed is remembered, so that there is one for an engine and a directory, and
//! one for an image that has to be looked into.
//!
//! Trial containers carry the cluster's label, as all that is ours, and no instance's. Those that a crash leaves are removed when the engine
//! is listed next.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use plugward_engine::{Image, Listed};

use crate::names::label;
use crate::plan::{TrialFault, TrialSight};
use crate::recipe::ContainerRecipe;

/// The capability to lock memory, by its bit.
const IPC_LOCK: u32 = 14;

/// What a container has to be tried for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whether the engine sees this directory of ours.
    pub directory: PathBuf,
    /// Whether this program may lock its memory.
    pub program: Option<Program>,
}

/// A program of an image, which its user runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// The image's ID.
    pub image: String,
    /// The user, as the image says it.
    pub user: String,
    /// Where it is there.
    pub path: PathBuf,
}

/// What the trials on one engine have shown.
#[derive(Debug, Default)]
pub struct Trials {
    known: Mutex<Known>,
    /// Held by whoever tries something: others want to know the same.
    trying: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of which engine.
    engine: Option<Arc<str>>,
    directories: HashMap<PathBuf, Answer>,
    programs: HashMap<Program, Answer>,
    /// The name of the container that is being looked into.
    current: Option<String>,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What is in the way, if something is.
    pub fault: Option<TrialFault>,
    /// Until when that is believed; `None` is for good.
    pub until: Option<Timestamp>,
}

// === impl Answer ===

impl Answer {
    /// Nothing is in the way, and nothing will be.
    pub const GOOD: Self = Self { fault: None, until: None };
}

// === impl Trials ===

impl Trials {
    /// What is known of this.
    pub fn sight(&self, question: &Question, now: Timestamp) -> TrialSight {
        let known = self.lock();
        let program = question.program.as_ref().map(|program| known.programs.get(program));
        let mut due = false;
        for answer in [Some(known.directories.get(&question.directory)), program].into_iter().flatten() {
            match answer {
                // It is known until it is known better.
                Some(Answer { fault: Some(fault), until }) => {
                    return TrialSight::Failed {
                        fault: fault.clone(),
                        retry_at: until.unwrap_or(Timestamp::MAX),
                    };
                }
                Some(Answer { fault: None, until }) => due |= until.is_some_and(|until| until <= now),
                None => due = true,
            }
        }
        if due { TrialSight::Due } else { TrialSight::Passed }
    }

    /// Waits until nobody tries anything, and keeps others from it.
    pub async fn begin(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.trying.lock().await
    }

    /// Takes the name of the container that is looked into from now on.
    pub fn looks_into(&self, container: Option<&str>) {
        self.lock().current = container.map(ToOwned::to_owned);
    }

    /// Remembers whether the engine sees a directory.
    pub fn learn_directory(&self, directory: &Path, answer: Answer) {
        let mut known = self.lock();
        // Of ten thousand plugins that are seen to be reachable the first is news.
        if known.directories.get(directory) != Some(&answer) {
            known.directories.insert(directory.to_owned(), answer);
        }
    }

    /// Remembers whether a program may lock its memory.
    pub fn learn_program(&self, program: &Program, answer: Answer) {
        self.lock().programs.insert(program.clone(), answer);
    }

    /// An engine has come. What is in the way may have been mended; and of another engine than the last one nothing is known.
    pub fn meets(&self, engine: &Arc<str>) {
        let mut known = self.lock();
        if known.engine.as_ref() == Some(engine) {
            known.directories.retain(|_, answer| answer.fault.is_none());
        } else {
            known.engine = Some(engine.clone());
            known.directories.clear();
            known.programs.clear();
        }
    }

    /// Those of these containers that a trial has left.
    pub fn left<'a>(&self, containers: &'a [Listed]) -> Vec<&'a Listed> {
        let of_trials = containers.iter().filter(|container| container.labels.contains_key(label::TRIAL));
        let found: Vec<&Listed> = of_trials.collect();
        if found.is_empty() {
            return found;
        }
        let current = self.lock().current.clone();
        found.into_iter().filter(|container| Some(&container.name) != current.as_ref()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Each change is one insert, clear or assignment: a panic cannot leave one half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Program ===

impl Program {
    /// The program of a container that is to lock its memory, if it takes a capability of its file for that, and is known by its path.
    pub fn to_look_at(recipe: &ContainerRecipe, image: &Image) -> Option<Self> {
        if !recipe.mlock || is_root(&image.user) {
            return None;
        }
        // As Docker puts the command line together: what replaces the entrypoint replaces the image's command too.
        let entrypoint = if recipe.command.is_empty() { &image.entrypoint } else { &recipe.command };
        let arguments = if recipe.args.is_empty() { &image.command } else { &recipe.args };
        let path = Path::new(entrypoint.first().or(arguments.first())?);
        // Where another is looked for only the OCI runtime knows.
        path.is_absolute().then(|| Self {
            image: image.id.clone(),
            user: image.user.clone(),
            path: path.to_owned(),
        })
    }

    /// What is said of a program that may not lock its memory.
    pub fn cannot_lock(&self) -> TrialFault {
        let (user, path) = (&self.user, self.path.display());
        TrialFault::CannotLock(format!(
            "mlock is true, and the image's user {user} may not lock memory, for the file {path} lacks the capability: give it that \
             where the image is built (setcap cap_ipc_lock=+ep {path}), let the image run as root, or set mlock to false"
        ))
    }
}

/// Whether the user that an image names is root.
pub fn is_root(user: &str) -> bool {
    let user = user.split(':').next().unwrap_or_default();
    matches!(user, "" | "root") || user.parse() == Ok(0u32)
}

/// Whether a file's capabilities, as the kernel has them, permit to lock memory: a version, then the permitted and the inheritable ones, the
/// lower half first.
pub fn may_lock(capability: Option<&[u8]>) -> bool {
    let permitted = capability.and_then(|bytes| bytes.get(4..8)).and_then(|bytes| bytes.try_into().ok());
    permitted.is_some_and(|bytes| u32::from_le_bytes(bytes) & (1 << IPC_LOCK) != 0)
}

#[cfg(test)]
mod tests;
