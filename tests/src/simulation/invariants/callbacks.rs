//! The promises about the broker: what plugins ask of their hosts, as plugins and hosts saw it.
//!
//! | promise | of which calls |
//! | --- | --- |
//! | a callback reaches no other mount's host | all, but those that say a number and were on their way when their host was refused. What is said at a `Setup`, or at a call that says a number, reaches the very server that was offered with that |
//! | what is answered well was answered by a plugin that was set up for the mount, and for no older client of it than the latest | those of backends, begun after a `Setup` and an `Initialize` of the same mount had ended well, while its host and the mount stayed |
//! | a plugin whose broker was used serves under no later controller | all |

use std::collections::BTreeMap;

use super::Broken;
use super::calls::OfMount;
use crate::simulation::history::History;
use crate::simulation::hosts::channel::End;
use crate::simulation::hosts::{Hosts, Made, Said};
use crate::simulation::plugin::{CALL, Callbacks, Ledger, SETUP};
use crate::simulation::world::World;

/// All that is promised of callbacks, in any world.
///
/// # Errors
/// With the first promise that does not hold.
pub fn any(world: &World) -> Result<(), Broken> {
    let calls = world.hosts.calls().all();
    reach_their_hosts(world, &calls)?;
    if world.circumstances.callbacks == Callbacks::Kept {
        for mount in OfMount::all(world, &calls) {
            follow_setup(&mount)?;
        }
    }
    none_serves_with_another_controllers_broker(&world.history, world.plugins.ledger())
}

fn reach_their_hosts(world: &World, calls: &[Made]) -> Result<(), Broken> {
    let made: BTreeMap<&str, &Made> = calls.iter().map(|made| (made.id.as_str(), made)).collect();
    for callback in world.hosts.callbacks().all() {
        let call = made.get(callback.call.as_str());
        if call.is_some_and(|made| who_knows(&world.history, made)) {
            continue;
        }
        let (of, reached) = (Hosts::mount_of(&callback.call), Hosts::mount_of(&callback.server));
        promise!(of.is_some() && of == reached, "a callback reached another mount's host: {callback:?}");
        let says_which = match world.circumstances.callbacks {
            Callbacks::Each => true,
            _ => call.is_some_and(|made| made.path == SETUP),
        };
        promise!(
            !says_which || callback.call == callback.server,
            "a callback reached another server than the call was about: {callback:?}"
        );
    }
    Ok(())
}

/// Whether nobody could know that a call says the number of a server that was not offered: it was on its way when its host was
/// refused, or another controller was told that.
fn who_knows(history: &History, made: &Made) -> bool {
    match made.server {
        Some(Said::Lost) => true,
        Some(Said::Refused { since }) => history.controller_changed(since, made.ended),
        Some(Said::Offered) | None => false,
    }
}

fn follow_setup(mount: &OfMount<'_>) -> Result<(), Broken> {
    let setups: Vec<&Made> = mount.calls.iter().copied().filter(|made| made.path == SETUP).collect();
    for made in mount.calls.iter().filter(|made| made.path == CALL) {
        let End::Status { code: 0, message, .. } = &made.end else { continue };
        let done = mount.known(&setups, made);
        let Some(known) = done.last() else { continue };
        let Some(server) = message.lines().nth(2) else {
            return Err(Broken(format!(
                "a call was answered by a plugin that was not set up: {made:?}, {known:?}"
            )));
        };
        promise!(
            OfMount::latest(&setups, &done, made).any(|setup| setup.id == server),
            "a plugin asked {server}, which is not what its host had offered last: {made:?}, {known:?}"
        );
    }
    Ok(())
}

fn none_serves_with_another_controllers_broker(history: &History, ledger: &Ledger) -> Result<(), Broken> {
    let brokers = ledger.brokers();
    for served in ledger.all().values().flatten() {
        let Some(life) = brokers.get(&served.process) else { continue };
        let adopted = life.used.is_some_and(|used| history.controller_began_between(used, served.asked));
        promise!(
            !adopted,
            "promise 7: a plugin serves whose broker ended with an earlier controller: {life:?}, {served:?}"
        );
    }
    Ok(())
}
