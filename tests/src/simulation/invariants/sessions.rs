//! The promises about hosts that attach, as they and their launchers saw it.
//!
//! | promise | of which sessions |
//! | --- | --- |
//! | it ends with its host, and else only for its record or its controller | all |
//! | where its launcher kept it for another controller, that takes it up | those whose record stayed, and for which a controller came in time |
//! | a host is answered with nothing that was told in another session | all |

use super::Broken;
use super::calls::OfMount;
use crate::simulation::hosts::channel::End;
use crate::simulation::hosts::launcher::Why;
use crate::simulation::hosts::{GUESTS, SessionEnd};
use crate::simulation::plugin::CALL;
use crate::simulation::world::World;

/// All that is promised of sessions, in any world.
///
/// # Errors
/// With the first promise that does not hold.
pub fn any(world: &World) -> Result<(), Broken> {
    let calls = world.hosts.calls().all();
    let sessions = world.hosts.calls().sessions();
    for end in &sessions {
        has_reason(world, end)?;
    }
    for mount in OfMount::all(world, &calls) {
        is_apart(&mount, &sessions)?;
    }
    Ok(())
}

/// A session ended for a reason.
fn has_reason(world: &World, end: &SessionEnd) -> Result<(), Broken> {
    let SessionEnd { instance, mount, began, at, why } = end;
    let Some(why) = why else { return Ok(()) };
    if world.history.mount_went((instance, mount), *began, *at) {
        return Ok(());
    }
    let by_controller = world.history.controller_changed(*began, *at);
    let excused = match why {
        Why::Gone | Why::Patience => by_controller,
        Why::Absent | Why::Refused(_) | Why::Exit { .. } => false,
    };
    promise!(excused, "attach: a session ended though its record stayed: {end:?}");
    Ok(())
}

/// What a host heard was told in its own session, if at all.
fn is_apart(mount: &OfMount<'_>, sessions: &[SessionEnd]) -> Result<(), Broken> {
    let Some(first) = mount.calls.first().filter(|made| GUESTS.contains(&made.mount)) else { return Ok(()) };
    let ends: Vec<_> =
        sessions.iter().filter(|end| (end.instance, end.mount) == (first.instance, first.mount)).collect();
    for made in mount.calls.iter().filter(|made| made.path == CALL) {
        let End::Status { code: 0, message, .. } = &made.end else { continue };
        let Some(told) = message.lines().nth(1).filter(|told| !told.is_empty()) else { continue };
        let priming = mount.calls.iter().find(|priming| priming.primes.as_deref() == Some(told));
        // Time may have stood still from the end of one to the first word in the next.
        let apart = priming
            .is_some_and(|priming| !ends.iter().any(|end| priming.ended < end.at && end.at < made.began));
        promise!(
            apart,
            "attach: a host was answered with what was told in another session: {made:?}, {priming:?}"
        );
    }
    Ok(())
}
