//! The access control list that a directory gives to what is made in it.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fsetxattr};

/// Where Linux keeps it (acl(5)).
const NAME: &str = "system.posix_acl_default";

/// The format's version.
const VERSION: u32 = 2;

/// Of entries that name nobody.
const NOBODY: u32 = u32::MAX;

const READ_WRITE: u16 = 6;

/// Lets `user` use what is made in `directory` by whomever: as go-plugin's hosts have it for rootless engines.
///
/// A socket that is made there under an ordinary umask is open to `user` once its mode was set to 0660, which go-plugin's
/// plugins do for a group.
///
/// # Errors
/// When the file system has no such lists, or the directory is another's.
pub(super) fn give_to(directory: impl AsFd, user: u32) -> io::Result<()> {
    Ok(fsetxattr(directory, NAME, &default_for(user), XattrFlags::empty())?)
}

/// `user::rw-,user:USER:rw-,group::rw-,mask::rw-,other::---`, as the kernel reads it: sorted by tag.
fn default_for(user: u32) -> [u8; 44] {
    let entries = [
        (0x01, READ_WRITE, NOBODY),
        (0x02, READ_WRITE, user),
        (0x04, READ_WRITE, NOBODY),
        (0x10, READ_WRITE, NOBODY),
        (0x20, 0, NOBODY),
    ];
    let mut bytes = [0; 44];
    bytes[..4].copy_from_slice(&VERSION.to_le_bytes());
    for (entry, (tag, permission, id)) in bytes[4..].chunks_exact_mut(8).zip(entries) {
        entry[..2].copy_from_slice(&u16::to_le_bytes(tag));
        entry[2..4].copy_from_slice(&u16::to_le_bytes(permission));
        entry[4..].copy_from_slice(&u32::to_le_bytes(id));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_the_kernel_reads() {
        let mut expected = vec![2, 0, 0, 0];
        let nobody = [0xff; 4];
        let entries =
            [(1, 6, nobody), (2, 6, [4, 3, 2, 1]), (4, 6, nobody), (16, 6, nobody), (32, 0, nobody)];
        for (tag, permission, id) in entries {
            expected.extend([tag, 0, permission, 0]);
            expected.extend(id);
        }
        assert_eq!(default_for(0x0102_0304).as_slice(), expected);
    }
}
