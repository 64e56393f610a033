//! Who a host is, and whether a record lets it attach.

use std::io;

use plugward_api::instance::{Account, Attach};
use plugward_attach::accounts::Accounts;
use tokio::net::UnixStream;

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

/// Whether a record lets a host attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Permission {
    /// It does.
    Granted,
    /// It does not.
    Denied {
        /// The users and groups that it names and that are not known on this machine.
        unknown: Vec<String>,
    },
    /// It names users or groups, and it cannot be looked up now who they are.
    Unreadable,
}

impl Caller {
    /// Who is at the other end of a socket.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn of(socket: &UnixStream) -> io::Result<Self> {
        let peer = socket.peer_cred()?;
        // Of another PID namespace it has none that we can see.
        let pid = peer.pid().filter(|pid| *pid > 0);
        let uid = peer.uid();
        let mut groups = vec![peer.gid()];
        groups.extend(pid.and_then(|pid| supplementary_groups(pid, uid)).unwrap_or_default());
        let name = Accounts::Users.name_of(uid).ok().flatten();
        Ok(Self { pid, uid, name, groups })
    }

    /// Whether a record lets it attach. Root may, and so may the controller's own user: `us`.
    pub(super) fn permission(&self, attach: &Attach, us: u32) -> Permission {
        if self.uid == 0 || self.uid == us {
            return Permission::Granted;
        }
        let (mut unknown, mut unreadable) = (Vec::new(), false);
        let named = [(&attach.users, Accounts::Users), (&attach.groups, Accounts::Groups)];
        for (account, accounts) in
            named.iter().flat_map(|(named, of)| named.iter().map(|account| (account, *of)))
        {
            match number(account, accounts) {
                Ok(Some(number)) if self.is(accounts, number) => return Permission::Granted,
                Ok(Some(_)) => {}
                Ok(None) => unknown.push(account.to_string()),
                Err(_) => unreadable = true,
            }
        }
        if unreadable { Permission::Unreadable } else { Permission::Denied { unknown } }
    }

    /// Whether it is that user, or in that group.
    fn is(&self, accounts: Accounts, number: u32) -> bool {
        match accounts {
            Accounts::Users => self.uid == number,
            Accounts::Groups => self.groups.contains(&number),
        }
    }

    /// The user's name, or number where it has none here.
    pub(super) fn user(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }
}

/// The groups that a process has beside its own, if it is still the one of this user.
fn supplementary_groups(pid: i32, uid: u32) -> Option<Vec<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    // The effective one is second. Who has its number by now is another.
    if field("Uid")?.split_ascii_whitespace().nth(1)?.parse() != Ok(uid) {
        return None;
    }
    Some(field("Groups")?.split_ascii_whitespace().filter_map(|group| group.parse().ok()).collect())
}

/// The number of an account, which may be one.
fn number(account: &Account, accounts: Accounts) -> io::Result<Option<u32>> {
    let account = account.as_ref();
    account.parse().map_or_else(|_| accounts.number_of(account), |number| Ok(Some(number)))
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
        let granted = |caller: Caller| caller.permission(&record, 1000) == Permission::Granted;
        assert!(granted(caller(4711, &[])));
        assert!(granted(caller(4712, &[33])));
        assert!(!granted(caller(4712, &[4711])));
        assert!(granted(caller(1000, &[])), "the controller's own user");
        assert!(granted(caller(0, &[])), "root");
        let nobody = attach(&[], &[]);
        assert_eq!(caller(4711, &[33]).permission(&nobody, 1000), Permission::Denied { unknown: Vec::new() });
    }

    #[test]
    fn whom_the_machine_does_not_know_is_told() {
        let record = attach(&["no-such-user", "root"], &["no-such-group"]);
        let unknown = vec!["no-such-user".to_owned(), "no-such-group".to_owned()];
        assert_eq!(caller(4711, &[33]).permission(&record, 1000), Permission::Denied { unknown });
    }

    #[tokio::test]
    async fn the_system_says_who_is_at_the_other_end() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let caller = Caller::of(&ours).unwrap();
        assert_eq!(caller.pid, Some(std::process::id().cast_signed()));
        assert_eq!(caller.uid, rustix::process::geteuid().as_raw());
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        groups.push(rustix::process::getegid().as_raw());
        assert!(groups.iter().all(|group| caller.groups.contains(group)), "{groups:?} {caller:?}");
    }
}
