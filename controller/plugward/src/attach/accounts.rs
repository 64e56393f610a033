//! Users and groups of this machine, by name and number.
//!
//! The files are read by hand, as the program is linked statically: accounts that only a directory service knows are to be given by number.

use std::fs;

use plugward_api::instance::{Account, Attach};

/// Where accounts are written down.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Who is at the other end of a socket, by the system's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its process, if it is one that we can see.
    pub(super) pid: Option<i32>,
    /// Its user.
    pub(super) uid: u32,
    /// Its groups.
    pub(super) groups: Vec<u32>,
}

impl Caller {
    /// Whether a record lets it attach. Root may, and so may the controller's own user: `us`.
    pub(super) fn may(&self, attach: &Attach, us: u32) -> bool {
        let named = |accounts: &[Account], file, is_its: &dyn Fn(u32) -> bool| {
            accounts.iter().filter_map(|account| number(account, file)).any(is_its)
        };
        self.uid == 0
            || self.uid == us
            || named(&attach.users, USERS, &|uid| uid == self.uid)
            || named(&attach.groups, GROUPS, &|gid| self.groups.contains(&gid))
    }

    /// The user's name, or number where it has none here.
    pub(super) fn user(&self) -> String {
        user_name(self.uid).unwrap_or_else(|| self.uid.to_string())
    }
}

/// The name of a user, if it has one here.
pub(super) fn user_name(uid: u32) -> Option<String> {
    name_in(&fs::read_to_string(USERS).ok()?, uid)
}

/// The number of an account, which may be one.
fn number(account: &Account, file: &str) -> Option<u32> {
    let account = account.as_ref();
    account.parse().ok().or_else(|| number_in(&fs::read_to_string(file).ok()?, account))
}

/// Both files have the name first, and the number third.
fn number_in(file: &str, name: &str) -> Option<u32> {
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn name_in(file: &str, number: u32) -> Option<String> {
    let is_its = |line: &&str| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(number);
    let line = file.lines().find(is_its)?;
    line.split(':').next().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "root:x:0:0:root:/root:/bin/sh\nbad\nopenbao:x:998:997::/:/bin/false\n";

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller { pid: Some(7), uid, groups: groups.to_vec() }
    }

    fn attach(users: &[&str], groups: &[&str]) -> Attach {
        let accounts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Attach { enabled: true, users: accounts(users), groups: accounts(groups), ..Attach::default() }
    }

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        assert_eq!(number_in(FILE, "openbao"), Some(998));
        assert_eq!(number_in(FILE, "vault"), None);
        assert_eq!(name_in(FILE, 998).as_deref(), Some("openbao"));
        assert_eq!(name_in(FILE, 997), None);
    }

    #[test]
    fn who_is_named_may_attach_and_nobody_else() {
        let record = attach(&["4711"], &["33"]);
        assert!(caller(4711, &[]).may(&record, 1000));
        assert!(caller(4712, &[33]).may(&record, 1000));
        assert!(!caller(4712, &[4711]).may(&record, 1000));
        assert!(caller(1000, &[]).may(&record, 1000), "the controller's own user");
        assert!(caller(0, &[]).may(&record, 1000), "root");
        assert!(!caller(4711, &[33]).may(&attach(&[], &[]), 1000), "nobody is named");
        assert!(!caller(4711, &[33]).may(&attach(&["no-such-user"], &["no-such-group"]), 1000));
    }
}
