//! What hosts told a plugin to make it usable, kept so that it can be told again.
//!
//! A restarted plugin has forgotten its `Initialize`, and a host behind a stable socket cannot know that it has to repeat it. So the last
//! call of each priming method that succeeded is kept, for each user of each mount, in memory alone; and the calls are made again on every
//! new container of the mount, before anything else.
//!
//! All of this file is pure: it knows what is kept and what a container was told, and neither calls nor waits.

mod kept;
mod progress;
mod rules;
#[cfg(test)]
mod tests;
mod told;

pub(super) use self::kept::{Kept, KeptCall, Unkept};
pub(super) use self::progress::{Failure, Progress, Standing, Telling};
pub use self::rules::PrimingRules;
pub(super) use self::rules::{Role, is_application};
pub use self::told::KeptPriming;
