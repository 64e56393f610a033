//! The promises about calls that hosts make, as hosts and plugins saw them.
//!
//! | promise | of which calls |
//! | --- | --- |
//! | none is lost: each ends with a status within its time, or `hold`'s, and a [`GRACE`] | all, but where the controller, the mount or the session went away (its connection may break), or the container stood still, or a session had no controller |
//! | none is carried out twice, nor by another than answered it | all. Hosts send a call again if the gateway said that it did not look at it: then that must be true |
//! | none reaches a plugin that was not told what its hosts had told it before, or is answered with something older | those begun after a priming call of the same mount had ended well, while the mount stayed |
//! | what hosts told is not forgotten | the same, under one controller |
//! | one container of a slot serves: after the first call in a later one no connection is made to an earlier one | all under one controller. The next one finds both where an update was not over, and may hear from the earlier one first |
//! | none fails while containers are killed, replaced and moved | those of the drill: the engine, the image, the manifests and the controller are well, the mount stays, `hold` is longer than any back-off, and the call has enough time. What the killed container had may end as that, and so may what a plugin is at whose broker ended with an earlier controller, when a server is announced, and what needs the server of another host that begins anew |

use std::collections::{BTreeMap, BTreeSet};

use go_plugin::external::tonic::Code;
use plugward::gateway;
use tokio::time::Instant;

use super::Broken;
use crate::simulation::circumstances::LONG_HOLD;
use crate::simulation::history::History;
use crate::simulation::hosts::channel::{End, GRACE};
use crate::simulation::hosts::{Absence, Hosts, Made, Said, SessionEnd};
use crate::simulation::plugin::{CALL, CLEANUP, Callbacks, Ledger, Outcome, SETUP, Served};
use crate::simulation::world::World;

/// How long a call may wait for a container that is there, whatever `hold` says.
const CONNECTING: std::time::Duration = std::time::Duration::from_secs(10);

/// All that is promised of every call, in any world.
///
/// # Errors
/// With the first promise that does not hold.
pub fn any(world: &World) -> Result<(), Broken> {
    let calls = world.hosts.calls().all();
    let ledger = world.plugins.ledger();
    let (sessions, absences) = (world.hosts.calls().sessions(), world.hosts.calls().absences());
    for made in &calls {
        is_answered(world, made, &sessions, &absences)?;
        is_carried_out_once(ledger, made)?;
    }
    for mount in OfMount::all(world, &calls) {
        follow_priming(ledger, &mount)?;
    }
    one_serves(&world.history, ledger)
}

/// What is promised of calls of these mounts that were begun since `from`, where nothing but plugins is in trouble, nor they but for
/// being killed.
///
/// # Errors
/// With the first call that failed.
pub fn none_fails(
    world: &World,
    mounts: &BTreeSet<(&'static str, &'static str)>,
    from: Instant,
) -> Result<(), Broken> {
    if world.circumstances.hold < LONG_HOLD {
        return Ok(());
    }
    let calls = world.hosts.calls().all();
    let concerned = |made: &&Made| made.began >= from && mounts.contains(&(made.instance, made.mount));
    for made in calls.iter().filter(concerned).filter(|made| !made.is_ok()) {
        let died = died_during(made);
        let killed = died.is_some() && world.history.containers_died(made.instance, made.began, made.ended);
        // It, or another call at the same time, went to a plugin of an earlier controller before it was known that it is about a server, which
        // that cannot reach.
        let spent = died == Some(gateway::Broken::Broker.to_string().as_str());
        // The host that gave the plugin its server begins anew, and that of this call knows nothing of it.
        let anothers = world.circumstances.callbacks == Callbacks::Kept
            && !Hosts::primes(&made.id)
            && made.code() == Some(Code::Internal as i32);
        let gone = world.history.mount_went((made.instance, made.mount), made.began, made.ended);
        let refused = made.is_barred() || matches!(made.server, Some(Said::Lost | Said::Refused { .. }));
        promise!(
            killed || spent || anothers || gone || refused,
            "promise 3: a call failed while only plugins were in trouble: {made:?}"
        );
    }
    Ok(())
}

