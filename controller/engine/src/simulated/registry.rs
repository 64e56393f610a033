//! The registries that a simulated engine pulls from: all of them are one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};

use super::SimulatedEngine;
use super::images::with_tag;
use super::script::{Behaviour, Script, StartedContainer};
use super::world::{Shared, pass};
use crate::error::{EngineError, ErrorKind, Operation};
use crate::event::EventKind;
use crate::pull::Progress;

/// How registries behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// They answer, and each piece of a layer takes so long.
    Up {
        /// For one of the [`PIECES`] of each of the [`LAYERS`].
        pace: Duration,
    },
    /// Nobody can connect to them.
    Down,
    /// They want other credentials.
    Denies,
    /// They break off in the middle of an image.
    BreaksOff,
    /// They fall silent in the middle of an image, and keep the connection.
    FallsSilent,
}

/// The layers of every image.
pub const LAYERS: u32 = 2;

/// The pieces in which each comes.
pub const PIECES: u32 = 4;

/// Bytes of a piece.
const PIECE: u64 = 1 << 20;

/// What registries have, by name.
pub(super) struct Published {
    pub(super) condition: Registry,
    by_name: BTreeMap<String, (String, Behaviour)>,
}

/// A pull under way.
struct Pull {
    shared: Arc<Shared>,
    name: String,
    condition: Registry,
    pieces: u32,
    /// The end of the daemon that pulls.
    ended: BoxFuture<'static, ()>,
}

impl SimulatedEngine {
    /// Puts an image into the registries, in the place of any of that name. Its containers do what `behaviour` says.
    /// Returns the ID that it has on the engine, once it is there.
    pub fn publish(
        &self,
        name: &str,
        behaviour: impl Fn(&StartedContainer) -> Script + Send + Sync + 'static,
    ) -> String {
        let mut world = self.shared.world();
        let id = format!("sha256:{}", world.new_id());
        world.published.by_name.insert(with_tag(name), (id.clone(), Arc::new(behaviour)));
        id
    }

    /// Takes an image from the registries. False when they have none of that name.
    pub fn unpublish(&self, name: &str) -> bool {
        self.shared.world().published.by_name.remove(&with_tag(name)).is_some()
    }

    /// Registries behave so from here on; pulls under way go on as they were.
    pub fn set_registry(&self, condition: Registry) {
        self.shared.world().published.condition = condition;
    }
}

// === impl Published ===

impl Default for Published {
    fn default() -> Self {
        Self { condition: Registry::Up { pace: Duration::from_millis(5) }, by_name: BTreeMap::new() }
    }
}

/// Asks a registry. What comes back brings the image.
pub(super) fn pull(
    shared: Arc<Shared>,
    name: String,
) -> Result<BoxStream<'static, Result<Progress, EngineError>>, EngineError> {
    let world = shared.world();
    let condition = world.published.condition;
    match condition {
        Registry::Down => return Err(error(&name, ErrorKind::Internal, "connect: connection refused")),
        Registry::Denies => {
            return Err(error(&name, ErrorKind::Refused, "unauthorized: authentication required"));
        }
        Registry::Up { .. } | Registry::BreaksOff | Registry::FallsSilent => {}
    }
    let Some((id, _)) = world.published.by_name.get(&with_tag(&name)) else {
        return Err(error(&name, ErrorKind::NoSuchImage, "manifest unknown"));
    };
    // What the engine has is not sent again.
    let pieces = if world.images.behaviour(id).is_some() { LAYERS * PIECES } else { 0 };
    drop(world);
    let ended = shared.end_of_run().boxed();
    let pull = Pull { shared, name, condition, pieces, ended };
    Ok(stream::unfold(Some(pull), |pull| async { pull?.next().await }).boxed())
}

impl Pull {
    /// The next piece, and the pull after it. `None` once the engine has the image.
    async fn next(mut self) -> Option<(Result<Progress, EngineError>, Option<Self>)> {
        if self.pieces == LAYERS * PIECES {
            return self.finish().err().map(|error| (Err(error), None));
        }
        let half = self.pieces == LAYERS * PIECES / 2;
        let piece = async {
            match self.condition {
                Registry::Up { pace } => pass(pace).await,
                Registry::FallsSilent if half => std::future::pending().await,
                _ => {}
            }
        };
        tokio::select! {
            biased;
            () = &mut self.ended => {
                let error = error(&self.name, ErrorKind::Unreachable, "the simulated engine went down during the pull");
                return Some((Err(error), None));
            }
            () = piece => {}
        }
        if half && self.condition == Registry::BreaksOff {
            return Some((Err(error(&self.name, ErrorKind::Internal, "unexpected EOF")), None));
        }
        self.pieces += 1;
        let progress = Progress {
            layers: LAYERS,
            layers_done: self.pieces / PIECES,
            bytes: u64::from(self.pieces) * PIECE,
            total_bytes: u64::from(LAYERS * PIECES) * PIECE,
        };
        Some((Ok(progress), Some(self)))
    }

    /// The engine has it under its name, unless the registry has not by now.
    fn finish(self) -> Result<(), EngineError> {
        let mut world = self.shared.world();
        let Some((id, behaviour)) = world.published.by_name.get(&with_tag(&self.name)).cloned() else {
            return Err(error(&self.name, ErrorKind::NoSuchImage, "manifest unknown"));
        };
        world.images.add(id.clone(), behaviour);
        world.images.name(&self.name, &id);
        let kind = EventKind::Image { reference: self.name.clone(), action: "pull".to_owned() };
        self.shared.publish(&mut world, kind);
        Ok(())
    }
}

fn error(name: &str, kind: ErrorKind, message: &str) -> EngineError {
    EngineError { operation: Operation::Pull, subject: name.to_owned(), kind, message: message.to_owned() }
}
