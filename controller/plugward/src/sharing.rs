//! The directories that plugins share with us: where they are, whose they are, and who may use the sockets in them.
//!
//! Plugin and controller each make sockets in one and connect to the other's, as different users, and the plugin without
//! capabilities. What both have is a group: the directory belongs to it, and the plugin gives it its sockets, with mode 0660. Ours are
//! open to all who come to the directory. On this machine that is nobody else: a directory above it is closed to others.
//!
//! | engine | the directory is | its group | for a container that group is |
//! | --- | --- | --- | --- |
//! | with root's rights | ours | ours; root's being none to share, of root another | the same |
//! | rootless | its user's | its user's | 0: root in a container is the engine's user |
//!
//! `rootless: true` adds a default ACL that names our user, so that it may use every socket there whatever its groups are.
//!
//! # Caveat
//!
//! A directory under `engine.socketDirectory` may belong to another user than a controller that is root. It is made,
//! looked at and given away through open directories, never twice by its name: that user can mislead us only into what is its own.

mod acl;
mod directory;
#[cfg(test)]
mod tests;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plugward_engine::{EngineInfo, EngineUser, Image};

use crate::names::ClusterId;
use crate::recipe::ContainerRecipe;
use crate::slot::Start;
use crate::trial::{Program, Question};

pub use directory::{MakeError, Sign, remove_directory, sweep};

/// Where the directories shared with plugins are, and as whom we share them. There is one value of it.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// Whose directories these are.
    pub cluster: ClusterId,
    /// In here they are made, unless a runtime says otherwise. It is ours.
    pub directory: PathBuf,
    /// The group that we share with containers of an engine that is not rootless; `None` shares with those only that run as our user.
    pub group: Option<u32>,
    /// The user that we are.
    pub user: u32,
}

/// The group of a shared directory, as both sides number it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedGroup {
    /// On this machine.
    pub outside: Option<u32>,
    /// In the container.
    pub inside: Option<u32>,
}

/// Why no directory can be shared with a runtime's plugins.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not there, or cannot be looked at.
    #[error("the socket directory {} cannot be used: {source}. Make it, owned by the user {owner}", path.display())]
    Unreachable {
        /// The directory.
        path: PathBuf,
        /// Whose it should be.
        owner: u32,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("the socket directory {} is no directory", path.display())]
    NoDirectory {
        /// What is no directory.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("the socket directory {} belongs to the user {found}, and has to belong to the user {owner}", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        owner: u32,
    },
    /// Everybody may write to it.
    #[error("the socket directory {} is open to all users: take their write permission away (chmod o-w)", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
    },
    /// The engine is rootless, and the directory is not its user's.
    #[error(
        "the engine is rootless, and its user {owner} cannot share a directory of the user {found}: let engine.socketDirectory of the \
         runtime name a directory of the user {owner}, under its runtime directory (/run/user/{owner}), that is there"
    )]
    OfRootless {
        /// Whose the directory is.
        found: u32,
        /// The engine's user.
        owner: u32,
    },
    /// We are neither root nor the engine's user.
    #[error(
        "the engine is rootless: only root, or its user {owner}, can share directories with its containers"
    )]
    NotOurs {
        /// The engine's user.
        owner: u32,
    },
}

// === impl Sharing ===

impl Sharing {
    /// The directory of a container.
    pub fn place(&self, recipe: &ContainerRecipe, container: &str) -> PathBuf {
        self.root(recipe).join(container)
    }

    /// Where the directories of a recipe's containers are.
    fn root(&self, recipe: &ContainerRecipe) -> PathBuf {
        match &recipe.socket_directory {
            Some(directory) => directory.join(self.own_name()),
            None => self.directory.clone(),
        }
    }

    /// What has to be known of a recipe's containers before they are started.
    pub fn question(&self, recipe: &ContainerRecipe, image: &Image) -> Question {
        Question { directory: self.root(recipe), program: Program::to_look_at(recipe, image) }
    }

