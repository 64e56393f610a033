//! What people and accidents do, by seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::manifests::MOUNTS;

/// The instances that schedules are about. `hostile` never behaves.
pub const INSTANCES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Something that is done to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A manifest is written, with this variant of the instance.
    Declare(&'static str, u32),
    /// A manifest is written, with so many mounts.
    Mounts(&'static str, usize),
    /// A manifest is written, with the mounts in one container, or in one each, whichever was not.
    Multiplexing(&'static str),
    /// A manifest is overwritten with half of one.
    Break(&'static str),
    /// A manifest is removed.
    Delete(&'static str),
    /// The runtime's record is edited.
    EditRuntime(u32),
    /// Somebody asks for new containers of an instance. In a drill: where hosts' words are not known, such an update fails, until the next.
    Renew(&'static str),
    /// An instance's container is killed.
    Kill(&'static str),
    /// An instance's container is removed.
    Remove(&'static str),
    /// An instance's container is frozen and goes on later.
    Pause(&'static str),
    /// The engine ends, and starts again after this many seconds.
    EngineRestart(u64),
    /// The engine stops answering, for this many seconds.
    EngineFreeze(u64),
    /// The image is taken away, and comes back after this many seconds.
    ImageGone(u64),
    /// The controller crashes, and the next one starts after this many seconds.
    Crash(u64),
    /// The controller is asked to end, and the next one starts after this many seconds.
    Restart(u64),
    /// The manifest directory goes, and comes back after this many seconds.
    Unmount(u64),
    /// The state of an instance's slot is overwritten with garbage while no controller runs.
    Corrupt(&'static str),
    /// Nothing.
    Rest,
}

/// Deeds, each with the time before it.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Whatever may happen.
    pub deeds: Vec<(Duration, Deed)>,
    /// What no host may notice, in a world that is otherwise at peace.
    pub drill: Vec<(Duration, Deed)>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut deeds = vec![(Duration::ZERO, Deed::EditRuntime(100))];
        for instance in INSTANCES {
            deeds.push((Duration::ZERO, Deed::Mounts(instance, chance.random_range(1..=MOUNTS.len()))));
        }
        for _ in 0..chance.random_range(8..24) {
            deeds.push((pause(&mut chance), deed(&mut chance)));
        }
        let drill = (0..chance.random_range(2..5)).map(|_| (pause(&mut chance), exercise(&mut chance)));
        Self { deeds, drill: drill.collect() }
    }
}

fn pause(chance: &mut StdRng) -> Duration {
    match chance.random_range(0..4) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(chance.random_range(1..500)),
        _ => Duration::from_millis(chance.random_range(500..20_000)),
    }
}

fn deed(chance: &mut StdRng) -> Deed {
    let instance = INSTANCES.choose(chance).copied().unwrap_or(INSTANCES[0]);
    let seconds = chance.random_range(0..40);
    match chance.random_range(0..30) {
        0..3 => Deed::Declare(instance, chance.random_range(0..4)),
        3 => Deed::Break(instance),
        4 => Deed::Delete(instance),
        5 => Deed::EditRuntime(chance.random_range(100..103)),
        6..11 => Deed::Kill(instance),
        11..13 => Deed::Remove(instance),
        13 => Deed::Pause(instance),
        14..16 => Deed::EngineRestart(seconds),
        16 => Deed::EngineFreeze(seconds),
        17 => Deed::ImageGone(seconds),
        18..22 => Deed::Crash(seconds),
        22 => Deed::Restart(seconds),
        23 => Deed::Unmount(seconds),
        24 => Deed::Corrupt(instance),
        25..28 => Deed::Mounts(instance, chance.random_range(1..=MOUNTS.len())),
        28 => Deed::Multiplexing(instance),
        _ => Deed::Rest,
    }
}

fn exercise(chance: &mut StdRng) -> Deed {
    // Those with hosts.
    let instance = INSTANCES[chance.random_range(0..2)];
    match chance.random_range(0..8) {
        0..2 => Deed::Kill(instance),
        2 => Deed::Renew(instance),
        3 => Deed::Remove(instance),
        4..6 => Deed::Declare(instance, chance.random_range(0..4)),
        6 => Deed::Mounts(instance, chance.random_range(1..=MOUNTS.len())),
        _ => Deed::Multiplexing(instance),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pause, deed) in &self.deeds {
            writeln!(f, "  after {pause:?}: {deed:?}")?;
        }
        writeln!(f, "  then, in peace")?;
        for (pause, deed) in &self.drill {
            writeln!(f, "  after {pause:?}: {deed:?}")?;
        }
        Ok(())
    }
}