/// How the plugin ended that a call was at, if that was why it failed.
fn died_during(made: &Made) -> Option<&str> {
    let End::Status { text, .. } = &made.end else { return None };
    text.strip_prefix("the plugin died during this call: ")
}

/// The calls of one mount, in the order of their ends.
pub(super) struct OfMount<'a> {
    history: &'a History,
    mount: (&'static str, &'static str),
    pub(super) calls: Vec<&'a Made>,
    /// When its hosts ended their clients.
    departures: Vec<Instant>,
}

// === impl OfMount ===

impl<'a> OfMount<'a> {
    /// Those of each mount that was called.
    pub(super) fn all(world: &'a World, calls: &'a [Made]) -> Vec<Self> {
        let mut mounts: BTreeMap<(&'static str, &'static str), Vec<&'a Made>> = BTreeMap::new();
        for made in calls {
            mounts.entry((made.instance, made.mount)).or_default().push(made);
        }
        let departures = world.hosts.calls().departures();
        let of_mount = |(mount, calls)| {
            let gone = departures.iter().filter(|gone| (gone.instance, gone.mount) == mount);
            let departures = gone.map(|gone| gone.at).collect();
            Self { history: &world.history, mount, calls, departures }
        };
        mounts.into_iter().map(of_mount).collect()
    }

