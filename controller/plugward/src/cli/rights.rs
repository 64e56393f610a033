//! What to do where the directory of manifests cannot be written.

use std::io;
use std::path::Path;

/// What somebody can do who could not write `file`, which lies in the directory of manifests.
pub(super) fn next_step(error: &io::Error, file: &Path) -> String {
    let directory = file.parent().unwrap_or(file).display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "run this as root, or as somebody who may write {directory} (`ls -ld {directory}` says who)"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("{directory} is mounted read-only: change it where it comes from")
        }
        io::ErrorKind::NotFound => format!(
            "{directory} is not there for this program: if the controller runs in a container, run this in it, or work \
             on the directory that is mounted there"
        ),
        _ => format!("see whether {directory} can be written (`df {directory}`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_write_is_told_who_may_and_where_to() {
        let told = |kind| next_step(&io::Error::from(kind), Path::new("/etc/plugward/manifests/a.yaml"));
        assert_eq!(
            told(io::ErrorKind::PermissionDenied),
            "run this as root, or as somebody who may write /etc/plugward/manifests (`ls -ld /etc/plugward/manifests` says who)"
        );
        assert!(told(io::ErrorKind::ReadOnlyFilesystem).contains("mounted read-only"));
        assert!(told(io::ErrorKind::NotFound).contains("in a container"));
        assert!(told(io::ErrorKind::StorageFull).contains("`df /etc/plugward/manifests`"));
    }
}
