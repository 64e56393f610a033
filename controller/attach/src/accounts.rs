//! Users and groups of this machine, by name and number.
//!
//! The files are read by hand, as the programs are linked statically, without the parts that the C library's own look-up needs: accounts that
//! only a directory service knows are to be given by number.

use std::io;

/// Where accounts are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// `/etc/passwd`.
    Users,
    /// `/etc/group`.
    Groups,
}

impl Accounts {
    /// The number of the account with this name, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn number_of(self, name: &str) -> io::Result<Option<u32>> {
        Ok(number_in(&self.read()?, name))
    }

    /// The name of the account with this number, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn name_of(self, number: u32) -> io::Result<Option<String>> {
        Ok(name_in(&self.read()?, number))
    }

    fn read(self) -> io::Result<String> {
        let path = match self {
            Self::Users => "/etc/passwd",
            Self::Groups => "/etc/group",
        };
        Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
    }
}

fn number_in(file: &str, name: &str) -> Option<u32> {
    entries(file).find(|(known, _)| *known == name).map(|(_, number)| number)
}

fn name_in(file: &str, number: u32) -> Option<String> {
    entries(file).find(|(_, known)| *known == number).map(|(name, _)| name.to_owned())
}

/// Both files have the name first, and the number third.
fn entries(file: &str) -> impl Iterator<Item = (&str, u32)> {
    file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\nopenbao:x:998:997::/:/bin/false\n";
        assert_eq!(number_in(users, "openbao"), Some(998));
        assert_eq!(number_in(users, "vault"), None);
        assert_eq!(name_in(users, 998).as_deref(), Some("openbao"));
        assert_eq!(name_in(users, 997), None);
    }

    #[test]
    fn what_is_no_account_is_passed_over() {
        let groups = "root:x:0:\n7:x:9:\n# plugins:x:3:\nbroken\nplugins:x:42:ann,bob\n";
        assert_eq!(number_in(groups, "plugins"), Some(42));
        assert_eq!(number_in(groups, "broken"), None);
        assert_eq!(number_in(groups, "none"), None);
    }

    #[test]
    fn the_machines_own_files_are_read() {
        assert_eq!(Accounts::Users.name_of(0).unwrap().as_deref(), Some("root"));
        assert_eq!(Accounts::Groups.number_of("root").unwrap(), Some(0));
    }
}
