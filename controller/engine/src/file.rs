//! Files of containers, as an engine hands them out.

use std::path::PathBuf;

/// What lies at a path in a container.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// What it is.
    pub kind: FileKind,
    /// The permissions: the lowest twelve bits of its mode.
    pub mode: u32,
    /// The beginning of a regular file, as much as was asked for.
    pub content: Vec<u8>,
    /// The extended attribute `security.capability`, as the kernel has it, if it was set.
    pub capability: Option<Vec<u8>>,
}

/// What kind of file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link, and where it leads to. It is not followed.
    Link(PathBuf),
    /// Something else.
    Other,
}

// === impl File ===

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File")
            .field("kind", &self.kind)
            .field("mode", &format_args!("{:o}", self.mode))
            .field("bytes", &self.content.len())
            .field("capability", &self.capability)
            .finish()
    }
}
