//! What a seed decides of a world for good.

use std::time::Duration;

use plugward_api::image::PullPolicy;
use plugward_api::instance::{ActivationMode, UpdateStrategy};
use plugward_engine::simulated::Registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::plugin::{Callbacks, Kind};

/// How plugins are in a world, and how it is declared that they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// How containers are replaced.
    pub strategy: UpdateStrategy,
    /// When they run.
    pub activation: ActivationMode,
    /// How long calls wait for one.
    pub hold: Duration,
    /// What the plugins can.
    pub multiplexes: bool,
    /// How much hosts have to tell them.
    pub priming: Priming,
    /// What for plugins call their hosts back.
    pub callbacks: Callbacks,
    /// Whether there are hosts.
    pub hosts: bool,
    /// When images are pulled.
    pub pull_policy: PullPolicy,
    /// How registries behave until there is peace.
    pub registry: Registry,
}

/// How much hosts have to tell plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priming {
    /// Nothing, and they tell nothing.
    None,
    /// Plugins that were not told answer all the same, with nothing.
    Useful,
    /// Plugins that were not told answer nothing.
    Needed,
}

/// Long enough for a few starts in a row that fail.
pub const LONG_HOLD: Duration = Duration::from_secs(60);

/// Registries that are well.
pub const UP: Registry = Registry::Up { pace: Duration::from_millis(5) };

/// Too short for a start that takes its time.
const SHORT_HOLD: Duration = Duration::from_millis(300);

// === impl Circumstances ===

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            strategy: UpdateStrategy::default(),
            activation: ActivationMode::Eager,
            hold: LONG_HOLD,
            multiplexes: false,
            priming: Priming::None,
            callbacks: Callbacks::None,
            hosts: false,
            pull_policy: PullPolicy::Never,
            registry: UP,
        }
    }
}

impl Circumstances {
    /// Those of a seed.
    pub fn of(seed: u64) -> Self {
        // Not the numbers of which the schedule is made.
        let mut chance = StdRng::seed_from_u64(!seed);
        let mut perhaps = |of: u32| chance.random_ratio(1, of);
        let mut circumstances = Self {
            strategy: if perhaps(2) { UpdateStrategy::Surge } else { UpdateStrategy::Recreate },
            activation: if perhaps(3) { ActivationMode::OnDemand } else { ActivationMode::Eager },
            hold: if perhaps(4) { SHORT_HOLD } else { LONG_HOLD },
            multiplexes: perhaps(2),
            priming: match (perhaps(3), perhaps(2)) {
                (true, _) => Priming::None,
                (false, true) => Priming::Useful,
                (false, false) => Priming::Needed,
            },
            callbacks: Callbacks::None,
            hosts: true,
            pull_policy: match (perhaps(2), perhaps(2)) {
                (true, _) => PullPolicy::Never,
                (false, true) => PullPolicy::IfNotPresent,
                (false, false) => PullPolicy::Always,
            },
            registry: match (perhaps(2), perhaps(2), perhaps(2)) {
                (true, ..) => UP,
                (false, true, true) => Registry::Down,
                (false, true, false) => Registry::BreaksOff,
                (false, false, true) => Registry::FallsSilent,
                (false, false, false) => Registry::Up { pace: Duration::from_secs(2) },
            },
        };
        circumstances.callbacks = match (perhaps(2), perhaps(2)) {
            // A backend is always told something.
            (true, _) if circumstances.priming != Priming::None => Callbacks::Kept,
            (_, true) => Callbacks::Each,
            _ => Callbacks::None,
        };
        circumstances
    }

    /// What plugins can and need.
    pub fn kind(&self) -> Kind {
        Kind {
            multiplexes: self.multiplexes,
            needs_priming: self.priming == Priming::Needed,
            callbacks: self.callbacks,
        }
    }
}
