//! The path by which a manifest is known.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugward_api::manifest::Format;

/// The absolute path of a manifest, `DIRECTORY/NAME`, not resolved: a symlink is a manifest of its own.
///
/// It is text, so that it can be stored and compared byte by byte: ten thousand of them are compared in every
/// scan. A file whose name is no UTF-8 is known by its name with replacement characters, and never read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ManifestPath(Arc<str>);

// === impl ManifestPath ===

impl ManifestPath {
    pub(crate) fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// `name` in `directory`.
    pub(crate) fn within(directory: &str, name: &str) -> Self {
        let mut path = String::with_capacity(directory.len() + 1 + name.len());
        path.push_str(directory);
        if !directory.ends_with('/') {
            path.push('/');
        }
        path.push_str(name);
        Self(path.into())
    }

    /// The name in its directory.
    pub(crate) fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    pub(crate) fn to_path_buf(&self) -> PathBuf {
        self.as_path().to_owned()
    }

    /// Whether this is a file of `directory` itself, not of a directory below it.
    pub(crate) fn is_in(&self, directory: &Path) -> bool {
        self.as_path().parent() == Some(directory)
    }

    /// What the extension says the file holds.
    pub(crate) fn format(&self) -> Format {
        Format::of(self.as_path())
    }
}

impl fmt::Display for ManifestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a file of this name is a manifest.
///
/// What editors, copying tools and Kubernetes' mounts leave beside manifests is none: hidden files (`.x.yaml`,
/// vim's `.x.yaml.swp`, emacs' `.#x.yaml`, `..data`) begin with a dot, and backups and temporary files (`x.yaml~`,
/// `#x.yaml#`, `x.yaml.tmp`, vim's `4913`) end differently.
pub(crate) fn is_manifest(name: &[u8]) -> bool {
    !name.starts_with(b".")
        && [&b".yaml"[..], b".yml", b".json"].iter().any(|extension| name.ends_with(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_from_what_lies_beside_them() {
        for name in ["a.yaml", "a.yml", "a.json", "#a.yaml", "a.b.yaml", "A.yaml"] {
            assert!(is_manifest(name.as_bytes()), "{name}");
        }
        for name in [
            ".a.yaml",
            ".a.yaml.swp",
            "a.yaml~",
            "#a.yaml#",
            ".#a.yaml",
            "a.yaml.tmp",
            "a.yaml.swp",
            "4913",
            "..data",
            "a.YAML",
            "a.txt",
            "yaml",
            ".yaml",
            "",
        ] {
            assert!(!is_manifest(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_path_belongs_to_its_own_directory_only() {
        let path = ManifestPath::within("/m", "a.json");
        assert_eq!((path.as_str(), path.name()), ("/m/a.json", "a.json"));
        assert_eq!(ManifestPath::within("/", "a.json").as_str(), "/a.json");
        assert!(path.is_in(Path::new("/m")));
        assert!(!path.is_in(Path::new("/")));
        assert!(!path.is_in(Path::new("/m/a")));
        assert!(matches!(path.format(), Format::Json));
    }
}
