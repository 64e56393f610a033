//! Attach: hosts that start their plugin themselves, and get one in a container.
//!
//! ```text
//! host ─ exec ─▶ plugward-attach ─ attach.sock ─▶ Attach ─▶ session ─▶ gateway ─▶ container
//!   │                   ▲                            │
//!   └── handshake line ─┘ the hand in its namespaces ┘
//! ```
//!
//! # The tour
//!
//! - [`server`] accepts launchers, as many as it can bear, and asks the system whose they are.
//! - `admission` decides who is let in: `caller` is who a host is, `asks` what a host asks for by its environment, `refusal` what it
//!   is told if it cannot have it, `complaints` how often the log says so.
//! - `life` is a session from then on: it joins the gateway as a mount does, gets a socket where its host is, and ends as one of the three wants.
//! - `launcher` is the other end of the attach socket, `listening` the sockets that it makes, `carried` what it connects to, and `hand` is it as
//!   the gateway has it.
//! - `kept` seals what a launcher keeps for the next controller; [`roster`] has the sessions that there are, and those that may come back.
//! - `stderr` copies what plugins write to their standard error.
//!
//! # Guarantees
//!
//! - Nobody is let in whom the instance's record does not name, by the system's word; root and the controller's own user always are.
//! - A session that looks alive is: where its host cannot go on as it was, its launcher ends, and the host starts it again.
//! - With a launcher everything of its session goes: its place in the gateway, its container if it has one, its sockets.

mod admission;
mod asks;
mod caller;
mod carried;
mod complaints;
mod hand;
mod kept;
mod launcher;
mod life;
mod listening;
mod passed;
mod refusal;
pub mod roster;
pub mod server;
mod session;
mod stderr;

use std::time::Duration;

use plugward_api::PluginSession;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use self::caller::Permission;
use self::complaints::Complaints;
use self::kept::Sealer;
pub use self::passed::Passed;
pub use self::roster::{Guest, Roster, Wishes};
use self::session::{Ending, Session};
use self::stderr::StandardErrors;
use crate::clock::Clock;
use crate::desired;
use crate::recipe::HashKey;
use crate::view::View;

/// How long the sessions of an earlier controller are waited for: as long as launchers try, and some more.
const AWAITED: Duration = Duration::from_secs(45);

/// What lets hosts attach. Clones share it.
#[derive(Clone)]
pub struct Attach {
    view: View,
    clock: Clock,
    sealer: Sealer,
    standard_errors: StandardErrors,
    complaints: Complaints,
    /// The controller's own user.
    us: u32,
}

impl Attach {
    /// Over a controller that runs, with the key of its state directory.
    pub fn new(view: View, clock: Clock, key: &HashKey) -> Self {
        let standard_errors = StandardErrors::new(view.engines.clone());
        let us = rustix::process::geteuid().as_raw();
        Self { view, clock, sealer: Sealer::new(key), standard_errors, complaints: Complaints::default(), us }
    }

    /// Ends sessions that their records do not permit any more, and gives up those that do not come back.
    pub async fn keep(self) {
        let mut news = self.view.book.news();
        let reviewing = async {
            let mut reviewed = None;
            loop {
                if matches!(news.recv().await, Err(RecvError::Closed)) {
                    return std::future::pending().await;
                }
                // Most news is of what plugins do. Before the records: what changes meanwhile is told again.
                let version = self.view.records.version();
                if reviewed.replace(version) != Some(version) {
                    self.view.roster.sessions().iter().for_each(|session| self.review(session));
                }
            }
        };
        let giving_up = async {
            sleep(AWAITED).await;
            self.view.roster.give_up();
        };
        tokio::join!(reviewing, giving_up);
    }

    /// Ends a session that its record does not permit any more.
    fn review(&self, session: &Session) {
        let attach = desired::declared_of(&session.instance, &self.view.records, |spec| spec.attach.clone());
        match attach.filter(|attach| attach.enabled) {
            None => session.end(Ending::Deleted),
            Some(attach) => {
                // Where it cannot be said, it stays: it was let in.
                if let Permission::Denied { .. } = session.caller.permission(&attach, self.us) {
                    session.end(Ending::NotPermitted);
                }
            }
        }
    }
}

/// The sessions as objects, in no order.
pub fn objects(view: &View) -> Vec<PluginSession> {
    let object = |session: &std::sync::Arc<Session>| {
        let slot = view.gateway.session_slot(&session.instance, &session.id);
        let requests = view.gateway.session_requests(&session.instance, &session.id);
        session.object(slot.as_ref(), requests)
    };
    view.roster.sessions().iter().filter_map(object).collect()
}
