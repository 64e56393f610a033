//! Images as the port sees them.

/// An image that an engine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine's ID (`sha256:…`): the configuration's digest under graph drivers, the manifest's under the
    /// containerd image store.
    pub id: String,
    /// Digests by which registries know it (`name@sha256:…`).
    pub repo_digests: Vec<String>,
    /// The user that its program runs as, as the image says it: a name or a number, perhaps with a group; empty is root.
    pub user: String,
    /// Its entrypoint.
    pub entrypoint: Vec<String>,
    /// Its command: the arguments of the entrypoint, or where that is empty the program and its arguments.
    pub command: Vec<String>,
}
