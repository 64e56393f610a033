//! The series that say what plugins' containers use, and what they may use.

use std::io;
use std::sync::Arc;

use plugward_api::Name;
use plugward_engine::Usage;

use super::catalogue::{CPU_LIMIT, CPU_USED, MEMORY_LIMIT, MEMORY_USED, PIDS, PIDS_LIMIT};
use super::family::{Family, number};
use crate::names::SlotName;
use crate::recipe::ContainerRecipe;
use crate::slot::Slot;

/// The container that a slot has now.
#[derive(Debug)]
pub struct Held {
    pub(crate) instance: Name,
    pub(crate) slot: SlotName,
    /// What is remembered of it: what it was made from, among other things.
    pub(crate) stored: Arc<Slot>,
    /// What it uses, if that is known.
    pub(crate) usage: Option<Usage>,
}

/// The number that a family has for a container, if any.
type Value = fn(&Held) -> Option<f64>;

const FAMILIES: [(&Family, Value); 6] = [
    (&CPU_USED, |held| Some(held.usage?.cpu?.as_secs_f64())),
    (&MEMORY_USED, |held| held.usage?.memory.map(number)),
    (&PIDS, |held| held.usage?.pids.map(number)),
    (&CPU_LIMIT, |held| held.recipe()?.nano_cpus.map(|nanos| number(nanos) / 1e9)),
    (&MEMORY_LIMIT, |held| held.recipe()?.memory_bytes.map(number)),
    (&PIDS_LIMIT, |held| held.recipe()?.pids.map(number)),
];

/// Writes the series of all of them.
pub(super) fn write(all: &[Held], to: &mut Vec<u8>) -> io::Result<()> {
    for (family, value) in FAMILIES {
        family.head(to)?;
        for held in all {
            if let Some(value) = value(held) {
                family.line(to, &[held.instance.as_str(), &held.slot.to_string()], value)?;
            }
        }
    }
    Ok(())
}

impl Held {
    fn recipe(&self) -> Option<&ContainerRecipe> {
        Some(&self.stored.held()?.recipe.container)
    }
}