    /// What has to be mounted for the engine to see the directories of containers that are in `root`.
    pub fn mounted<'a>(&self, root: &'a Path) -> &'a Path {
        // Of our own it is the run directory: sockets for hosts are in there as well.
        let above = if root == self.directory { 2 } else { 1 };
        root.ancestors().nth(above).unwrap_or(root)
    }

    /// What is ours in a directory that others may use too.
    fn own_name(&self) -> String {
        format!("plugward-{}", self.cluster)
    }

    /// The group that is shared with containers of an engine.
    pub fn group(&self, engine: &EngineInfo, recipe: &ContainerRecipe) -> SharedGroup {
        match self.owner(engine, recipe) {
            Some(owner) => SharedGroup { outside: Some(owner.gid), inside: Some(0) },
            None => SharedGroup { outside: self.group, inside: self.group },
        }
    }

    /// Whether directories can be made there for containers of an engine. Looks at the file system where it is not our own
    /// directory alone that matters.
    ///
    /// # Errors
    /// Says what is in the way, and what to do.
    pub fn look(&self, engine: &EngineInfo, recipe: &ContainerRecipe) -> Result<(), Unusable> {
        let owner = self.owner(engine, recipe);
        let Some(path) = &recipe.socket_directory else {
            let Some(owner) = owner else { return Ok(()) };
            return match self.user {
                user if user == owner.uid => Ok(()),
                0 => Err(Unusable::OfRootless { found: 0, owner: owner.uid }),
                _ => Err(Unusable::NotOurs { owner: owner.uid }),
            };
        };
        let expected = owner.map_or(self.user, |owner| owner.uid);
        let found = std::fs::metadata(path);
        let found =
            found.map_err(|source| Unusable::Unreachable { path: path.clone(), owner: expected, source })?;
        self.check(path, &found, owner)
    }

    fn check(&self, path: &Path, found: &Metadata, owner: Option<EngineUser>) -> Result<(), Unusable> {
        const OTHERS_WRITE: u32 = 0o002;
        const STICKY: u32 = 0o1000;
        let path = || path.to_owned();
        if !found.is_dir() {
            return Err(Unusable::NoDirectory { path: path() });
        }
        if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
            return Err(Unusable::Open { path: path() });
        }
        let uid = found.uid();
        match owner {
            Some(owner) if uid != owner.uid => Err(Unusable::OfRootless { found: uid, owner: owner.uid }),
            Some(owner) if ![0, owner.uid].contains(&self.user) => {
                Err(Unusable::NotOurs { owner: owner.uid })
            }
            None if ![0, self.user].contains(&uid) => {
                Err(Unusable::Foreign { path: path(), found: uid, owner: self.user })
            }
            _ => Ok(()),
        }
    }

    /// Whose a directory has to be: the user of a rootless engine, else ours.
    fn owner(&self, engine: &EngineInfo, recipe: &ContainerRecipe) -> Option<EngineUser> {
        let of_directory = || {
            // Its address does not tell: then the one who made the directory for it does.
            let path = recipe.socket_directory.as_ref().unwrap_or(&self.directory);
            let found = std::fs::metadata(path).ok()?;
            Some(EngineUser { uid: found.uid(), gid: found.gid() })
        };
        if engine.rootless { engine.user.or_else(of_directory) } else { None }
    }

    /// Makes a directory as that of a container would be, with something in it by which an engine that sees it is known.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn show_sign(
        &self,
        recipe: &ContainerRecipe,
        engine: &EngineInfo,
        name: &str,
    ) -> Result<Sign, MakeError> {
        directory::show_sign(self, recipe, self.place(recipe, name), self.owner(engine, recipe))
    }

    /// Makes the directory of a start, unless it is there.
    ///
    /// # Errors
    /// When it cannot be made, or cannot be shared as the start wants it.
    pub fn make(&self, start: &Start, engine: &EngineInfo) -> Result<(), MakeError> {
        directory::make(self, start, self.owner(engine, &start.recipe.container))
    }
}
