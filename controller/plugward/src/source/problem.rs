//! What can be wrong with a manifest or a manifest directory, as people are told of it.

use std::fmt;
use std::path::PathBuf;

use plugward_api::{Place, RecordKey};
use rustix::io::Errno;

/// What is wrong with a manifest. Its `Display` is that of its [description](Self::describe).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The content is wrong: one mistake of possibly several.
    Invalid(plugward_api::Problem),
    /// The name, or that of the directory, is no UTF-8.
    PathNotUtf8,
    /// A symlink to something that is not there.
    DanglingSymlink,
    /// Symlinks that lead back to themselves.
    SymlinkLoop,
    /// Something else than a file has the name of a manifest.
    NotAFile {
        /// What it is, with its article.
        kind: &'static str,
    },
    /// The file is larger than any manifest may be.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// The system refused.
    Unreadable {
        /// What it refused: `open`, `read`, `examine`.
        operation: &'static str,
        /// Its words.
        error: String,
    },
    /// The parser could not cope with the content: a mistake of ours.
    ParserFailed,
    /// A record of this name is in force from another file.
    DeclaredTwice {
        /// The name.
        key: RecordKey,
        /// Where this file declares it.
        place: Place,
        /// The file that holds the name.
        holder: PathBuf,
        /// Where that file declares it; nothing when its stored version cannot be read any more.
        holder_place: Option<Place>,
    },
    /// The last good version of this file, kept by an earlier version of plugward, is not accepted by this one.
    NoLongerAccepted {
        /// The records it held. Their containers are left as they are.
        records: Vec<RecordKey>,
    },
}

/// Why a manifest directory counts as not read. Its `Display` says what is wrong, without the directory's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryProblem {
    /// There is nothing at the path.
    Missing,
    /// There is something else at the path.
    NotADirectory,
    /// The path is no UTF-8.
    PathNotUtf8,
    /// The system refused.
    Unreadable {
        /// What it refused: `open`, `examine`, `list`.
        operation: &'static str,
        /// Its words.
        error: String,
    },
    /// It is empty, and it is another directory than the one that held manifests: most likely that one is not
    /// mounted.
    Replaced,
    /// It is another directory than the one that held manifests, and is being filled.
    Settling,
}

// === impl Problem ===

impl Problem {
    pub(crate) fn unreadable(operation: &'static str, error: Errno) -> Self {
        Self::Unreadable { operation, error: error.to_string() }
    }

    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::PathNotUtf8 => "path_not_utf8",
            Self::DanglingSymlink => "dangling_symlink",
            Self::SymlinkLoop => "symlink_loop",
            Self::NotAFile { .. } => "not_a_file",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable { .. } => "unreadable",
            Self::ParserFailed => "parser_failed",
            Self::DeclaredTwice { .. } => "declared_twice",
            Self::NoLongerAccepted { .. } => "no_longer_accepted",
        }
    }

    /// Where in the file it is; nothing when it is about the file as a whole.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Invalid(mistake) => mistake.place,
            Self::DeclaredTwice { place, .. } => Some(*place),
            _ => None,
        }
    }

    /// In the form in which the parser describes mistakes: place, field, what is wrong, what to do.
    pub fn describe(&self) -> plugward_api::Problem {
        let (message, help) = match self {
            Self::Invalid(mistake) => return mistake.clone(),
            Self::PathNotUtf8 => text("the path is no UTF-8", "rename the file or its directory"),
            Self::DanglingSymlink => {
                text("a symlink to a file that is not there", "restore the file or remove the symlink")
            }
            Self::SymlinkLoop => text("a symlink that leads back to itself", "remove it"),
            Self::NotAFile { kind } => {
                text(format!("{kind} with the name of a manifest"), "rename or remove it")
            }
            Self::TooLarge { size, limit } => {
                text(format!("{size} bytes, and a manifest may have {limit}"), "split it into several files")
            }
            Self::Unreadable { operation, error } => {
                text(format!("cannot {operation} the file: {error}"), "let the controller read it")
            }
            Self::ParserFailed => {
                text("plugward failed while reading this content", "please report this as a bug")
            }
            Self::DeclaredTwice { key, holder, holder_place, .. } => {
                let place = holder_place.map(|place| format!(":{place}")).unwrap_or_default();
                text(
                    format!("{key} is declared in {}{place} already, which stays in force", holder.display()),
                    "remove one of the two, or rename this one",
                )
            }
            Self::NoLongerAccepted { records } => {
                let names: Vec<_> = records.iter().map(ToString::to_string).collect();
                text(
                    format!(
                        "the last good version, kept by an earlier plugward, is not accepted by this one; left as \
                         they are: {}",
                        names.join(", ")
                    ),
                    "mend the file",
                )
            }
        };
        plugward_api::Problem { place: self.place(), field: String::new(), message, help: Some(help) }
    }
}

fn text(message: impl Into<String>, help: &str) -> (String, String) {
    (message.into(), help.to_owned())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe().fmt(f)
    }
}

// === impl DirectoryProblem ===

impl DirectoryProblem {
    pub(crate) fn unreadable(operation: &'static str, error: Errno) -> Self {
        Self::Unreadable { operation, error: error.to_string() }
    }

    /// The name used in labels: lower case, with underscores.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotADirectory => "not_a_directory",
            Self::PathNotUtf8 => "path_not_utf8",
            Self::Unreadable { .. } => "unreadable",
            Self::Replaced => "replaced",
            Self::Settling => "settling",
        }
    }
}

impl fmt::Display for DirectoryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such directory; nothing is removed until it is back"),
            Self::NotADirectory => f.write_str("not a directory; nothing is removed until it is one"),
            Self::PathNotUtf8 => f.write_str("the path is no UTF-8; rename the directory"),
            Self::Unreadable { operation, error } => write!(f, "cannot {operation} the directory: {error}"),
            Self::Replaced => f.write_str(
                "empty, and not the directory that held the manifests: is it not mounted? The last good records stay \
                 in force. Mount it, or, if they are meant to go, put any manifest in it",
            ),
            Self::Settling => {
                f.write_str("not the directory that held the manifests; waiting until it no longer changes")
            }
        }
    }
}
