//! The limit of open files: each mount has a listener, and each host's connection takes two descriptors.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets the process open as many files as it may: the soft limit is low for programs that cannot tell more than 1,024
/// descriptors apart, which this one can.
pub fn allow_all() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => tracing::debug!(?before, now = ?limit.current, "the limit of open files is raised"),
        Err(error) => tracing::warn!(?before, %error, "the limit of open files stays"),
    }
}
