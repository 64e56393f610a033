//! Who a host is, and whether a record lets it attach.

use plugward_api::instance::{Account, Attach};
use plugward_attach::accounts::Accounts;

/// Who is at the other end of a socket, by the system's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its process, if it is one that we can see.
    pub(super) pid: Option<i32>,
    /// Its user.
    pub(super) uid: u32,
    /// The user's name, if it has one here.
    pub(super) name: Option<String>,
    /// Its groups.
    pub(super) groups: Vec<u32>,
}

impl Caller {
    /// Whether a record lets it attach. Root may, and so may the controller's own user: `us`.
    pub(super) fn may(&self, attach: &Attach, us: u32) -> bool {
        let named = |named: &[Account], accounts, is_its: &dyn Fn(u32) -> bool| {
            named.iter().filter_map(|account| number(account, accounts)).any(is_its)
        };
        self.uid == 0
            || self.uid == us
            || named(&attach.users, Accounts::Users, &|uid| uid == self.uid)
            || named(&attach.groups, Accounts::Groups, &|gid| self.groups.contains(&gid))
    }

    /// The user's name, or number where it has none here.
    pub(super) fn user(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// The number of an account, which may be one.
fn number(account: &Account, accounts: Accounts) -> Option<u32> {
    let account = account.as_ref();
    account.parse().ok().or_else(|| accounts.number_of(account).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller { pid: Some(7), uid, name: None, groups: groups.to_vec() }
    }

    fn attach(users: &[&str], groups: &[&str]) -> Attach {
        let accounts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Attach { enabled: true, users: accounts(users), groups: accounts(groups), ..Attach::default() }
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