    /// Of calls that tell the plugin something, those that hosts knew to be done when they made this one, and that still counted.
    pub(super) fn known(&self, told: &[&'a Made], made: &Made) -> Vec<&'a Made> {
        let known = |tells: &&&Made| {
            tells.is_ok()
                && tells.ended < made.began
                && !self.history.mount_went(self.mount, tells.began, made.ended)
                && !self.is_undone(tells.began, made.ended)
        };
        told.iter().filter(known).copied().collect()
    }

    /// Of the same calls, those of which any may have been the last that the plugin was told before this one ended.
    pub(super) fn latest(
        told: &[&'a Made],
        known: &[&'a Made],
        made: &Made,
    ) -> impl Iterator<Item = &'a Made> {
        // What ended otherwise than well may have been done, and may not.
        told.iter().copied().filter(|tells| {
            let superseded = tells.is_ok() && known.iter().any(|later| later.began > tells.ended);
            tells.began <= made.ended && !superseded
        })
    }

    /// Whether hosts may have begun anew, after this priming and before this call ended, with a plugin of which a later controller knew
    /// nothing. Whoever sets that up is told nothing of what was told its predecessor beyond that.
    fn began_anew(&self, priming: &Made, made: &Made) -> bool {
        let setups = self.calls.iter().filter(|setup| setup.path == SETUP && setup.began <= made.ended);
        setups.into_iter().any(|setup| self.history.controller_changed(priming.ended, setup.ended))
    }

    /// Whether hosts may have undone in this time what they had told the plugin: in words, or by going with what they offered it.
    fn is_undone(&self, from: Instant, to: Instant) -> bool {
        let cleaned = self.calls.iter().filter(|made| made.path == CLEANUP).any(|cleanup| {
            // What ended otherwise than well may still be done.
            cleanup.began <= to && (!cleanup.is_ok() || cleanup.ended >= from)
        });
        cleaned || self.departures.iter().any(|at| (from..=to).contains(at))
    }
}

fn is_answered(
    world: &World,
    made: &Made,
    sessions: &[SessionEnd],
    absences: &[Absence],
) -> Result<(), Broken> {
    let Made { instance, mount, began, ended, .. } = made;
    let of_session = |end: &&SessionEnd| (end.instance, end.mount) == (*instance, *mount);
    let of_absence = |absence: &&Absence| (absence.instance, absence.mount) == (*instance, *mount);
    let absences = absences.iter().filter(of_absence).map(|absence| (absence.from, absence.to));
    let ends = sessions.iter().filter(of_session).map(|end| (end.at, end.at));
    // Hosts wait from when the controller is asked to go, until another has the session, or it is over.
    let absent =
        absences.chain(ends).any(|(from, to)| world.history.asked_to_go(from) <= *ended && to >= *began);
    let still = absent || world.history.stood_still(instance, *began, *ended);
    match &made.end {
        End::Status { .. } => {
            let Some(sent) = made.sent.last() else {
                return Err(Broken(format!("a call was answered that was not sent: {made:?}")));
            };
            let longest = world.circumstances.hold.max(CONNECTING) + GRACE;
            promise!(still || *ended <= *sent + longest, "promise 3: a call waited too long: {made:?}");
        }
        End::Broken(_) => {
            let excused = world.history.controller_changed(*began, *ended)
                || world.history.mount_went((instance, mount), *began, *ended)
                // Why that is over is another matter.
                || sessions.iter().filter(of_session).any(|end| (*began..=*ended).contains(&end.at));
            promise!(excused, "promise 3: a call got no answer: {made:?}");
        }
        End::Silent => promise!(still, "promise 3: a call hung: {made:?}"),
        End::Unreachable => {}
    }
    Ok(())
}

fn is_carried_out_once(ledger: &Ledger, made: &Made) -> Result<(), Broken> {
    if made.path != CALL {
        // It is made again, by the controller.
        return Ok(());
    }
    let served = ledger.of(&made.id);
    promise!(served.len() < 2, "promise 3: a call was carried out twice: {made:?}: {served:?}");
    if let End::Status { code: 0, message, .. } = &made.end {
        let by = message.lines().next();
        let right = served.first().is_some_and(|served| Some(served.container.as_str()) == by);
        promise!(right, "promise 3: a call was answered for another: {made:?}: {served:?}");
    }
    Ok(())
}

fn follow_priming(ledger: &Ledger, mount: &OfMount<'_>) -> Result<(), Broken> {
    let primings: Vec<&Made> = mount.calls.iter().copied().filter(|made| made.primes.is_some()).collect();
    for made in mount.calls.iter().filter(|made| made.path == CALL) {
        let mut done = mount.known(&primings, made);
        done.retain(|priming| !mount.began_anew(priming, made));
        let Some(known) = done.last() else { continue };
        let seen = ledger.of(&made.id);
        promise!(
            seen.iter().all(|served| served.outcome != Outcome::Unprimed),
            "promise 3: a call reached a plugin that was not told again what hosts had told it: {made:?}: {seen:?}, and {known:?}"
        );
        let refused = made.is_unprimed();
        let forgotten = done
            .iter()
            .find(|priming| refused && !mount.history.controller_changed(priming.began, made.ended));
        promise!(forgotten.is_none(), "promise 3: what a host told was forgotten: {made:?}, {forgotten:?}");
        let End::Status { code: 0, message, .. } = &made.end else { continue };
        let told = message.lines().nth(1).unwrap_or_default();
        let mut latest =
            OfMount::latest(&primings, &done, made).filter_map(|priming| priming.primes.as_deref());
        promise!(
            latest.any(|value| value == told),
            "promise 3: a plugin knew {told:?}, which is not what its hosts had told it last: {made:?}, {known:?}"
        );
    }
    Ok(())
}

fn one_serves(history: &History, ledger: &Ledger) -> Result<(), Broken> {
    let all = ledger.all();
    let mut slots: BTreeMap<&(String, String), Vec<&Served>> = BTreeMap::new();
    // Those over the controller's own connection are told beforehand.
    for served in all.values().flatten().filter(|served| served.connection != served.process) {
        slots.entry(&served.slot).or_default().push(served);
    }
    for (slot, mut served) in slots {
        served.sort_by_key(|served| served.at);
        let mut first: BTreeMap<u64, &Served> = BTreeMap::new();
        for served in served {
            let (mut later, connection) = (first.range(served.process + 1..), served.connection);
            let overtaken = later.find(|(_, first)| {
                first.at < connection && !history.controller_changed_between(first.at, connection)
            });
            promise!(
                overtaken.is_none(),
                "promise 6: a host was led to an earlier container of {slot:?} although a later one served: {served:?}, {overtaken:?}"
            );
            first.entry(served.process).or_insert(served);
        }
    }
    Ok(())
}
